# SPDX-License-Identifier: Apache-2.0
"""A float model rounded to any choice of bits, without training: scales for all numbers of bits are found once, so that a choice costs no calibration."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bitloom.hw.graph import Graph
from bitloom.qat.calibrate import Observer, exponent, observe
from bitloom.qat.net.model import QuantModel
from bitloom.qat.net.operators import LOGIT_BITS, Linear
from bitloom.qat.quantizers import Grid
from bitloom.qat.search.space import Choice, Space
from bitloom.qat.weights.codebook import Coding


class _Several:
    """One observer a code range, for a tensor that may have several."""

    def __init__(self, ranges: Iterable[tuple[int, int]], batch: dict):
        self.of = {codes: Observer(*codes, batch) for codes in ranges}

    def __call__(self, x: Tensor) -> Tensor:
        for observer in self.of.values():
            observer(x)
        return x


class Rounded:
    """A calibrated QuantModel of a float model whose bits can be changed at once.

    model    QuantModel, with the bits of the last `choose`
    space    what may be chosen
    batches  that the activations' scales come from (qat/train.py: calibration_batches); weights have the most bits while they are seen
    """

    def __init__(self, start: nn.Module, space: Space, max_tokens: int, batches: Iterable[dict[str, Tensor]]):
        self.space, self.max_tokens = space, max_tokens
        self.model = QuantModel.from_float(start, space.quantization(space.top), max_tokens)
        self.network = self.model.network
        ranges = self._ranges()
        self._bind(space.top)
        self._fits: dict[tuple, Tensor] = {}
        self._fit()
        seen = observe(self.network, batches, lambda name, grid, batch: _Several(ranges[name], batch))
        last = self.network.outputs()
        self._exponents = {
            (name, codes): exponent(observer, name in last and codes[1] - codes[0] == (1 << LOGIT_BITS) - 1)
            for name, several in seen.items()
            for codes, observer in several.of.items()
            if observer.used
        }
        self.choose(space.top)

    def choose(self, choice: Choice) -> QuantModel:
        """The model with these bits, rounded anew from the float weights."""
        self._bind(choice)
        self._fit()
        for name, grid in self.network.grids().items():
            self.scale(name, grid)
        self.network.settle()
        return self.model

    def scale(self, tensor: str, grid: Grid) -> None:
        """Set a tensor's exponent for the bits that it has."""
        if (known := self._exponents.get((tensor, grid.observed_range()))) is not None:
            grid.set_exponent(known)

    def graph(self, choice: Choice) -> Graph:
        """Its integer graph."""
        return self.choose(choice).network.to_graph("search")

    def _bind(self, choice: Choice) -> None:
        self.model.quant = self.space.quantization(choice)
        self.network.configure(self.model.quant)

    def _ranges(self) -> dict[str, set[tuple[int, int]]]:
        """By tensor: the codes that an observer may be asked about."""
        found: dict[str, set[tuple[int, int]]] = {}
        for k in range(max(len(v.bits) for v in self.space.variables)):
            self._bind({v.name: v.bits[min(k, len(v.bits) - 1)] for v in self.space.variables})
            for name, grid in self.network.grids().items():
                found.setdefault(name, set()).add(grid.observed_range())
        return found

    def _fit(self) -> None:
        for operator in self.network.operators():
            if isinstance(operator, Linear):
                self.fit(operator)

    @torch.no_grad()
    def fit(self, operator: Linear) -> None:
        """A layer's weight scales for its bits; a codebook stays as the float weights gave it."""
        grid = operator.weight_grid
        if isinstance(grid.coding, Coding):
            return
        key = (operator.tensor, grid.bits, grid.narrow)
        if key not in self._fits:
            grid.fit(operator.weight)
            self._fits[key] = grid.log_scale.detach().clone()
        grid.log_scale.data.copy_(self._fits[key])  # .data: a step that learns bits puts back what its backward pass has seen
