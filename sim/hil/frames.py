# SPDX-License-Identifier: Apache-2.0
"""Frames on the serial line: flag, header, payload, CRC-32, flag, with the flag escaped inside (docs/hil.md)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

VERSION = 1
FLAG, ESCAPE, FLIP = 0x7E, 0x7D, 0x20
HOST, BOARD = 0x10, 0x20  # who sends: the high nibble of `kind`
HELLO, END, HOLD, REWIND = 1, 2, 4, 8  # the host's flags
LOAD = 0x20  # the host's, too: the frame carries words of the weights' image
WELCOME, NAK, FAULT = 1, 2, 4  # the board's flags
HOST_HEADER, BOARD_HEADER, CRC_BYTES, INFO_BYTES = 10, 13, 4, 18
WEIGHTS_BYTES = 14  # behind the info, of a board whose encoder has its weights in memory
WORD_BYTES = 2  # of the image: what a LOAD frame counts
POSITION_BITS = 24
MAX_COUNT = 255
LONGEST = 4096  # bytes between two flags; more is noise


@dataclass(frozen=True, slots=True)
class HostFrame:
    """From the host: `count` beats from `position` on (with LOAD, words of the image); all answer words before `ack` have come."""

    flags: int
    session: int
    position: int = 0
    ack: int = 0
    count: int = 0
    payload: bytes = b""

    def body(self) -> bytes:
        return b"%c%b%b%b%c%b" % (
            HOST | self.flags,
            self.session.to_bytes(2, "little"),
            wrapped(self.position),
            wrapped(self.ack),
            self.count,
            self.payload,
        )

    @classmethod
    def parse(cls, body: bytes) -> HostFrame | None:
        """None: not a frame of a host."""
        if len(body) < HOST_HEADER or body[0] & 0xF0 not in (HOST, HOST | LOAD):
            return None
        number = int.from_bytes
        return cls(
            body[0] ^ HOST, number(body[1:3], "little"), number(body[3:6], "little"), number(body[6:9], "little"),
            body[9], body[10:],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class BoardFrame:
    """From the board: `count` answer words (bytes, in a WELCOME) from `position` on.

    next   the position of the beat that it expects
    limit  the position of the first beat that it has no room for
    """

    flags: int
    session: int
    position: int = 0
    next: int = 0
    limit: int = 0
    count: int = 0
    payload: bytes = b""

    def body(self) -> bytes:
        return b"%c%b%b%b%b%c%b" % (
            BOARD | self.flags,
            self.session.to_bytes(2, "little"),
            wrapped(self.position),
            wrapped(self.next),
            wrapped(self.limit),
            self.count,
            self.payload,
        )

    @classmethod
    def parse(cls, body: bytes) -> BoardFrame | None:
        """None: not a frame of a board."""
        if len(body) < BOARD_HEADER or body[0] & 0xF0 != BOARD:
            return None
        number = int.from_bytes
        return cls(
            body[0] & 0xF, number(body[1:3], "little"), number(body[3:6], "little"), number(body[6:9], "little"),
            number(body[9:12], "little"), body[12], body[13:],
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a board tells of its memory.

    loaded   it holds a whole image
    ready    its encoder works with that: it is the weights of `graph`, 16 hex digits
    code     of its first error since the session began (hw/rtl/axi_fetch.sv, image_loader.sv), in the burst at byte `address`; 0: none
    size_bits  it has 2**size_bits bytes
    """

    loaded: bool
    ready: bool
    graph: str
    code: int = 0
    address: int = 0
    size_bits: int = 25

    def pack(self) -> bytes:
        numbers = ((self.ready | self.loaded << 1 | self.code << 4, 1), (self.size_bits, 1), (self.address, 4), (int(self.graph, 16), 8))
        return b"".join(value.to_bytes(size, "little") for value, size in numbers)

    @classmethod
    def parse(cls, payload: bytes) -> Weights:
        number = int.from_bytes
        return cls(
            loaded=bool(payload[0] & 2),
            ready=bool(payload[0] & 1),
            code=payload[0] >> 4,
            size_bits=payload[1],
            address=number(payload[2:6], "little"),
            graph=f"{number(payload[6:14], 'little'):016x}",
        )


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a board tells in its WELCOME.

    identity    16 hex digits: the first of its graph's hash
    clock_hz    of its cycle counter
    divider     cycles of one bit on the line
    beat_bits   of one input beat: lanes x bits of an element
    word_bytes  of one answer word: a beat of m_axis
    weights     of its memory; None: its weights are on the chip
    """

    identity: str
    clock_hz: int
    divider: int
    beat_bits: int
    word_bytes: int
    version: int = VERSION
    weights: Weights | None = None

    def pack(self) -> bytes:
        numbers = ((int(self.identity, 16), 8), (self.clock_hz, 4), (self.beat_bits, 2), (self.divider, 2), (self.word_bytes, 1), (self.version, 1))
        return b"".join(value.to_bytes(size, "little") for value, size in numbers) + (self.weights.pack() if self.weights else b"")

    @classmethod
    def parse(cls, payload: bytes) -> Info:
        number = int.from_bytes
        return cls(
            identity=f"{number(payload[:8], 'little'):016x}",
            clock_hz=number(payload[8:12], "little"),
            beat_bits=number(payload[12:14], "little"),
            divider=number(payload[14:16], "little"),
            word_bytes=payload[16],
            version=payload[17],
            weights=Weights.parse(payload[INFO_BYTES:]) if len(payload) > INFO_BYTES else None,
        )


def wrapped(position: int) -> bytes:
    """A position on the wire: its low 24 bits."""
    return (position & (1 << POSITION_BITS) - 1).to_bytes(3, "little")


def unwrap(value: int, near: int, bits: int = POSITION_BITS) -> int:
    """The number with those low bits that is nearest to `near`."""
    half = 1 << bits - 1
    return near + ((value - near + half) & (1 << bits) - 1) - half


def encode(body: bytes) -> bytes:
    """Body and CRC with flag and escape bytes escaped, between two flags."""
    raw = body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")
    return b"\x7e" + raw.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e") + b"\x7e"


def decode(stuffed: bytes) -> bytes | None:
    """What stood between two flags, without the CRC; None if that is wrong or an escape is broken."""
    head, *parts = stuffed.split(b"\x7d")
    if not all(parts):  # an escape at the end, or two
        return None
    raw = head + b"".join(bytes((part[0] ^ FLIP,)) + part[1:] for part in parts)
    body, crc = raw[:-CRC_BYTES], raw[-CRC_BYTES:]
    return body if len(raw) > CRC_BYTES and zlib.crc32(body) == int.from_bytes(crc, "little") else None


class Deframer:
    """Bytes in any pieces -> whole bodies. `damaged` counts what stood between flags and was no frame."""

    def __init__(self) -> None:
        self.damaged = 0
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *pieces, self._rest = (self._rest + data).split(b"\x7e")
        if len(self._rest) > LONGEST:
            self._rest = self._rest[-1:]  # noise without a flag: too long to become a frame
        bodies = [decode(piece) for piece in pieces if piece]
        good = [body for body in bodies if body is not None]
        self.damaged += len(bodies) - len(good)
        return good


def pack_codes(codes: np.ndarray, bits: int) -> bytes:
    """Integer codes as a bit stream, `bits` each in two's complement, lowest bit first, filled up to whole bytes."""
    flat = np.asarray(codes, dtype=np.int64).reshape(-1, 1)
    return np.packbits((flat >> np.arange(bits) & 1).astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def unpack_codes(data: bytes, count: int, bits: int, signed: bool) -> np.ndarray:
    """The inverse of `pack_codes`: int64 [count]."""
    raw = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")[: count * bits].reshape(count, bits)
    weights = 1 << np.arange(bits, dtype=np.int64)
    if signed:
        weights[-1] = -weights[-1]
    return raw.astype(np.int64) @ weights
