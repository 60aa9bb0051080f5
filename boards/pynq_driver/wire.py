# SPDX-License-Identifier: Apache-2.0
"""What a host and the server on the board say to each other over TCP. Both ends use this file.

A frame is 4 bytes "BLP1", a kind (1 byte), 3 zero bytes, the body's length (4 bytes), the body; all numbers little-endian.

    server: HELLO   32 random bytes
    host:   AUTH    HMAC-SHA256 of them under the token: the token itself never travels
    server: READY   JSON: identity, clock_mhz, max_tokens, sentences (most per RUN), input, output (layout.Stream), weights
    host:   RUN     burst (4 bytes, 0 or 1), sentences S (4), tokens of each (4 each), codes (input.dtype)
    server: ANSWER  S (4), then (start, end, epoch) of each (8 each), then codes (output.dtype)
    server: ERROR   JSON: code, text; the server closes after it, but for the codes "request" and "image"

weights: null where they are on the chip; else graph (16 hex digits: whose image the encoder works with; zeros: none) and shapes (64: of images that it takes).
An image replaces the one before when it is whole and checked; until then, and if it is refused, that one stays, where the board has memory for both:

    host:   IMAGE   the image's header, 4096 bytes (header.py)
    server: GO      most bytes of image in a PART (4): the header is good and there is room
    host:   PART    offset (8), CRC-32 of what follows (4), bytes of the image; in order, from 4096 on, up to its end
    server: LOADED  JSON: weights: the encoder works with it
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import stat
import struct
import time
from pathlib import Path

MAGIC = b"BLP1"
HEADER = struct.Struct("<4sB3xI")
HELLO, AUTH, READY, RUN, ANSWER, ERROR, IMAGE, GO, PART, LOADED = range(1, 11)
PART_HEAD, PART_BYTES = struct.Struct("<QI"), 1 << 20
NONCE_BYTES = AUTH_BYTES = 32
MIN_TOKEN = 16
PORT = 7441
TOKEN_VARIABLE = "BITLOOM_TOKEN"
# The board's cycle counter and epochs of one sentence, in an ANSWER.
TIMES = "<u8"


class WireError(Exception):
    """What came is no frame, not the one that is due, too large, too late, or cut off."""


class Closed(WireError):
    """The other end closed the connection between two frames."""


def send_frame(sock: socket.socket, kind: int, body: bytes, seconds: float) -> None:
    """Raises OSError (TimeoutError included): the other end takes nothing."""
    sock.settimeout(seconds)
    sock.sendall(HEADER.pack(MAGIC, kind, len(body)) + body)


def read_frame(sock: socket.socket, limits: dict[int, int], seconds: float) -> tuple[int, bytes]:
    """The next frame: (kind, body).

    limits   kind -> most bytes of its body; other kinds are refused. Nothing is stored before the length was checked.
    seconds  for the whole frame, however slowly its bytes come
    Raises WireError; Closed; OSError: the connection broke.
    """
    deadline = time.monotonic() + seconds
    head = _read(sock, HEADER.size, deadline)
    magic, kind, length = HEADER.unpack(head)
    if magic != MAGIC or head[5:8] != bytes(3):
        raise WireError(f"got {head[:8]!r}, must be a frame of this protocol")
    if kind not in limits:
        raise WireError(f"got a frame of kind {kind}, must be of {' or '.join(map(str, limits))}")
    if length > limits[kind]:
        raise WireError(f"got a frame of {length} bytes, must be at most {limits[kind]}")
    return kind, _read(sock, length, deadline, begun=True)


def _read(sock: socket.socket, size: int, deadline: float, begun: bool = False) -> bytes:
    data = bytearray()
    while len(data) < size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise WireError(f"got {len(data)} of {size} bytes in time, must be all")
        sock.settimeout(left)
        try:
            part = sock.recv(min(size - len(data), 1 << 16))
        except TimeoutError:
            continue
        if not part:
            if not data and not begun:
                raise Closed("the connection was closed")
            raise WireError(f"got {len(data)} of {size} bytes, then the connection was closed")
        data += part
    return bytes(data)


def proof(token: bytes, nonce: bytes) -> bytes:
    """The body of AUTH."""
    return hmac.new(token, b"bitloom host " + nonce, hashlib.sha256).digest()


def is_proof(got: bytes, token: bytes, nonce: bytes) -> bool:
    """Whether that is the proof, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(got, proof(token, nonce))


def load_token(file: str | Path | None) -> bytes:
    """The token: of a file that only its owner can read, else of the variable BITLOOM_TOKEN; without white space around it.

    Raises ValueError: none is given, it is too short, or others can read the file. OSError: the file cannot be read.
    """
    if file is not None:
        mode = os.stat(file).st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise ValueError(f"token file {file}: got mode {stat.S_IMODE(mode):o}, must be readable for its owner alone; chmod 600 {file}")
        token, where = Path(file).read_bytes().strip(), f"token file {file}"
    else:
        token, where = os.environ.get(TOKEN_VARIABLE, "").strip().encode(), f"variable {TOKEN_VARIABLE}"
    if len(token) < MIN_TOKEN:
        raise ValueError(
            f"{where}: got {len(token)} characters, must be a token of at least {MIN_TOKEN}; make one with "
            '`python3 -c "import secrets; print(secrets.token_hex(16))"` and give it to both ends'
        )
    return token
