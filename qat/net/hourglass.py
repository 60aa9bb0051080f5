# SPDX-License-Identifier: Apache-2.0
"""Networks whose middle layers see pooled tokens: what costs most there, attention and feed-forward, is of fewer of them.

Dai et al. 2020, "Funnel-Transformer" (arXiv:2006.03236): pooled and, for a sentence's answer, left so. Nawrot et al. 2021, "Hierarchical Transformers Are More
Efficient Language Models" (arXiv:2110.13711): at full length again above, each token repeated, with what was there before added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from bitloom.qat.net.cnn import POOLS
from bitloom.qat.net.convolution import Upsample, WindowMax, WindowMean
from bitloom.qat.net.encoder import EncoderLayer
from bitloom.qat.net.kept import StillReal
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import LOGIT_BITS, Embeddings, FirstToken, LayerNorm, Linear
from bitloom.qat.net.shape import Head, LayerShape, NetworkShape, encoder_layer_kept, encoder_layer_parameters
from bitloom.qat.networks import HourglassConfig

WINDOWS = {"max": WindowMax, "mean": WindowMean}


@dataclass(frozen=True, kw_only=True)
class HourglassShape(NetworkShape):
    """An hourglass with its head; fields as HourglassConfig and NetworkShape have them.

    layers  all of attention and feed-forward: `below` at full length, `middle` of pooled tokens, the others at full length again
    returns whether tokens are upsampled behind the middle
    """

    kind: ClassVar[str] = "hourglass"
    smaller: ClassVar[str] = "model.layers, middle, hidden, intermediate"

    hidden: int
    layers: tuple[LayerShape, ...]
    below: int
    middle: int
    returns: bool
    stride: int = 2
    down: Literal["max", "mean"] = "mean"
    pooling: Literal["first", "max", "mean"] = "max"
    vocabulary: int
    positions: int
    segments: int = 2
    layer_norm_eps: float = 1e-12
    head: Head = "sequence"
    labels: int = 2
    max_tokens: int = 64
    dropout: float = 0.1

    @classmethod
    def of(cls, model: HourglassConfig, head: Head, labels: int, vocabulary: int) -> HourglassShape:
        """Of a recipe."""
        layer = LayerShape(heads=model.heads, head_width=model.hidden // model.heads, intermediate=model.intermediate, activation=model.activation)
        return cls(
            hidden=model.hidden,
            layers=(layer,) * (model.layers + model.middle + (model.above or 0)),
            below=model.layers,
            middle=model.middle,
            returns=model.above is not None or head != "sequence",
            stride=model.stride,
            down=model.down,
            pooling=model.pooling,
            vocabulary=vocabulary,
            positions=model.max_tokens,
            head=head,
            labels=labels,
            max_tokens=model.max_tokens,
            dropout=model.dropout,
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> HourglassShape:
        """Of `as_dict`, through JSON too. Raises TypeError, KeyError: it is none."""
        own = {key: value for key, value in values.items() if key != "network"}
        return cls(**(own | {"layers": tuple(map(LayerShape.from_dict, own["layers"]))}))

    @property
    def width(self) -> int:
        return self.hidden

    def pooled(self, layer: int) -> bool:
        """Whether that layer's tokens are."""
        return self.below <= layer < self.below + self.middle

    def layer_parameters(self) -> int:
        return sum(encoder_layer_parameters(layer, self.hidden) for layer in self.layers) + 2 * self.hidden * self.returns

    def parameters(self) -> int:
        tables = (self.vocabulary + self.positions + self.segments + 2) * self.hidden
        return tables + self.layer_parameters() + (self.hidden + 1) * self.labels

    def kept(self, batch: int) -> int:
        tokens = (-(-self.max_tokens // self.stride) if self.pooled(index) else self.max_tokens for index in range(len(self.layers)))
        return batch * sum(encoder_layer_kept(layer, self.hidden, own) for layer, own in zip(self.layers, tokens, strict=True))

    def words(self) -> str:
        first, above = self.layers[0], len(self.layers) - self.below - self.middle
        where = f"behind the first {self.below}" if self.below else "from the first on"
        again = f", the last {above} at full length again" if above else ", then at full length again" if self.returns else ""
        count = f"{len(self.layers)} {'layer' if len(self.layers) == 1 else 'layers'}"
        return f"{count} of {first.heads} heads and a feed-forward of {first.intermediate}, {where} of one token in {self.stride}{again}"

    def about(self) -> dict[str, Any]:
        first = self.layers[0]
        return {
            "network": self.kind,
            "hidden": self.hidden,
            "layers": len(self.layers),
            "below": self.below,
            "middle": self.middle,
            "stride": self.stride,
            "heads": first.heads,
            "intermediate": first.intermediate,
            "activation": first.activation,
            "head": "token" if self.per_token else "sequence",
            "labels": self.labels,
            "max_tokens": self.max_tokens,
            "text": self.words(),
        }


class Hourglass(Network):
    """Logits of a sentence [B, labels], or of each token [B, T, labels]."""

    def __init__(self, shape: HourglassShape):
        super().__init__()
        self.shape, hidden, eps, dropout = shape, shape.hidden, shape.layer_norm_eps, shape.dropout
        self.embeddings = nn.Module()
        self.embeddings.sum = Embeddings(shape.vocabulary, shape.positions, shape.segments, hidden)
        self.embeddings.norm = LayerNorm(hidden, eps)
        self.dropout = nn.Dropout(dropout)
        self.layer = nn.ModuleList(EncoderLayer(layer, hidden, eps, dropout, dropout) for layer in shape.layers)
        self.down = WINDOWS[shape.down](shape.stride, shape.stride)
        self.still_real = StillReal(self.down)
        self.up = nn.Module() if shape.returns else None
        if shape.returns:
            self.up.sum, self.up.norm = Upsample(shape.stride), LayerNorm(hidden, eps)
        self.pool = None if shape.per_token else FirstToken() if shape.pooling == "first" else POOLS[shape.pooling]()
        self.logits = Linear(hidden, shape.labels, bits=LOGIT_BITS)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, real: Tensor | None) -> Tensor:
        x = self.dropout(self.embeddings.norm(self.embeddings.sum(input_ids, token_type_ids)))
        below, behind = self.shape.below, self.shape.below + self.shape.middle
        for layer in self.layer[:below]:
            x, real = layer(x, real)
        few, still_real = self.down(x, real), self.still_real(real)
        for layer in self.layer[below:behind]:
            few, still_real = layer(few, still_real)
        if self.up is None:
            x, real = few, still_real
        else:
            x = self.up.norm(self.up.sum(x, few))
        for layer in self.layer[behind:]:
            x, real = layer(x, real)
        if self.pool is not None:
            x = self.pool(x) if self.shape.pooling == "first" else self.pool(x, real)
        return self.logits(self.dropout(x))
