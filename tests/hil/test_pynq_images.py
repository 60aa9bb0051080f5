# SPDX-License-Identifier: Apache-2.0
"""Images of weights that a PYNQ board, or its host, does not take: what is wrong is told, and the image before stays."""

import json
import socket
import struct
import zlib

import pytest
from pynq_cases import error_of
from pynq_streamed import MEMORY, begun, board, check, opened, path_of

from bitloom.boards.pynq_driver import wire
from bitloom.boards.pynq_driver.errors import ImageError
from bitloom.hw import image
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.sim.hil.errors import SessionTakenError, TargetError, WrongBitstreamError


def part(data: bytes, at: int) -> bytes:
    return wire.PART_HEAD.pack(at, zlib.crc32(data)) + data


def resealed(head: bytes, place: int, value: bytes) -> bytes:
    """A header with another value and a checksum to match."""
    head = head[:place] + value + head[place + len(value) : 4092]
    return head + struct.pack("<I", zlib.crc32(head))


def test_headers_that_are_refused(encoder, other, serve):
    """Before a byte of the image is sent; the connection stays, and so does the image before."""
    running = serve(encoder, board(encoder, other))
    head, now = other.path.read_bytes()[:4096], f"; the encoder works with the image of graph {encoder.graph.hash[:16]}, as before"
    shapes, size = encoder.ip.shapes, encoder.ip.image_bytes
    with running.greeted() as sock:
        for sent, text in [
            (b"", "got 0 bytes that begin with b'', must be an image of weights"),
            (head[:4095], "got 4,095 bytes that begin with b'bitloomW', must be an image of weights"),
            (b"x" * 4096, "got 4,096 bytes that begin with b'xxxxxxxx', must be an image of weights"),
            (head[:300] + b"\7" + head[301:], "got a header whose CRC-32 is wrong, must be as it was written"),
            (resealed(head, 8, b"\3"), "got version 3, must be 2"),
            (resealed(head, 12, b"\x10"), "got an image for other hardware, beats of bytes: 16, must be 8; load the bitstream of its run"),
            (resealed(head, 64, b"\0" * 8), f"got an image for other hardware, shapes: {'0' * 16}, must be {shapes[:16]}; load the bitstream of its run"),
            (resealed(head, 16, b"\xff" * 4), f"got an image for other hardware, bytes: {0xFFFFFFFF}, must be {size}; load the bitstream of its run"),
        ]:
            wire.send_frame(sock, wire.IMAGE, sent, 5)
            assert error_of(sock) == {"code": "image", "text": text + now}
        wire.send_frame(sock, wire.IMAGE, head + b"\0", 5)
        assert error_of(sock) == {"code": "protocol", "text": "got a frame of 4097 bytes, must be at most 4096"}
    check(encoder, None, running)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda data: part(data[:99], 4095), "got a part from byte 4095 on, must be the part from byte 4096 on, undamaged"),
        (lambda data: part(data[:99], 5000), "got a part from byte 5000 on, must be the part from byte 4096 on, undamaged"),
        (lambda data: part(data[:99], 4096)[:-1] + b"\xee", "got a part from byte 4096 on whose CRC-32 is wrong, must be the part"),
        (lambda data: part(b"", 4096), "got a part of 12 bytes, must be more than 12"),
        (lambda data: part(data + b"\0", 4096), "got more bytes than the image's"),
        (lambda data: part(data[:-1] + b"\xee", 4096), r"got bytes whose CRC-32 is "),
        (lambda data: bytes(wire.PART_BYTES + 13), "got a frame of 1048589 bytes, must be at most 1048588"),
    ],
    ids=["before", "behind", "damaged", "empty", "too many", "wrong checksum", "too large"],
)
def test_parts_that_are_refused(encoder, other, serve, make, text):
    running = serve(encoder, board(encoder, other))
    with running.greeted() as sock:
        wire.send_frame(sock, wire.PART, make(begun(sock, other)), 5)
        told = error_of(sock)
        assert text in told["text"] and told["text"].endswith(f"; the encoder works with the image of graph {encoder.graph.hash[:16]}, as before")
    check(encoder, None, running)


@pytest.mark.parametrize("how", ["closed", "killed", "silent", "another request"])
def test_half_an_image(encoder, other, serve, how):
    """A host that goes away, says nothing more or something else in the middle of an image: the image before stays, and the next host is served."""
    running = serve(encoder, board(encoder, other), idle_s=0.4)
    with running.greeted() as sock:
        data = begun(sock, other)
        wire.send_frame(sock, wire.PART, part(data[:1000], 4096), 5)
        if how == "killed":
            sock.sendall((wire.HEADER.pack(wire.MAGIC, wire.PART, 900) + part(data[1000:], 5096))[:300])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "silent":
            assert error_of(sock)["text"].startswith("got 0 of 12 bytes in time, must be all; the encoder works with")
        elif how == "another request":
            wire.send_frame(sock, wire.RUN, b"", 5)
            assert "got a frame of kind 4, must be of 9; the encoder works with" in error_of(sock)["text"]
    check(encoder, None, running)
    assert running.device.weights.left == 0, "nothing is waited for any more"


def test_a_second_host_meanwhile(encoder, other, serve):
    running = serve(encoder, board(encoder, other), busy_s=0.1)
    with running.greeted() as sock:
        data = begun(sock, other)
        with pytest.raises(SessionTakenError, match="the board serves another host"):
            opened(running, other.design)
        wire.send_frame(sock, wire.PART, part(data, 4096), 5)
        _, body = wire.read_frame(sock, {wire.LOADED: 1 << 10}, 5)
        assert json.loads(body) == {"graph": other.graph.hash[:16], "shapes": encoder.ip.shapes}
    check(encoder, other, running)


def test_what_the_host_does_not_send(encoder, other, on_chip, serve, tmp_path):
    """A file that is damaged or another's, to hardware of other shapes, or that has its weights on the chip."""
    running = serve(encoder, board(encoder, other))
    target, path = opened(running, encoder.design), tmp_path / image.FILE
    data = path_of(encoder).read_bytes()
    for changed, text in [
        (data[:-8], "the file is cut"),
        (data[:5000] + bytes([data[5000] ^ 4]) + data[5001:], "got weights of unit 2 whose CRC-32 is wrong"),
        (other.path.read_bytes(), f"got an image of graph {other.graph.hash[:16]}, must be of {encoder.graph.hash[:16]}"),
    ]:
        path.write_bytes(changed)
        with pytest.raises(TargetError, match=text):
            target.load(path)
    target.close()
    foreign = Design(encoder.graph, solve(encoder.graph, HardwareConfig(multipliers=20, memory=MEMORY)))
    path.write_bytes(image.make(foreign))
    target = opened(running, foreign)
    with pytest.raises(WrongBitstreamError, match=f"got a bitstream for images of shapes {encoder.ip.shapes[:16]}, must be {image.shapes(foreign)[:16]}; load"):
        target.load(path)
    assert target.traffic.frames_sent == 1, "the greeting"
    target.close()
    chip = serve(on_chip)
    target = opened(chip, encoder.design)
    with pytest.raises(TargetError, match="got a bitstream without memory, must have one for"):
        target.load(path_of(encoder))
    target.close()
    with chip.greeted() as sock:
        wire.send_frame(sock, wire.IMAGE, data[:4096], 5)
        assert error_of(sock) == {"code": "image", "text": "got an image of weights, must be none: this encoder has them on the chip"}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({}, "cannot be understood"),
        ({"graph": "0" * 15, "shapes": "0" * 64}, "cannot be understood"),
        ({"graph": "0" * 16, "shapes": "x" * 64}, "cannot be understood"),
        ({"graph": "1" * 16, "shapes": "0" * 64}, "got weights of graph 1111111111111111, must be"),
        (None, "got weights of graph None, must be"),
    ],
)
def test_what_the_server_says_of_its_image(encoder, other, serve, monkeypatch, said, error):
    running = serve(encoder, board(encoder, other))
    target = opened(running, other.design)
    monkeypatch.setattr(running.server, "_weights", lambda: said)
    with pytest.raises(TargetError, match=error):
        target.load(other.path)


def test_an_image_without_its_end(encoder, other, serve):
    """As a program on the board might give it: it is not used."""
    running = serve(encoder, board(encoder, other))
    weights, data = running.device.weights, other.path.read_bytes()
    weights.begin(data[:4096])
    weights.add(data[4096:-1])
    with pytest.raises(ImageError, match=rf"got {len(data) - 1:,} bytes, must be {len(data):,}; the encoder works with the image of graph"):
        running.device.use_image()
    check(encoder, None, running)
