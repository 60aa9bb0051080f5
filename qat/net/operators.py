# SPDX-License-Identifier: Apache-2.0
"""The operators of docs/numerics.md as modules: what a forward pass is written with. Those of attention are in attention.py.

An operator is declared by its shape alone and costs nothing then; `bind` gives it a name, its inputs' grids and its bits, and makes its parameters.
Tensors between operators hold values, code * scale, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import brevitas.nn as qnn
import numpy as np
import torch
from bitloom.hw.graph import GraphBuilder
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.hw.ops import add as add_op
from bitloom.hw.ops import embed as embed_op
from bitloom.hw.ops import first_token as first_token_op
from bitloom.hw.ops import layernorm as layernorm_op
from bitloom.hw.ops import linear as linear_op
from bitloom.hw.ops import requant as requant_op
from bitloom.hw.ops import table as table_op
from bitloom.qat import functional as F
from bitloom.qat.net.operator import GRAPH_INPUTS, Operator, Place, Tap, codes_of, graph_tensor, requantizer
from bitloom.qat.quantizers import UNSET, ActQuant, BiasQuant, DyadicWeight, Grid, IntegerBias, PowerOfTwoAct, WeightQuant
from torch import Tensor, nn
from torch.nn import functional as TF


class Linear(Operator):
    """y = requant(W x + b): a Brevitas QuantLinear with dyadic weight scales, an integer bias and a rescaled output.

    factor  on a float checkpoint's weights and bias, before they are quantized
    bits    of the output where no setting decides
    acc     name of the accumulator; None: that of the output and '.acc'
    """

    SETTINGS = frozenset({"weights", "weight_range", "activations"})

    def __init__(self, in_features: int, out_features: int, *, factor: float = 1.0, bits: int | None = None, acc: str | None = None, name: str | None = None):
        super().__init__(name)
        self.in_features, self.out_features, self.factor, self.bits, self.acc = in_features, out_features, factor, bits, acc

    def settings(self, residual: bool) -> frozenset[str]:
        if self.bits is not None:
            return self.SETTINGS - {"activations"}
        return self.SETTINGS | ({"residual"} if residual else set())

    def choice(self, place: Place) -> dict[str, Any]:
        bits = self.bits or place.setting("activations")
        if "residual" in place.settings:  # an override may give it as many bits as the sum has
            bits = place.setting("residual", bits)
        return {"bits": bits, "weight_bits": place.setting("weights"), "narrow": place.setting("weight_range") == "narrow"}

    def bind(self, place: Place) -> None:
        chosen = self.choice(place)
        narrow, grid = chosen["narrow"], self._own(place, ActQuant(chosen["bits"]))
        weight_quant = WeightQuant(self.out_features, chosen["weight_bits"], narrow)
        bias_quant = BiasQuant(weight_quant, *self.sources)
        self.linear = qnn.QuantLinear(
            self.in_features,
            self.out_features,
            bias=True,
            weight_quant=DyadicWeight.let(tensor_quant=weight_quant, narrow_range=narrow),
            bias_quant=IntegerBias.let(tensor_quant=bias_quant),
            output_quant=PowerOfTwoAct.let(tensor_quant=grid, signed=True),
        )
        for proxy in (self.linear.weight_quant, self.linear.bias_quant, self.linear.output_quant):
            proxy.skip_create_quant_tensor = True  # plain tensors between layers: the graph knows the scales
        self._parts = (weight_quant, bias_quant)

    weight_grid = property(lambda self: self._parts[0])
    bias_grid = property(lambda self: self._parts[1])

    @torch.no_grad()
    def load(self, source: nn.Linear) -> None:
        """Take over a float layer's weights and bias, and fit the weight scales to them."""
        self.linear.weight.copy_(source.weight * self.factor)
        if source.bias is None:
            self.linear.bias.zero_()
        else:
            self.linear.bias.copy_(source.bias * self.factor)
        self.weight_grid.fit(self.linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)

    def integers(self, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        """n = e_y - e_x - e_w, m the mantissas of the weight scales."""
        mantissa, exponent = F.snap_scale(self.weight_grid.log_scale)
        return {
            "weight": codes_of(self.weight_grid.codes(self.linear.weight)),
            "bias": codes_of(self.bias_grid.codes(self.linear.bias)),
            "weight_bits": self.weight_grid.bits,
            "mult": codes_of(mantissa),
            "shift": self.grid.e - self.sources[0].e - int(exponent),
            **self._output(),
        }

    def nodes(self, b: GraphBuilder, name: str, inputs: Sequence[GraphTensor], *, weight, bias, weight_bits, mult, shift, bits, scale) -> GraphTensor:
        acc = linear_op.append(b, self.acc or f"{name}.acc", inputs[0], weight, bias, weight_bits)
        return requant_op.append(b, name, acc, mult, shift, bits=bits, scale=scale)

    def taps(self) -> Iterator[Tap]:
        yield Tap(self.acc or f"{self.tensor}.acc", self.linear.output_quant, True, self.bias_grid.scale())
        yield from super().taps()


class Add(Operator):
    """Residual sum, on a grid of its own."""

    SETTINGS = frozenset({"residual"})

    def bind(self, place: Place) -> None:
        self.requant = requantizer(self._own(place, ActQuant(**self.choice(place))))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.requant(a + b)

    def integers(self, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        """Both addends shifted to the finer grid, one rounding to the sum's."""
        mult_a, mult_b, shift = add_op.rescale(*inputs, 2.0**self.grid.e)
        return {"mult_a": mult_a, "mult_b": mult_b, "shift": shift, **self._output()}

    def nodes(self, b: GraphBuilder, name: str, inputs: Sequence[GraphTensor], **integers: Any) -> GraphTensor:
        return add_op.append(b, name, *inputs, **integers)


class LayerNorm(Operator):
    """Integer LayerNorm of a [.., H] stream."""

    SETTINGS = frozenset({"activations"})

    def __init__(self, width: int, eps: float, name: str | None = None):
        super().__init__(name)
        self.width, self.eps = width, eps

    def bind(self, place: Place) -> None:
        self.weight, self.bias = nn.Parameter(torch.ones(self.width)), nn.Parameter(torch.zeros(self.width))
        self.output = self._own(place, Grid(**self.choice(place)))

    def plan(self) -> F.LayerNormPlan:
        source = self.sources[0]
        return F.layernorm_plan(self.width, source.bits, source.e, self.grid.bits, self.grid.e, self.eps)

    @torch.no_grad()
    def load(self, source: nn.LayerNorm) -> None:
        self.weight.copy_(source.weight)
        self.bias.copy_(source.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.grid.observer is not None:
            return self.grid.observer(TF.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps))
        return F.layernorm(x, self.weight, self.bias, self.plan())

    def integers(self, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        gamma, beta, shift = F.layernorm_affine(self.weight, self.bias, self.grid.e)
        return {"gamma": codes_of(gamma), "beta": codes_of(beta), "eps": self.plan().eps, "shift": int(shift), **self._output()}

    def nodes(self, b: GraphBuilder, name: str, inputs: Sequence[GraphTensor], **integers: Any) -> GraphTensor:
        return layernorm_op.append(b, name, *inputs, **integers)


SMOOTH = {
    "gelu": TF.gelu,
    "gelu_new": lambda x: TF.gelu(x, approximate="tanh"),
    "relu": torch.relu,
    "silu": TF.silu,
    "tanh": torch.tanh,
}


class Table(Operator):
    """A function of one code, by table: one of bitloom.hw.ops.table.FUNCTIONS."""

    SETTINGS = frozenset({"activations"})

    def __init__(self, function: str, name: str | None = None):
        super().__init__(name)
        self.function, self._table = function, None

    @property
    def signed(self) -> bool:
        return self.function != "relu"

    def bind(self, place: Place) -> None:
        bits = self.choice(place)["bits"]
        exponent = 1 - bits if self.function == "tanh" else UNSET  # tanh's range is known: -1 .. 1
        self.output = self._own(place, Grid(bits, signed=self.signed, exponent=exponent))

    def _tables(self, like: Tensor) -> tuple[Tensor, Tensor]:
        source, grid = self.sources[0], self.grid
        key = (source.e, grid.e, like.dtype, like.device)
        if self._table is None or self._table[0] != key:
            codes = torch.as_tensor(table_op.entries(self.function, graph_tensor("", source), graph_tensor("", grid)))
            x = (torch.arange(source.low, source.high + 1) * 2.0**source.e).double().requires_grad_()
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(SMOOTH[self.function](x).sum(), x)
            exact = SMOOTH[self.function](x.detach()) * 2.0**-grid.e
            slope = slope * ((exact >= grid.low - 0.5) & (exact <= grid.high + 0.5))
            self._table = (key, (codes * 2.0**grid.e).to(like), slope.to(like))
        return self._table[1], self._table[2]

    def forward(self, x: Tensor) -> Tensor:
        if self.grid.observer is not None:
            y = SMOOTH[self.function](x)
            return y if self.function == "tanh" else self.grid.observer(y)
        return F.table(x, *self._tables(x), self.sources[0].e, self.sources[0].low)

    def integers(self, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        return self._output()

    def nodes(self, b: GraphBuilder, name: str, inputs: Sequence[GraphTensor], **integers: Any) -> GraphTensor:
        return table_op.append(b, name, inputs[0], self.function, signed=self.signed, **integers)


class Embed(Operator):
    """word[id] + position[i] + segment[s], three tables on one grid; the sum needs two bits more and no rounding.

    segments  rows of the segment table; with fewer than two every token is of the same segment, whatever the ids say
    """

    SETTINGS = frozenset({"embeddings"})

    def __init__(self, vocabulary: int, positions: int, segments: int, width: int, name: str | None = None):
        super().__init__(name)
        self.vocabulary, self.positions, self.segments, self.width = vocabulary, positions, max(1, segments), width

    def choice(self, place: Place) -> dict[str, Any]:
        bits = place.setting("embeddings")
        return {"bits": bits + 2, "table_bits": bits}

    def bind(self, place: Place) -> None:
        self.table_bits = self.choice(place)["table_bits"]
        self.word = nn.Parameter(torch.empty(self.vocabulary, self.width).normal_(std=0.02))
        self.position = nn.Parameter(torch.empty(self.positions, self.width).normal_(std=0.02))
        self.segment = nn.Parameter(torch.empty(self.segments, self.width).normal_(std=0.02))
        self.output = self._own(place, EmbedGrid(self.table_bits))

    @torch.no_grad()
    def load(self, word: Tensor, position: Tensor, segment: Tensor | None) -> None:
        """Take over float tables; `position` from the row of the first token on."""
        self.word.copy_(word)
        self.position.copy_(position[: self.positions])
        if segment is None:
            self.segment.zero_()
        else:
            self.segment.copy_(segment)

    def quantize_rows(self, rows: Tensor) -> Tensor:
        return F.quantize(rows, self.grid.e, *F.code_range(self.table_bits, True))

    def forward(self, ids: Tensor, segments: Tensor) -> Tensor:
        if self.segments < 2:
            segments = torch.zeros_like(ids)
        word, position = TF.embedding(ids, self.word), self.position[: ids.shape[1]]
        if self.grid.observer is not None:
            addends = word, position.expand_as(word), TF.embedding(segments, self.segment)
            return sum(self.grid.observer(addend) for addend in addends)
        rows = self.quantize_rows(word)
        return rows + self.quantize_rows(position) + TF.embedding(segments, self.quantize_rows(self.segment))

    def integers(self, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        codes = {key: codes_of(self.quantize_rows(getattr(self, key)).double() * 2.0**-self.grid.e) for key in ("word", "position", "segment")}
        return codes | self._output()

    def nodes(self, b: GraphBuilder, name: str, inputs: Sequence[GraphTensor], *, word, position, segment, bits, scale) -> GraphTensor:
        if len(segment) < 2:
            segment = np.repeat(segment, 2, axis=0)
        return embed_op.append(b, name, GRAPH_INPUTS, word, position, segment, bits=bits, scale=scale)


class EmbedGrid(Grid):
    """Of the sum of three tables: two bits more than each. An observer is shown the addends."""

    def __init__(self, table_bits: int):
        super().__init__(table_bits + 2)
        self.table_bits = table_bits

    def observed_range(self) -> tuple[int, int]:
        return F.code_range(self.table_bits, True)


class FirstToken(Operator):
    """A sentence's first token; its grid is its input's."""

    def choice(self, place: Place) -> dict[str, Any]:
        return {}

    def bind(self, place: Place) -> None:
        self._own(place, place.sources[0])

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]

    def integers(self, inputs: Sequence[GraphTensor]) -> dict[str, Any]:
        return {}

    def nodes(self, b: GraphBuilder, name: str, inputs: Sequence[GraphTensor]) -> GraphTensor:
        return first_token_op.append(b, name, inputs[0])
