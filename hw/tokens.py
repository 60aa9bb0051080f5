# SPDX-License-Identifier: Apache-2.0
"""How many of a sentence's tokens a tensor holds, stated by the first entry of its shape: layers may take some of them out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

FORMS = "'T' (all) or 'T K ..' with integers K of 1 .. 256 (of n tokens ceil(n K / 256) are left)"  # of the first entry of a shape
SHARE_BITS = 8  # K is a share in units of 2**-8
Count = TypeVar("Count", int, np.ndarray)


def left(tokens: Count, keep: int) -> Count:
    """ceil(tokens * keep / 256): at least 1 of them, at most all."""
    return (tokens * keep + (1 << SHARE_BITS) - 1) >> SHARE_BITS


@dataclass(frozen=True)
class Tokens:
    """What is left of a sentence behind layers that keep these shares of what they get, in 256ths; (): all."""

    shares: tuple[int, ...] = ()

    @classmethod
    @cache
    def parse(cls, text: int | str) -> Tokens:
        """Of a shape; of one vector a sentence (1) as of all tokens. Raises ValueError: none of FORMS."""
        if text == 1:
            return cls()
        if not re.fullmatch(r"T( [1-9]\d{0,2})*", str(text)) or any(int(share) > 1 << SHARE_BITS for share in str(text).split()[1:]):
            raise ValueError(f"got tokens {text!r}, must be {FORMS}")
        return cls(tuple(int(share) for share in str(text).split()[1:]))

    def __str__(self) -> str:
        return " ".join(["T", *map(str, self.shares)])

    def behind(self, keep: int) -> Tokens:
        """What is left of them behind a layer that keeps that share."""
        return Tokens((*self.shares, keep))

    def of(self, tokens: Count) -> Count:
        """Tokens that are left of sentences of so many."""
        for keep in self.shares:
            tokens = left(tokens, keep)
        return tokens
