# SPDX-License-Identifier: Apache-2.0
"""What every operator of a network is: its place, its grids, its integers, its nodes, its taps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import brevitas.nn as qnn
import numpy as np
from bitloom.hw.graph import GraphBuilder
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.qat.config import QuantConfig
from bitloom.qat.quantizers import ActQuant, Grid, PowerOfTwoAct
from torch import Tensor, nn

GRAPH_INPUTS = ("input_ids", "token_type_ids")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an operator stands in a network.

    sources   grids of its inputs
    settings  the quantization settings that apply to it there (Operator.settings)
    """

    name: str
    sources: tuple[Grid, ...]
    settings: frozenset[str]
    quant: QuantConfig
    max_tokens: int

    def setting(self, key: str, default: Any = None) -> Any:
        return self.quant.of(self.name, key, default)


@dataclass(frozen=True)
class Tap:
    """Where a tensor of the graph is seen in the forward pass: at a module's output, or at its input."""

    tensor: str
    module: nn.Module
    at_input: bool
    unit: Tensor | float  # what one LSB is worth


class Operator(nn.Module):
    """Base of all operators.

    name      of its tensor in the graph; None: its path in the network
    SETTINGS  the quantization settings that apply to it
    """

    SETTINGS: frozenset[str] = frozenset()

    def __init__(self, name: str | None = None):
        super().__init__()
        self.tensor = name

    def settings(self, residual: bool) -> frozenset[str]:
        """SETTINGS at its place; `residual`: only residual sums read its output."""
        return self.SETTINGS

    def choice(self, place: Place) -> dict[str, Any]:
        """What the settings choose for it there: `bits` of the output, and of its parameters."""
        (key,) = self.SETTINGS
        return {"bits": place.setting(key)}

    def bind(self, place: Place) -> None:
        """Take the name, make quantizers and parameters."""
        raise NotImplementedError

    def _own(self, place: Place, grid: Grid) -> Grid:
        self.tensor, self._grids = place.name, (grid, *place.sources)  # in a tuple: they are other modules' children
        return grid

    @property
    def bound(self) -> bool:
        return hasattr(self, "_grids")

    @property
    def grid(self) -> Grid:
        """Of the output."""
        return self._grids[0]

    @property
    def sources(self) -> tuple[Grid, ...]:
        return self._grids[1:]

    def integers(self, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        """What `nodes` is made from: the integer parameters, the output's bits and scale."""
        raise NotImplementedError

    def nodes(self, b: GraphBuilder, name: str, inputs: Sequence[GraphTensor], **integers: Any) -> GraphTensor:
        """Append the operator's nodes to an integer graph; the output tensor."""
        raise NotImplementedError

    def append(self, b: GraphBuilder, inputs: Sequence[GraphTensor]) -> GraphTensor:
        """The nodes of the operator as it was trained."""
        return self.nodes(b, self.tensor, inputs, **self.integers(inputs))

    def taps(self) -> Iterator[Tap]:
        """The operator's tensors in the forward pass."""
        yield Tap(self.tensor, self, False, 2.0**self.grid.e)

    def _output(self) -> dict[str, Any]:
        return {"bits": self.grid.bits, "scale": 2.0**self.grid.e}


def requantizer(grid: ActQuant) -> qnn.QuantIdentity:
    """Brevitas's quantizer of an activation, giving plain tensors."""
    layer = qnn.QuantIdentity(act_quant=PowerOfTwoAct.let(tensor_quant=grid, signed=True))
    layer.act_quant.skip_create_quant_tensor = True
    return layer


def graph_tensor(name: str, grid: Grid, shape: tuple = ("T", 1)) -> GraphTensor:
    """The tensor of the integer graph that a grid describes."""
    return GraphTensor(name=name, shape=shape, bits=grid.bits, signed=grid.signed, scale=2.0**grid.e)


def codes_of(value: Tensor) -> np.ndarray:
    """Integer codes held as floats, as int64."""
    return value.detach().cpu().numpy().astype(np.int64)
