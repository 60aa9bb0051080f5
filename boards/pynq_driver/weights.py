# SPDX-License-Identifier: Apache-2.0
"""The weights of an encoder that reads them from the board's memory: the image that it works with, and room for the next one."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import registers as reg
from .errors import DeviceError, ImageError
from .header import HEADER_BYTES, Header, parse

NONE = "0" * 16  # the graph of no image
ALIGNMENT, END = 4096, 1 << 32  # of an image's address
FILE_PART = 1 << 20


@dataclass
class Coming:
    """An image of which the first `at` bytes are in `place`; `crc` of those behind its header."""

    header: Header
    place: np.ndarray
    at: int = HEADER_BYTES
    crc: int = 0


class Weights:
    """Two places in contiguous memory: an image comes into one while the encoder works with that in the other.

    A bitstream takes images of one structure only, so all have one size, and a place that was allocated serves all of them. It is kept until the program
    ends: PYNQ 3.0 gives memory back no earlier. Where there is no memory for a second place, the image in the first is given up for the next one.

    allocate    pynq.allocate, after a bitstream was loaded: before that it knows no memory
    manifest    of the overlay: memory_bits, image_bytes, shapes
    on_start    called when the encoder, and with it all counts, began anew
    Raises DeviceError: no memory for one image.
    """

    def __init__(self, encoder, allocate: Callable[..., np.ndarray], manifest: dict, timeout_s: float, on_start: Callable[[], None]):
        self.encoder, self._allocate, self._timeout_s, self._on_start = encoder, allocate, timeout_s, on_start
        self.beat_bytes, self.size, self.shapes = manifest["memory_bits"] // 8, manifest["image_bytes"], manifest["shapes"]
        self.graph = NONE  # whose weights the encoder works with, 16 hex digits
        self._used: np.ndarray | None = None
        self._coming: Coming | None = None
        self._places = [self._new_place()]

    @property
    def left(self) -> int:
        """Bytes that are still to come."""
        return self._coming.header.size - self._coming.at if self._coming else 0

    @property
    def state(self) -> str:
        """What the memory holds, in words."""
        if self.graph != NONE:
            return f"the encoder works with the image of graph {self.graph}, as before"
        return "the board's memory holds no image now"

    def read_file(self, path: Path) -> None:
        """Take the image in a file. Raises DeviceError."""
        try:
            with path.open("rb") as file:
                self.begin(file.read(HEADER_BYTES))
                while data := file.read(FILE_PART):
                    self.add(data)
            self.finish()
        except (OSError, ImageError) as error:
            raise DeviceError(f"{path}: {error}") from error

    def begin(self, head: bytes) -> None:
        """An image is to come whose header this is; it is checked, and there is room for it then.

        Raises ImageError: it is no header, or that of an image for other hardware.
        """
        try:
            header = parse(head)
        except ValueError as error:
            raise ImageError(f"{error}; {self.state}") from error
        for what, got, want in (
            ("beats of bytes", header.beat_bytes, self.beat_bytes),
            ("shapes", header.shapes[:16], self.shapes[:16]),
            ("bytes", header.size, self.size),
        ):
            if got != want:
                raise ImageError(f"got an image for other hardware, {what}: {got}, must be {want}; load the bitstream of its run; {self.state}")
        self._coming = Coming(header, self._room())
        self._coming.place[:HEADER_BYTES] = np.frombuffer(head, dtype=np.uint8)

    def add(self, data: bytes) -> None:
        """The bytes that follow. Raises ImageError: more than the image has."""
        coming = self._coming
        if len(data) > self.left:
            self.abandon()
            raise ImageError(f"got more bytes than the image's {self.size:,}, must be none behind it; {self.state}")
        coming.place[coming.at : coming.at + len(data)] = np.frombuffer(data, dtype=np.uint8)
        coming.at, coming.crc = coming.at + len(data), zlib.crc32(data, coming.crc)

    def finish(self) -> None:
        """Let the encoder work with the image that has come.

        Raises ImageError: bytes are missing or wrong. DeviceError: the encoder does not start with it; `restart` goes back to the one before.
        """
        coming, left = self._coming, self.left
        self.abandon()
        if left:
            raise ImageError(f"got {coming.at:,} bytes, must be {self.size:,}; {self.state}")
        if coming.crc != coming.header.checksum:
            raise ImageError(f"got bytes whose CRC-32 is {coming.crc:08x}, must be {coming.header.checksum:08x} as the header says; {self.state}")
        coming.place.flush()
        self._start(coming.place, coming.header.graph[:16])

    def abandon(self) -> None:
        """No more of the image comes."""
        self._coming = None

    def restart(self, encoder) -> None:
        """The encoder, after a bitstream was loaded, with the image that it had. Raises DeviceError: it does not start; there is no image then."""
        self.encoder = encoder
        if self._used is None:
            return
        place, graph = self._used, self.graph
        self._used, self.graph = None, NONE
        try:
            self._start(place, graph)
        except DeviceError as error:
            raise DeviceError(f"{error}; {self.state}") from error

    def hold(self) -> None:
        """Keep the encoder in reset: it reads nothing, and takes no sentence."""
        self.encoder.write(reg.CONTROL, 0)

    def fault(self) -> str:
        """The memory's first error since the encoder was let go, "" if there is none."""
        state = self.encoder.read(reg.MEMORY_STATE)
        if not state & reg.MEMORY_FAILED:
            return ""
        code, place = state >> 4 & 15, self.encoder.read(reg.MEMORY_ERROR_ADDRESS) - self.encoder.read(reg.WEIGHTS_BASE)
        return f"external memory: got error {code} ({reg.MEMORY_ERRORS.get(code, 'unknown')}) in the burst at byte {place} of the image, must be none"

    def _start(self, place: np.ndarray, graph: str) -> None:
        self.hold()
        self.encoder.write(reg.WEIGHTS_BASE, place.device_address)
        self.encoder.write(reg.CONTROL, reg.RUN)
        self._on_start()
        deadline = time.monotonic() + self._timeout_s
        while not (state := self.encoder.read(reg.MEMORY_STATE)) & (reg.MEMORY_READY | reg.MEMORY_FAILED):
            if time.monotonic() > deadline:
                self.hold()
                raise DeviceError(f"external memory: got no weights in {self._timeout_s:g} s, must be read by then; look at the port's clock and the bitstream")
            time.sleep(0)
        if state & reg.MEMORY_FAILED:
            fault = self.fault()
            self.hold()
            raise DeviceError(fault)
        if (told := f"{self.encoder.read(reg.WEIGHTS_HIGH):08x}{self.encoder.read(reg.WEIGHTS_LOW):08x}") != graph:
            self.hold()
            raise DeviceError(f"external memory: the encoder has read weights of graph {told}, must be {graph}; build the overlay again")
        self._used, self.graph = place, graph

    def _room(self) -> np.ndarray:
        """A place that the encoder does not use, if need be the one that it does."""
        free = [place for place in self._places if place is not self._used]
        if not free:
            try:
                self._places.append(self._new_place())
            except DeviceError:
                self.hold()
                self._used, self.graph = None, NONE
            free = self._places[-1:]
        return free[0]

    def _new_place(self) -> np.ndarray:
        """Raises DeviceError: there is no more memory, or it lies where the encoder's port does not reach."""
        place = contiguous(self._allocate, self.size, "the weights")
        if place.device_address % ALIGNMENT or place.device_address + self.size > END:
            raise DeviceError(f"external memory: got memory at {place.device_address:#x} for the weights, must be a multiple of {ALIGNMENT} below 4 GiB")
        return place


def contiguous(allocate: Callable[..., np.ndarray], size: int, use: str) -> np.ndarray:
    """uint8 [size] that a DMA and the encoder can read. Raises DeviceError."""
    try:
        return allocate(shape=(size,), dtype=np.uint8)
    except (RuntimeError, MemoryError, OSError) as error:
        raise DeviceError(
            f"memory: got no {size:,} contiguous bytes for {use} ({error}), must be there; end what else uses them, or give the kernel more (cma=)"
        ) from error
