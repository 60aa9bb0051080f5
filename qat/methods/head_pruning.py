# SPDX-License-Identifier: Apache-2.0
"""Head pruning: the attention heads that matter least are taken out, other numbers of them in each layer.

Michel, Levy and Neubig 2019, "Are Sixteen Heads Really Better than One?" (arXiv:1905.10650).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from bitloom.qat.methods.gates import Gates, LayerRounds
from bitloom.qat.net.encoder import EncoderLayer


class Config(LayerRounds):
    """normalize: compare heads of different layers by importance over the norm of their layer's, as the paper does."""

    method: Literal["head_pruning"]
    normalize: bool = True


class HeadPruning(Gates):
    """I_h = E_x |dL(x)/dg_h| = E_x |A_h(x)^T dL(x)/dA_h(x)|, A_h what head h gives; over the l2 norm of its layer's I. Heads with fixed patterns stay."""

    Config = Config
    part, field = "heads", "heads"
    clashes = {"sharing": "layers that share weights have the same heads"}

    def operator(self, layer: EncoderLayer) -> nn.Module:
        return layer.context

    def scaled(self, importance: Tensor) -> Tensor:
        return importance / importance.norm().clamp_(min=1e-300) if self.cfg.normalize else importance


METHOD = HeadPruning
