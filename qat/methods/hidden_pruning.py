# SPDX-License-Identifier: Apache-2.0
"""Hidden pruning: the channels of the hidden states that matter least are taken out, the same in all layers, so that every matrix is narrower.

Xia, Zhong and Chen 2022, "Structured Pruning Learns Compact and Accurate Models" (arXiv:2204.00408) prune them with one mask for all layers; importance here
is first-order Taylor (Molchanov et al. 2017, arXiv:1611.06440), summed over all places of a channel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as TF

from bitloom.qat.methods.cut import cut_hidden
from bitloom.qat.methods.gates import Rounds, over_processes, rounds_at_once, watch
from bitloom.qat.methods.method import Method, Setup, Step, Work
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.model import FloatModel
from bitloom.qat.net.operators import LayerNorm
from bitloom.qat.net.shape import EncoderShape

KINDS = ("hidden", "pooler")  # channels of the hidden states, and of the pooler, which has as many and others of its own


class Config(Rounds):
    """keep: share of the channels. multiple: their number is a multiple of this, so that it can be folded well."""

    method: Literal["hidden_pruning"]
    multiple: int = Field(1, ge=1, le=1 << 16)


class HiddenPruning(Method):
    """I_c = E_x |sum over tokens and places of h_c * dL/dh_c|, by place: behind each LayerNorm. LayerNorm takes the channels that are in, and no others.

    The width of heads and of the feed-forward stays. With no float epochs the rounds are made at the phase's end, on the calibration batches.
    """

    Config = Config
    cuts = looks = True

    def target(self, hidden: int) -> int:
        return round(self.cfg.keep * hidden / self.cfg.multiple) * self.cfg.multiple

    def require(self, setup: Setup) -> None:
        hidden, left = setup.shape.hidden, self.target(setup.shape.hidden)
        if left < 2:
            raise self.error("keep", f"{self.cfg.keep:g} of {hidden}, {left} channels", "leave two, which a LayerNorm needs", "raise it, or lower multiple")
        if left > hidden:
            raise self.error("multiple", self.cfg.multiple, f"be at most the {hidden} channels", "lower it")
        if left == setup.shape.embedding:
            rule = f"be another number than the {left} of the embeddings, from which a linear layer leads to the encoder"
            raise self.error("keep", f"{self.cfg.keep:g} of {hidden}, {left} channels", rule, "change it")

    def expect(self, shape: EncoderShape) -> EncoderShape:
        return replace(shape, hidden=self.target(shape.hidden))

    def begin(self, work: Work) -> None:
        if work.phase == "float":
            size, device = work.network.shape.hidden, next(work.model.parameters()).device
            for kind in KINDS:
                self.register_buffer(f"kept/{kind}", torch.ones(size, dtype=torch.bool, device=device))
                self.register_buffer(f"seen/{kind}", torch.zeros(size, dtype=torch.float64, device=device))
            work.hooks.extend(self._gated(work.network))

    def _gated(self, network: Encoder) -> list[Any]:
        norms = [norm for layer in network.layer for norm in (layer.attention.norm, layer.ffn.norm)]
        entry = network.embeddings.project or network.embeddings.norm
        pooler = [(network.pooler.act, "pooler")] if network.shape.pooler and not network.shape.per_token else []
        return [module.register_forward_hook(self._gate(kind)) for module, kind in [(entry, "hidden"), *((norm, "hidden") for norm in norms), *pooler]]

    def _gate(self, kind: str):
        def gate(module: nn.Module, args: tuple, y: Tensor) -> Tensor:
            kept = self.get_buffer(f"kept/{kind}")
            if not bool(kept.all()):
                y = _norm_of(module, args[0], kept) if isinstance(module, LayerNorm) else y * kept.to(y.dtype)
            watch(y, self.get_buffer(f"seen/{kind}"))
            return y

        return gate

    def during(self, work: Work, step: Step) -> None:
        if work.phase == "float" and (number := self.cfg.due(step)) is not None:
            self._take_out(number)

    @torch.no_grad()
    def _take_out(self, number: int) -> None:
        """Round `number` of all: the least important channels are out."""
        for kind in KINDS:
            kept, seen = self.get_buffer(f"kept/{kind}"), self.get_buffer(f"seen/{kind}")
            left = len(kept) - round(number / self.cfg.rounds * (len(kept) - self.target(len(kept))))
            order = over_processes(seen).masked_fill(~kept, -1).sort(descending=True, stable=True).indices
            kept.zero_()[order[:left]] = True
            seen.zero_()

    def finish(self, work: Work) -> FloatModel | None:
        if work.phase != "float":
            return None
        if int(self.get_buffer("kept/hidden").sum()) > self.target(work.network.shape.hidden):
            rounds_at_once(work, self.cfg.rounds, self._gated, self._take_out)
        return cut_hidden(work.model, *(self.get_buffer(f"kept/{kind}").nonzero().flatten() for kind in KINDS))


def _norm_of(norm: LayerNorm, x: Tensor, kept: Tensor) -> Tensor:
    """LayerNorm of the channels that are in; 0 in the others' places."""
    index = kept.nonzero().flatten()
    y = TF.layer_norm(x[..., index], (len(index),), norm.weight[index], norm.bias[index], norm.eps)
    return torch.zeros_like(x).index_copy(-1, index, y)


METHOD = HiddenPruning
