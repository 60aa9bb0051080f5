# SPDX-License-Identifier: Apache-2.0
"""A network is a forward pass over operators. One trace of it gives names, settings, bits, the integer graph, taps and the order of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from bitloom.hw.graph import Graph, GraphBuilder
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.operator import GRAPH_INPUTS, Operator, Place, Tap
from bitloom.qat.net.operators import Add
from bitloom.qat.quantizers import Grid, QuantError
from torch import Tensor, fx, nn

TRANSPARENT = (nn.Dropout, nn.Identity)  # training's alone: nothing of them is in the graph


@dataclass(frozen=True)
class Step:
    """An operator in the order of computation.

    name    of its tensor
    path    of its module
    inputs  names of the tensors that it reads
    """

    name: str
    path: str
    inputs: tuple[str, ...]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (Operator, *TRANSPARENT))


Integers = Callable[[Step, Operator, Sequence[GraphTensor]], dict[str, Any]]


class Network(nn.Module):
    """Base of networks: declare operators (bitloom.qat.net.operators) and write `forward(self, input_ids, token_type_ids, real)`.

    input_ids, token_type_ids  [B, T]
    real        bool [B, 1, 1, T], False for padding, for the softmax; None: all are real
    max_tokens  longest sentence

    The forward pass calls operators and dropouts, each once, and does nothing else with tensors. It has neither parameters nor bits until `bind`.
    """

    def __init__(self, max_tokens: int):
        super().__init__()
        self.max_tokens = max_tokens

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The operators in the order of computation.

        Raises QuantError: the forward pass does something that is no operator, uses one twice, or gives one name to two.
        """
        return self._traced[0]

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors that the forward pass returns."""
        return self._traced[1]

    @cached_property
    def _traced(self) -> tuple[tuple[Step, ...], tuple[str, ...]]:
        steps, names, where = [], {}, type(self).__name__
        for node in _Tracer().trace(self).nodes:
            if node.op == "placeholder":
                names[node] = node.name
            elif node.op == "output":
                results = node.args[0] if isinstance(node.args[0], (tuple, list)) else (node.args[0],)
                return tuple(steps), tuple(names[result] for result in results)
            elif node.op != "call_module":
                raise QuantError(f"{where}: got '{getattr(node.target, '__name__', node.target)}' in the forward pass, must be an operator; write it as one")
            elif not isinstance(module := self.get_submodule(node.target), Operator):
                names[node] = names[node.args[0]]
            else:
                name = module.tensor or node.target
                if any(step.path == node.target or step.name == name for step in steps):
                    raise QuantError(f"{where}: got '{name}' twice in the forward pass, must be once; make an operator for each call")
                made = {step.name for step in steps}
                steps.append(Step(name, node.target, tuple(names[n] for n in node.args if names.get(n) in made or names.get(n) in GRAPH_INPUTS)))
                names[node] = name
        raise QuantError(f"{where}: got a forward pass without a result, must return the output's tensor")

    def operator(self, step: Step) -> Operator:
        return self.get_submodule(step.path)

    def operators(self) -> Iterator[Operator]:
        """In the order of computation."""
        return map(self.operator, self.steps)

    @cached_property
    def settings(self) -> dict[str, frozenset[str]]:
        """Each tensor's name, with the quantization settings that apply to it."""
        found = {}
        for step in self.steps:
            readers = self.readers(step.name)
            residual = bool(readers) and all(isinstance(reader, Add) for reader in readers) and step.name not in self.outputs
            found[step.name] = self.operator(step).settings(residual)
        return {name: settings for name, settings in found.items() if settings}

    def bind(self, quant: QuantConfig) -> Network:
        """Give every operator its name, its inputs' grids and its bits, and make the parameters; returns self.

        Raises ConfigError: an override that fits no tensor.
        """
        quant.check_names(self.settings)
        grids: dict[str, Grid] = {}
        for step in self.steps:
            operator, sources = self.operator(step), tuple(grids[name] for name in step.inputs if name in grids)
            operator.bind(self.place(step, quant, sources))
            grids[step.name] = operator.grid
        return self

    def place(self, step: Step, quant: QuantConfig, sources: tuple[Grid, ...] = ()) -> Place:
        """Where an operator stands, for its `choice` (which needs no sources) and its `bind`."""
        settings = self.settings.get(step.name, frozenset())
        return Place(name=step.name, sources=sources, settings=settings, quant=quant, max_tokens=self.max_tokens)

    def readers(self, name: str) -> list[Operator]:
        """The operators that take a tensor."""
        return [self.operator(step) for step in self.steps if name in step.inputs]

    def grids(self) -> dict[str, Grid]:
        """Each quantized tensor's grid by name, in the order of computation (accumulators have none, a selection has its input's)."""
        found: dict[int, tuple[str, Grid]] = {}
        for step in self.steps:
            grid = self.operator(step).grid
            found.setdefault(id(grid), (step.name, grid))
        return dict(found.values())

    def taps(self) -> Iterator[Tap]:
        """Where each tensor of the graph is seen in the forward pass."""
        for operator in self.operators():
            yield from operator.taps()

    def to_graph(self, name: str, meta: dict | None = None, integers: Integers | None = None) -> Graph:
        """The integer graph of docs/numerics.md, checked.

        meta      what is not arithmetic
        integers  integers(step, operator, inputs): the parameters and bits of each operator; None: as trained
        """
        builder = GraphBuilder(self.max_tokens)
        integers = integers or (lambda step, operator, inputs: operator.integers(inputs))
        for step in self.steps:
            operator, inputs = self.operator(step), [builder.tensors[name] for name in step.inputs if name not in GRAPH_INPUTS]
            operator.nodes(builder, step.name, inputs, **integers(step, operator, inputs))
        return builder.graph(name, self.outputs, meta)

    def run(self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None) -> Tensor:
        """The forward pass of a padded batch; padding has mask 0 and does not reach a real token.

        Raises QuantError: too many tokens, or not calibrated.
        """
        if input_ids.shape[1] > self.max_tokens:
            raise QuantError(f"model: got {input_ids.shape[1]} tokens, must be at most {self.max_tokens}; truncate or raise max_tokens")
        return self(input_ids, *inputs_of(input_ids, attention_mask, token_type_ids))


def inputs_of(input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """token_type_ids and `real` of a batch, as a network takes them."""
    segments = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
    real = None
    if attention_mask is not None and not bool(attention_mask.all()):
        real = attention_mask.bool()[:, None, None, :]
    return segments, real
