# SPDX-License-Identifier: Apache-2.0
"""Low rank: a weight matrix becomes the product of two narrow ones, which start from its largest singular values.

Noach and Goldberg 2020, "Compressing Pre-trained Language Models by Matrix Decomposition" (AACL 2020); Winata et al. 2019 (arXiv:1908.09982).
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Annotated, Literal

import torch
from pydantic import Field

from bitloom.hw.settings import did_you_mean
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import Method, Setup
from bitloom.qat.net.encoder import Encoder, Factored
from bitloom.qat.net.shape import EncoderShape, LayerShape


class Config(MethodConfig):
    """ranks: pattern of matrices' names (layer.0.query, layer.1.ffn.up, ..) -> rank; of several that match the last counts."""

    method: Literal["low_rank"]
    ranks: Annotated[dict[str, Annotated[int, Field(ge=1, le=1 << 16)]], Field(min_length=1)]


class LowRank(Method):
    """W = U S V^T ~ (U_r sqrt(S_r)) (sqrt(S_r) V_r^T): narrow [r, K], without a bias at first, then wide [C, r], with the old one."""

    Config = Config
    early = True

    def require(self, setup: Setup) -> None:
        names = [f"layer.{i}.{name}" for i, layer in enumerate(setup.shape.layers) for name in layer.matrices(setup.shape.hidden)]
        for pattern in self.cfg.ranks:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise self.error("ranks", f"'{pattern}'", "match a weight matrix", did_you_mean(pattern, names))
        for i, layer in enumerate(setup.shape.layers):
            for name, rank in self._ranks(i, layer, setup.shape.hidden).items():
                inputs, outputs = layer.matrices(setup.shape.hidden)[name]
                most = (inputs * outputs - 1) // (inputs + outputs)
                if rank > most:
                    rule = f"be at most {most}, above which two matrices hold as many weights as the {outputs} x {inputs}"
                    raise self.error(f"ranks['layer.{i}.{name}']", rank, rule, "lower it, or leave it out")

    def _ranks(self, index: int, layer: LayerShape, hidden: int) -> dict[str, int]:
        found = {}
        for name in layer.matrices(hidden):
            for pattern, rank in self.cfg.ranks.items():
                if fnmatchcase(f"layer.{index}.{name}", pattern):
                    found[name] = rank
        return found

    def reshape(self, shape: EncoderShape) -> EncoderShape:
        return replace(shape, layers=tuple(replace(layer, ranks=tuple(self._ranks(i, layer, shape.hidden).items())) for i, layer in enumerate(shape.layers)))

    def weights(self, old: Encoder, new: Encoder) -> None:
        for before, after, shape in zip(old.layer, new.layer, new.shape.layers, strict=True):
            for name, rank in shape.ranks:
                source, target = before.get_submodule(name), after.get_submodule(name)
                assert isinstance(target, Factored)
                u, s, v = torch.linalg.svd(source.weight.double(), full_matrices=False)
                root = s[:rank].sqrt()
                target.narrow.weight.copy_(root[:, None] * v[:rank])
                target.narrow.bias.zero_()
                target.wide.weight.copy_(u[:, :rank] * root)
                target.wide.bias.copy_(source.bias)


METHOD = LowRank
