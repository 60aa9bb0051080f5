# SPDX-License-Identifier: Apache-2.0
"""Networks with convolutions below or beside attention: what is near is read by the first, what is far by the other.

Or both side by side in each layer, one reading near and one far, added up (Wu et al. 2020, "Lite Transformer with Long-Short Range Attention",
arXiv:2004.11886, gives each half of the channels; Peng et al. 2022, "Branchformer", arXiv:2207.02971, all to both).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from bitloom.qat.net.backbone import BackboneNetwork, BackboneShape
from bitloom.qat.net.cnn import CnnLayer
from bitloom.qat.net.convolution import Convolution
from bitloom.qat.net.encoder import EncoderLayer
from bitloom.qat.net.operators import Add, Table
from bitloom.qat.net.shape import Head, LayerShape, convolution_kept, convolution_parameters, encoder_layer_kept, encoder_layer_parameters
from bitloom.qat.networks import HybridConfig


@dataclass(frozen=True, kw_only=True)
class HybridShape(BackboneShape):
    """A hybrid network with its head; fields as HybridConfig and BackboneShape have them.

    stack   (kernel, dilation) of each convolution with a residual sum, from `hidden` channels to `hidden`
    layers  of attention and feed-forward, above them
    beside  (kernel, dilation) of a convolution beside the attention of each of these; (): none has one
    """

    kind: ClassVar[str] = "hybrid"
    smaller: ClassVar[str] = "model.layers, hidden, intermediate"

    stack: tuple[tuple[int, int], ...]
    layers: tuple[LayerShape, ...]
    beside: tuple[tuple[int, int], ...] = ()
    pooling: Literal["first", "max", "mean"] = "first"

    @classmethod
    def of(cls, model: HybridConfig, head: Head, labels: int, vocabulary: int) -> HybridShape:
        stack, beside = (tuple((model.kernel, dilation) for dilation in own) for own in (model.dilations, model.beside))
        return super().of(model, head, labels, vocabulary, stack=stack, beside=beside, layers=(LayerShape.of(model),) * model.layers)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> HybridShape:
        return super().from_dict(values | {"layers": tuple(map(LayerShape.from_dict, values["layers"]))})

    def layer_parameters(self) -> int:
        convolutions = sum(convolution_parameters(self.hidden, self.hidden, kernel) for kernel, _ in (*self.stack, *self.beside))
        return convolutions + 2 * self.hidden * len(self.stack) + sum(encoder_layer_parameters(layer, self.hidden) for layer in self.layers)

    def kept(self, batch: int) -> int:
        convolutions = sum(convolution_kept(self.hidden, self.hidden, kernel, self.max_tokens) for kernel, _ in (*self.stack, *self.beside))
        return batch * (convolutions + sum(encoder_layer_kept(layer, self.hidden, self.max_tokens) for layer in self.layers))

    def words(self) -> str:
        first = self.layers[0]
        above = f"{len(self.layers)} layers of {first.heads} heads and a feed-forward of {first.intermediate}"
        beside = f", each with a convolution of {self.hidden} channels beside its attention" if self.beside else ""
        return (f"{len(self.stack)} convolutions of {self.hidden} channels below {above}" if self.stack else above) + beside

    def figures(self) -> dict[str, Any]:
        return {
            "stack": [list(one) for one in self.stack],
            **({"beside": [list(one) for one in self.beside]} if self.beside else {}),
            "layers": len(self.layers),
            **self.layers[0].figures(),
        }


class ParallelLayer(EncoderLayer):
    """An encoder layer with a convolution beside its attention: both read the layer's input, and are added up."""

    def __init__(self, layer: LayerShape, hidden: int, kernel: int, dilation: int, eps: float = 1e-12, dropout: float = 0.0):
        super().__init__(layer, hidden, eps, dropout, dropout)
        self.convolution, self.act, self.merged = Convolution(hidden, hidden, kernel, dilation), Table(layer.activation), Add()

    def attend(self, x: Tensor, real: Tensor | None, *border: Tensor) -> tuple[Tensor, Tensor]:
        attended, probs = super().attend(x, real, *border)
        return self.merged(attended, self.act(self.convolution(x, real))), probs


class Hybrid(BackboneNetwork):
    """Logits of a sentence [B, labels], or of each token [B, T, labels]."""

    def make_layers(self, shape: HybridShape) -> None:
        hidden, eps, dropout = shape.hidden, shape.layer_norm_eps, shape.dropout
        self.stack = nn.ModuleList(CnnLayer(hidden, *one, shape.layers[0].activation, eps, dropout) for one in shape.stack)
        beside = shape.beside or (None,) * len(shape.layers)
        self.layer = nn.ModuleList(
            ParallelLayer(layer, hidden, *one, eps, dropout) if one else EncoderLayer(layer, hidden, eps, dropout, dropout)
            for layer, one in zip(shape.layers, beside, strict=True)
        )

    def backbone(self, x: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor | None]:
        for convolution in self.stack:
            x = convolution(x, real)
        for layer in self.layer:
            x, real = layer(x, real)
        return x, real
