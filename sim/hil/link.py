# SPDX-License-Identifier: Apache-2.0
"""The host's end of the serial protocol: sessions, go-back-N both ways, credits, time-outs (docs/hil.md has the argument)."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bitloom.sim.hil.errors import SessionTakenError, SilentError, TargetError, WrongBitstreamError
from bitloom.sim.hil.frames import (
    END,
    FAULT,
    HELLO,
    HOLD,
    INFO_BYTES,
    LOAD,
    MAX_COUNT,
    NAK,
    REWIND,
    VERSION,
    WEIGHTS_BYTES,
    WELCOME,
    WORD_BYTES,
    BoardFrame,
    Deframer,
    HostFrame,
    Info,
    encode,
    pack_codes,
    unwrap,
)
from bitloom.sim.hil.target import Answer, Progress, Shape, Traffic

STAMP_BYTES = 8  # start and end cycle behind an answer, 32 bits each
NO_IMAGE = 8  # error of hw/rtl/image_loader.sv: what the memory holds is no image for this hardware
HELD_SENTENCES = 15  # that a board lets into its encoder before the first has left


class Port(Protocol):
    """A byte stream: what the link needs of a serial port."""

    def read(self, timeout: float) -> bytes:
        """What has come; waits for the first byte at most `timeout` seconds."""

    def write(self, data: bytes) -> None: ...


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    """Times of one connection.

    timeout_s      without a word from the board, with work outstanding, before it is asked
    patience       questions without an answer before the board counts as silent
    stuck_s        answers to questions, but no progress: after this the encoder counts as hung
    payload_bytes  most of one frame: short ones lose less to a disturbance, long ones carry less overhead
    window_bytes   most under way: what the line takes during one turn-around of a USB bridge
    """

    timeout_s: float = 0.25
    patience: int = 12
    stuck_s: float = 60.0
    payload_bytes: int = 240
    window_bytes: int = 4096


@dataclass(slots=True)
class _Piece:
    """A frame of a sentence, or of the image: `count` beats (words of 16 bits) from `position` on."""

    position: int
    count: int
    flags: int
    payload: bytes


class _Watch:
    """When the board was heard, when things moved, questions since then; damaged frames before."""

    def __init__(self, damaged: int):
        self.heard = self.moved = time.monotonic()
        self.asked, self.damaged = 0, damaged


class Link:
    """Sentences to a board and answers back, each exactly once whatever happens to the bytes on the way.

    name  of the port, for errors
    """

    def __init__(self, port: Port, shape: Shape, name: str, settings: LinkSettings, traffic: Traffic):
        self.port, self.shape, self.name, self.settings, self.traffic = port, shape, name, settings, traffic
        self.info: Info | None = None
        self.depth = 0  # beats that the board can buffer
        self.epoch = -1
        self._session = 0
        self._deframer = Deframer()

    def hello(self, *, load: bool = False) -> Info:
        """Begin a session: the board forgets all that came before it.

        load  one in which the image of the weights is sent
        Raises SilentError: no answer; WrongBitstreamError: another version of the protocol.
        """
        for _ in range(self.settings.patience):
            self._session = 1 + secrets.randbelow(0xFFFF)
            frame = self._welcome(END if load else 0)
            if frame.next == 0:  # else the board was in a session of that very number
                break
        else:
            raise SilentError(f"{self.name}: got position {frame.next} in a new session, must begin at 0; reset the board, then build its bitstream again")
        self.info, self.depth = Info.parse(frame.payload), frame.limit
        if self.info.version != VERSION:
            raise WrongBitstreamError(f"{self.name}: got protocol version {self.info.version}, must be {VERSION}; build the bitstream again")
        self.epoch += 1
        self._sent = self._queued = 0  # positions: of beats sent at least once, of beats cut into pieces
        self._limit, self._got = frame.limit, 0  # got: answer words that came
        self._acked, self._clock, self._words = 0, 0, bytearray()
        self._flying: deque[_Piece] = deque()
        self._waiting: deque[_Piece] = deque()
        self._arrived, self._gap_at = 0, -1  # arrived: beats that the board has taken; gap_at: answer words already asked for
        self._ignore_nak = self._go_back = False
        if not load:
            self._settle()
        return self.info

    def _settle(self) -> None:
        """Wait until the encoder has read the image that the board holds, or says what is wrong with it."""
        began = time.monotonic()
        while (weights := self.info.weights) is not None and weights.loaded and not weights.ready and not weights.code:
            if time.monotonic() - began > self.settings.stuck_s:
                raise SilentError(
                    f"{self.name}: got an image that is not read after {self.settings.stuck_s:g} s, must be; the encoder hangs: verify its build in simulation"
                )
            self.ask()

    def load(self, data: bytes, progress: Progress | None = None) -> None:
        """Send an image of weights, in a session of its own; then begin one for sentences.

        data      an odd byte at its end gets a 0 to its word
        progress  called with the number of bytes that have arrived
        Raises as `run`.
        """
        data += bytes(len(data) % WORD_BYTES)
        for _ in range(self.settings.patience):
            try:
                self.hello(load=True)
                step, words = min(self.settings.payload_bytes // WORD_BYTES, MAX_COUNT), len(data) // WORD_BYTES
                for start in range(0, words, step):
                    count = min(step, words - start)
                    flags = LOAD | (END if start + count == words else 0)
                    self._waiting.append(_Piece(start, count, flags, data[start * WORD_BYTES : (start + count) * WORD_BYTES]))
                watch = _Watch(self.traffic.frames_damaged)
                while self._arrived < words:
                    self._turn(watch, f"{self._arrived} of {words} words of the image")
                    if progress:
                        progress(self._arrived * WORD_BYTES)
                self.hello()
                return
            except _BoardRestarted:
                self.traffic.resets += 1
        raise SilentError(f"{self.name}: the board was reset {self.settings.patience} times in one load, must stay up; check its supply")

    def ask(self) -> Info:
        """What the board tells of itself now, in the same session."""
        self.info = Info.parse(self._welcome().payload)
        return self.info

    def run(self, batch: Sequence[np.ndarray], *, hold: bool = False, progress: Progress | None = None) -> list[Answer]:
        """Every sentence's answer, in order.

        batch  what the beats carry (Shape.elements)
        hold  the board collects the whole batch before it lets the first sentence in; it must fit its buffer
        Raises SilentError, SessionTakenError, or what the port raises.
        """
        answers: list[Answer] = []
        restarts = 0
        while True:
            try:
                self._run_session(batch, answers, hold, progress)
                return answers
            except _BoardRestarted:
                restarts += 1
                self.traffic.resets += 1
                if restarts > self.settings.patience:
                    raise SilentError(f"{self.name}: the board was reset {restarts} times in one batch, must stay up; check its supply") from None
                self.hello()

    def _run_session(self, batch: Sequence[np.ndarray], answers: list[Answer], hold: bool, progress: Progress | None) -> None:
        following = len(answers)  # the next sentence to be cut into pieces
        watch = _Watch(self.traffic.frames_damaged)
        while len(answers) < len(batch):
            while following < len(batch) and len(self._waiting) < MAX_COUNT:
                self._cut(batch[following], HOLD if hold and following < len(batch) - 1 else 0)
                following += 1
            self._turn(watch, f"{len(answers)} of {len(batch)} answers")
            before = len(answers)
            while len(answers) < following and (answer := self._next_answer(batch[len(answers)])) is not None:
                answers.append(answer)
            if progress and len(answers) > before:
                progress(len(answers))
        if self._acked < self._got:
            self._poll(0)  # so that the board's answers have gone before the next batch

    def _turn(self, watch: _Watch, got: str) -> None:
        """Send what may be sent, take in what comes, ask where nothing does. got: what has come so far, for errors."""
        self._send_pieces()
        frames, mark = self._receive(self.settings.timeout_s), self._progress
        for frame in frames:
            self._handle(frame)
        now = time.monotonic()
        if frames:
            watch.heard, watch.asked = now, 0
        if self._progress != mark:
            watch.moved = now
        elif now - watch.moved > self.settings.stuck_s:
            raise self._stuck(got, watch.damaged)
        if now - watch.heard > self.settings.timeout_s:
            watch.asked += 1
            self._must_be_patient(watch.asked, got)
            self._poll(REWIND, back=True)
            watch.heard = now

    @property
    def _progress(self) -> tuple[int, int]:
        return self._arrived, self._got

    def _welcome(self, flags: int = 0) -> BoardFrame:
        """Say hello until the board answers in the new session."""
        damaged = self.traffic.frames_damaged
        for _ in range(self.settings.patience):
            self._send(HostFrame(HELLO | flags, self._session))
            deadline = time.monotonic() + self.settings.timeout_s
            while (left := deadline - time.monotonic()) > 0:
                for frame in self._receive(left):
                    if frame.flags & WELCOME and frame.session == self._session and len(frame.payload) in (INFO_BYTES, INFO_BYTES + WEIGHTS_BYTES):
                        return frame
        self._must_be_patient(self.settings.patience + 1, "no answer to a hello", damaged)
        raise AssertionError("unreachable")

    def _must_be_patient(self, asked: int, got: str, damaged: int = 0) -> None:
        if asked <= self.settings.patience:
            return
        damaged = self.traffic.frames_damaged - damaged
        noise = f", {damaged} damaged frames" if damaged else ""
        raise SilentError(
            f"{self.name}: got {got}{noise}, then no frame for {asked - 1} questions of {self.settings.timeout_s:g} s, must answer; "
            + ("check the baud rate and the wiring" if damaged else "check that the board is on, holds the bitstream, and is at this port")
        )

    def _stuck(self, got: str, damaged: int) -> SilentError:
        damaged = self.traffic.frames_damaged - damaged
        noise, do = f", {damaged} damaged frames", "the line loses too much: take a lower baud rate or a shorter cable"
        if not damaged:
            noise, do = "", "the encoder hangs: verify its build in simulation"
        return SilentError(f"{self.name}: got {got}{noise}, then no news for {self.settings.stuck_s:g} s, must go on since the board still talks; {do}")

    def _cut(self, sentence: np.ndarray, hold: int) -> None:
        """Queue a sentence's frames."""
        lanes, step = self._lanes_and_step()
        codes = np.asarray(sentence).reshape(-1)
        beats = codes.size // lanes
        data = pack_codes(codes, self.shape.bits)
        for start in range(0, beats, step):
            count = min(step, beats - start)
            begin = start * self.info.beat_bits // 8  # whole bytes: `step` is a multiple of 8 where there is a next one
            payload = data[begin : begin + -(-count * self.info.beat_bits // 8)]
            flags = END | hold if start + count == beats else 0
            self._waiting.append(_Piece(self._queued + start, count, flags, payload))
        self._queued += beats

    def _lanes_and_step(self) -> tuple[int, int]:
        """(lanes of a beat, beats of a frame); the step is a multiple of 8, so that frames begin at whole bytes."""
        lanes, step = self.info.beat_bits // self.shape.bits, self.settings.payload_bytes * 8 // self.info.beat_bits
        return lanes, max(8, min(step, MAX_COUNT) // 8 * 8)

    def _send_pieces(self) -> None:
        """All that the board has room for and the window allows."""
        flying = sum(len(piece.payload) for piece in self._flying)
        while self._waiting:
            piece = self._waiting[0]
            end = piece.position + piece.count
            if end > self._limit or (self._flying and flying + len(piece.payload) > self.settings.window_bytes):
                return
            self._flying.append(self._waiting.popleft())
            flying += len(piece.payload)
            self.traffic.frames_resent += piece.position < self._sent
            self._sent = max(self._sent, end)
            self._acked = self._got
            self._send(HostFrame(piece.flags, self._session, piece.position, self._got, piece.count, piece.payload))

    def _poll(self, flags: int, *, back: bool = False) -> None:
        """Ask how things stand; with REWIND the board repeats the answers that have not come.

        back  beats under way that the answer does not confirm are sent again
        """
        self.traffic.polls += 1
        self.traffic.rewinds += bool(flags & REWIND)
        self._go_back = self._go_back or back
        self._acked = self._got
        self._send(HostFrame(flags, self._session, self._sent, self._got))

    def _send(self, frame: HostFrame) -> None:
        data = encode(frame.body())
        self.traffic.bytes_sent += len(data)
        self.traffic.frames_sent += 1
        self.port.write(data)

    def _receive(self, timeout: float) -> list[BoardFrame]:
        data = self.port.read(timeout)
        self.traffic.bytes_received += len(data)
        frames = [BoardFrame.parse(body) for body in self._deframer.feed(data)]
        self.traffic.frames_damaged = self._deframer.damaged
        return [frame for frame in frames if frame is not None]

    def _handle(self, frame: BoardFrame) -> None:
        """Take over what a frame says: beats that arrived, room, answer words.

        Raises _BoardRestarted; SessionTakenError: another program said hello; TargetError: the board's memory has an error.
        """
        if frame.session != self._session:
            if frame.session == 0:
                raise _BoardRestarted
            raise SessionTakenError(
                f"{self.name}: got session {frame.session:04x}, must be {self._session:04x}; another program began to use the board: end it and run this again"
            )
        if frame.flags & FAULT:
            raise self.fault()
        expected = unwrap(frame.next, self._arrived)
        if expected > self._arrived:
            self._arrived, self._ignore_nak = expected, False  # what follows may be lost anew
        while self._flying and self._flying[0].position < expected:
            self._flying.popleft()
        self._limit = max(self._limit, unwrap(frame.limit, self._limit))
        if self._go_back or (frame.flags & NAK and not self._ignore_nak):
            self._waiting.extendleft(reversed(self._flying))
            self._flying.clear()
            self._go_back, self._ignore_nak = False, True  # those under way each bring a NAK more
        if frame.count and not frame.flags & WELCOME:
            self._take_words(frame)

    def fault(self) -> TargetError:
        """What is wrong with the board's memory."""
        weights = self.ask().weights
        if weights.code == NO_IMAGE:
            return TargetError(
                f"{self.name}: the hardware refused the image of weights (error {NO_IMAGE} at byte {weights.address}), "
                "must be one that it can work with; load the bitstream of this run"
            )
        return TargetError(
            f"{self.name}: external memory: got error {weights.code} in the burst at byte {weights.address}, must be none; "
            "reset the board and run this again: the image is loaded anew"
        )

    def _take_words(self, frame: BoardFrame) -> None:
        size = self.info.word_bytes
        position = unwrap(frame.position, self._got)
        known = self._got - position
        if 0 <= known < frame.count:
            self._words += frame.payload[known * size :]
            self._got = position + frame.count
            if self._got - self._acked >= MAX_COUNT // 2:
                self._poll(0)
        elif known < 0 and self._gap_at != self._got:  # some were lost; those under way show the same gap
            self._gap_at = self._got
            self._poll(REWIND)

    def _next_answer(self, sentence: np.ndarray) -> Answer | None:
        """The next sentence's answer, if it is whole."""
        shape, size = self.shape, self.shape.out_bits // 8
        rows = shape.rows(sentence)
        values = rows * shape.output.width * size
        if len(self._words) < values + STAMP_BYTES:
            return None
        codes = shape.output.take(np.frombuffer(bytes(self._words[:values]), dtype=f"<i{size}").astype(np.int64).reshape(rows, -1))
        start, end = np.frombuffer(bytes(self._words[values : values + STAMP_BYTES]), dtype="<u4").tolist()
        del self._words[: values + STAMP_BYTES]
        self._clock += (end - self._clock) & 0xFFFFFFFF  # the counter is read at least once a turn: 43 s at 100 MHz
        return Answer(codes=codes, start=self._clock - ((end - start) & 0xFFFFFFFF), end=self._clock, epoch=self.epoch)


class _BoardRestarted(Exception):
    """The board is in no session: it was reset."""


def must_fit(where: str, info: Info, shape: Shape, depth: int) -> None:
    """Raise TargetError unless beats and answers are as the graph needs them and a sentence fits the board's buffer."""
    beats = shape.max_tokens * shape.entry.width * shape.bits // info.beat_bits
    if info.beat_bits % shape.bits or shape.out_bits % 8 or depth < beats:
        raise TargetError(
            f"{where}: got beats of {info.beat_bits} bits and room for {depth}, must be lanes of {shape.bits} bits "
            f"and room for {beats}; build the bitstream again"
        )
