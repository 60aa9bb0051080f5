# SPDX-License-Identifier: Apache-2.0
"""Frames come back whole in any pieces, damaged ones never pass, and codes are packed as the board unpacks them."""

import random
import zlib

import numpy as np
import pytest

from bitloom.sim.hil.frames import (
    END,
    NAK,
    REWIND,
    BoardFrame,
    Deframer,
    HostFrame,
    Info,
    decode,
    encode,
    pack_codes,
    unpack_codes,
    unwrap,
)
from bitloom.sim.hil.noise import FAULTS, Noise

RNG = random.Random(5)
BODIES = [bytes(RNG.choice((0x7E, 0x7D, 0x5E, 0x5D, RNG.randrange(256))) for _ in range(RNG.randrange(1, 60))) for _ in range(400)]


def test_the_bytes_of_a_frame():
    body = bytes.fromhex("127e7d")
    crc = zlib.crc32(body).to_bytes(4, "little")
    assert not set(crc) & {0x7E, 0x7D}
    assert encode(body) == bytes.fromhex("7e127d5e7d5d") + crc + b"\x7e"
    assert HostFrame(END | REWIND, 0x1234, 0x01ABCDEF, 5, 2, b"xy").body() == bytes.fromhex("1a3412efcdab05000002") + b"xy"
    assert BoardFrame(NAK, 0x1234, 1, 2, 3, 0).body() == bytes.fromhex("22341201000002000003000000")


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_frames_in_pieces(size):
    deframer, line, found = Deframer(), b"".join(map(encode, BODIES)), []
    for start in range(0, len(line), size):
        found += deframer.feed(line[start : start + size])
    assert found == BODIES and deframer.damaged == 0


@pytest.mark.parametrize("kind", FAULTS)
def test_a_damaged_frame_never_passes(kind):
    noise, deframer, found = Noise(0.5, 3, (kind,)), Deframer(), []
    for body in BODIES:
        found += deframer.feed(noise(encode(body)))
    assert noise.done[kind] > 100
    kept = iter(BODIES)
    if kind == "repeat":
        assert len(found) == len(BODIES) + noise.done[kind] and set(found) == set(BODIES)
    else:
        assert all(body in kept for body in found)  # a subsequence: none that was not sent, none twice
        assert len(BODIES) - noise.done[kind] <= len(found) < len(BODIES)
        assert deframer.damaged > 0


def test_noise_without_flags_takes_no_memory():
    deframer = Deframer()
    for _ in range(50):
        deframer.feed(b"\x55" * 1000)
    assert len(deframer._rest) <= 5096
    assert deframer.feed(b"\x7e" + encode(b"ab")) == [b"ab"]


@pytest.mark.parametrize("bad", [b"", b"\x7d", b"abc\x7d\x7dabcd", b"\x00" * 4])
def test_what_is_no_frame(bad):
    assert decode(bad) is None


def test_frames_of_the_other_direction_are_refused():
    host, board = HostFrame(0, 1).body(), BoardFrame(0, 1).body()
    assert HostFrame.parse(host) == HostFrame(0, 1) and BoardFrame.parse(board) == BoardFrame(0, 1)
    assert BoardFrame.parse(host) is None and HostFrame.parse(board) is None  # an echo is no answer


def test_info_round_trip():
    info = Info(identity="00ab44fad6f90e16", clock_hz=81_250_000, divider=81, beat_bits=20, word_bytes=2)
    assert Info.parse(info.pack()) == info


@pytest.mark.parametrize(("bits", "signed"), [(10, True), (3, True), (8, False), (1, False), (16, True)])
def test_packing(bits, signed):
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    codes = np.random.default_rng(0).integers(low, high + 1, 77)
    codes[:2] = low, high
    data = pack_codes(codes, bits)
    assert len(data) == -(-77 * bits // 8)
    assert sum((int(c) & (1 << bits) - 1) << i * bits for i, c in enumerate(codes)) == int.from_bytes(data, "little")
    assert np.array_equal(unpack_codes(data, 77, bits, signed), codes)


@pytest.mark.parametrize("position", [0, 5, (1 << 24) - 1, 1 << 24, (1 << 25) + 7])
def test_positions_wrap(position):
    for near in (position - 1000, position, position + 1000):
        assert unwrap(position & 0xFFFFFF, near) == position
