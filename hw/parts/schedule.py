# SPDX-License-Identifier: Apache-2.0
"""schedule: the steps of a matrix unit whose zero tiles are left out (hw/rtl/schedule.sv).

A tile is the PE x SIMD weights of one step of one fold. Of each fold those stay that are not all zero; where they are fewer than the cycles that the fold
lasts in any case (PE / LANES_OUT, in which its outputs leave, and 1), so many of the first zero ones stay too. So a fold takes as many cycles as it has
tiles, and a word of weights a cycle is all that there is to schedule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.parts import pick

SPARSE = 0.25  # share of a layer's weights that are zero: with fewer, no tile is looked for
KNOWN = 1 << 12  # counts that are remembered, of all shapes of tiles of a layer with given streams


def is_sparse(weight: np.ndarray) -> bool:
    return np.count_nonzero(weight) <= (1 - SPARSE) * weight.size


@dataclass(frozen=True)
class Pattern:
    """Which weights of a unit are not zero, in each of its turns: bool [C, K]."""

    digest: bytes  # of them
    full: tuple[np.ndarray, ...] = field(compare=False, repr=False)

    @classmethod
    def of(cls, weights: Sequence[np.ndarray]) -> Pattern:
        full = tuple(weight != 0 for weight in weights)
        return cls(hashlib.sha256(b"".join(np.packbits(own).tobytes() + bytes(str(own.shape), "ascii") for own in full)).digest(), full)


def tiles(full: np.ndarray, pe: int, simd: int) -> np.ndarray:
    """Which tiles are not all zero, bool [folds, steps]; full: bool, of the weights in their places in the streams."""
    return _steps(full.reshape(len(full) // pe, pe, -1).any(axis=1), simd)


def _steps(folds: np.ndarray, simd: int) -> np.ndarray:
    return folds.reshape(len(folds), -1, simd).any(axis=2)


@lru_cache(maxsize=KNOWN)
def patterns(pattern: Pattern, into: Layout) -> list[tuple[int, int]]:
    """(keep, group) that all weights obey, as their input's layout places them (hw/parts/pick.py)."""
    return pick.patterns([into.place(full) for full in pattern.full])


@lru_cache(maxsize=KNOWN)
def _picked(pattern: Pattern, into: Layout, keep: int, group: int) -> tuple[np.ndarray, ...]:
    """Which of the weights that are picked are not zero, in each turn: bool [C, K * keep / group]."""
    return tuple(pick.chosen(full, full, keep, group) for full in map(into.place, pattern.full))


@lru_cache(maxsize=KNOWN)
def _folds(pattern: Pattern, into: Layout | None, out_of: Layout, pe: int, keep: int, group: int) -> tuple[tuple[np.ndarray, ...], float]:
    """Which weights of a channel some channel of a fold has, in each turn: bool [folds, K], and their share; without `into`, not yet in their places."""
    turns = _picked(pattern, into, keep, group) if keep else pattern.full
    folds = tuple(out_of.place(full, axis=0).reshape(out_of.width // pe, pe, -1).any(axis=1) for full in turns)
    return folds, sum(np.count_nonzero(own) for own in folds) / sum(own.size for own in folds)


@lru_cache(maxsize=KNOWN)
def _counts(pattern: Pattern, into: Layout, out_of: Layout, pe: int, keep: int, group: int) -> Callable[[int], tuple[np.ndarray, ...]]:
    """By SIMD: tiles that are not all zero, of each fold in each turn; into, out_of: the streams' layouts."""
    folds, _ = _folds(pattern, into if keep else None, out_of, pe, keep, group)
    placed = folds if keep else [into.place(own) for own in folds]
    return cache(lambda simd: tuple(_steps(own, simd).sum(axis=1) for own in placed))


def slots(fold: Fold, pattern: Pattern, into: Layout, out_of: Layout) -> tuple[np.ndarray, ...]:
    """Words of each fold where zero tiles are left out, in each turn."""
    counts = _counts(pattern, into, out_of, fold.pe, fold.keep, fold.group)(fold.simd)
    return tuple(np.maximum(own, max(1, fold.pe // fold.lanes_out)) for own in counts)


def leave_out(fold: Fold, pattern: Pattern, into: Layout, out_of: Layout, bits: int) -> Fold | None:
    """The fold with its zero tiles left out; None where that saves no bits, the schedule's counted. bits: of an element of the weight memory."""
    steps, least, width = into.width // fold.inputs, max(1, fold.pe // fold.lanes_out), fold.products * bits
    shape = fold.pe, fold.keep, fold.group
    _, share = _folds(pattern, into if fold.keep else None, out_of, *shape)
    share *= 1 if fold.keep else into.channels / into.width  # of columns that are not all zero: no more than of tiles
    if least > steps or share * (width + word_bits(steps)) >= width:
        return None
    words = tuple(int(own.sum()) for own in slots(fold, pattern, into, out_of))
    every = len(words) * out_of.width // fold.pe * steps
    return replace(fold, words=words) if sum(words) * (width + word_bits(steps)) < every * width else None


def kept(full: np.ndarray, least: int) -> np.ndarray:
    """The tiles that stay, bool [folds, steps], of those that are not zero (`full`); least: of a fold, at most its steps."""
    missing = np.maximum(least - full.sum(axis=1, keepdims=True), 0)
    return full | (~full & (np.cumsum(~full, axis=1) <= missing))


def entries(stay: np.ndarray) -> np.ndarray:
    """The schedule of one turn, int64 [words, 1]: {ends the token, ends its fold, step}; stay: as `kept` gives it."""
    fold, step = np.nonzero(stay)
    ends = np.append(fold[1:] != fold[:-1], True)
    token = np.arange(len(fold)) == len(fold) - 1
    return ((token * 2 + ends) << index_bits(stay.shape[1]) | step)[:, None]


def word_bits(steps: int) -> int:
    """Of the schedule."""
    return index_bits(steps) + 2


def memories(depth: int, steps: int, turns: int) -> list[Memory]:
    """depth: words of all turns."""
    starts = [Memory("start", index_bits(depth), turns, rom=True)] if turns > 1 else []
    return [Memory("schedule", word_bits(steps), depth, rom=True), *starts]
