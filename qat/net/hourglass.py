# SPDX-License-Identifier: Apache-2.0
"""Networks whose middle layers see pooled tokens: what costs most there, attention and feed-forward, is of fewer of them.

Dai et al. 2020, "Funnel-Transformer" (arXiv:2006.03236): pooled and, for a sentence's answer, left so. Nawrot et al. 2021, "Hierarchical Transformers Are More
Efficient Language Models" (arXiv:2110.13711): at full length again above, each token repeated, with what was there before added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from bitloom.qat.net.backbone import BackboneNetwork, BackboneShape
from bitloom.qat.net.convolution import WINDOWS, Upsample
from bitloom.qat.net.encoder import EncoderLayer
from bitloom.qat.net.kept import StillReal
from bitloom.qat.net.operators import LayerNorm
from bitloom.qat.net.shape import Head, LayerShape, encoder_layer_kept, encoder_layer_parameters
from bitloom.qat.networks import HourglassConfig


@dataclass(frozen=True, kw_only=True)
class HourglassShape(BackboneShape):
    """An hourglass with its head; fields as HourglassConfig and BackboneShape have them.

    layers  all of attention and feed-forward: `below` at full length, `middle` of pooled tokens, the others at full length again
    returns whether tokens are upsampled behind the middle
    """

    kind: ClassVar[str] = "hourglass"
    smaller: ClassVar[str] = "model.layers, middle, hidden, intermediate"

    layers: tuple[LayerShape, ...]
    below: int
    middle: int
    returns: bool
    stride: int = 2
    down: Literal["max", "mean"] = "mean"
    pooling: Literal["first", "max", "mean"] = "max"

    @classmethod
    def of(cls, model: HourglassConfig, head: Head, labels: int, vocabulary: int) -> HourglassShape:
        layers = (LayerShape.of(model),) * (model.layers + model.middle + (model.above or 0))
        returns = model.above is not None or head != "sequence"
        return super().of(model, head, labels, vocabulary, layers=layers, below=model.layers, returns=returns)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> HourglassShape:
        return super().from_dict(values | {"layers": tuple(map(LayerShape.from_dict, values["layers"]))})

    def pooled(self, layer: int) -> bool:
        """Whether that layer's tokens are."""
        return self.below <= layer < self.below + self.middle

    def layer_parameters(self) -> int:
        return sum(encoder_layer_parameters(layer, self.hidden) for layer in self.layers) + 2 * self.hidden * self.returns

    def kept(self, batch: int) -> int:
        tokens = (-(-self.max_tokens // self.stride) if self.pooled(index) else self.max_tokens for index in range(len(self.layers)))
        return batch * sum(encoder_layer_kept(layer, self.hidden, own) for layer, own in zip(self.layers, tokens, strict=True))

    def words(self) -> str:
        first, above = self.layers[0], len(self.layers) - self.below - self.middle
        where = f"behind the first {self.below}" if self.below else "from the first on"
        again = f", the last {above} at full length again" if above else ", then at full length again" if self.returns else ""
        count = f"{len(self.layers)} {'layer' if len(self.layers) == 1 else 'layers'}"
        return f"{count} of {first.heads} heads and a feed-forward of {first.intermediate}, {where} of one token in {self.stride}{again}"

    def figures(self) -> dict[str, Any]:
        return {
            "layers": len(self.layers),
            "below": self.below,
            "middle": self.middle,
            "stride": self.stride,
            **self.layers[0].figures(),
        }


class Hourglass(BackboneNetwork):
    """Logits of a sentence [B, labels], or of each token [B, T, labels]."""

    def make_layers(self, shape: HourglassShape) -> None:
        hidden, eps, dropout = shape.hidden, shape.layer_norm_eps, shape.dropout
        self.layer = nn.ModuleList(EncoderLayer(layer, hidden, eps, dropout, dropout) for layer in shape.layers)
        self.down = WINDOWS[shape.down](shape.stride, shape.stride)
        self.still_real = StillReal(self.down)
        self.up = nn.Module() if shape.returns else None
        if shape.returns:
            self.up.sum, self.up.norm = Upsample(shape.stride), LayerNorm(hidden, eps)

    def backbone(self, x: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor | None]:
        below, behind = self.shape.below, self.shape.below + self.shape.middle
        for layer in self.layer[:below]:
            x, real = layer(x, real)
        few, still_real = self.down(x, real), self.still_real(real)
        for layer in self.layer[below:behind]:
            few, still_real = layer(few, still_real)
        if self.up is None:
            return few, still_real
        x = self.up.norm(self.up.sum(x, few))
        for layer in self.layer[behind:]:
            x, real = layer(x, real)
        return x, real
