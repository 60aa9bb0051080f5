# SPDX-License-Identifier: Apache-2.0
"""Heads with fixed patterns: some heads of a layer take their neighbours' values by fixed weights; they have no query, key, scores or softmax.

Raganato, Scherrer and Tiedemann 2020, "Fixed Encoder Self-Attention Patterns in Transformer-Based Machine Translation" (arXiv:2002.10260): all heads of a layer
but one attend to the current, the previous or the next token, or to a wider context on the left or right, whose weights fall with the cube of the distance.
Here the wider context ends at the fifth neighbour (hw/ops/pattern.py), and the paper's heads on a sentence's first and last token are left out.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field

from bitloom.hw.ops.pattern import PATTERNS
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import Method, Setup
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.shape import EncoderShape, LayerShape

Pattern = Literal["current", "previous", "next", "left", "right"]
assert set(Pattern.__args__) == set(PATTERNS)


class Config(MethodConfig):
    """patterns: of a layer's first heads, in their order. layers: glob pattern of layer.0, layer.1, .."""

    method: Literal["fixed_patterns"]
    patterns: tuple[Pattern, ...] = Field(strict=False, min_length=1)
    layers: str = "layer.*"


class FixedPatterns(Method):
    """Head h < patterns of such a layer: y_i = sum_o w[h,o] v[i+o] in the place of attention. Its values and output stay, and go on training."""

    Config = Config
    early = True
    alone = False
    clashes = {"ternary_splitting": "it doubles heads with queries and keys alone"}

    def require(self, setup: Setup) -> None:
        layers = setup.shape.layers
        chosen = [layer for i, layer in enumerate(layers) if self._chosen(i)]
        if not chosen:
            raise self.error("layers", f"'{self.cfg.layers}'", f"match one of layer.0 .. layer.{len(layers) - 1}", "change it")
        if any(layer.patterns for layer in chosen):
            raise self.error("layers", f"'{self.cfg.layers}', of which one has patterns already", "have one entry for each layer", "change it")
        if any(layer.ranks for layer in chosen):
            raise self.error("", "layers of low rank", "be in front of low_rank", "move it up")
        if (fewest := min(layer.heads for layer in chosen)) < len(self.cfg.patterns):
            raise self.error("patterns", f"{len(self.cfg.patterns)} for layers of {fewest} heads", "be at most as many", "leave some out")

    def _chosen(self, index: int) -> bool:
        return fnmatchcase(f"layer.{index}", self.cfg.layers)

    def _fixed(self, layer: LayerShape) -> LayerShape:
        return replace(layer, heads=layer.heads - len(self.cfg.patterns), patterns=self.cfg.patterns)

    def reshape(self, shape: EncoderShape) -> EncoderShape:
        return replace(shape, layers=tuple(self._fixed(layer) if self._chosen(i) else layer for i, layer in enumerate(shape.layers)))

    def weights(self, old: Encoder, new: Encoder) -> None:
        for index, (before, after) in enumerate(zip(old.layer, new.layer, strict=True)):
            if not self._chosen(index):
                continue
            count, learned = len(self.cfg.patterns) * after.layer.head_width, after.layer.heads
            for name in ("query", "key", "value") if learned else ():
                _copy(getattr(before, name), getattr(after, name), slice(count, None))
            _copy(before.value, after.fixed.value, slice(count))
            output = before.attention.output
            if learned:
                after.attention.output.weight.copy_(output.weight[:, count:])
                after.attention.output.bias.copy_(output.bias)
            after.fixed.output.weight.copy_(output.weight[:, :count])
            after.fixed.output.bias.copy_(output.bias * (not learned))


def _copy(before, after, rows: slice) -> None:
    after.weight.copy_(before.weight[rows])
    after.bias.copy_(before.bias[rows])


METHOD = FixedPatterns
