# SPDX-License-Identifier: Apache-2.0
"""A network is its forward pass. One trace of it, by torch.fx with the operators as leaves, gives all the rest: names, grids, bits, graph, taps.

A forward pass takes `input_ids` and `token_type_ids` [B, T] and `real` (bool, False for padding, or None), calls operators (qat/net/operators.py),
hands their outputs to others, and returns one operator's output or a tuple of several. Modules that are no operators but leaves of torch's own
(dropout) are float matters of training and pass through, and so does the mask; any other arithmetic between operators is refused, as no hardware would
do it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx, nn

from bitloom.hw.graph import Graph, GraphBuilder
from bitloom.hw.graph_file import check
from bitloom.hw.tokens import Tokens
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.attention import Scores
from bitloom.qat.net.kept import StillReal
from bitloom.qat.net.operator import Bits, Operator
from bitloom.qat.net.operators import Add, Linear
from bitloom.qat.quantizers import Grid, QuantError, unseen

INPUTS = ("input_ids", "token_type_ids")


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, path: str) -> bool:
        return isinstance(module, Operator | StillReal) or super().is_leaf_module(module, path)


@dataclass(frozen=True)
class Step:
    """One operator of the forward pass: its path among the modules, and what it reads (paths of operators, or names of graph inputs)."""

    path: str
    reads: tuple[str, ...]


class Network(nn.Module):
    """Base of networks: `forward(input_ids, token_type_ids, real)` is written by the subclass, `bind` is called once it is built."""

    steps: tuple[Step, ...] = ()
    exits: tuple[str, ...] = ()
    max_tokens: int = 64
    plain = False  # of float operators

    def bind(self, quant: QuantConfig, max_tokens: int) -> Network:
        """Trace the forward pass and give every operator its name, its sources and its bits; returns self.

        Raises QuantError: arithmetic outside of operators; an operator that is called twice. ConfigError: an override that matches nothing.
        """
        self.steps, self.exits = _trace(self)
        self.max_tokens = max_tokens
        operators = {step.path: self.get_submodule(step.path) for step in self.steps}
        for step in self.steps:
            readers = [operators[other.path] for other in self.steps if step.path in other.reads]
            operators[step.path].adds_only = bool(readers) and step.path not in self.exits and all(isinstance(r, Add) for r in readers)
        bits = Bits(quant, max_tokens)
        for step in self.steps:
            operators[step.path].bind(step.path, tuple(operators[r] for r in step.reads if r in operators), bits)
        quant.check_names(self.settings())
        self.quant = quant
        return self

    def as_plain(self) -> Network:
        """Make all operators compute in float, with float weights; returns self."""
        self.plain = True
        for grid in self.grids().values():
            grid.observer = unseen
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and not is_scale(name))
        return self

    def factors(self) -> dict[Linear, float]:
        """What a quantized network has in the weights of the layers that give queries, and a float one does not: 1/sqrt(d) of the head."""
        return {m._sources[0]: m.factor for m in self.operators() if isinstance(m, Scores)}

    def configure(self, quant: QuantConfig) -> None:
        """Other bits for a network that is bound; scales stay. Raises ConfigError: an override that matches nothing."""
        quant.check_names(self.settings())
        self.quant, bits = quant, Bits(quant, self.max_tokens)
        for operator in self.operators():
            operator.take(bits)

    def settings(self) -> dict[str, set[str]]:
        """Each layer's and tensor's name, with the quantization settings that apply to it."""
        return {m.tensor: set(m.settings) for m in self.operators() if m.settings}

    def operators(self) -> list[Operator]:
        """In the order of computation."""
        return [self.get_submodule(step.path) for step in self.steps]

    def grids(self) -> dict[str, Grid]:
        """Each rescaled tensor's grid by name, in the order of computation (accumulators have none)."""
        return {m.tensor: m.grid for m in self.operators() if m.settings}

    def follow(self) -> None:
        """Let learned scales take effect, as far as the hardware can rescale: once a training step, before its forward pass."""
        changed = [grid.follow() for grid in self.grids().values()]
        if any(changed):
            self._raise()

    def settle(self) -> None:
        """Raise the exponents that the hardware cannot rescale: values that are (almost) all zero would take any."""
        self._raise()
        for operator in self.operators():
            if isinstance(operator, Linear):
                operator.revive()

    def _raise(self) -> None:
        raised = True
        while raised:
            raised = False
            for operator in self.operators():
                for grid, least in operator.least_exponents():
                    if grid.e < least:
                        grid.set_exponent(least)
                        raised = True

    def outputs(self) -> tuple[str, ...]:
        """Tensors that the forward pass returns."""
        return tuple(self.get_submodule(path).tensor for path in self.exits)

    def tokens(self) -> dict[str, Tokens]:
        """By tensor, accumulators among them: how many of a sentence's tokens it holds."""
        found: dict[str, Tokens] = {}
        for operator, step in zip(self.operators(), self.steps, strict=True):
            first = step.reads[0]
            own = found[self.get_submodule(first).tensor] if first not in INPUTS else Tokens()
            found |= dict.fromkeys((operator.tensor, *filter(None, [operator.acc])), operator.left(own))
        return found

    def answers(self) -> set[str]:
        """Tensors of logits: what the forward pass returns, or chooses from."""
        made = [self.get_submodule(path) for path in self.exits]
        return {source.tensor for operator in made for source in (operator._sources if operator.chooses else (operator,))}

    def to_graph(self, name: str, meta: dict | None = None) -> Graph:
        """The integer graph of docs/numerics.md, checked.

        meta  what is not arithmetic (task, label names, tokenizer)
        """
        b, made = GraphBuilder(self.max_tokens), {key: key for key in INPUTS}
        for step in self.steps:
            made[step.path] = self.get_submodule(step.path).append(b, [made[r] for r in step.reads])
        return check(b.graph(name, self.outputs(), meta))


def is_scale(name: str) -> bool:
    """Of a parameter that only a quantized network uses."""
    return name.endswith(".log_scale")


def _trace(network: Network) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    graph = _Tracer().trace(network)
    found: dict[fx.Node, str] = {}  # what each traced value is: an operator's path or an input's name
    steps: list[Step] = []
    exits: tuple[str, ...] = ()
    for node in graph.nodes:
        if node.op == "placeholder":
            found[node] = str(node.target)
        elif node.op == "output":
            result = node.args[0]
            exits = tuple(found[n] for n in (result if isinstance(result, tuple | list) else (result,)))
        elif node.op != "call_module":
            raise QuantError(
                f"network: got '{node.target}' between operators ({node.format_node()}), must be an operator of qat/net/operators.py; "
                "put it into one, so that it has integers and hardware"
            )
        elif isinstance(network.get_submodule(node.target), Operator):
            if any(step.path == node.target for step in steps):
                raise QuantError(f"network: got operator '{node.target}' called twice, must be once; make a second module")
            steps.append(Step(node.target, tuple(found[a] for a in node.args if isinstance(a, fx.Node) and found[a] != "real")))
            found[node] = node.target
        else:
            found[node] = found[node.args[0]]
    return tuple(steps), exits


def padded(rows, segments=None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Unpadded sentences -> ids, segments, mask of real tokens, [B, T] each."""
    lengths = torch.tensor([len(sentence) for sentence in rows])
    mask = torch.arange(int(lengths.max()))[None, :] < lengths[:, None]
    ids, types = torch.zeros(mask.shape, dtype=torch.long), torch.zeros(mask.shape, dtype=torch.long)
    ids[mask] = torch.tensor([i for sentence in rows for i in sentence])
    if segments is not None:
        types[mask] = torch.tensor([s for sentence in segments for s in sentence])
    return ids, types, mask
