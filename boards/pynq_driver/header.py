# SPDX-License-Identifier: Apache-2.0
"""The header of an image of weights (hw/image.py says what follows): what hardware, driver and host check first."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

MAGIC, VERSION = b"bitloomW", 2
HEADER_BYTES = 4096
FIRST = struct.Struct("<8sIIQII32s32s")


@dataclass(frozen=True)
class Header:
    """beat_bytes, size of the whole image in bytes, its units, CRC-32 behind the header, SHA-256 of graph and of shapes in 64 hex digits."""

    beat_bytes: int
    size: int
    units: int
    checksum: int
    graph: str
    shapes: str


def parse(data: bytes) -> Header:
    """The header at the begin of `data`.

    Raises ValueError: `got VALUE, must be RULE`.
    """
    if len(data) < HEADER_BYTES or bytes(data[: len(MAGIC)]) != MAGIC:
        raise ValueError(f"got {len(data):,} bytes that begin with {bytes(data[: len(MAGIC)])!r}, must be an image of weights")
    _, version, beat, size, units, checksum, graph, shapes = FIRST.unpack_from(data)
    if struct.unpack_from("<I", data, HEADER_BYTES - 4)[0] != zlib.crc32(data[: HEADER_BYTES - 4]):
        raise ValueError("got a header whose CRC-32 is wrong, must be as it was written")
    if version != VERSION:
        raise ValueError(f"got version {version}, must be {VERSION}")
    return Header(beat, size, units, checksum, graph.hex(), shapes.hex())
