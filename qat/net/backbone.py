# SPDX-License-Identifier: Apache-2.0
"""What networks of all kinds but the encoder share: embeddings, a backbone of their own, one vector of its tokens, logits.

A kind is a shape, whose own fields and figures say what is particular about it, and a network with the backbone's layers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn

from bitloom.qat.net.convolution import POOLS
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import LOGIT_BITS, Embeddings, LayerNorm, Linear
from bitloom.qat.net.shape import Head, NetworkShape
from bitloom.qat.networks import BackboneConfig


@dataclass(frozen=True, kw_only=True)
class BackboneShape(NetworkShape):
    """A network with its head; fields as BackboneConfig and NetworkShape have them."""

    hidden: int
    vocabulary: int
    positions: int
    segments: int = 2
    layer_norm_eps: float = 1e-12
    head: Head = "sequence"
    labels: int = 2
    max_tokens: int = 64
    dropout: float = 0.1

    @classmethod
    def of(cls, model: BackboneConfig, head: Head, labels: int, vocabulary: int, **own: Any) -> BackboneShape:
        """Of a recipe. own: fields that are no settings of the same name"""
        own |= {"vocabulary": vocabulary, "positions": model.max_tokens, "head": head, "labels": labels}
        same = {f.name: _tuples(getattr(model, f.name)) for f in fields(cls) if f.name not in own and hasattr(model, f.name)}
        return cls(**same, **own)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BackboneShape:
        """Of `as_dict`, through JSON too. Raises TypeError, KeyError: it is none."""
        return cls(**{key: _tuples(value) for key, value in values.items() if key != "network"})

    @property
    def width(self) -> int:
        return self.hidden

    @property
    def pooled_by(self) -> str | None:
        """How the backbone's tokens become one vector (POOLS); None: they do not."""
        return None if self.per_token else self.pooling

    @property
    def features(self) -> int:
        """Channels that the logits read."""
        return self.hidden

    def parameters(self) -> int:
        return self.table_parameters() + self.layer_parameters() + (self.features + 1) * self.labels

    def figures(self) -> dict[str, Any]:
        """What `about` tells of the backbone."""
        raise NotImplementedError

    def text(self) -> str:
        """What `about` tells in a line."""
        return self.words()

    def about(self) -> dict[str, Any]:
        return {
            "network": self.kind,
            "hidden": self.hidden,
            **self.figures(),
            "head": "token" if self.per_token else "sequence",
            "labels": self.labels,
            "max_tokens": self.max_tokens,
            "text": self.text(),
        }


class BackboneNetwork(Network):
    """Logits of a sentence [B, labels], or of each token [B, T, labels].

    more  what `make_layers` is to know beside the shape
    """

    def __init__(self, shape: BackboneShape, *more: Any):
        super().__init__()
        self.shape = shape
        self.embeddings = nn.Module()
        self.embeddings.sum = Embeddings(shape.vocabulary, shape.positions, shape.segments, shape.hidden)
        self.embeddings.norm = LayerNorm(shape.hidden, shape.layer_norm_eps)
        self.dropout = nn.Dropout(shape.dropout)
        self.make_layers(shape, *more)
        self.pool = None if shape.pooled_by is None else POOLS[shape.pooled_by]()
        self.logits = Linear(shape.features, shape.labels, bits=LOGIT_BITS)

    def make_layers(self, shape: BackboneShape) -> None:
        """The backbone's modules; once, behind those of the embeddings and in front of the logits', as parameters are drawn in this order."""
        raise NotImplementedError

    def backbone(self, x: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """x [B, T, hidden], real: False for padding -> what is pooled [B, T', features], and the same of its tokens; where nothing is, what the logits read."""
        raise NotImplementedError

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, real: Tensor | None) -> Tensor:
        x = self.dropout(self.embeddings.norm(self.embeddings.sum(input_ids, token_type_ids)))
        x, real = self.backbone(x, real)
        return self.logits(self.dropout(x if self.pool is None else self.pool(x, real)))


def _tuples(value: Any) -> Any:
    """A list, as JSON and recipes have it, as a tuple, those inside too; anything else as it is."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
