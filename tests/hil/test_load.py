# SPDX-License-Identifier: Apache-2.0
"""Weights in the board's SDRAM: the image over the line, frame by frame and on a bad line; then answers and cycles; what is wrong is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hil_cases import QUICK, Case, make_case

from bitloom.hw import image
from bitloom.hw.build import build
from bitloom.hw.parts.sdram import Sdram
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig
from bitloom.hw.uart import UartError, shape_package
from bitloom.sim.errors import SimulationError
from bitloom.sim.hil.board_model import BoardModel, Wire
from bitloom.sim.hil.errors import TargetError
from bitloom.sim.hil.frames import END, HELLO, LOAD, NAK, WELCOME, BoardFrame, Deframer, HostFrame, Info, Weights, encode
from bitloom.sim.hil.link import LinkSettings
from bitloom.sim.hil.noise import Noise, Relay
from bitloom.sim.hil.report import hil, latencies
from bitloom.sim.hil.serial_target import SerialPort, SerialTarget
from bitloom.sim.hil.simulated import SimulatedBoard, SimulatedTarget
from bitloom.sim.hil.target import Answer, Shape
from bitloom.sim.hil.targets import open_target

DIVIDER = 4
SETTINGS = LinkSettings(timeout_s=0.2, patience=20, payload_bytes=100)
MEMORY = MemoryConfig(data_bits=64, block=8, cycles=9, beats=2, latency=24, bytes=1 << 25)  # as the board's file has it: less than it gives
HARDWARE = HardwareConfig(multipliers=10, memory=MEMORY)
SHAPE = dict(hidden=16, heads=2, intermediate=32, max_tokens=8)


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case(12, 3, HARDWARE, **SHAPE)


@pytest.fixture(scope="module")
def other(case) -> Case:
    """The same constants, other weights in the memory."""
    weights = {f"{unit.name}.weight": case.graph.params[f"{unit.name}.weight"][:, ::-1].copy() for unit in case.design.fetching}
    return make_case(12, 3, HARDWARE, replace(case.graph, params=case.graph.params | weights), **SHAPE)


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    build(case.graph, case.hardware, folder)
    return folder


@pytest.fixture
def board(folder):
    board = SimulatedBoard(folder, divider=DIVIDER)
    yield board
    if not board.died():
        board.off()


def image_of(case: Case, folder: Path) -> Path:
    path = folder / image.FILE
    path.write_bytes(image.make(case.design))
    return path


def opened(case: Case, path: str, settings: LinkSettings = SETTINGS) -> SerialTarget:
    target = SerialTarget(case.design, path, settings=settings)
    target.open()
    return target


def test_answers_and_cycles(case, folder):
    """Within one per cent of what is predicted for the board's memory, on both sides, although its file promises less."""
    target = SimulatedTarget(case.design, folder, divider=DIVIDER)
    report = hil(case.design, target, case.sentences, case.want, weights=folder / image.FILE)
    assert report.ok and report.mismatches == 0, report.first
    assert report.values_compared == 2 * sum(w.size for w in case.want) > 0
    assert abs(report.latency.measured - report.latency.predicted) <= 0.003 * report.latency.measured
    assert report.interval.count >= 3 and abs(report.interval.measured - report.interval.predicted) <= 0.01 * report.interval.measured
    assert report.traffic.frames_resent == report.traffic.frames_damaged == 0 and target.result.dropped == 0


def test_an_image_from_the_beginning(case, folder):
    """The board is loaded when it is turned on: nothing is sent but sentences."""
    target = open_target("sim:loaded", case.design, folder, divider=DIVIDER)
    target.open()
    target.load(folder / image.FILE)
    assert target.traffic.bytes_sent < (folder / image.FILE).stat().st_size / 10 and target.identify() == case.design.identity
    case.assert_answered(target.run(case.sentences))
    target.close()


def test_fewer_cycles_than_predicted(case):
    """An error where the memory is known, and waiting for it has come to rest; else only more cycles are one."""
    sdram, lengths = Sdram(clock_mhz=4), case.lengths[:2]

    def answers(share: float) -> list[Answer]:
        """Sentences far apart that take a share of what is predicted."""
        ends = [int(share * predict(case.design, [n], external=sdram).latency[0]) for n in lengths]
        return [Answer(codes=np.zeros((1, 1)), start=i * 10**6, end=i * 10**6 + end) for i, end in enumerate(ends)]

    assert latencies(case.design, lengths, answers(1.0), sdram).worst == 0
    assert not latencies(case.design, lengths, answers(0.98), sdram).ok and not latencies(case.design, lengths, answers(1.02), sdram).ok
    assert latencies(case.design, lengths, answers(0.98)).worst == 0, "the board's file says the least"
    assert not latencies(case.design, lengths, answers(1.1)).ok


def test_another_image_into_the_same_board(case, other, folder, board, tmp_path):
    """Its answers are the other graph's; an image that the board holds is not sent again, by the next host either."""
    assert any(not np.array_equal(a, b) for a, b in zip(case.want, other.want, strict=True))
    sent = []
    for this, path in [(case, folder / image.FILE), (case, folder / image.FILE), (other, image_of(other, tmp_path)), (case, folder / image.FILE)]:
        target = opened(this, board.path)
        target.load(path)
        sent.append(target.traffic.bytes_sent > path.stat().st_size)
        assert target.identify() == this.design.identity and target.info.identity == case.design.identity
        this.assert_answered(target.run(this.sentences))
        target.close()
    assert sent == [True, False, True, True]
    target = opened(other, board.path)
    with pytest.raises(TargetError, match=rf"got a bitstream of graph {case.design.identity}, must be {other.design.identity}"):
        target.run(other.sentences)
    target.close()


def test_a_disturbed_line(case, folder, board):
    """A tenth of the frames in both directions, every kind of fault; the reset button: the memory's image counts as lost."""
    down, up = Noise(0.1, 1), Noise(0.1, 2)
    with Relay(board.path, down, up) as relay:
        target = opened(case, relay.path)
        target.load(folder / image.FILE)
        target.close()
    assert down.done and up.done and target.traffic.frames_resent > 0
    target = opened(case, board.path)
    assert target.identify() == case.design.identity
    case.assert_answered(target.run(case.sentences))
    target.close()
    board.press_reset()
    target = opened(case, board.path)
    with pytest.raises(TargetError, match=rf"got a memory without weights, must hold the image of graph {case.design.identity}; load it first"):
        target.run(case.sentences)
    target.close()


def model_of(case: Case) -> BoardModel:
    model, shape = case.model(), Shape.of(case.design)
    lanes = case.design.entry.lanes
    info = Info(
        identity=shape.identity,
        clock_hz=4_000_000,
        divider=DIVIDER,
        beat_bits=lanes * shape.bits,
        word_bytes=2,
        weights=Weights(loaded=False, ready=False, graph="0" * 16),
    )
    return BoardModel(shape, info, 128, model.compute)


def test_the_board_answers_as_its_model(case, folder, board):
    """Frame by frame: which words of an image it takes, refuses and ignores."""
    model, port, data = model_of(case), SerialPort(board.path, 1_000_000), (folder / image.FILE).read_bytes()
    data += bytes(len(data) % 2)
    deframers, words = (Deframer(), Deframer()), len(data) // 2

    def told(line: bytes, answered: bool) -> list[list[tuple]]:
        """(flags, session, next, limit, payload) of each frame of the board, and of the model."""
        port.write(line)
        said = piece = port.read(10.0 if answered else 0.3)
        while piece:
            said += (piece := port.read(0.1))
        frames = [[BoardFrame.parse(b) for b in d.feed(part)] for d, part in zip(deframers, (said, model.feed(line)), strict=True)]
        return [[(f.flags, f.session, f.next, f.limit) for f in part] for part in frames]

    def part(start: int, count: int = 100, session: int = 7, flags: int = 0, wrong: int = 0) -> bytes:
        payload = bytes(byte ^ wrong for byte in data[2 * start : 2 * (start + count)])
        return encode(HostFrame(LOAD | flags, session, start, 0, count, payload).body())

    ahead = 1 << 22
    steps = {
        "words in no session": (part(0), [(0, 0, 0, 128)]),
        "a session for sentences": (encode(HostFrame(HELLO, 5).body()), [(WELCOME, 5, 0, 128)]),
        "words in it": (part(0, session=5), [(NAK, 5, 0, 128)]),
        "a session for loading": (encode(HostFrame(HELLO | END, 7).body()), [(WELCOME, 7, 0, ahead)]),
        "the first words": (part(0), [(0, 7, 100, 100 + ahead)]),
        "the same again, changed": (part(0, wrong=1), [(0, 7, 100, 100 + ahead)]),
        "a gap": (part(200), [(NAK, 7, 100, 100 + ahead)]),
        "a wrong CRC, its words written": (part(100, wrong=2)[:-3] + b"\x00\x00\x7e", []),
        "another session": (part(100, session=8, wrong=4), [(0, 7, 100, 100 + ahead)]),
        "fewer words than it says": (encode(HostFrame(LOAD, 7, 100, 0, 3, bytes(4)).body()), []),
        "no words": (encode(HostFrame(LOAD, 7, 100).body()), [(0, 7, 100, 100 + ahead)]),
        "the next": (part(100), [(0, 7, 200, 200 + ahead)]),
    }
    for start in range(200, words, 250):
        count, end = min(250, words - start), min(start + 250, words)
        steps[f"words from {start}"] = (part(start, count, flags=END if end == words else 0), [(0, 7, end, end + ahead)])
    steps |= {
        "words behind the image": (part(words - 10, 10, wrong=8), [(0, 7, words, words + ahead)]),
        "more": (encode(HostFrame(LOAD, 7, words, 0, 2, bytes(4)).body()), [(NAK, 7, words, words + ahead)]),
        "a session for sentences again": (encode(HostFrame(HELLO, 9).body()), [(WELCOME, 9, 0, 128)]),
    }
    for what, (line, want) in steps.items():
        assert told(line, bool(want)) == [want, want], what
    port.close()
    assert model.image == data
    target = opened(case, board.path)  # and the board holds the image
    case.assert_answered(target.run(case.sentences))
    target.close()


def test_images_that_are_not_taken(case, other, folder, board, tmp_path):
    data, path = (folder / image.FILE).read_bytes(), tmp_path / image.FILE
    target = opened(case, board.path)
    for changed, match in [
        (data[:-8], "the file is cut"),
        (data[:5000] + bytes([data[5000] ^ 4]) + data[5001:], r"got weights of unit \d whose CRC-32 is wrong"),
        (image.make(other.design), f"got an image of graph {other.design.identity}, must be of {case.design.identity}"),
    ]:
        path.write_bytes(changed)
        with pytest.raises(TargetError, match=match):
            target.load(path)
    assert not target.info.weights.loaded
    target.close()
    foreign = make_case(2, 4, HARDWARE, **SHAPE | dict(intermediate=48))  # of other hardware: this one refuses it
    target = opened(foreign, board.path)
    with pytest.raises(TargetError, match="the hardware refused the image of weights .error 8 at byte 0., must be one that it can work with"):
        target.load(image_of(foreign, tmp_path))
    target.close()


def test_errors_of_the_memory_are_told(case, folder, tmp_path):
    """By a board's model: a memory that is too small, none at all, an error while sentences run."""
    model = model_of(case)
    model.info = replace(model.info, weights=replace(model.info.weights, size_bits=12))
    with Wire(model.feed) as wire:
        target = opened(case, wire.path, QUICK)
        with pytest.raises(TargetError, match=r"got an image of [\d,]+ bytes, must be at most the memory's 4,096; lower the weights' bits"):
            target.load(folder / image.FILE)
        target.close()
    model = model_of(case)
    with Wire(model.feed) as wire:
        target = opened(case, wire.path, QUICK)
        target.load(folder / image.FILE)
        case.assert_answered(target.run(case.sentences))
        compute, before = model.compute, len(case.computed)

        def failing(sentence: np.ndarray) -> tuple[np.ndarray, int]:
            if len(case.computed) == before + 3:
                model.fail(2, 4160)
            return compute(sentence)

        model.compute = failing
        with pytest.raises(TargetError, match="external memory: got error 2 in the burst at byte 4160, must be none; reset the board"):
            target.run(case.sentences)
        target.close()
    with Wire(case.model().feed) as wire:
        target = opened(case, wire.path, QUICK)
        with pytest.raises(TargetError, match="got a bitstream without memory, must have one for"):
            target.load(folder / image.FILE)
        target.close()


def test_a_broken_time_of_the_chip_ends_the_run(case, folder):
    target = SimulatedTarget(case.design, folder, divider=DIVIDER, settings=LinkSettings(timeout_s=0.5), chip={"chip_t_rcd": 1000})
    target.open()
    with pytest.raises(SimulationError, match=r"simulated board: died with exit code .*sdram_chip: tRCD: got \d+ ns, must be at least 1000"):
        target.load(folder / image.FILE)


def test_memory_ports_that_no_controller_has(tmp_path):
    case = make_case(1, 3, HardwareConfig(multipliers=10, memory=MemoryConfig(data_bits=128)), **SHAPE)
    build(case.graph, case.hardware, tmp_path)
    with pytest.raises(UartError, match="got a memory port of 128 bits, must be 64 as the SDRAM's; set hardware.memory.data_bits and build again"):
        shape_package(tmp_path)
