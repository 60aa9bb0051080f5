# SPDX-License-Identifier: Apache-2.0
"""Recurrent networks: a layer forward and one backward over the tokens, their last states side by side, a hidden layer, the logits.

Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks" (arXiv:1903.12136).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from bitloom.qat.net.backbone import BackboneNetwork, BackboneShape
from bitloom.qat.net.convolution import Concat
from bitloom.qat.net.operators import Linear, Table
from bitloom.qat.net.recurrence import Lstm


@dataclass(frozen=True, kw_only=True)
class BilstmShape(BackboneShape):
    """A recurrent network with its head; fields as BilstmConfig and BackboneShape have them."""

    kind: ClassVar[str] = "bilstm"
    smaller: ClassVar[str] = "model.layers, units, hidden"

    layers: int = 1
    units: int = 150
    classifier: int = 200

    pooled_by = None  # the last layer gives its last states

    @property
    def features(self) -> int:
        return self.classifier

    def inputs(self) -> list[int]:
        """Of each layer."""
        return [self.hidden, *[2 * self.units] * (self.layers - 1)]

    def layer_parameters(self) -> int:
        return sum(8 * self.units * (inputs + self.units + 1) for inputs in self.inputs())

    def parameters(self) -> int:
        return super().parameters() + (2 * self.units + 1) * self.classifier

    def kept(self, batch: int) -> int:
        """Of each step the gates before and behind their tables, the cell and the state, in both directions."""
        return self.layers * 4 * batch * self.max_tokens * 2 * 14 * self.units

    def words(self) -> str:
        layers = "a recurrent layer" if self.layers == 1 else f"{self.layers} recurrent layers"
        return f"{layers} of {self.units} units in both directions"

    def text(self) -> str:
        return f"embeddings of {self.hidden}, {self.words()}"

    def figures(self) -> dict[str, Any]:
        return {"layers": self.layers, "units": self.units, "classifier": self.classifier}


class BilstmLayer(nn.Module):
    """A layer in both directions. last: of their last states, else of all."""

    def __init__(self, inputs: int, units: int, last: bool):
        super().__init__()
        self.ahead, self.back = (Lstm(inputs, units, backward=backward, last=last) for backward in (False, True))
        self.states = Concat()

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, inputs] -> [B, 2 units], or [B, T, 2 units]"""
        return self.states(self.ahead(x, real), self.back(x, real))


class Bilstm(BackboneNetwork):
    """Logits of a sentence [B, labels], or of each token [B, T, labels]."""

    def make_layers(self, shape: BilstmShape) -> None:
        ends = [not shape.per_token and index == shape.layers - 1 for index in range(shape.layers)]
        self.layer = nn.ModuleList(BilstmLayer(inputs, shape.units, last) for inputs, last in zip(shape.inputs(), ends, strict=True))
        self.classifier = nn.Module()
        self.classifier.pre, self.classifier.act = Linear(2 * shape.units, shape.classifier), Table("relu")

    def backbone(self, x: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor | None]:
        for layer in self.layer:
            x = layer(x, real)
        return self.classifier.act(self.classifier.pre(self.dropout(x))), real
