# SPDX-License-Identifier: Apache-2.0
"""Attention windows: in some layers a token sees its neighbours alone. What is not seen costs no cycle.

Beltagy, Peters and Cohan 2020, "Longformer: The Long-Document Transformer" (arXiv:2004.05150), sliding windows that may differ from layer to layer.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field

from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import Method, Setup
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.networks import MAX_TOKENS


class Config(MethodConfig):
    """window: tokens that are seen on each side. layers: glob pattern of layer.0, layer.1, .."""

    method: Literal["attention_window"]
    window: int = Field(ge=0, lt=MAX_TOKENS)
    layers: str = "layer.*"


class AttentionWindow(Method):
    """Query i sees the keys max(0, i - window) .. min(T, i + window + 1) - 1."""

    Config = Config
    early = True
    alone = False

    def require(self, setup: Setup) -> None:
        layers = setup.shape.layers
        if not any(fnmatchcase(f"layer.{i}", self.cfg.layers) for i in range(len(layers))):
            raise self.error("layers", f"'{self.cfg.layers}'", f"match one of layer.0 .. layer.{len(layers) - 1}", "change it")

    def reshape(self, shape: EncoderShape) -> EncoderShape:
        chosen = [fnmatchcase(f"layer.{i}", self.cfg.layers) for i in range(len(shape.layers))]
        return replace(shape, layers=tuple(replace(layer, keys=self.keys) if own else layer for layer, own in zip(shape.layers, chosen, strict=True)))

    @property
    def keys(self) -> str:
        """As LayerShape has them."""
        return f"window {self.cfg.window}"


METHOD = AttentionWindow
