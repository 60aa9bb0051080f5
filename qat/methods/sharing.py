# SPDX-License-Identifier: Apache-2.0
"""Sharing: the layers of a group have the same weights.

Lan et al. 2020, "ALBERT: A Lite BERT for Self-supervised Learning of Language Representations" (arXiv:1909.11942).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import Method, Setup, Step, Work
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.networks import MAX_LAYERS

PARTS = {"all": ("",), "attention": ("query", "key", "value", "attention."), "ffn": ("ffn.",)}


class Config(MethodConfig):
    """groups: into which the layers are divided, in their order, equally. what: all parameters of a layer, those of attention, or of the feed-forward."""

    method: Literal["sharing"]
    groups: int = Field(1, ge=1, le=MAX_LAYERS)
    what: Literal["all", "attention", "ffn"] = "all"


class Sharing(Method):
    """The first layer of a group trains with the sum of all gradients of the group; behind each step the others are copies of it.

    Each layer keeps scales of its own for its activations; those of the weights are shared.
    """

    Config = Config
    early = True

    def require(self, setup: Setup) -> None:
        self.settled(setup.network)

    def settled(self, network: Encoder) -> None:
        layers = network.shape.layers
        if len(layers) % self.cfg.groups:
            near = max(n for n in range(1, self.cfg.groups + 1) if len(layers) % n == 0)
            raise self.error("groups", self.cfg.groups, f"divide the {len(layers)} layers", f"use e.g. {near}")
        for group in self.groups(len(layers)):
            if len({replace(layers[i], keep=None) for i in group}) > 1:
                rule = "share their weights between equal layers"
                raise self.error("groups", f"layers {group[0]} .. {group[-1]} of different shapes", rule, "make them alike, or use more groups")

    def groups(self, depth: int) -> list[range]:
        size = depth // self.cfg.groups
        return [range(start, start + size) for start in range(0, depth, size)]

    def _sets(self, network: Encoder) -> list[list[nn.Parameter]]:
        """Parameters that are one, the group's first layer's in front."""
        sets = []
        for group in self.groups(len(network.layer)):
            named = [dict(network.layer[i].named_parameters()) for i in group]
            sets += [[own[name] for own in named] for name in named[0] if name.startswith(PARTS[self.cfg.what])]
        return sets

    @torch.no_grad()
    def _copy(self, network: Encoder) -> None:
        for first, *others in self._sets(network):
            for other in others:
                other.copy_(first)

    def begin(self, work: Work) -> None:
        self._copy(work.network)

    def before(self, work: Work, step: Step) -> None:
        for first, *others in self._sets(work.network):
            for other in others:
                if first.grad is not None and other.grad is not None:
                    first.grad.add_(other.grad)

    def during(self, work: Work, step: Step) -> None:
        self._copy(work.network)


METHOD = Sharing
