# SPDX-License-Identifier: Apache-2.0
"""schedule: the steps of a matrix unit whose zero tiles are left out (hw/rtl/schedule.sv).

A tile is the PE x SIMD weights of one step of one fold. Of each fold those stay that are not all zero; where they are fewer than the cycles that the fold
lasts in any case (PE / LANES_OUT, in which its outputs leave, and 1), so many of the first zero ones stay too. So a fold takes as many cycles as it has
tiles, and a word of weights a cycle is all that there is to schedule. Where the zeros were made in larger blocks, a word of the schedule is for `grain` steps
of `repeat` folds, which stay together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.divisors import divisors
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.parts import pick

SPARSE = 0.25  # share of a layer's weights that are zero: with fewer, no tile is looked for
LARGEST = 64  # rows and columns of a block that zeros were made in, at most
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


@lru_cache(maxsize=KNOWN)
def made_in(pattern: Pattern, bits: int) -> tuple[int, int]:
    """Rows and columns of the blocks in which the weights that are not zero take fewest bits, a word of a schedule for each block counted."""
    channels, inputs = pattern.full[0].shape
    best = (math.inf, 1, 1)
    for rows in (n for n in divisors(channels) if n <= LARGEST):
        folds = [full.reshape(channels // rows, rows, inputs).any(axis=1) for full in pattern.full]
        for columns in (n for n in divisors(inputs) if n <= LARGEST):
            count = sum(np.count_nonzero(_steps(own, columns)) for own in folds)
            best = min(best, (count * (rows * columns * bits + word_bits(inputs // columns)), rows, columns))
    return best[1:]


def slots(fold: Fold, pattern: Pattern, into: Layout, out_of: Layout) -> tuple[np.ndarray, ...]:
    """Words of weights of each fold where zero tiles are left out, in each turn."""
    return tuple(np.repeat(own * fold.grain, fold.repeat) for own in _lengths(fold, pattern, into, out_of))


def _lengths(fold: Fold, pattern: Pattern, into: Layout, out_of: Layout) -> list[np.ndarray]:
    """Words of the schedule of each `repeat` folds, in each turn."""
    counts = _counts(pattern, into, out_of, fold.pe * fold.repeat, fold.keep, fold.group)(fold.simd * fold.grain)
    return [np.maximum(own, least(fold)) for own in counts]


def least(fold: Fold) -> int:
    """Words of the schedule of a fold."""
    return -(-max(1, fold.pe // fold.lanes_out) // fold.grain)


def leave_out(fold: Fold, pattern: Pattern, into: Layout, out_of: Layout, bits: int) -> list[Fold]:
    """The fold with its zero tiles left out, where that saves bits, the schedule's counted: a block of tiles a word of the schedule, and a tile a word where
    that leaves out more. bits: of an element of the weight memory."""
    steps, folds = into.width // fold.inputs, out_of.width // fold.pe
    together = fold if fold.keep else replace(fold, **_together(made_in(pattern, bits), fold, steps, folds))
    found = [_left_out(together, pattern, into, out_of, bits), *([_left_out(fold, pattern, into, out_of, bits)] if together != fold else [])]
    found = [one for one in found if one]
    return found[:1] if len(found) == 2 and sum(found[0].words) <= sum(found[1].words) else found


def _left_out(fold: Fold, pattern: Pattern, into: Layout, out_of: Layout, bits: int) -> Fold | None:
    steps, folds, width = into.width // fold.inputs, out_of.width // fold.pe, fold.products * bits
    shape = fold.pe * fold.repeat, fold.keep, fold.group
    _, share = _folds(pattern, into if fold.keep else None, out_of, *shape)
    share *= 1 if fold.keep else into.channels / into.width  # of columns that are not all zero: no more than of tiles
    each = word_bits(steps // fold.grain)
    if least(fold) * fold.grain > steps or share * (width + each / fold.grain / fold.repeat) >= width:
        return None
    lengths = _lengths(fold, pattern, into, out_of)
    words = tuple(int(own.sum()) * fold.grain * fold.repeat for own in lengths)
    saves = sum(words) * width + sum(int(own.sum()) for own in lengths) * each < len(words) * folds * steps * width
    return replace(fold, words=words) if saves else None


def _together(block: tuple[int, int], fold: Fold, steps: int, folds: int) -> dict[str, int]:
    """Steps and folds that share a word of the schedule: those of one block."""
    repeat, grain = (whole // part if whole % part == 0 else 1 for whole, part in zip(block, (fold.pe, fold.simd), strict=True))
    grain &= -grain  # a power of two
    return {"grain": math.gcd(grain, steps), "repeat": repeat if folds % repeat == 0 else 1}


def stays(full: np.ndarray, fold: Fold) -> np.ndarray:
    """The schedule's blocks of tiles that stay, bool [folds / repeat, steps / grain]; full: bool, of the weights in their places."""
    return kept(tiles(full, fold.pe * fold.repeat, fold.simd * fold.grain), least(fold))


def each_tile(stay: np.ndarray, fold: Fold) -> np.ndarray:
    """The tiles that stay, bool [folds, steps]."""
    return np.repeat(np.repeat(stay, fold.repeat, axis=0), fold.grain, axis=1)


def kept(full: np.ndarray, fewest: int) -> np.ndarray:
    """The tiles that stay, bool [folds, steps], of those that are not zero (`full`); fewest: of a fold, at most its steps."""
    missing = np.maximum(fewest - full.sum(axis=1, keepdims=True), 0)
    return full | (~full & (np.cumsum(~full, axis=1) <= missing))


def entries(stay: np.ndarray) -> np.ndarray:
    """The schedule of one turn, int64 [words, 1]: {last of all, last of its fold, step}; stay: as `kept` gives it."""
    fold, step = np.nonzero(stay)
    ends = np.append(fold[1:] != fold[:-1], True)
    token = np.arange(len(fold)) == len(fold) - 1
    return ((token * 2 + ends) << index_bits(stay.shape[1]) | step)[:, None]


def word_bits(steps: int) -> int:
    """Of the schedule."""
    return index_bits(steps) + 2


def memories(entries: int, steps: int, turns: int, words: int = 1) -> list[Memory]:
    """entries: words of all turns, each of one of so many steps; words: of weights, where their places by turn are in the memory too."""
    starts = [Memory("start", index_bits(entries) + index_bits(words) * (words > 1), turns, rom=True)] if turns > 1 else []
    return [Memory("schedule", word_bits(steps), entries, rom=True), *starts]
