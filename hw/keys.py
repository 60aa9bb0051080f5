# SPDX-License-Identifier: Apache-2.0
"""Which keys a query sees: a range of the sentence's tokens, stated by the shape of a row tensor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SEGMENT, PACK = "segment", "pack"
FORMS = "'T' (all), 'causal', 'segment' or 'window W' with an integer W >= 0"  # of the last entry of a row tensor's shape, and PACK in hardware (hw/pack.py)
Border = int | tuple[int, ...] | None  # of a pair: tokens of the first sentence; of a pack: of each; None: not known
Packs = Sequence[tuple[int, ...]]  # of each pack of sentences the tokens of its sentences (hw/pack.py)


@dataclass(frozen=True)
class Keys:
    """Token i of T sees the keys of tokens lo .. hi-1: lo = max(0, i - back), hi = min(T, i + ahead + 1). Its own is always among them.

    back, ahead  tokens before and behind it; None: all
    segment      those of its own sentence of a pair alone: with B tokens in the first (its border), lo .. hi-1 is 0 .. B-1 or B .. T-1; B = 0 or T: all
    pack         those of its own sentence of a pack alone (hw/pack.py): sentences of n0, n1, .. tokens see 0 .. n0-1, n0 .. n0+n1-1, ..
    """

    back: int | None = None
    ahead: int | None = None
    segment: bool = False
    pack: bool = False

    @classmethod
    def parse(cls, text: str) -> Keys:
        """Of a row tensor's shape. Raises ValueError: none of FORMS."""
        if text == "T":
            return cls()
        if text == "causal":
            return cls(None, 0)
        if text == SEGMENT:
            return cls(segment=True)
        if text == PACK:
            return cls(pack=True)
        if window := re.fullmatch(r"window (0|[1-9]\d*)", text):
            return cls(int(window[1]), int(window[1]))
        raise ValueError(f"got keys {text!r}, must be {FORMS}")

    @property
    def all(self) -> bool:
        return self == Keys()

    @property
    def tells_end(self) -> bool:
        """A query's row tells whether it is its sentence's last: it sees a key behind its own wherever there is one."""
        return not self.bordered and self.ahead != 0

    @property
    def bordered(self) -> bool:
        """They depend on where sentences begin, which a `border` tells (hw/ops/border.py)."""
        return self.segment or self.pack

    def runs(self, tokens: int, border: Border = None) -> tuple[int, ...]:
        """Tokens of each sentence that sees itself alone.

        border  None: of a pair two of (almost) the same length, of a pack one of all tokens
        """
        if self.pack:
            return border or (tokens,)
        border = min(-(-tokens // 2) if border is None else border, tokens)
        return (border, tokens - border)

    def bounds(self, tokens: int, border: Border = None) -> tuple[np.ndarray, np.ndarray]:
        """lo and hi of each query of a sentence of that many tokens, int64 [T]. border: as `runs` takes it."""
        if self.bordered:
            runs = np.array(self.runs(tokens, border))
            ends = np.cumsum(runs)
            return np.repeat(ends - runs, runs), np.repeat(ends, runs)
        i = np.arange(tokens)
        lo = np.zeros_like(i) if self.back is None else np.maximum(i - self.back, 0)
        hi = np.full_like(i, tokens) if self.ahead is None else np.minimum(i + self.ahead + 1, tokens)
        return lo, hi

    def spans(self, tokens: int, border: Border = None) -> np.ndarray:
        """How many keys each query of such a sentence sees: the length of its rows, int64 [T]."""
        lo, hi = self.bounds(tokens, border)
        return hi - lo

    def seen(self, tokens: int, border: Border = None) -> np.ndarray:
        """bool [query, 1, key], as the row tensors lie: token i, head, token j."""
        lo, hi = (bound[:, None, None] for bound in self.bounds(tokens, border))
        j = np.arange(tokens)
        return (lo <= j) & (j < hi)

    def reach(self, max_tokens: int) -> dict[str, int]:
        """BACK and AHEAD of the hardware: what no sentence exceeds stands for all."""
        top = max_tokens - 1
        return {name: top if tokens is None else min(tokens, top) for name, tokens in (("BACK", self.back), ("AHEAD", self.ahead))}


def runs_of(told: Sequence[int] | np.ndarray, lengths: Sequence[int] | np.ndarray) -> list[tuple[int, ...]]:
    """Of each pack of so many tokens those of its sentences, in order; told: of all sentences, one behind the other."""
    ends = np.searchsorted(np.cumsum(told), np.cumsum(lengths)) + 1
    return [tuple(int(n) for n in told[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)]
