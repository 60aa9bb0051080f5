# SPDX-License-Identifier: Apache-2.0
"""The shape of an encoder, layer by layer: all that its forward pass is made from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from bitloom.hw.ops.table import FUNCTIONS
from bitloom.qat.config import ModelConfig
from bitloom.qat.quantizers import QuantError

HEADS = ("sequence", "token")


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """One encoder layer. `heads` times `head_width` may be less than the hidden size (pruned heads); one of FUNCTIONS is the activation."""

    heads: int
    head_width: int
    intermediate: int
    activation: str = "gelu"


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """An encoder with its head.

    hidden      width of the token stream
    embedding   width of the embedding tables where a projection to `hidden` follows them; None: they are as wide as `hidden`
    vocabulary, positions, segments  rows of the tables; fewer than two segments: the second argument of the network is not read
    layers      from the input to the output
    pooler      activation of the dense layer between the first token and the logits; None: none
    labels      logits of a sentence ('sequence') or of each token ('token')
    max_tokens  longest sentence; rows of the position table beyond are dropped
    dropout, attention_dropout, head_dropout  of training: of the sums and embeddings, the probabilities, the head's input

    Raises QuantError: figures that fit no network.
    """

    hidden: int
    embedding: int | None = None
    vocabulary: int
    positions: int
    segments: int = 2
    layers: tuple[LayerShape, ...]
    layer_norm_eps: float = 1e-12
    pooler: str | None = "tanh"
    labels: int = 2
    head: str = "sequence"
    max_tokens: int
    dropout: float = 0.0
    attention_dropout: float = 0.0
    head_dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.max_tokens > self.positions:
            raise QuantError(f"max_tokens: got {self.max_tokens}, must be at most the checkpoint's {self.positions} positions; lower it")
        if self.head not in HEADS:
            raise QuantError(f"head: got '{self.head}', must be {' or '.join(HEADS)}; choose one of them")
        for name in {layer.activation for layer in self.layers} | {self.pooler} - {None}:
            if name not in FUNCTIONS:
                raise QuantError(f"model: got activation '{name}', must be one of {', '.join(FUNCTIONS)}; choose another checkpoint")
        sizes = [self.hidden, self.vocabulary, self.labels, *(size for layer in self.layers for size in (layer.heads, layer.head_width, layer.intermediate))]
        if min(sizes) < 1:
            raise QuantError(f"model: got a size of {min(sizes)}, must be at least 1; correct the shape")

    @classmethod
    def of(cls, model: ModelConfig, vocabulary: int, labels: int) -> EncoderShape:
        """That of a recipe's figures (no checkpoint): a BERT with as many positions as the longest sentence has tokens."""
        layer = LayerShape(heads=model.heads, head_width=model.hidden // model.heads, intermediate=model.intermediate, activation=model.activation)
        return cls(
            hidden=model.hidden,
            vocabulary=vocabulary,
            positions=model.max_tokens,
            layers=(layer,) * model.layers,
            pooler="tanh" if model.head == "sequence" else None,
            labels=labels,
            head=model.head,
            max_tokens=model.max_tokens,
            dropout=model.dropout,
            attention_dropout=model.dropout,
            head_dropout=model.dropout,
        )

    def about(self) -> dict[str, Any]:
        """For reports and the graph's meta; a figure that differs from layer to layer is a list."""
        each = {key: [getattr(layer, key) for layer in self.layers] for key in ("heads", "head_width", "intermediate", "activation")}
        same = {key: values[0] if len(set(values)) == 1 else values for key, values in each.items()}
        shown = {"layers": len(self.layers), "hidden": self.hidden, "heads": same["heads"], "intermediate": same["intermediate"]}
        shown |= {"activation": same["activation"], "head": self.head, "labels": self.labels, "max_tokens": self.max_tokens}
        if self.embedding is not None:
            shown["embedding"] = self.embedding
        if same["head_width"] != self.hidden // self.layers[0].heads:
            shown["head_width"] = same["head_width"]
        return shown

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> EncoderShape:
        """Raises ValueError, TypeError or QuantError: not such a file."""
        content = json.loads(text)
        if not isinstance(content, dict) or {*content} != {field.name for field in fields(cls)}:
            raise TypeError("not the fields of a shape")
        return cls(**content | {"layers": tuple(LayerShape(**layer) for layer in content["layers"])})
