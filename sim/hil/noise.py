# SPDX-License-Identifier: Apache-2.0
"""A disturbed line, for tests: some frames lose, gain, repeat or change bytes."""

from __future__ import annotations

import os
import random
import select
import threading
import tty
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


class Relay:
    """A pseudo-terminal in front of another port, the line between them disturbed; `path` is what the host opens."""

    def __init__(self, board_path: str, down: Noise, up: Noise):
        self.down, self.up = down, up
        self._board = os.open(board_path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._host, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._host, False)
        self.path = os.ttyname(self._slave)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for fd in (self._board, self._host, self._slave):
            os.close(fd)

    def _loop(self) -> None:
        ways = {self._host: (self._board, self.down), self._board: (self._host, self.up)}
        waiting = {self._host: b"", self._board: b""}  # for each, what is still to be written to it
        while not self._stop.is_set():
            readable, writable, _ = select.select([fd for fd in ways if not waiting[ways[fd][0]]], [fd for fd in ways if waiting[fd]], [], 0.05)
            for fd in readable:
                to, noise = ways[fd]
                waiting[to] += noise(os.read(fd, 4096))
            for fd in writable:
                waiting[fd] = waiting[fd][os.write(fd, waiting[fd]) :]
