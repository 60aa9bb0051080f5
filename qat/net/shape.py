# SPDX-License-Identifier: Apache-2.0
"""The shape of an encoder as data, layer by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Head = Literal["sequence", "token", "span"]


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """One encoder layer.

    heads, head_width  of attention; their product need not be the encoder's width. heads may be 0 where there are patterns
    patterns           of further heads that attend by a fixed one (hw/ops/pattern.py), of the same width
    intermediate       width of the feed-forward part
    activation         a function of hw/ops/table.py
    keys               those that a query sees, as a row tensor's shape states them (hw/keys.py)
    ranks              (name, rank) of the layer's matrices that are two narrow ones: query, key, value, attention.output, ffn.up, ffn.down
    """

    heads: int
    head_width: int
    intermediate: int
    activation: str = "gelu"
    keys: str = "T"
    ranks: tuple[tuple[str, int], ...] = ()
    patterns: tuple[str, ...] = ()

    def matrices(self, hidden: int) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each weight matrix by name."""
        inner, fixed = self.heads * self.head_width, len(self.patterns) * self.head_width
        sizes = dict.fromkeys(("query", "key", "value"), (hidden, inner)) | {"attention.output": (inner, hidden)} if inner else {}
        sizes |= {"fixed.value": (hidden, fixed), "fixed.output": (fixed, hidden)} if fixed else {}
        return sizes | {"ffn.up": (hidden, self.intermediate), "ffn.down": (self.intermediate, hidden)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LayerShape:
        """Of `asdict`, through JSON too, which knows no tuples."""
        return cls(**(values | {"ranks": tuple((name, rank) for name, rank in values.get("ranks", ())), "patterns": tuple(values.get("patterns", ()))}))


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """An encoder with its head.

    embedding   width of the embedding tables where it is not `hidden`; a linear layer leads from one to the other
    vocabulary, positions, segments   rows of the three tables
    pooler      activation behind the first token's linear layer, of a sequence head; None: the logits read the first token itself
    head        sequence (`labels` logits a sentence), token (`labels` logits a token), span (start and end logits a token)
    exits       an off-ramp behind each layer, of two layers or more and a sequence head without a pooler (qat/net/off_ramps.py)
    max_tokens  longest sentence
    dropout     of hidden states, in training; attention_dropout: of probabilities
    """

    hidden: int
    layers: tuple[LayerShape, ...]
    vocabulary: int
    positions: int
    segments: int = 2
    embedding: int | None = None
    layer_norm_eps: float = 1e-12
    pooler: str | None = "tanh"
    head: Head = "sequence"
    labels: int = 2
    exits: bool = False
    max_tokens: int = 64
    dropout: float = 0.1
    attention_dropout: float = 0.1

    @property
    def per_token(self) -> bool:
        """Logits for each token."""
        return self.head != "sequence"

    def as_dict(self) -> dict[str, Any]:
        """Without what few encoders have, where it is not there: as checkpoints from before have it."""
        layers = [{key: value for key, value in asdict(layer).items() if key != "patterns" or value} for layer in self.layers]
        return {key: value for key, value in asdict(self).items() if key != "exits" or value} | {"layers": layers}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EncoderShape:
        """Of `as_dict`. Raises TypeError, KeyError: it is none."""
        return cls(**(values | {"layers": tuple(LayerShape.from_dict(layer) for layer in values["layers"])}))

    def without_dropout(self) -> EncoderShape:
        return replace(self, dropout=0.0, attention_dropout=0.0)
