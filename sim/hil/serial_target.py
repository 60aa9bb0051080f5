# SPDX-License-Identifier: Apache-2.0
"""A board on a serial port, through pyserial."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from bitloom.hw.parts.sdram import Sdram
from bitloom.hw.plan.design import Design
from bitloom.sim.hil.errors import PortError, SilentError, TargetError
from bitloom.sim.hil.frames import Info
from bitloom.sim.hil.link import HELD_SENTENCES, Link, LinkSettings, must_fit
from bitloom.sim.hil.target import Answer, Progress, Shape, Traffic, whole_image

BAUD = 1_000_000
WRITE_TIMEOUT_S = 20.0


class SerialPort:
    """pyserial behind `bitloom.sim.hil.link.Port`, its errors in the house's words.

    Raises PortError: the port is absent, busy, forbidden, or goes away.
    """

    def __init__(self, path: str, baud: int):
        import serial

        self.path, self._errors = path, (serial.SerialException, OSError, TypeError)  # TypeError: pyserial, on a port closed meanwhile
        self._late = serial.SerialTimeoutException
        try:
            self._port = serial.Serial(path, baud, exclusive=True, timeout=0, write_timeout=WRITE_TIMEOUT_S)
        except (serial.SerialException, OSError, ValueError) as error:
            raise _explain(path, error) from error

    def read(self, timeout: float) -> bytes:
        try:
            self._port.timeout = timeout
            first = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""
        except self._errors as error:
            raise self._lost(error) from error

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except self._late as error:
            raise SilentError(
                f"{self.path}: could not send {len(data)} bytes in {WRITE_TIMEOUT_S:g} s, must be taken; unplug the board and plug it in again"
            ) from error
        except self._errors as error:
            raise self._lost(error) from error

    def close(self) -> None:
        self._port.close()

    def _lost(self, error: Exception) -> PortError:
        return PortError(f"{self.path}: the port went away ({error}), must stay until the end; plug the board in and run this again")


def _explain(path: str, error: Exception) -> PortError:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        near = sorted(f"/dev/{name}" for name in os.listdir("/dev") if name.startswith(("ttyUSB", "ttyACM")))
        return PortError(f"{path}: no such port, must be one of {', '.join(near) or 'none that is there now'}; plug the board in")
    if number == errno.EACCES:
        return PortError(f"{path}: got no permission, must be readable and writable; add yourself to the group that owns it (often dialout)")
    if number in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK) or "exclusively lock" in str(error):
        return PortError(f"{path}: the port is busy, must be used by one program; end the other one")
    return PortError(f"{path}: not a serial port that can be opened ({error}); check the name and the baud rate")


class SerialTarget:
    """A board with `uart_top` at a serial port.

    path  of the port, such as /dev/ttyUSB0
    baud  bits a second, as in the board's file
    """

    def __init__(self, design: Design, path: str, *, baud: int = BAUD, settings: LinkSettings | None = None):
        self.design, self.shape, self.path, self.baud = design, Shape.of(design), path, baud
        self.settings = settings or LinkSettings()
        self.name, self.traffic = f"serial:{path}", Traffic()
        self._port: SerialPort | None = None
        self._link: Link | None = None

    def open(self) -> None:
        """Open the port and say hello.

        Raises PortError; SilentError: no board answers; WrongBitstreamError: another protocol.
        """
        self.traffic = Traffic()
        self._port = SerialPort(self.path, self.baud)
        try:
            self._link = Link(self._port, self.shape, self.name, self.settings, self.traffic)
            self._link.hello()
        except BaseException:
            self.close()
            raise

    @property
    def info(self) -> Info:
        """What the board tells of itself."""
        if self._link is None:
            raise TargetError(f"{self.name}: got a target that is not open, must be opened first; call open()")
        return self._link.info

    @property
    def external(self) -> Sdram | None:
        """The memory that the weights come from (hw/rtl/board/uart_top.sv, at the board's clock); None: they are on the chip."""
        return Sdram(clock_mhz=-(-self.info.clock_hz // 1_000_000)) if self.info.weights else None

    def identify(self) -> str:
        """The identity word of the board's bitstream, or of the image of weights in its memory, 16 hex digits."""
        return self.info.weights.graph if self.info.weights else self.info.identity

    def load(self, path: Path, progress: Progress | None = None) -> None:
        """`bitloom.sim.hil.target.Target.load`: through the line, in a session of its own."""
        weights = self.info.weights
        image = whole_image(self.name, path, self.design, connected=weights is not None)
        if weights.ready and weights.graph == self.shape.identity:
            return
        if image.size > 1 << weights.size_bits:
            raise TargetError(
                f"{self.name}: got an image of {image.size:,} bytes, must be at most the memory's {1 << weights.size_bits:,}; lower the weights' bits"
            )
        self._link.load(Path(path).read_bytes(), progress)
        self._must_be_ready()

    def _must_be_ready(self) -> None:
        """Raise TargetError unless the board's memory holds this graph's weights."""
        weights = self.info.weights
        if weights is None:
            return
        if weights.code:
            raise self._link.fault()
        if not weights.ready:
            raise TargetError(f"{self.name}: got a memory without weights, must hold the image of graph {self.shape.identity}; load it first")

    def run(self, batch: Sequence[np.ndarray], *, burst: bool = False, progress: Progress | None = None) -> list[Answer]:
        """`bitloom.sim.hil.target.Target.run`; the board's identity is checked before anything is sent."""
        sentences, batch = batch, self.shape.elements(batch)
        progress = self.shape.told(sentences, progress)
        self._must_be_ready()
        self.shape.must_match(self.name, self.identify())
        must_fit(self.name, self.info, self.shape, self._link.depth)
        if not burst:
            return self.shape.apart(sentences, self._link.run(batch, progress=progress))
        answers: list[Answer] = []
        for begin, end in pairwise(self._groups(batch)):
            done = begin
            answers += self._link.run(batch[begin:end], hold=True, progress=progress and (lambda n, done=done: progress(done + n)))
        return self.shape.apart(sentences, answers)

    def _groups(self, batch: Sequence[np.ndarray]) -> list[int]:
        """Where each group that fits the board's buffer begins, and the end."""
        starts, beats = [0], 0
        for index, sentence in enumerate(batch):
            size = sentence.size * self.shape.bits // self.info.beat_bits
            if beats + size > self._link.depth or index - starts[-1] >= HELD_SENTENCES:
                starts.append(index)
                beats = 0
            beats += size
        return [*starts, len(batch)]

    def close(self) -> None:
        """Release the port."""
        if self._port is not None:
            self._port.close()
        self._port = self._link = None
