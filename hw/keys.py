# SPDX-License-Identifier: Apache-2.0
"""Which keys a query sees: a range of the sentence's tokens, stated by the shape of a row tensor."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

SEGMENT = "segment"
FORMS = "'T' (all), 'causal', 'segment' or 'window W' with an integer W >= 0"  # of the last entry of a row tensor's shape


@dataclass(frozen=True)
class Keys:
    """Token i of T sees the keys of tokens lo .. hi-1: lo = max(0, i - back), hi = min(T, i + ahead + 1). Its own is always among them.

    back, ahead  tokens before and behind it; None: all
    segment      those of its own sentence of a pair alone: with B tokens in the first (its border), lo .. hi-1 is 0 .. B-1 or B .. T-1; B = 0 or T: all
    """

    back: int | None = None
    ahead: int | None = None
    segment: bool = False

    @classmethod
    def parse(cls, text: str) -> Keys:
        """Of a row tensor's shape. Raises ValueError: none of FORMS."""
        if text == "T":
            return cls()
        if text == "causal":
            return cls(None, 0)
        if text == SEGMENT:
            return cls(segment=True)
        if window := re.fullmatch(r"window (0|[1-9]\d*)", text):
            return cls(int(window[1]), int(window[1]))
        raise ValueError(f"got keys {text!r}, must be {FORMS}")

    @property
    def all(self) -> bool:
        return self == Keys()

    @property
    def tells_end(self) -> bool:
        """A query's row tells whether it is its sentence's last: it sees a key behind its own wherever there is one."""
        return not self.segment and self.ahead != 0

    def bounds(self, tokens: int, border: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """lo and hi of each query of a sentence of that many tokens, int64 [T].

        border  of a pair, where its sentences are told apart; None: two of (almost) the same length
        """
        i = np.arange(tokens)
        if self.segment:
            border = -(-tokens // 2) if border is None else border
            return np.where(i < border, 0, border), np.where(i < border, min(border, tokens), tokens)
        lo = np.zeros_like(i) if self.back is None else np.maximum(i - self.back, 0)
        hi = np.full_like(i, tokens) if self.ahead is None else np.minimum(i + self.ahead + 1, tokens)
        return lo, hi

    def spans(self, tokens: int, border: int | None = None) -> np.ndarray:
        """How many keys each query of such a sentence sees: the length of its rows, int64 [T]."""
        lo, hi = self.bounds(tokens, border)
        return hi - lo

    def seen(self, tokens: int, border: int | None = None) -> np.ndarray:
        """bool [query, 1, key], as the row tensors lie: token i, head, token j."""
        lo, hi = (bound[:, None, None] for bound in self.bounds(tokens, border))
        j = np.arange(tokens)
        return (lo <= j) & (j < hi)

    def reach(self, max_tokens: int) -> dict[str, int]:
        """BACK and AHEAD of the hardware: what no sentence exceeds stands for all."""
        top = max_tokens - 1
        return {name: top if tokens is None else min(tokens, top) for name, tokens in (("BACK", self.back), ("AHEAD", self.ahead))}
