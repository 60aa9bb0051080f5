# SPDX-License-Identifier: Apache-2.0
"""Files between Python and the bench: beats for bench_source, records of bench_tap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitloom.sim.errors import ToolError

MAX_BITS = 62  # of one lane, so that unsigned codes fit int64 with room to spare


@dataclass(frozen=True)
class Record:
    """What a tap saw.

    beats  int64 [n, lanes], sign-extended where the stream is signed
    last   bool [n]
    cycle  int64 [n], the cycle in which each beat moved, counted from the end of reset
    """

    beats: np.ndarray
    last: np.ndarray
    cycle: np.ndarray


def to_words(beats: np.ndarray, bits: int) -> np.ndarray:
    """Pack lanes of `bits` bits, lane 0 lowest: int64 [n, lanes] -> uint32 [n, words], lowest word first."""
    n, lanes = beats.shape
    words = np.zeros((n, -(-lanes * bits // 32) + 2), dtype=np.uint64)
    codes = beats.astype(np.uint64) & np.uint64((1 << bits) - 1)
    for lane in range(lanes):
        word, shift = divmod(lane * bits, 32)
        low = codes[:, lane] << np.uint64(shift)
        words[:, word] |= low & np.uint64(0xFFFFFFFF)
        words[:, word + 1] |= low >> np.uint64(32)
        if shift + bits > 64:  # the bits that the shift above pushed out
            words[:, word + 2] |= codes[:, lane] >> np.uint64(64 - shift)
    return words[:, : -(-lanes * bits // 32)].astype(np.uint32)


def from_words(words: np.ndarray, lanes: int, bits: int, signed: bool) -> np.ndarray:
    """The inverse of `to_words`: uint32 [n, words] -> int64 [n, lanes]."""
    padded = np.zeros((len(words), words.shape[1] + 2), dtype=np.uint64)
    padded[:, : words.shape[1]] = words
    out = np.empty((len(words), lanes), dtype=np.int64)
    for lane in range(lanes):
        word, shift = divmod(lane * bits, 32)
        code = (padded[:, word] | (padded[:, word + 1] << np.uint64(32))) >> np.uint64(shift)
        if shift + bits > 64:
            code |= padded[:, word + 2] << np.uint64(64 - shift)
        out[:, lane] = (code & np.uint64((1 << bits) - 1)).astype(np.int64)
    if signed:
        out -= (out >> (bits - 1)) << bits
    return out


def write_source(path: Path, beats: np.ndarray, last: np.ndarray, bits: int) -> None:
    """Write NAME.in for bench_source: a record a beat, most significant byte first, `last` above the data."""
    width = beats.shape[1] * bits
    words = np.zeros((len(beats), width // 32 + 1), dtype=np.uint32)
    packed = to_words(beats, bits)
    words[:, : packed.shape[1]] = packed
    words[:, width // 32] |= last.astype(np.uint32) << np.uint32(width % 32)
    raw = words.astype("<u4").view(np.uint8).reshape(len(beats), -1)
    Path(path).write_bytes(np.ascontiguousarray(raw[:, : (width + 8) // 8][:, ::-1]).tobytes())


def read_tap(path: Path, lanes: int, bits: int, signed: bool) -> Record:
    """Read NAME.tap as bench_tap wrote it.

    Raises ToolError: no such file, or one that was cut off.
    """
    path = Path(path)
    size = 1 + -(-lanes * bits // 32)
    if not path.is_file():
        raise ToolError(f"{path}: no record of this stream; the simulation died before it began")
    raw = np.fromfile(path, dtype=np.uint32)
    if raw.size % size:
        raise ToolError(f"{path}: got {raw.size} words, must be a multiple of {size}; the simulation was cut off")
    raw = raw.reshape(-1, size)
    stamp = raw[:, 0].astype(np.int64)
    return Record(from_words(raw[:, 1:], lanes, bits, signed), stamp >> 31 == 1, stamp & 0x7FFFFFFF)


def read_faults(folder: Path) -> list[tuple[int, str, str]]:
    """Broken stream rules as (cycle after reset, tap, what), the earliest first."""
    faults = []
    for path in folder.glob("*.fault"):
        cycle, what = path.read_text().split(" ", 1)
        faults.append((int(cycle), path.stem, what.strip()))
    return sorted(faults)


def clear(folder: Path) -> None:
    """Remove the records of an earlier run, so that they cannot pass for new ones."""
    for pattern in ("*.fault", "*.tap", "bench.cycles"):
        for path in folder.glob(pattern):
            path.unlink()
