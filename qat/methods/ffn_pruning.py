# SPDX-License-Identifier: Apache-2.0
"""Feed-forward pruning: the units between the two layers of the feed-forward that matter least are taken out, so that it is narrower, each layer by its own.

First-order Taylor importance: Molchanov et al. 2017, "Pruning Convolutional Neural Networks for Resource Efficient Inference" (arXiv:1611.06440); for the
feed-forward of BERT McCarley, Chakravarti and Sil 2019, "Structured Pruning of a BERT-based Question Answering Model" (arXiv:1910.06360).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from torch import nn

from bitloom.hw.settings import ConfigError
from bitloom.qat.methods.gates import Gates, LayerRounds
from bitloom.qat.net.encoder import EncoderLayer


class Config(LayerRounds):
    """multiple: each layer's width is a multiple of this, so that it can be folded well; with scope: layer alone."""

    method: Literal["ffn_pruning"]
    scope: Literal["layer", "all"] = "layer"
    multiple: int = Field(1, ge=1, le=1 << 16)

    @model_validator(mode="after")
    def _of_each_layer(self) -> Config:
        if self.multiple > 1 and self.scope != "layer":
            raise ConfigError(f"multiple: got {self.multiple} with scope {self.scope}, must go with scope: layer; change one")
        return self


class FfnPruning(Gates):
    """I_j = E_x |sum over tokens of a_j * dL/da_j|, a_j the unit's activation."""

    Config = Config
    part, field = "units", "intermediate"
    clashes = {"sharing": "layers that share weights have the same width"}

    def target(self, counts: list[int]) -> int:
        return round(self.cfg.keep * sum(counts) / self.cfg.multiple) * self.cfg.multiple

    def operator(self, layer: EncoderLayer) -> nn.Module:
        return layer.ffn.act


METHOD = FfnPruning
