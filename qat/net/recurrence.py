# SPDX-License-Identifier: Apache-2.0
"""The recurrent layer of a network: an LSTM over a sentence's tokens, forward or backward (hw/ops/lstm.py)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bitloom.hw import ops
from bitloom.hw.graph import GraphBuilder
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.hw.settings import ConfigError
from bitloom.qat import functional as F
from bitloom.qat.net.operator import EXACT_BITS, Bits, integers
from bitloom.qat.net.operators import Linear
from bitloom.qat.quantizers import SPARE_BITS, Grid
from bitloom.qat.weights.dyadic import Dyadic

GATES, CANDIDATE = ops.lstm.GATES, ops.lstm.CANDIDATE
ACT_BITS = 8  # of i, f, g, o and tanh: their tables cost as much with fewer


def lookup(function: str, exponent: int, bits: int, factor: float, like: Tensor) -> F.Entries:
    """A table of `function`(factor * z), z of `bits` on a grid of that exponent, to ACT_BITS."""
    signed = function == "tanh"
    x = GraphTensor(name="", shape=("T", 1), bits=bits, signed=True, scale=factor * 2.0**exponent)
    y = GraphTensor(name="", shape=("T", 1), bits=ACT_BITS, signed=signed, scale=2.0 ** (signed - ACT_BITS))
    values = torch.as_tensor(ops.table.entries(function, x, y)) * y.scale
    smooth = F.SMOOTH[function](torch.arange(x.low, x.high + 1).double() * x.scale)
    slope = (1 - smooth**2 if signed else smooth * (1 - smooth)) * factor
    return F.Entries(*(own.to(like) for own in (values, slope, torch.zeros_like(slope))))


class Lstm(Linear):
    """States of a sentence's tokens [B, T, H], or the last one [B, H]; one matrix [4H, X + H] with gates i, f, g, o.

    The quantized matrix is that of docs/numerics.md: rows of g twice as large (their z is worth half), columns of h in units of x's scale. Its product
    is on the gates' grid, `z`; what Linear calls its grid is that of the states.
    """

    def __init__(self, inputs: int, hidden: int, *, backward: bool = False, last: bool = False):
        super().__init__(inputs + hidden, GATES * hidden, bits=8)
        self.inputs, self.hidden, self.backward, self.last = inputs, hidden, backward, last
        self.states, self.fitted, self._lookups = Grid(8), True, None
        rows = torch.ones(GATES, hidden)
        rows[CANDIDATE] = 2.0
        self.register_buffer("rows", rows.reshape(-1, 1), persistent=False)
        with torch.no_grad():
            self.weight.uniform_(-1 / math.sqrt(hidden), 1 / math.sqrt(hidden))
            self.bias.zero_()[hidden : 2 * hidden] = 1.0  # remember at first (Jozefowicz et al. 2015)

    grid = property(lambda self: self.states)
    z = property(lambda self: self._parts[2])
    settings = property(lambda self: frozenset({"weights", "weight_range", "weight_scales", "activations", "gates", "cell"}))

    def configure(self, bits: Bits) -> None:
        name, coding = self.tensor, bits.coding(self.tensor)
        if not isinstance(coding, Dyadic):
            raise ConfigError(
                f"quantization: {name}: got codebook {coding.kind} for a recurrent layer, must be none; add overrides: {{'{name}': {{codebook: none}}}}"
            )
        if steps := sorted({"learned_rounding", "bias_correction"} & set(bits.quant.post_training)):
            raise ConfigError(f"post_training: got {steps[0]} with the recurrent layer {name}, must be a network without one; remove the step")
        width, narrow = bits.of(name, "weights"), bits.of(name, "weight_range") == "narrow"
        coding.check(name, width, narrow, (self.out_features, self.in_features))
        self._code_weights(coding)
        self.weight_grid.configure(width, narrow)
        self.numbers = ops.lstm.shifts(ACT_BITS, bits.of(name, "gates"), bits.of(name, "cell"), bits.of(name, "gates"), bits.of(name, "activations"))
        for grid, own, exponent in ((self.z, "gates", 4), (self.states, "activations", 1)):
            grid.configure(bits.of(name, own))
            grid.set_exponent(exponent - grid.bits)
        self.bias_grid.sources, self.weight_grid.rescaled, self._lookups = self._sources, (self,), None

    def weight_exponents(self) -> tuple[int, int] | tuple[()]:
        source = self._sources[0].grid
        if source.observer is not None or not source.calibrated:
            return ()
        even, shift = self.z.e - source.e, min(ops.requant.SHIFT_MAX, EXACT_BITS - SPARE_BITS - self.z.bits)
        return even - shift + F.MANTISSA_BITS - 1, even

    def least_exponents(self) -> Iterator[tuple[Grid, int]]:
        """Its own grids are constants of the specification."""
        yield from ()

    def matrix(self) -> Tensor:
        """The weights in the units in which they are quantized."""
        columns = self.weight.new_ones(self.in_features)
        columns[self.inputs :] = 2.0 ** (self.states.e - self.source.e)
        return self.weight * self.rows * columns

    @torch.no_grad()
    def copy_from(self, linear: Linear, factor: float = 1.0) -> None:
        """Take over a float layer's weights and bias; `revive` fits the scales to them, once that of x is known."""
        self.weight.copy_(linear.weight)
        self.bias.copy_(linear.bias)
        self.fitted = False

    @torch.no_grad()
    def revive(self) -> None:
        if not self.fitted:
            self.weight_grid.fit(self.matrix())
            self.fitted = True

    def _tables(self, like: Tensor) -> tuple[F.Entries, F.Entries, F.Entries]:
        """Of i, f, o; of g; of tanh."""
        key, k = (like.dtype, like.device), self.numbers
        if self._lookups is None or self._lookups[0] != key:
            gates, cell = self.z.e, 5 - k["cell_bits"] + k["tanh_shift"]
            made = (("sigmoid", gates, k["gate_bits"], 1.0), ("tanh", gates, k["gate_bits"], 0.5), ("tanh", cell, k["tanh_bits"], 1.0))
            self._lookups = (key, tuple(lookup(*one, like) for one in made))
        return self._lookups[1]

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, X] -> [B, T, H], or [B, H]; padding leaves the state as it is."""
        if self.grid.observer is not None:
            return self._smooth(x, real)
        weight, _, *_ = self.weight_grid(self.matrix())
        bias, *_ = self.bias_grid(self.bias * self.rows[:, 0])
        own = x @ weight[:, : self.inputs].T + bias
        recurrent = weight[:, self.inputs :].T * 2.0 ** (self.source.e - self.states.e)
        there = None if real is None else real[:, 0, 0, :, None]
        h, c = (x.new_zeros(len(x), self.hidden) for _ in range(2))
        states: list[Tensor] = [h] * x.shape[1]
        for t in reversed(range(x.shape[1])) if self.backward else range(x.shape[1]):
            made = self._step(own[:, t] + h @ recurrent, c)
            h, c = made if there is None else (torch.where(there[:, t], new, old) for new, old in zip(made, (h, c), strict=True))
            states[t] = h
        return h if self.last else torch.stack(states, dim=1)

    def _smooth(self, x: Tensor, real: Tensor | None) -> Tensor:
        """The same in float, by torch's LSTM, which has the same order of gates; states of padding are not defined."""
        batch, tokens = x.shape[:2]
        lengths = x.new_full((batch,), tokens, dtype=torch.long) if real is None else real[:, 0, 0].sum(1)
        order = (lengths[:, None] - 1 - torch.arange(tokens, device=x.device)).clamp(min=0)[..., None] if self.backward else None  # from the last token on
        if order is not None:
            x = x.gather(1, order.expand_as(x))
        start = x.new_zeros(1, batch, self.hidden)
        weights = [self.weight[:, : self.inputs].contiguous(), self.weight[:, self.inputs :].contiguous(), self.bias, torch.zeros_like(self.bias)]
        states = torch.lstm(x, (start, start), weights, True, 1, 0.0, self.training, False, True)[0]
        if self.last:
            return states[torch.arange(batch, device=x.device), lengths - 1]
        return states if order is None else states.gather(1, order.expand_as(states))

    def _step(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The codes of docs/numerics.md, as values."""
        k, (gates, candidate, tanh), act = self.numbers, self._tables(z), (2.0 ** (1 - ACT_BITS), (1 << ACT_BITS - 1) - 1)
        z = F.quantize(z, self.z.e, self.z.low, self.z.high)
        split = z.unflatten(-1, (GATES, -1))
        i, f, o = F.table(split[:, [0, 1, 3]], gates, self.z.e, self.z.low, act).unbind(1)
        g = F.table(split[:, CANDIDATE], candidate, self.z.e, self.z.low, act)
        cell = 5 - k["cell_bits"]
        c = F.quantize(f * c + i * g, cell, *F.code_range(k["cell_bits"], True))
        u, low = cell + k["tanh_shift"], F.code_range(k["tanh_bits"], True)
        h = o * F.table(F.quantize(c, u, *low), tanh, u, low[0], act)
        return F.quantize(h, self.states.e, self.states.low, self.states.high), c

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        """n = e_z - e_x - e_w, m the mantissas of the weight scales."""
        weight, bias = integers(self.weight_grid.codes(self.matrix())), integers(self.bias_grid.codes(self.bias * self.rows[:, 0]))
        mult = np.broadcast_to(integers(self.weight_grid.multipliers()), bias.shape)
        shift = self.z.e - self.source.e - int(self.weight_grid.snapped()[1])
        how = {"direction": ops.lstm.DIRECTIONS[self.backward], "last": self.last}
        return ops.lstm.append(b, self.tensor, inputs[0], weight, bias, mult, shift, self.weight_grid.bits, self.numbers, bits=self.states.bits, **how)

    def units(self) -> dict[str, Tensor | float]:
        return {}
