# SPDX-License-Identifier: Apache-2.0
"""The board's end of the protocol in Python, the golden model behind it: what hw/rtl/board/link.sv does, frame by frame."""

from __future__ import annotations

import os
import select
import threading
import tty
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np

from bitloom.sim.hil.frames import (
    END,
    FAULT,
    HELLO,
    HOLD,
    LOAD,
    NAK,
    REWIND,
    WELCOME,
    WORD_BYTES,
    BoardFrame,
    Deframer,
    HostFrame,
    Info,
    encode,
    pack_codes,
    unpack_codes,
    unwrap,
)
from bitloom.sim.hil.target import Shape

ANSWER_WORDS = 64  # most in one frame
LOAD_AHEAD = 1 << 22  # words: no bound, as what comes is written at once
Compute = Callable[[np.ndarray], tuple[np.ndarray, int]]  # elements [T, width] -> (answer's codes, cycles)


class BoardModel:
    """Bytes in, bytes out.

    depth    beats of its buffer
    compute  the encoder
    With `info.weights` it has a memory, `image`, and works with any image: what `hw/rtl/image_loader.sv` refuses it takes.
    """

    def __init__(self, shape: Shape, info: Info, depth: int, compute: Compute):
        self.shape, self.info, self.depth, self.compute = shape, info, depth, compute
        self.resets, self.image = 0, b""
        self._restart(0)

    def reset(self) -> None:
        """The reset button: everything is forgotten, the session too."""
        self.resets += 1
        self._restart(0)

    def fail(self, code: int, address: int) -> None:
        """The memory has an error, until the next session."""
        self.info = replace(self.info, weights=replace(self.info.weights, code=code, address=address))

    def feed(self, data: bytes) -> bytes:
        """What the host sent, in any pieces -> what the board says to it."""
        out = []
        for body in self._deframer.feed(data):
            frame = HostFrame.parse(body)
            load = self.info.weights is not None and frame is not None and bool(frame.flags & LOAD)
            if frame is None or (frame.flags & LOAD and not load):
                continue
            if len(frame.payload) == (frame.count * WORD_BYTES if load else -(-frame.count * self.info.beat_bits // 8)):
                out += self._handle(frame)
        return b"".join(encode(frame.body()) for frame in out)

    def _restart(self, session: int, loading: bool = False) -> None:
        self.session, self._deframer, self._loading = session, Deframer(), loading
        if self.info.weights:
            self.fail(0, 0)
            if loading or not session:
                self.image = b""
                self.info = replace(self.info, weights=replace(self.info.weights, loaded=False, ready=False, graph="0" * 16))
        self._written = self._read = self._acked = self._sent = self._clock = 0
        self._beats: list[bytes] = []  # of the sentence that is coming
        self._held: deque[np.ndarray] = deque()
        self._words: deque[bytes] = deque()  # from position `_acked` on

    def _handle(self, frame: HostFrame) -> list[BoardFrame]:
        if frame.flags & HELLO and not frame.flags & LOAD:
            if frame.session != self.session:
                self._restart(frame.session, bool(frame.flags & END) and self.info.weights is not None)
            payload = self.info.pack()
            return [self._frame(WELCOME, count=len(payload), payload=payload)]
        if self.session == 0 or frame.session != self.session:
            return [self._frame(0)]
        if frame.flags & LOAD:
            return [self._frame(self._load(frame))]
        self._acknowledge(unwrap(frame.ack, self._acked), bool(frame.flags & REWIND))
        flags = 0
        if frame.count:
            position = unwrap(frame.position, self._written)
            if position == self._written and position + frame.count <= self._read + self.depth:
                self._accept(frame)
            elif position >= self._written:  # one that came before is no news
                flags = NAK
        return [self._frame(flags), *self._answers()]

    def _load(self, frame: HostFrame) -> int:
        """Words of the image; the flags of the answer."""
        if not frame.count:
            return 0
        next_word = len(self.image) // WORD_BYTES if self._loading else 0
        position = unwrap(frame.position, next_word)
        if not self._loading or self.info.weights.ready or position != next_word:
            return NAK if position >= next_word else 0
        self.image += frame.payload
        if frame.flags & END:
            self.info = replace(self.info, weights=replace(self.info.weights, loaded=True, ready=True, graph=self.image[32:40].hex()))
        return 0

    def _acknowledge(self, ack: int, rewind: bool) -> None:
        for _ in range(ack - self._acked):
            self._words.popleft()
        self._acked = ack
        self._sent = ack if rewind else self._sent

    def _accept(self, frame: HostFrame) -> None:
        self._written += frame.count
        lanes = self.info.beat_bits // self.shape.bits
        self._beats.append(unpack_codes(frame.payload, frame.count * lanes, self.shape.bits, self.shape.signed))
        if frame.flags & END:
            self._held.append(np.concatenate(self._beats).reshape(-1, self.shape.entry.width))
            self._beats = []
            while self._held and not frame.flags & HOLD:
                self._answer(self._held.popleft())

    def _answer(self, sentence: np.ndarray) -> None:
        codes, cycles = self.compute(sentence)
        self._read = self._written
        start, self._clock = self._clock, self._clock + cycles
        stamps = b"".join((value & 0xFFFFFFFF).to_bytes(4, "little") for value in (start, self._clock))
        data, size = pack_codes(codes, self.shape.out_bits) + stamps, self.info.word_bytes
        self._words.extend(data[i : i + size] for i in range(0, len(data), size))

    def _answers(self) -> list[BoardFrame]:
        out = []
        while (count := min(self._acked + len(self._words) - self._sent, ANSWER_WORDS)) > 0:
            begin = self._sent - self._acked
            payload = b"".join(self._words[i] for i in range(begin, begin + count))
            out.append(self._frame(0, count=count, payload=payload))
            self._sent += count
        return out

    def _frame(self, flags: int, *, count: int = 0, payload: bytes = b"") -> BoardFrame:
        expected, limit = self._written, self._read + self.depth
        if self._loading:
            expected = len(self.image) // WORD_BYTES
            limit = expected + LOAD_AHEAD
        if self.info.weights and self.info.weights.code:
            flags |= FAULT
        return BoardFrame(flags, self.session, self._sent, expected, limit, count, payload)


class Wire:
    """A pseudo-terminal with `serve` behind it, in a thread of its own; `path` is the port that the host opens.

    serve  bytes from the host -> bytes to the host; b"" comes in when the line was idle for a moment
    What the host does not read in time is lost, as on a UART without flow control.
    """

    def __init__(self, serve: Callable[[bytes], bytes]):
        self.serve = serve
        self._master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        self.path, self._slave = os.ttyname(slave), slave
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """The port goes away under the host."""
        self._stop.set()
        self._thread.join()
        for fd in (self._master, self._slave):
            with suppress(OSError):
                os.close(fd)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def _loop(self) -> None:
        while not self._stop.is_set():
            ready, _, _ = select.select([self._master], [], [], 0.02)
            data = b""
            if ready:
                try:
                    data = os.read(self._master, 4096)
                except OSError:
                    return
            self._say(self.serve(data))

    def _say(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                _, ready, _ = select.select([], [self._master], [], 0.2)
                if not ready:
                    return  # the host does not read
