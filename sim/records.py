# SPDX-License-Identifier: Apache-2.0
"""Files between Python and the bench: beats for bench_source, records of bench_tap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitloom.sim.errors import SimulationError, ToolError

MAX_BITS = 62  # of one lane, so that unsigned codes fit int64 with room to spare
RESET = 0xFFFFFFFF  # the first word of what a tap writes at a reset


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
    raw = words.astype("<u4").view(np.uint8).reshape(len(beats), 4 * words.shape[1])
    Path(path).write_bytes(np.ascontiguousarray(raw[:, : (width + 8) // 8][:, ::-1]).tobytes())


def read_tap(path: Path, lanes: int, bits: int, signed: bool, where: str = "") -> Record:
    """Read NAME.tap as bench_tap wrote it: the run after the last reset. Each run before must have been the same, as far as it came.

    where  what a message calls the stream; default: `stream NAME`
    Raises ToolError: no such file, or one that was cut off. SimulationError: runs that differ, so that a reset did not bring back one state.
    """
    path = Path(path)
    size = 1 + -(-lanes * bits // 32)
    if not path.is_file():
        raise ToolError(f"{path}: no record of this stream; the simulation died before it began")
    raw = np.fromfile(path, dtype=np.uint32)
    if raw.size % size:
        raise ToolError(f"{path}: got {raw.size} words, must be a multiple of {size}; the simulation was cut off")
    raw = raw.reshape(-1, size)
    resets = np.flatnonzero(raw[:, 0] == RESET)
    *broken_off, last = np.split(raw, resets)
    for number, (run, cycles) in enumerate(zip(broken_off, raw[resets, 1], strict=True), 1):
        _same_run(where or f"stream {path.stem}", f"{number} of {len(resets) + 1}", run[number > 1 :], last[1:], min(int(cycles), cycles_of(path.parent)[1]))
    last = last[len(resets) > 0 :]
    stamp = last[:, 0].astype(np.int64)
    return Record(from_words(last[:, 1:], lanes, bits, signed), stamp >> 31 == 1, stamp & 0x7FFFFFFF)


def _same_run(where: str, which: str, got: np.ndarray, want: np.ndarray, cycles: int) -> None:
    """Raise SimulationError unless two runs' records are the same in their first `cycles` cycles."""
    got, want = (run[(run[:, 0] & 0x7FFFFFFF) < cycles] for run in (got, want))
    common = min(len(got), len(want))
    different = np.flatnonzero((got[:common] != want[:common]).any(axis=1))
    if len(got) != len(want) or len(different):
        beat = int(different[0]) if len(different) else common
        a, b = (_beat_text(run, beat) for run in (got, want))
        raise SimulationError(f"{where}: run {which}: beat {beat}: got {a}, must be {b}, as after the last reset; look for a register without reset")


def _beat_text(run: np.ndarray, beat: int) -> str:
    if beat >= len(run):
        return "none"
    stamp, *words = (int(word) for word in run[beat])
    data = "".join(f"{word:08x}" for word in reversed(words)).lstrip("0") or "0"
    return f"data {data}, last {stamp >> 31} in cycle {stamp & 0x7FFFFFFF}"


def cycles_of(folder: Path) -> tuple[int, int]:
    """Cycles of a simulation: all, and those of its last run."""
    every, last = (folder / "bench.cycles").read_text().split()
    return int(every), int(last)


def read_faults(folder: Path) -> list[tuple[int, str, str]]:
    """Broken stream rules as (cycle after reset, tap, what), the earliest first."""
    faults = []
    for path in folder.glob("*.fault"):
        cycle, what = path.read_text().split(" ", 1)
        faults.append((int(cycle), path.stem, what.strip()))
    return sorted(faults)


def read_fills(folder: Path) -> dict[str, int]:
    """The most beats that each FIFO ever held, by name (bench_fill)."""
    return {path.stem: int(path.read_text()) for path in folder.glob("*.fill")}


def clear(folder: Path) -> None:
    """Remove the records of an earlier run, so that they cannot pass for new ones."""
    for pattern in ("*.fault", "*.fetched", "*.fill", "*.tap", "bench.cycles"):
        for path in folder.glob(pattern):
            path.unlink()
