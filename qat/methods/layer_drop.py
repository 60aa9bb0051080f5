# SPDX-License-Identifier: Apache-2.0
"""LayerDrop: layers are left out at random in the float phase, so that an encoder of any lower depth can be taken from it behind.

Fan, Grave and Joulin 2020, "Reducing Transformer Depth on Demand with Structured Dropout" (arXiv:1909.11556).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bitloom.hw.settings import Number
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.cut import cut_layers
from bitloom.qat.methods.depth import spaced
from bitloom.qat.methods.method import Method, Setup, Work
from bitloom.qat.net.model import FloatModel
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.networks import MAX_LAYERS


class Config(MethodConfig):
    """rate: how often a layer is left out. keep: layers that stay, equally spaced (the paper's "every other"); left out: all."""

    method: Literal["layer_drop"]
    rate: Number = Field(0.2, ge=0, lt=1)
    keep: int | None = Field(None, ge=1, le=MAX_LAYERS)


class LayerDrop(Method):
    """x <- x with probability `rate`, else layer(x), drawn for each batch; all layers in evaluation."""

    Config = Config
    fewer = looks = True
    clashes = {"sharing": "layers that share weights are one layer, whose depth is no choice of weights"}

    def require(self, setup: Setup) -> None:
        depth = len(setup.shape.layers)
        if not setup.training.float_epochs:
            raise self.error("rate", f"{self.cfg.rate:g} with no float epochs", "have some to drop layers in", "set training.float_epochs, or use depth")
        if self.cfg.keep is not None and self.cfg.keep > depth:
            raise self.error("keep", self.cfg.keep, f"be at most the {depth} layers that there are", "lower it")

    def expect(self, shape: EncoderShape) -> EncoderShape:
        kept = spaced(len(shape.layers), self.cfg.keep or len(shape.layers))
        return replace(shape, layers=tuple(shape.layers[i] for i in kept))

    def begin(self, work: Work) -> None:
        if work.phase == "float":
            work.hooks.extend(layer.register_forward_hook(self._drop) for layer in work.network.layer)

    def _drop(self, layer: nn.Module, args: tuple[Tensor, Tensor | None, *tuple[Tensor, ...]], y: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor | None]:
        """Hidden states and mask. torch's own random numbers: a checkpoint holds their state."""
        return args[:2] if layer.training and float(torch.rand(())) < self.cfg.rate else y

    def finish(self, work: Work) -> FloatModel | None:
        depth = len(work.network.layer)
        return cut_layers(work.model, spaced(depth, self.cfg.keep)) if work.phase == "float" and self.cfg.keep not in (None, depth) else None


METHOD = LayerDrop
