# SPDX-License-Identifier: Apache-2.0
"""How many of a sentence's tokens a tensor holds, stated by the first entry of its shape: layers may take some of them out, or make one of several."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

# of the first entry of a shape
FORMS = "'T' (all) or 'T S ..' with steps S: integers K of 1 .. 256 (of n tokens ceil(n K / 256) are left) or /s with s of 2 or more (ceil(n / s))"
SHARE_BITS = 8  # K is a share in units of 2**-8
Count = TypeVar("Count", int, np.ndarray)


def left(tokens: Count, keep: int) -> Count:
    """ceil(tokens * keep / 256): at least 1 of them, at most all."""
    return (tokens * keep + (1 << SHARE_BITS) - 1) >> SHARE_BITS


@dataclass(frozen=True)
class Tokens:
    """What is left of a sentence behind layers, a step each; (): all.

    steps  "K": the layer keeps that share of what it gets, in 256ths; "/s": it makes one token of each s
    """

    steps: tuple[str, ...] = ()

    @classmethod
    @cache
    def parse(cls, text: int | str) -> Tokens:
        """Of a shape; of one vector a sentence (1) as of all tokens. Raises ValueError: none of FORMS."""
        if text == 1:
            return cls()
        steps = tuple(str(text).split(" ")[1:])
        known = re.fullmatch(r"T( [1-9]\d{0,2}| /[1-9]\d{0,3})*", str(text))
        if not known or not all(int(step[1:]) > 1 if step[0] == "/" else int(step) <= 1 << SHARE_BITS for step in steps):
            raise ValueError(f"got tokens {text!r}, must be {FORMS}")
        return cls(steps)

    def __str__(self) -> str:
        return " ".join(["T", *self.steps])

    def behind(self, keep: int) -> Tokens:
        """What is left of them behind a layer that keeps that share."""
        return Tokens((*self.steps, str(keep)))

    def strided(self, stride: int) -> Tokens:
        """What is left of them where each `stride` of them become one; strides that follow each other are one: ceil(ceil(n/a)/b) = ceil(n/(a b))."""
        if stride == 1:
            return self
        steps, before = (self.steps[:-1], int(self.steps[-1][1:])) if self.steps and self.steps[-1][0] == "/" else (self.steps, 1)
        return Tokens((*steps, f"/{before * stride}"))

    @property
    def stride(self) -> int:
        """How many of the sentence's tokens stand for one of them, where no share is taken out."""
        return math.prod(int(step[1:]) for step in self.steps if step[0] == "/")

    def beside(self, finer: Tokens, tokens: int) -> int:
        """Tokens where `finer`, of which these are strided, has so many."""
        return -(-tokens // (self.stride // finer.stride))

    def of(self, tokens: Count) -> Count:
        """Tokens that are left of sentences of so many."""
        for step in self.steps:
            tokens = -(-tokens // int(step[1:])) if step[0] == "/" else left(tokens, int(step))
        return tokens
