# SPDX-License-Identifier: Apache-2.0
"""A compression method in one file, with one line in a dict and nothing else: what the hooks of qat/methods/method.py are for (tests/qat/test_compress.py)."""

from dataclasses import replace
from typing import Literal

import torch

from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import Method, linears


class Config(MethodConfig):
    method: Literal["toy"]
    limit: float = 0.05


class Toy(Method):
    """Half of the feed-forward's width, the first one; all weights of the layers within +-limit; it counts its steps."""

    Config = Config
    early = True

    def require(self, setup):
        if any(layer.intermediate % 2 for layer in setup.shape.layers):
            raise self.error("", "a feed-forward of an odd width", "be even", "change model.intermediate")

    def reshape(self, shape):
        return replace(shape, layers=tuple(replace(layer, intermediate=layer.intermediate // 2) for layer in shape.layers))

    def weights(self, old, new):
        for before, after in zip(old.layer, new.layer, strict=True):
            width = after.ffn.up.out_features
            after.ffn.up.weight.copy_(before.ffn.up.weight[:width])
            after.ffn.up.bias.copy_(before.ffn.up.bias[:width])
            after.ffn.down.weight.copy_(before.ffn.down.weight[:, :width])

    def begin(self, work):
        self.register_buffer("steps", torch.tensor(0))

    @torch.no_grad()
    def during(self, work, step):
        self.steps += 1
        assert int(self.steps) == step.number
        for _, operator in linears(work.network, "layer.*"):
            operator.weight.clamp_(-self.cfg.limit, self.cfg.limit)

    def loss(self, work, loss, inputs, outputs):
        return loss + 1e-3 * outputs.logits.square().mean()


METHOD = Toy
