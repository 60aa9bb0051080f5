# SPDX-License-Identifier: Apache-2.0
"""What all operators of a network have (qat/net/operators.py): a name, what they read, bits, and their nodes of the integer graph.

An operator is made with its shape alone. `bind` gives it, once the forward pass has been traced (qat/net/network.py), its name, the operators that
it reads and its bits. It then knows its nodes of the integer graph (`append`) and which quantization settings apply to it (`settings`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor, nn

from bitloom.hw.graph import GraphBuilder
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.hw.settings import ConfigError
from bitloom.hw.tokens import Tokens
from bitloom.qat.brevitas import qnn
from bitloom.qat.config import AUTO, BIT_RANGES, OF_CODEBOOKS
from bitloom.qat.quantizers import ActQuant, Grid, PowerOfTwoAct
from bitloom.qat.weights.codebook import Coding
from bitloom.qat.weights.dyadic import Dyadic

OF_WEIGHTS = {"weights", "weight_range", "weight_scales", "ternary", "codebook", *OF_CODEBOOKS}
EXACT_BITS = 53  # of a float64
MARKED = "embeddings.marked"  # sums of embeddings that also tell the tokens' segments


def integers(value: Tensor) -> np.ndarray:
    """Whole numbers in a float tensor, as int64."""
    return value.detach().cpu().numpy().astype(np.int64)


def graph_tensor(name: str, grid: Grid, shape: tuple = ("T", 1)) -> GraphTensor:
    """The tensor of the integer graph that a grid describes."""
    return GraphTensor(name=name, shape=shape, bits=grid.bits, signed=grid.signed, scale=2.0**grid.e)


class Operator:
    """What the modules share.

    tensor     name of its output tensor: the module's path, unless `name` says another
    acc        name of the accumulator that is rescaled to it; None: there is none
    grid       of its output
    adds_only  only residual sums read it: an override may give it `residual` bits
    chooses    it gives one of its inputs
    """

    settings: frozenset[str] = frozenset()
    tensor: str = ""
    acc: str | None = None
    adds_only = False
    chooses = False

    def bind(self, path: str, sources: tuple[Operator, ...], bits: Bits) -> None:
        """Take the name, the operators that are read (those of graph inputs left out), and the bits."""
        self.tensor = getattr(self, "name", None) or path
        self._sources = sources  # in a tuple: they are other modules' children
        self.take(bits)

    def take(self, bits: Bits) -> None:
        """Take the bits of `self.tensor`, and whether its scale is learned."""
        self.configure(bits)
        if "activation_scales" in self.settings:
            self.grid.learn(bits.of(self.tensor, "activation_scales") == "learned")

    def configure(self, bits: Bits) -> None:
        """Take the bits of `self.tensor`."""

    @property
    def source(self) -> Grid:
        """Grid of the (first) input."""
        return self._sources[0].grid

    def least_exponents(self) -> Iterator[tuple[Grid, int]]:
        """Grids that it reads or makes, each with the least exponent that its hardware can rescale, given the others' exponents."""
        yield from ()

    def left(self, tokens: Tokens) -> Tokens:
        """How many of a sentence's tokens it gives, of those that it takes."""
        return tokens

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        """Add its nodes to the integer graph; the output tensor."""
        raise NotImplementedError

    def units(self) -> dict[str, Tensor | float]:
        """By tensor name, what one code of the accumulator is worth in `forward`, where there is one: the input of its module `rescaling`."""
        return {}


class Bits:
    """Quantization settings for one network: bits of(name, setting)."""

    def __init__(self, quant, max_tokens: int):
        self.quant, self.max_tokens = quant, max_tokens

    def of(self, name: str, key: str, default=None):
        return self.quant.of(name, key, default)

    def coding(self, name: str) -> Coding | Dyadic:
        """How a layer's weights are coded."""
        kind, scales, ternary = (self.of(name, key) for key in ("codebook", "weight_scales", "ternary"))
        if kind == "none":
            return Dyadic(share={"channel": 1, "layer": 0}.get(scales, scales), ternary=ternary)
        if (scales, ternary) != ("channel", "none"):
            got = f"weight_scales {scales}" if scales != "channel" else f"ternary {ternary}"
            without = "weight_scales: channel" if scales != "channel" else "ternary: none"
            raise ConfigError(f"quantization: {name}: got {got} with codebook {kind}, must be one of them; set {without} or codebook: none there")
        return Coding(
            kind=kind,
            index_bits=self.of(name, "index_bits") or (1 if kind == "bs_flex" else 2),
            channel=self.of(name, "codebook_per") == "channel",
            zero=self.of(name, "codebook_zero") == "kept",
            kept=self.of(name, "clusters") == "kept",
            fixed=self.of(name, "centroids") == "fixed",
        )

    def residual(self, name: str, projection: bool = False) -> int:
        """Of a residual sum or a projection before one; the most that there may be until calibration chooses."""
        bits = self.quant.residual_of(name, projection)
        return BIT_RANGES["residual"][1] if bits == AUTO else bits


class Rescaled(Operator, qnn.QuantIdentity):
    """A sum or product of activations, rescaled by a shift."""

    def __init__(self, signed: bool = True):
        grid = ActQuant(8)
        super().__init__(act_quant=PowerOfTwoAct.let(tensor_quant=grid, signed=signed))
        self.act_quant.skip_create_quant_tensor = True
        self._parts = (grid,)

    grid = property(lambda self: self._parts[0])

    @property
    def rescaling(self) -> nn.Module:
        return self.act_quant

    def rescale(self, x: Tensor) -> Tensor:
        return x if self.grid.plain else qnn.QuantIdentity.forward(self, x)
