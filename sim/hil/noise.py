# SPDX-License-Identifier: Apache-2.0
"""A disturbed line, for tests: some frames lose, gain, repeat or change bytes."""

from __future__ import annotations

import random
from collections import Counter

FAULTS = ("flip", "drop", "duplicate", "insert", "cut", "repeat")


class Noise:
    """Disturbs a share of the frames of one direction; bytes in any pieces in and out, frames recognised by their flags.

    rate    share of frames, 0 .. 1
    done    how often each kind of fault was made: a flipped bit, a dropped, duplicated or inserted byte, a frame cut short or sent twice
    frames  how many frames passed
    """

    def __init__(self, rate: float, seed: int, kinds: tuple[str, ...] = FAULTS):
        self.rate, self.kinds, self.random = rate, kinds, random.Random(seed)
        self.done: Counter[str] = Counter()
        self.frames = 0
        self._rest = b""

    def __call__(self, data: bytes) -> bytes:
        """What arrives of `data`. A frame is passed on when its closing flag has come."""
        *pieces, self._rest = (self._rest + data).split(b"\x7e")
        return b"".join(self._frame(piece) + b"\x7e" for piece in pieces)

    def _frame(self, frame: bytes) -> bytes:
        if not frame:  # between the flags of two frames
            return frame
        self.frames += 1
        if self.random.random() >= self.rate:
            return frame
        kind = self.random.choice(self.kinds)
        self.done[kind] += 1
        at, byte = self.random.randrange(len(frame)), self.random.randrange(256)
        head, here, tail = frame[:at], frame[at : at + 1], frame[at + 1 :]
        return {
            "flip": head + bytes((here[0] ^ 1 << byte % 8,)) + tail,
            "drop": head + tail,
            "duplicate": head + here + here + tail,
            "insert": head + bytes((byte,)) + here + tail,
            "cut": head,
            "repeat": frame + b"\x7e\x7e" + frame,
        }[kind]
