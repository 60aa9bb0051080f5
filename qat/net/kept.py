# SPDX-License-Identifier: Apache-2.0
"""Layers that take tokens out: the operator (hw/ops/keep_tokens.py), and the mask of the tokens that are left, behind it and others."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitloom.hw import ops
from bitloom.hw.graph import GraphBuilder
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.hw.tokens import SHARE_BITS, Tokens, left
from bitloom.qat.net.operator import Operator

ALL = 1 << SHARE_BITS  # a share: no token is taken out


class KeepTokens(Operator, nn.Module):
    """The tokens that received most attention, in order (hw/ops/keep_tokens.py); padding behind them.

    keep  share that stays, in 256ths: given, or what a method that learns it sets while it trains
    taken of the last batch: the tokens that were kept, by their places among those that came in [B, T'], and which of these are real, bool [B, T'];
          None: all were kept
    """

    def __init__(self, keep: int):
        super().__init__()
        self.keep = keep
        self.taken: tuple[Tensor, Tensor] | None = None

    grid = property(lambda self: self._sources[0].grid)

    def forward(self, x: Tensor, probs: Tensor, real: Tensor | None) -> Tensor:
        """x [B, T, H], probs [B, heads, T, T] -> [B, T', H], T' of the longest sentence."""
        self.taken = None
        if self.keep == ALL:
            return x
        there = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if real is None else real[:, 0, 0]
        order = ranked(probs, there)
        count = left(there.sum(1, keepdim=True), self.keep)
        stays = torch.zeros_like(there).scatter(1, order, torch.arange(x.shape[1], device=x.device) < count)
        places = (~stays).sort(dim=1, stable=True).indices[:, : int(count.max())]
        self.taken = places, stays.gather(1, places)
        return x.gather(1, places[..., None].expand(-1, -1, x.shape[-1]))

    def left(self, tokens: Tokens) -> Tokens:
        return tokens.behind(self.keep)

    def append(self, b: GraphBuilder, inputs: list[GraphTensor]) -> GraphTensor:
        return ops.keep_tokens.append(b, self.tensor, *inputs, self.keep)


@torch.no_grad()
def ranked(probs: Tensor, there: Tensor) -> Tensor:
    """Tokens of each sentence by what they receive of probs [B, heads, T, T], most first, [B, T]: the first token, the others that are `there` (of equal ones
    the first), padding. Sums of codes are exact in float64."""
    received = (probs.double() * there[:, None, :, None]).sum((1, 2))
    received = received.masked_fill(~there, -1)
    received[:, 0] = torch.inf
    return received.sort(dim=1, descending=True, stable=True).indices


class StillReal(nn.Module):
    """The mask behind an operator that gives fewer tokens than it takes: which places hold a token, not padding. It stands in front of all that reads what
    that one gives."""

    def __init__(self, made: Operator):
        super().__init__()
        self._made = (made,)  # in a tuple: it is another module's child

    def forward(self, real: Tensor | None) -> Tensor | None:
        """bool [B, 1, 1, T] -> [B, 1, 1, T'], None for none."""
        left = self._made[0].left(Tokens())
        return real if real is None or left in (Tokens(), Tokens().behind(ALL)) else still_real(real, left)


def still_real(real: Tensor, kept: Tokens) -> Tensor:
    """Which places hold a token of those that are kept, [.., T'], of which did before, bool [.., T]; padding is behind them in both."""
    count = kept.of(real.sum(-1, keepdim=True))
    return torch.arange(int(count.max()), device=real.device) < count
