# SPDX-License-Identifier: Apache-2.0
"""Block pruning: whole tiles of PE x SIMD weights become zero, as the hardware reads them: tile (f, s) has the rows f*PE .. and the columns s*SIMD .. .

Narang, Undersander and Diamos 2017, "Block-Sparse Recurrent Neural Networks" (arXiv:1711.02782); for transformers Lagunas et al. 2021, "Block Pruning For
Faster Transformers" (arXiv:2109.04838).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from bitloom.hw.settings import Number
from bitloom.qat.methods.magnitude_pruning import largest
from bitloom.qat.methods.masks import Gradual, Masks
from bitloom.qat.net.operators import Linear

Size = Annotated[int, Field(ge=1, le=1 << 16)]


class Config(Gradual):
    """tile: [PE, SIMD] of the folding. keep: share of the tiles that stay. scope: layer, each keeps that share; all, the largest of all these layers stay."""

    method: Literal["block_pruning"]
    tile: Annotated[tuple[Size, Size], Field(strict=False)]
    keep: Number = Field(gt=0, le=1)
    scope: Literal["layer", "all"] = "layer"


class BlockPruning(Masks):
    """As magnitude pruning, of tiles by their l2 norm; of each layer one stays in any case."""

    Config = Config
    aligned = True

    def fits(self, name: str, operator: Linear) -> None:
        (pe, simd), rows, columns = self.cfg.tile, operator.out_features, operator.in_features
        if rows % pe or columns % simd:
            near = [max(n for n in range(1, want + 1) if size % n == 0) for want, size in ((pe, rows), (simd, columns))]
            raise self.error("tile", list(self.cfg.tile), f"divide the {rows} x {columns} weights of '{name}'", f"use e.g. {near}, or leave it out with layers")

    def reaches(self, name: str, operator: Linear) -> None:
        (pe, simd), rows, columns = self.cfg.tile, operator.out_features, operator.in_features
        count = rows // pe * (columns // simd)
        if round(self.cfg.keep * count) < 1:
            raise self.error(
                "keep", f"{self.cfg.keep:g} of the {count} tiles of '{name}'", f"leave one (at least {1 / count:.4g})", "raise it, or use smaller tiles"
            )

    def choose(self, weights: dict[str, Tensor], done: float) -> dict[str, Tensor]:
        (pe, simd), share = self.cfg.tile, 1 - done * (1 - self.cfg.keep)
        norms = {name: weight.unflatten(1, (-1, simd)).unflatten(0, (-1, pe)).square().sum((1, 3)) for name, weight in weights.items()}
        if self.cfg.scope == "layer":
            kept = {name: largest(norm, share) for name, norm in norms.items()}
        else:
            for norm in norms.values():
                norm.flatten()[norm.argmax()] = torch.inf
            parts = largest(torch.cat([norm.flatten() for norm in norms.values()]), share).split([norm.numel() for norm in norms.values()])
            kept = {name: part.view_as(norm) for (name, norm), part in zip(norms.items(), parts, strict=True)}
        return {name: tiles.repeat_interleave(pe, 0).repeat_interleave(simd, 1) for name, tiles in kept.items()}


METHOD = BlockPruning
