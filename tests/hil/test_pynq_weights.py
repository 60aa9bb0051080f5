# SPDX-License-Identifier: Apache-2.0
"""Weights in the memory of a PYNQ board: images over the network, checked and exchanged, what is wrong told; before a model of the IP, and before its RTL."""

import struct

import numpy as np
import pytest
from pynq_cases import error_of
from pynq_stand_in import Pynq
from pynq_streamed import RtlFabric, Simulation, StreamedFabric, begun, board, check, opened, path_of

from bitloom.boards.pynq_driver import registers as reg
from bitloom.boards.pynq_driver import wire
from bitloom.boards.pynq_driver.device import Device
from bitloom.boards.pynq_driver.errors import DeviceError
from bitloom.boards.pynq_driver.weights import NONE
from bitloom.hw import image
from bitloom.sim.hil.errors import TargetError, WrongBitstreamError
from bitloom.sim.hil.report import hil
from bitloom.sim.hil.targets import open_target

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
