# SPDX-License-Identifier: Apache-2.0
"""The simulated board: uart_top under Verilator behind a pseudo-terminal. Values, cycles, and what a bad line or a reset does."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from hil_cases import make_case
from yosys import run_yosys

from bitloom.hw.build import build
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.hw.uart import BOARD_RTL, SHAPE_FILE, UartError, shape_package
from bitloom.sim.encoder import Options, run_encoder
from bitloom.sim.errors import SimulationError
from bitloom.sim.hil.errors import PortError, WrongBitstreamError
from bitloom.sim.hil.frames import HELLO, NAK, REWIND, WELCOME, BoardFrame, Deframer, HostFrame, encode
from bitloom.sim.hil.link import LinkSettings
from bitloom.sim.hil.noise import FAULTS, Noise, Relay
from bitloom.sim.hil.report import hil
from bitloom.sim.hil.serial_target import SerialPort, SerialTarget
from bitloom.sim.hil.simulated import SimulatedBoard, SimulatedTarget, compile_board
from bitloom.sim.runner import needed
from bitloom.sim.tools import find_verilator

DIVIDER = 4
SETTINGS = LinkSettings(timeout_s=0.2, patience=20, payload_bytes=48)


@pytest.fixture(scope="module")
def case():
    return make_case(48, 3, HardwareConfig(target_cycles=100), hidden=24, heads=1, max_tokens=6, labels=3)


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    assert build(case.graph, case.hardware, folder).lanes["embeddings.sum"] == 2
    return folder


@pytest.fixture
def board(folder):
    board = SimulatedBoard(folder, divider=DIVIDER)
    yield board
    if board._process.poll() is None:
        board.off()


def test_values_and_cycles(case, folder):
    target = SimulatedTarget(case.design, folder, divider=DIVIDER)
    report = hil(case.design, target, case.sentences, case.want)
    assert report.ok and report.mismatches == 0, report.first
    assert report.sentences == 48 and report.values_compared == 3 * (48 + 32)
    assert report.latency.worst <= 0.01 and report.latency.measured > 0
    assert report.interval.worst <= 0.01 and report.interval.count >= 10
    assert report.traffic.frames_resent == report.traffic.frames_damaged == report.traffic.resets == 0
    assert report.clock_hz == DIVIDER * 1_000_000 and report.board_seconds > 0 and 0 < report.line_share <= 1
    assert target.result.cycles > report.board_seconds * report.clock_hz and target.result.dropped == 0


@pytest.mark.slow
@pytest.mark.parametrize("head", ["sequence", "token"])
def test_long_sentences_on_a_disturbed_line(head, tmp_path):
    """Of up to 64 tokens, one frame of 50 disturbed; then the cycles, without disturbance."""
    case = make_case(40, 5, HardwareConfig(target_cycles=8192), layers=2, hidden=32, heads=2, intermediate=64, max_tokens=64, head=head)
    build(case.graph, case.hardware, tmp_path)
    board, down, up = SimulatedBoard(tmp_path, divider=DIVIDER), Noise(0.02, 1), Noise(0.02, 2)
    with Relay(board.path, down, up) as relay:
        target = SerialTarget(case.design, relay.path, settings=LinkSettings(timeout_s=1.0))
        target.open()
        case.assert_answered(target.run(case.sentences))
        target.close()
    assert board.off().dropped == 0 and down.done and up.done and target.traffic.frames_resent
    report = hil(case.design, SimulatedTarget(case.design, tmp_path, divider=DIVIDER), case.sentences, case.want)
    assert report.ok and report.latency.count == 40, (report.first, report.latency, report.interval)


@pytest.mark.slow
def test_latency_is_that_of_the_encoder_alone(case, folder):
    """Cycle for cycle what the bench without a line measures."""
    target = SimulatedTarget(case.design, folder, divider=DIVIDER)
    target.open()
    try:
        answers = target.run(case.sentences[:3])
    finally:
        target.close()
    for sentence, answer in zip(case.sentences[:3], answers, strict=True):
        assert answer.latency == run_encoder(folder, [sentence], Options(taps=False)).out_last_cycle[0]


@pytest.mark.slow  # in the plain run a second session finds the board clean, and each sentence's latency is the predicted one
def test_the_same_sentences_again(case, board):
    """Three times in a row, the port closed and opened between, then shuffled: the same answers, and the same cycles of a sentence alone."""
    order, latency = np.arange(len(case.sentences)), {}
    for turn in range(4):
        target = SerialTarget(case.design, board.path, settings=SETTINGS)
        target.open()
        answers = target.run([case.sentences[i] for i in order], burst=turn % 2 == 0)
        target.close()
        assert len(answers) == len(order) and all(np.array_equal(a.codes, case.want[i]) for a, i in zip(answers, order, strict=True)), f"turn {turn}"
        if turn % 2:  # one by one
            latency[turn] = {int(i): a.latency for a, i in zip(answers, order, strict=True)}
        if turn == 2:
            np.random.default_rng(1).shuffle(order)
    assert latency[1] == latency[3]


@pytest.mark.slow  # in the plain run test_link.py disturbs the line to the board's model, as which the board answers below
def test_a_disturbed_line(case, board):
    """A tenth of the frames in both directions, every kind of fault."""
    down, up = Noise(0.1, 1), Noise(0.1, 2)
    with Relay(board.path, down, up) as relay:
        target = SerialTarget(case.design, relay.path, settings=SETTINGS)
        target.open()
        answers = target.run(case.sentences * 4)
        target.close()
    assert len(answers) == 192
    assert all(np.array_equal(a.codes, w) for a, w in zip(answers, case.want * 4, strict=True))
    assert set((down.done + up.done).keys()) == set(FAULTS) and target.traffic.frames_resent > 0 < target.traffic.frames_damaged
    assert target.traffic.resets == 0


def test_the_board_answers_as_its_model(case, board):
    """Frame by frame: what it takes, refuses and ignores."""
    room = case.graph.max_tokens * case.design.entry.beats
    model, port = case.model(depth=room, beat_bits=20), SerialPort(board.path, 1_000_000)
    deframers = Deframer(), Deframer()

    def told(line: bytes, answered: bool) -> list[list[tuple]]:
        """(flags, session, next, limit) of each frame of the board, and of the model."""
        port.write(line)
        said = piece = port.read(10.0 if answered else 0.3)
        while piece:
            said += (piece := port.read(0.1))
        frames = [[BoardFrame.parse(b) for b in d.feed(data)] for d, data in zip(deframers, (said, model.feed(line)), strict=True)]
        return [[(f.flags, f.session, f.next, f.limit) for f in part] for part in frames]

    def data(position: int, count: int = 12, session: int = 7, flags: int = 0) -> bytes:
        return encode(HostFrame(flags, session, position, 0, count, bytes(-(-count * 20 // 8))).body())

    steps = {
        "before a hello": (data(0, session=7), [(0, 0, 0, room)]),
        "hello": (encode(HostFrame(HELLO, 7).body()), [(WELCOME, 7, 0, room)]),
        "the first beats": (data(0), [(0, 7, 12, room)]),
        "the same again": (data(0), [(0, 7, 12, room)]),
        "a gap": (data(24), [(NAK, 7, 12, room)]),
        "the next": (data(12, 1), [(0, 7, 13, room)]),
        "another session": (data(13, session=8), [(0, 7, 13, room)]),
        "a question": (encode(HostFrame(REWIND, 7, 13).body()), [(0, 7, 13, room)]),
        "more than there is room for": (data(13, room - 12), [(NAK, 7, 13, room)]),
        "as much as there is room for": (data(13, room - 13), [(0, 7, room, room)]),
        "one more": (data(room, 1), [(NAK, 7, room, room)]),
        "a wrong CRC": (data(room)[:-3] + b"\x00\x00\x7e", []),
        "fewer beats than it says": (encode(HostFrame(0, 7, room, 0, 3, bytes(5)).body()), []),
        "more beats than it says": (encode(HostFrame(0, 7, room, 0, 1, bytes(5)).body()), []),
        "a frame of a board": (encode(BoardFrame(0, 7, 0, 0, 0).body()), []),
        "flags and noise": (b"\x7e\x7e\x00\x7d\x7e\x55" * 9 + b"\x7e", []),
        "the same hello": (encode(HostFrame(HELLO, 7).body()), [(WELCOME, 7, room, room)]),
        "a new hello": (encode(HostFrame(HELLO, 9).body()), [(WELCOME, 9, 0, room)]),
        "the old session": (data(room), [(0, 9, 0, room)]),
    }
    for what, (line, want) in steps.items():
        assert told(line, bool(want)) == [want, want], what
    port.close()


def test_the_reset_button_in_mid_sentence(case, board):
    target = SerialTarget(case.design, board.path, settings=SETTINGS)
    target.open()
    pressed = []

    def press(answers: int) -> None:
        if answers > 10 * (len(pressed) + 1) and len(pressed) < 3:
            pressed.append(answers)
            board.press_reset()

    answers = target.run(case.sentences, progress=press)
    target.close()
    case.assert_answered(answers)
    assert len(pressed) == target.traffic.resets == 3 and answers[-1].epoch == 3


def test_a_second_session_finds_the_board_clean(case, board):
    """The first host leaves in the middle of a sentence, with others answered and in the encoder: the board forgets them all."""
    first = SerialTarget(case.design, board.path, settings=SETTINGS)
    first.open()
    assert len(first.run(case.sentences[8:16])) == 8
    for sentence in [*case.sentences[:8], max(case.sentences, key=len)]:
        first._link._cut(sentence, 0)
    first._link._waiting.pop()  # without its end
    first._link._send_pieces()
    assert first._link._sent > 0
    first.close()
    second = SerialTarget(case.design, board.path, settings=SETTINGS)
    second.open()
    case.assert_answered(second.run(case.sentences))
    second.close()


def test_a_new_session_begins_anew(case, board):
    """Behind a session with answers the board says its welcome and nothing else: every position is 0 again, no word is left."""
    first = SerialTarget(case.design, board.path, settings=SETTINGS)
    first.open()
    case.assert_answered(first.run(case.sentences))
    session = first._link._session % 0xFFFF + 1
    first.close()
    port = SerialPort(board.path, 1_000_000)
    while port.read(0.3):
        pass  # what is left of the first one
    port.write(encode(HostFrame(HELLO, session).body()))
    said = piece = port.read(10.0)
    while piece and len(said) < 10_000:
        said += (piece := port.read(0.3))
    port.close()
    frames = [BoardFrame.parse(body) for body in Deframer().feed(said)]
    assert [(f.flags, f.session, f.position, f.next, f.limit) for f in frames] == [
        (WELCOME, session, 0, 0, max(64, case.design.entry.beats * case.graph.max_tokens))
    ]


def test_a_slow_reader(case, board):
    target = SerialTarget(case.design, board.path, settings=SETTINGS)
    target.open()
    naps = iter([0.5, 0.5])
    answers = target.run(case.sentences, progress=lambda _: time.sleep(next(naps, 0)))
    target.close()
    case.assert_answered(answers)
    assert target.traffic.frames_resent < target.traffic.frames_sent / 2  # what had arrived and is sent again brings no more of it


def test_unplugged(case, board):
    target = SerialTarget(case.design, board.path, settings=SETTINGS)
    target.open()
    with pytest.raises(PortError, match="the port went away"):
        target.run(case.sentences * 20, progress=lambda n: n == 5 and board.unplug())
    target.close()


def test_a_wrong_bitstream(case, board):
    other = make_case(1, 4, hidden=24, heads=1, max_tokens=6, labels=3)
    target = SerialTarget(other.design, board.path, settings=SETTINGS)
    target.open()
    with pytest.raises(WrongBitstreamError, match=rf"got a bitstream of graph {case.graph.hash[:16]}, must be {other.graph.hash[:16]}"):
        target.run(other.sentences)
    target.close()


def test_a_board_that_died_is_told(board):
    board._process.kill()
    board._process.wait()
    with pytest.raises(SimulationError, match="simulated board: died with exit code -9"):
        board.off()


def test_a_folder_without_a_build(tmp_path):
    with pytest.raises(UartError, match=r"not a whole build .*, must have streams.json and timing.json; run `bitloom build` again"):
        compile_board(tmp_path)


@pytest.fixture(scope="module")
def sources(folder, tmp_path_factory) -> tuple[Path, list[str]]:
    """A folder with all that the top needs, and its Verilog files in reading order; a buffer for 64 tokens of 256."""
    work = tmp_path_factory.mktemp("top")
    (work / SHAPE_FILE).write_text(re.sub(r"IN_DEPTH = \d+;", "IN_DEPTH = 8192;", shape_package(folder)))
    encoder = folder / "encoder.sv"
    files = needed([*BOARD_RTL.glob("*.sv"), *(folder / "rtl").glob("*.sv")], "uart_top" + encoder.read_text())
    for path in [*files, encoder, *folder.glob("*.hex")]:
        shutil.copy(path, work)
    return work, [SHAPE_FILE, *(path.name for path in files), "encoder.sv"]


def test_verilator_lint(sources):
    work, files = sources
    own = [path.name for path in BOARD_RTL.glob("*.sv") if path.name in files]
    assert len(own) >= 7
    verilator = find_verilator()
    command = [verilator.command, "--lint-only", "-Wall", "--quiet", "--top-module", "uart_top", *files]
    done = subprocess.run(command, cwd=work, env=verilator.env, capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert [line for line in said if line.startswith("%Error") or line.startswith("%") and any(name in line for name in own)] == []


def test_synthesis(sources):
    """Yosys maps the top around an encoder of which it sees only the ports: two memories in block RAM, the rest small."""
    work, files = sources
    own = {path.name: path.read_text() for path in BOARD_RTL.glob("*.sv") if path.name in files}
    parts = needed([work / name for name in files if name not in own], "".join(own.values()))
    read = [SHAPE_FILE, *own, *(path.name for path in parts if path.name not in (SHAPE_FILE, "encoder.sv")), "encoder.sv"]
    (work / "run.ys").write_text(
        f"read_verilog -sv {' '.join(read)}\nblackbox encoder\nhierarchy -check -top uart_top\n"
        "synth_ecp5 -noabc9 -top uart_top -run begin:json\ntee -o stat.json stat -json\n"
    )
    done = run_yosys(work, "-q", "run.ys")
    said = done.stdout + done.stderr
    assert done.returncode == 0 and not [line for line in said.splitlines() if any(name in line for name in own)], said
    cells = json.loads((work / "stat.json").read_text())["design"]["num_cells_by_type"]
    assert cells["DP16KD"] == -(-8192 * 21 // 16384) + 1  # beats of two lanes and `last`, 8192 x 2 bits a block; the answers
    assert cells["LUT4"] < 1300 and cells["TRELLIS_FF"] < 1200, cells
