# SPDX-License-Identifier: Apache-2.0
"""Networks with convolutions below or beside attention: what is near is read by the first, what is far by the other.

Or both side by side in each layer, one reading near and one far, added up (Wu et al. 2020, "Lite Transformer with Long-Short Range Attention",
arXiv:2004.11886, gives each half of the channels; Peng et al. 2022, "Branchformer", arXiv:2207.02971, all to both).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from bitloom.qat.net.cnn import POOLS, CnnLayer
from bitloom.qat.net.convolution import Convolution
from bitloom.qat.net.encoder import EncoderLayer
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import LOGIT_BITS, Add, Embeddings, FirstToken, LayerNorm, Linear, Table
from bitloom.qat.net.shape import Head, LayerShape, NetworkShape, encoder_layer_kept, encoder_layer_parameters
from bitloom.qat.networks import HybridConfig


@dataclass(frozen=True, kw_only=True)
class HybridShape(NetworkShape):
    """A hybrid network with its head; fields as HybridConfig and NetworkShape have them.

    stack   (kernel, dilation) of each convolution with a residual sum, from `hidden` channels to `hidden`
    layers  of attention and feed-forward, above them
    beside  (kernel, dilation) of a convolution beside the attention of each of these; (): none has one
    """

    kind: ClassVar[str] = "hybrid"
    smaller: ClassVar[str] = "model.layers, hidden, intermediate"

    hidden: int
    stack: tuple[tuple[int, int], ...]
    layers: tuple[LayerShape, ...]
    beside: tuple[tuple[int, int], ...] = ()
    pooling: Literal["first", "max", "mean"] = "first"
    vocabulary: int
    positions: int
    segments: int = 2
    layer_norm_eps: float = 1e-12
    head: Head = "sequence"
    labels: int = 2
    max_tokens: int = 64
    dropout: float = 0.1

    @classmethod
    def of(cls, model: HybridConfig, head: Head, labels: int, vocabulary: int) -> HybridShape:
        """Of a recipe."""
        layer = LayerShape(heads=model.heads, head_width=model.hidden // model.heads, intermediate=model.intermediate, activation=model.activation)
        return cls(
            hidden=model.hidden,
            stack=tuple((model.kernel, dilation) for dilation in model.dilations),
            layers=(layer,) * model.layers,
            beside=tuple((model.kernel, dilation) for dilation in model.beside),
            pooling=model.pooling,
            vocabulary=vocabulary,
            positions=model.max_tokens,
            head=head,
            labels=labels,
            max_tokens=model.max_tokens,
            dropout=model.dropout,
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> HybridShape:
        """Of `as_dict`, through JSON too. Raises TypeError, KeyError: it is none."""
        own = {key: value for key, value in values.items() if key != "network"}
        convolutions = {key: tuple(map(tuple, own.get(key, ()))) for key in ("stack", "beside")}
        return cls(**(own | convolutions | {"layers": tuple(map(LayerShape.from_dict, own["layers"]))}))

    @property
    def width(self) -> int:
        return self.hidden

    def layer_parameters(self) -> int:
        convolutions = sum((kernel * self.hidden + 3) * self.hidden for kernel, _ in self.stack)
        convolutions += sum((kernel * self.hidden + 1) * self.hidden for kernel, _ in self.beside)
        return convolutions + sum(encoder_layer_parameters(layer, self.hidden) for layer in self.layers)

    def parameters(self) -> int:
        tables = (self.vocabulary + self.positions + self.segments + 2) * self.hidden
        return tables + self.layer_parameters() + (self.hidden + 1) * self.labels

    def kept(self, batch: int) -> int:
        """Of a convolution the window's tokens, and what it gives before and behind its activation."""
        convolutions = sum(4 * self.max_tokens * (kernel + 2) * self.hidden for kernel, _ in (*self.stack, *self.beside))
        return batch * (convolutions + sum(encoder_layer_kept(layer, self.hidden, self.max_tokens) for layer in self.layers))

    def words(self) -> str:
        first = self.layers[0]
        above = f"{len(self.layers)} layers of {first.heads} heads and a feed-forward of {first.intermediate}"
        beside = f", each with a convolution of {self.hidden} channels beside its attention" if self.beside else ""
        return (f"{len(self.stack)} convolutions of {self.hidden} channels below {above}" if self.stack else above) + beside

    def about(self) -> dict[str, Any]:
        first = self.layers[0]
        return {
            "network": self.kind,
            "hidden": self.hidden,
            "stack": [list(one) for one in self.stack],
            **({"beside": [list(one) for one in self.beside]} if self.beside else {}),
            "layers": len(self.layers),
            "heads": first.heads,
            "intermediate": first.intermediate,
            "activation": first.activation,
            "head": "token" if self.per_token else "sequence",
            "labels": self.labels,
            "max_tokens": self.max_tokens,
            "text": self.words(),
        }


class ParallelLayer(EncoderLayer):
    """An encoder layer with a convolution beside its attention: both read the layer's input, and are added up."""

    def __init__(self, layer: LayerShape, hidden: int, kernel: int, dilation: int, eps: float = 1e-12, dropout: float = 0.0):
        super().__init__(layer, hidden, eps, dropout, dropout)
        self.convolution, self.act, self.merged = Convolution(hidden, hidden, kernel, dilation), Table(layer.activation), Add()

    def attend(self, x: Tensor, real: Tensor | None, *border: Tensor) -> tuple[Tensor, Tensor]:
        attended, probs = super().attend(x, real, *border)
        return self.merged(attended, self.act(self.convolution(x, real))), probs


class Hybrid(Network):
    """Logits of a sentence [B, labels], or of each token [B, T, labels]."""

    def __init__(self, shape: HybridShape):
        super().__init__()
        self.shape, hidden, eps, dropout = shape, shape.hidden, shape.layer_norm_eps, shape.dropout
        self.embeddings = nn.Module()
        self.embeddings.sum = Embeddings(shape.vocabulary, shape.positions, shape.segments, hidden)
        self.embeddings.norm = LayerNorm(hidden, eps)
        self.dropout = nn.Dropout(dropout)
        self.stack = nn.ModuleList(CnnLayer(hidden, *one, shape.layers[0].activation, eps, dropout) for one in shape.stack)
        beside = shape.beside or (None,) * len(shape.layers)
        self.layer = nn.ModuleList(
            ParallelLayer(layer, hidden, *one, eps, dropout) if one else EncoderLayer(layer, hidden, eps, dropout, dropout)
            for layer, one in zip(shape.layers, beside, strict=True)
        )
        self.pool = None if shape.per_token else FirstToken() if shape.pooling == "first" else POOLS[shape.pooling]()
        self.logits = Linear(hidden, shape.labels, bits=LOGIT_BITS)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, real: Tensor | None) -> Tensor:
        x = self.dropout(self.embeddings.norm(self.embeddings.sum(input_ids, token_type_ids)))
        for convolution in self.stack:
            x = convolution(x, real)
        for layer in self.layer:
            x, real = layer(x, real)
        if self.pool is not None:
            x = self.pool(x) if self.shape.pooling == "first" else self.pool(x, real)
        return self.logits(self.dropout(x))
