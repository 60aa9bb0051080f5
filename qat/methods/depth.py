# SPDX-License-Identifier: Apache-2.0
"""Depth: only some of the layers, chosen before training, with their weights.

Equally spaced ones start DistilBERT (Sanh et al. 2019, arXiv:1910.01108); the first, the last or chosen ones: Sajjad et al. 2020, "On the Effect of Dropping
Layers of Pre-trained Transformer Models" (arXiv:2004.03844).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bitloom.hw.settings import ConfigError
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.cut import renumbered
from bitloom.qat.methods.method import Method, Setup
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.networks import MAX_LAYERS


class Config(MethodConfig):
    """Either `layers`, their numbers from 0 on in order, or how many (`keep`) and which: spaced (the first, the last, equally spaced between), first, last."""

    method: Literal["depth"]
    keep: int | None = Field(None, ge=1, le=MAX_LAYERS)
    which: Literal["spaced", "first", "last"] = "spaced"
    layers: Annotated[tuple[Annotated[int, Field(ge=0, lt=MAX_LAYERS)], ...], Field(strict=False, min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Config:
        if (self.keep is None) == (self.layers is None):
            raise ConfigError(f"keep: got {'neither' if self.keep is None else 'both'} of keep and layers, must be exactly one; add or remove one")
        if self.layers is not None and sorted(set(self.layers)) != list(self.layers):
            raise ConfigError(f"layers: got {list(self.layers)}, must be in order, each once; sort it")
        return self


class Depth(Method):
    """Layer i of the network is layer chosen[i] of the one before."""

    Config = Config
    early = True

    def chosen(self, depth: int) -> list[int]:
        cfg = self.cfg
        return (
            list(cfg.layers)
            if cfg.layers is not None
            else {"spaced": spaced(depth, cfg.keep), "first": range(cfg.keep), "last": range(depth - cfg.keep, depth)}[cfg.which]
        )

    def require(self, setup: Setup) -> None:
        depth = len(setup.shape.layers)
        if setup.shape.exits:
            raise self.error("", "it behind early_exit", "be in front of it: the off-ramps are those of the layers that are left", "move it up")
        if self.cfg.keep is not None and self.cfg.keep > depth:
            raise self.error("keep", self.cfg.keep, f"be at most the {depth} layers that there are", "lower it")
        if self.cfg.layers is not None and self.cfg.layers[-1] >= depth:
            raise self.error("layers", list(self.cfg.layers), f"be 0 .. {depth - 1}", "change it")

    def reshape(self, shape: EncoderShape) -> EncoderShape:
        return replace(shape, layers=tuple(shape.layers[i] for i in self.chosen(len(shape.layers))))

    def weights(self, old: Encoder, new: Encoder) -> None:
        new.load_state_dict(renumbered(dict(old.named_parameters()), self.chosen(len(old.layer)), "layer."), strict=False)


def spaced(depth: int, keep: int) -> list[int]:
    """`keep` of `depth` layers: the first, the last, and between them equally spaced ones; of one the first."""
    return [round(i * (depth - 1) / max(1, keep - 1)) for i in range(keep)]


METHOD = Depth
