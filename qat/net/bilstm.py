# SPDX-License-Identifier: Apache-2.0
"""Recurrent networks: a layer forward and one backward over the tokens, their last states side by side, a hidden layer, the logits.

Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks" (arXiv:1903.12136).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from bitloom.qat.net.convolution import Concat
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import LOGIT_BITS, Embeddings, LayerNorm, Linear, Table
from bitloom.qat.net.recurrence import Lstm
from bitloom.qat.net.shape import Head, NetworkShape
from bitloom.qat.networks import BilstmConfig

SEGMENTS = 2


@dataclass(frozen=True, kw_only=True)
class BilstmShape(NetworkShape):
    """A recurrent network with its head; fields as BilstmConfig and NetworkShape have them."""

    kind: ClassVar[str] = "bilstm"
    smaller: ClassVar[str] = "model.layers, units, hidden"

    hidden: int
    layers: int = 1
    units: int = 150
    classifier: int = 200
    vocabulary: int
    positions: int
    segments: int = SEGMENTS
    layer_norm_eps: float = 1e-12
    head: Head = "sequence"
    labels: int = 2
    max_tokens: int = 64
    dropout: float = 0.1

    @classmethod
    def of(cls, model: BilstmConfig, head: Head, labels: int, vocabulary: int) -> BilstmShape:
        """Of a recipe."""
        own = {key: getattr(model, key) for key in ("hidden", "layers", "units", "classifier", "max_tokens", "dropout")}
        return cls(vocabulary=vocabulary, positions=model.max_tokens, head=head, labels=labels, **own)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BilstmShape:
        """Of `as_dict`. Raises TypeError: it is none."""
        return cls(**{key: value for key, value in values.items() if key != "network"})

    @property
    def width(self) -> int:
        return self.hidden

    def _inputs(self) -> list[int]:
        """Of each layer."""
        return [self.hidden, *[2 * self.units] * (self.layers - 1)]

    def layer_parameters(self) -> int:
        return sum(8 * self.units * (inputs + self.units + 1) for inputs in self._inputs())

    def parameters(self) -> int:
        tables = (self.vocabulary + self.positions + self.segments + 2) * self.hidden
        head = (2 * self.units + 1) * self.classifier + (self.classifier + 1) * self.labels
        return tables + self.layer_parameters() + head

    def kept(self, batch: int) -> int:
        """Of each step the gates before and behind their tables, the cell and the state, in both directions."""
        return self.layers * 4 * batch * self.max_tokens * 2 * 14 * self.units

    def words(self) -> str:
        layers = "a recurrent layer" if self.layers == 1 else f"{self.layers} recurrent layers"
        return f"{layers} of {self.units} units in both directions"

    def about(self) -> dict[str, Any]:
        return {
            "network": self.kind,
            "hidden": self.hidden,
            "layers": self.layers,
            "units": self.units,
            "classifier": self.classifier,
            "head": "token" if self.per_token else "sequence",
            "labels": self.labels,
            "max_tokens": self.max_tokens,
            "text": f"embeddings of {self.hidden}, {self.words()}",
        }


class BilstmLayer(nn.Module):
    """A layer in both directions. last: of their last states, else of all."""

    def __init__(self, inputs: int, units: int, last: bool):
        super().__init__()
        self.ahead, self.back = (Lstm(inputs, units, backward=backward, last=last) for backward in (False, True))
        self.states = Concat()

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, inputs] -> [B, 2 units], or [B, T, 2 units]"""
        return self.states(self.ahead(x, real), self.back(x, real))


class Bilstm(Network):
    """Logits of a sentence [B, labels], or of each token [B, T, labels]."""

    def __init__(self, shape: BilstmShape):
        super().__init__()
        self.shape = shape
        self.embeddings = nn.Module()
        self.embeddings.sum = Embeddings(shape.vocabulary, shape.positions, shape.segments, shape.hidden)
        self.embeddings.norm = LayerNorm(shape.hidden, shape.layer_norm_eps)
        self.dropout = nn.Dropout(shape.dropout)
        widths = [shape.hidden, *[2 * shape.units] * (shape.layers - 1)]
        ends = [not shape.per_token and index == shape.layers - 1 for index in range(shape.layers)]
        self.layer = nn.ModuleList(BilstmLayer(width, shape.units, last) for width, last in zip(widths, ends, strict=True))
        self.classifier = nn.Module()
        self.classifier.pre, self.classifier.act = Linear(2 * shape.units, shape.classifier), Table("relu")
        self.logits = Linear(shape.classifier, shape.labels, bits=LOGIT_BITS)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, real: Tensor | None) -> Tensor:
        x = self.dropout(self.embeddings.norm(self.embeddings.sum(input_ids, token_type_ids)))
        for layer in self.layer:
            x = layer(x, real)
        return self.logits(self.dropout(self.classifier.act(self.classifier.pre(self.dropout(x)))))
