# SPDX-License-Identifier: Apache-2.0
"""Weights in the memory of a PYNQ board: images over the network, checked and exchanged, what is wrong told; before a model of the IP, and before its RTL."""

import json
import socket
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pynq_cases import Encoder, error_of, serving
from pynq_stand_in import Pynq, golden_answers
from pynq_streamed import RtlFabric, Simulation, StreamedFabric

from bitloom.boards.pynq_driver import registers as reg
from bitloom.boards.pynq_driver import wire
from bitloom.boards.pynq_driver.device import Device
from bitloom.boards.pynq_driver.errors import DeviceError, ImageError
from bitloom.boards.pynq_driver.weights import NONE
from bitloom.hw import image
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig, solve
from bitloom.sim.hil.errors import SessionTakenError, TargetError, WrongBitstreamError
from bitloom.sim.hil.report import hil
from bitloom.sim.hil.targets import open_target

MEMORY = MemoryConfig(data_bits=64, block=8, outstanding=4)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return Encoder(tmp_path_factory.mktemp("encoder"), "sequence", MEMORY, seed=5)


@pytest.fixture(scope="module")
def other(encoder, tmp_path_factory) -> "Other":
    return Other(encoder, tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def on_chip(tmp_path_factory) -> Encoder:
    return Encoder(tmp_path_factory.mktemp("on_chip"), "sequence", seed=5)


class Other:
    """The same shapes and constants as an encoder's, other weights in the memory."""

    def __init__(self, encoder: Encoder, folder: Path):
        units = {f"{unit.name}.weight" for unit in encoder.design.fetching}
        params = {key: value[:, ::-1].copy() if key in units else value for key, value in encoder.graph.params.items()}
        self.graph = replace(encoder.graph, params=params)
        self.design, self.path = Design(self.graph, encoder.folding), folder / image.FILE
        self.path.write_bytes(image.make(self.design))
        self.answers = golden_answers(self.graph, encoder.sentences, [len(s) for s in encoder.sentences])
        assert not all(np.array_equal(*pair) for pair in zip(self.answers, encoder.answers, strict=True))


@pytest.fixture
def serve(monkeypatch):
    yield from serving(monkeypatch)


def board(encoder: Encoder, other: Other | None = None, **options) -> Pynq:
    """The stand-in, before a model of the IP."""
    pynq = Pynq(encoder.graph, encoder.folding, encoder.ip, fabric=StreamedFabric, **options)
    graphs = [encoder.graph, *([other.graph] if other else [])]
    pynq.graphs, pynq.faulty = {graph.hash[:16]: graph for graph in graphs}, range(0)
    return pynq


def opened(running, design: Design):
    target = open_target(running.spec, design)
    target.open()
    return target


def check(encoder: Encoder, other: Other | None, running, count: int = 3) -> None:
    """A host that comes now gets this one's answers."""
    this = other or encoder
    target = opened(running, this.design)
    assert target.identify() == this.graph.hash[:16]
    for got, want in zip(target.run(encoder.sentences[:count], burst=True), this.answers, strict=False):
        assert np.array_equal(got.codes, want)
    target.close()


def path_of(encoder: Encoder) -> Path:
    return encoder.build / image.FILE


# --- what works


def test_the_image_of_the_overlay(encoder, serve):
    """It is loaded before the first host comes, told by its graph, and not sent again; answers and cycles are checked as of any target."""
    running = serve(encoder, board(encoder))
    report = hil(encoder.design, open_target(running.spec, encoder.design), encoder.sentences[:8], encoder.answers[:8], weights=path_of(encoder))
    assert report.ok and report.mismatches == 0 and report.sentences == 8 and report.identity == encoder.graph.hash[:16]
    assert report.latency.worst == 0 and report.interval.worst == 0
    assert report.traffic.frames_sent == 2, "no image"


def test_another_image(encoder, other, serve):
    """It replaces the first without a bitstream, in parts, and back again; counts begin anew, which the epoch says."""
    running = serve(encoder, board(encoder, other))
    told, sent, epochs, places = [], [], [], []
    for this, path in [(other, other.path), (other, other.path), (encoder, path_of(encoder)), (other, other.path)]:
        target = opened(running, this.design)
        target.load(path, progress=told.append)
        sent.append(target.traffic.bytes_sent > path.stat().st_size)
        answers = target.run(encoder.sentences[:3])
        assert all(np.array_equal(got.codes, want) for got, want in zip(answers, this.answers, strict=False)) and target.identify() == this.graph.hash[:16]
        epochs.append(answers[0].epoch)
        target.close()
        places.append(running.pynq.used)
    assert sent == [True, False, True, True] and epochs == [2, 2, 3, 4]
    assert len(set(places)) == 1, "two places serve all images"
    assert told == [other.path.stat().st_size] * 3
    assert running.pynq.loaded == 1 and running.device.tell_identity() == encoder.graph.hash[:16]
    target = opened(running, encoder.design)
    with pytest.raises(WrongBitstreamError, match=f"got a bitstream of graph {other.graph.hash[:16]}, must be {encoder.graph.hash[:16]}"):
        target.run(encoder.sentences[:1])


def test_small_parts(encoder, other, serve, monkeypatch):
    """The last is shorter; a part is as large as the server says."""
    running = serve(encoder, board(encoder, other))
    monkeypatch.setattr(wire, "PART_BYTES", 1000)
    target, told = opened(running, other.design), []
    target.load(other.path, progress=told.append)
    size = other.path.stat().st_size
    assert told == [*range(5096, size, 1000), size] and (size - 4096) % 1000
    target.close()
    check(encoder, other, running)


@pytest.mark.parametrize("room", [1, 2])
def test_memory_for_one_image(encoder, other, serve, room):
    """Where there is none for a second, the first one is overwritten: after a broken transfer it is gone, which is told; with room for two it stays."""
    fresh = board(encoder)
    Device(encoder.overlay, fresh)
    place = -(-path_of(encoder).stat().st_size // 4096) * 4096
    running = serve(encoder, board(encoder, other, memory=np.zeros(fresh.used + (room - 1) * place, dtype=np.uint8)))
    check(encoder, None, running)
    with running.greeted() as sock:
        broken = begun(sock, other)
        wire.send_frame(sock, wire.PART, wire.PART_HEAD.pack(4096, 1) + broken[:500], 5)
        now = "the board's memory holds no image now" if room == 1 else f"the encoder works with the image of graph {encoder.graph.hash[:16]}, as before"
        assert error_of(sock)["text"].endswith(now)
    target = opened(running, encoder.design)
    assert target.identify() == (NONE if room == 1 else encoder.graph.hash[:16])
    if room == 1:
        with pytest.raises(TargetError, match=f"got a memory without weights, must hold the image of graph {encoder.graph.hash[:16]}; load it first"):
            target.run(encoder.sentences[:1])
    target.close()
    target = opened(running, other.design)
    target.load(other.path)
    target.close()
    check(encoder, other, running)
    assert running.pynq.used == len(running.pynq.memory), "no third place"


def test_a_run_without_weights_is_refused_on_the_board(encoder, other, serve):
    running = serve(encoder, board(encoder, other))
    running.device.weights.graph = NONE
    sentence = encoder.sentences[0]
    with running.greeted() as sock:
        wire.send_frame(sock, wire.RUN, struct.pack("<III", 0, 1, len(sentence)) + sentence.astype("<i2").tobytes(), 5)
        assert error_of(sock) == {"code": "request", "text": "the board's memory holds no weights, must hold an image; load one first"}


# --- images that are not taken


def begun(sock: socket.socket, other: Other) -> bytes:
    """The server has taken the header; what follows it."""
    data = other.path.read_bytes()
    wire.send_frame(sock, wire.IMAGE, data[:4096], 5)
    assert wire.read_frame(sock, {wire.GO: 4}, 5) == (wire.GO, struct.pack("<I", wire.PART_BYTES))
    return data[4096:]


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


# --- the board


def test_errors_of_the_memory(encoder, other, serve):
    """While an image is read: it is not taken, and the one before is. While sentences run: no answer. Each by name, with its place."""
    running = serve(encoder, board(encoder, other))
    tiles = range(4096, image.begin(encoder.design))
    target = opened(running, other.design)
    running.pynq.faulty = range(0, 4096)
    with pytest.raises(TargetError, match=r"external memory: got error 2 \(RRESP SLVERR\) in the burst at byte 0 of the image, must be none"):
        target.load(other.path)
    running.pynq.faulty = range(0)
    target = opened(running, encoder.design)
    assert target.identify() == NONE, "the memory failed for the one before, too"
    target.load(path_of(encoder))
    assert running.pynq.loaded == 2
    running.pynq.faulty = tiles
    with pytest.raises(
        TargetError, match=r"got error 2 \(RRESP SLVERR\) in the burst at byte 4096 of the image, must be none; the overlay was loaded anew, run"
    ):
        target.run(encoder.sentences[:1])
    running.pynq.faulty = range(0)
    assert running.pynq.loaded == 3
    check(encoder, None, running)


def test_an_image_that_the_hardware_refuses(encoder, other, serve, monkeypatch):
    """What the driver should have found: the overlay is loaded anew, and the image before works again."""
    running = serve(encoder, board(encoder, other))
    target, begin = opened(running, other.design), StreamedFabric.begin

    def refuses(fabric):
        begin(fabric)
        if fabric.graph == other.graph.hash[:16]:
            fabric.graph, fabric.error = "", (8, fabric.base)

    monkeypatch.setattr(StreamedFabric, "begin", refuses)
    now = f"the overlay was loaded anew; the encoder works with the image of graph {encoder.graph.hash[:16]}, as before; run"
    with pytest.raises(TargetError, match=rf"got error 8 \(the image is not for this hardware\) in the burst at byte 0 of the image, must be none; {now}"):
        target.load(other.path)
    assert running.pynq.loaded == 2
    check(encoder, None, running)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"asked": -(10**9)}, "external memory: got no weights in 0.2 s, must be read by then"),
        ({"graph": "0123456789abcdef"}, "external memory: the encoder has read weights of graph 0123456789abcdef, must be"),
    ],
)
def test_an_encoder_that_does_not_start(encoder, monkeypatch, change, message):
    begin = StreamedFabric.begin
    monkeypatch.setattr(StreamedFabric, "begin", lambda fabric: (begin(fabric), vars(fabric).update(change)))
    pynq = board(encoder)
    with pytest.raises(DeviceError, match=message):
        Device(encoder.overlay, pynq, timeout_s=0.2)


def test_a_hang_keeps_the_weights(encoder, serve):
    """The overlay that is loaded anew after it gets them from the memory."""
    running = serve(encoder, board(encoder))
    target = opened(running, encoder.design)
    running.pynq.fault = "hang"
    with pytest.raises(TargetError, match="DMA sendchannel, recvchannel: got no end in 0.2 s"):
        target.run(encoder.sentences[:1])
    running.pynq.fault = ""
    check(encoder, None, running)


def test_boards_without_memory_for_an_image(encoder):
    fresh = board(encoder)
    Device(encoder.overlay, fresh)
    for size, use in ((4096, "sentences"), (fresh.used - 4096, "the weights")):
        pynq = board(encoder, memory=np.zeros(size, dtype=np.uint8))
        with pytest.raises(DeviceError, match=rf"memory: got no [\d,]+ contiguous bytes for {use} \(Allocate failed: 4294967295\), must be there; end what"):
            Device(encoder.overlay, pynq)
    pynq = board(encoder)
    pynq.BEGIN = (1 << 32) - fresh.used + 4096
    with pytest.raises(DeviceError, match=r"got memory at 0x\w+ for the weights, must be a multiple of 4096 below 4 GiB"):
        Device(encoder.overlay, pynq)


def test_an_overlay_whose_image_is_another(encoder, other, tmp_path):
    folder = tmp_path / "overlay"
    folder.mkdir()
    for path in encoder.overlay.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / image.FILE).write_bytes(other.path.read_bytes())
    with pytest.raises(DeviceError, match=rf"{image.FILE}: got SHA-256 [0-9a-f]{{16}}..., must be"):
        Device(folder, board(encoder))


# --- the RTL


def test_the_ip_itself(encoder, other, serve, tmp_path):
    """Client, server and driver before the RTL of the IP: two images, golden answers, cycles not above the prediction, an error of the memory."""
    simulation = Simulation(encoder.project, tmp_path / "simulation", Pynq.BEGIN)
    try:
        pynq = Pynq(encoder.graph, encoder.folding, encoder.ip, fabric=RtlFabric, memory=simulation.memory)
        pynq.simulation = simulation
        running = serve(encoder, pynq, timeout_s=60)
        report = hil(encoder.design, open_target(running.spec, encoder.design), encoder.sentences[:4], encoder.answers[:4], weights=path_of(encoder))
        assert report.ok and report.mismatches == 0 and report.traffic.frames_sent == 2, report
        report = hil(other.design, open_target(running.spec, other.design), encoder.sentences[:4], other.answers[:4], weights=other.path)
        assert report.ok and report.mismatches == 0 and report.traffic.frames_sent > 2, report
        target = opened(running, other.design)
        base = running.device._encoder.read(reg.WEIGHTS_BASE)
        simulation.ask("faulty", base + 4096, base + image.begin(encoder.design))
        with pytest.raises(TargetError, match=r"got error 2 \(RRESP SLVERR\) in the burst at byte 4096 of the image, must be none"):
            target.run(encoder.sentences[:1])
        simulation.ask("faulty", 0, 0)
        check(encoder, other, running)
        running.stop()
    finally:
        simulation.end()
