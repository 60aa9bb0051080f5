# SPDX-License-Identifier: Apache-2.0
"""The simulated board: uart_top under Verilator behind a pseudo-terminal. Values, cycles, and what a bad line or a reset does."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from hil_cases import make_case
from yosys import run_yosys

from hw.build import build
from hw.folding import HardwareConfig
from hw.uart import BOARD_RTL, SHAPE_FILE, UartError, shape_package
from sim.encoder import run_encoder
from sim.errors import SimulationError
from sim.hil.errors import PortError, WrongBitstreamError
from sim.hil.link import LinkSettings
from sim.hil.noise import FAULTS, Noise, Relay
from sim.hil.report import hil
from sim.hil.serial_target import SerialTarget
from sim.hil.simulated import SimulatedBoard, SimulatedTarget, compile_board
from sim.runner import needed
from sim.tools import find_verilator

DIVIDER = 4
SETTINGS = LinkSettings(timeout_s=0.2, patience=20, payload_bytes=48)


@pytest.fixture(scope="module")
def case():
    return make_case(48, 3, hidden=24, heads=1, max_tokens=6, labels=3)


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    assert build(case.graph, HardwareConfig(target_cycles=100), folder).lanes["embeddings.sum"] == 2
    return folder


@pytest.fixture
def board(folder):
    board = SimulatedBoard(folder, divider=DIVIDER)
    yield board
    if board._process.poll() is None:
        board.off()


def test_values_and_cycles(case, folder):
    target = SimulatedTarget(case.graph, folder, divider=DIVIDER)
    report = hil(case.graph, folder, target, case.sentences, case.want)
    assert report.ok and report.mismatches == 0, report.first
    assert report.sentences == 48 and report.values_compared == 3 * (48 + 32)
    assert report.latency.worst <= 0.01 and report.latency.measured > 0
    assert report.interval.worst <= 0.01 and report.interval.count >= 10
    assert report.traffic.frames_resent == report.traffic.frames_damaged == report.traffic.resets == 0
    assert report.clock_hz == DIVIDER * 1_000_000 and report.board_seconds > 0 and 0 < report.line_share <= 1
    assert target.result.cycles > report.board_seconds * report.clock_hz and target.result.dropped == 0


def test_latency_is_that_of_the_encoder_alone(case, folder):
    """Cycle for cycle what the bench without a line measures."""
    target = SimulatedTarget(case.graph, folder, divider=DIVIDER)
    target.open()
    try:
        answers = target.run(case.sentences[:3])
    finally:
        target.close()
    for sentence, answer in zip(case.sentences[:3], answers, strict=True):
        assert answer.latency == run_encoder(folder, [sentence], taps=False).out_last_cycle[0]


def test_a_disturbed_line(case, board):
    """A tenth of the frames in both directions, every kind of fault."""
    down, up = Noise(0.1, 1), Noise(0.1, 2)
    with Relay(board.path, down, up) as relay:
        target = SerialTarget(case.graph, relay.path, settings=SETTINGS)
        target.open()
        answers = target.run(case.sentences * 4)
        target.close()
    assert len(answers) == 192
    assert all(np.array_equal(a.codes, w) for a, w in zip(answers, case.want * 4, strict=True))
    assert set((down.done + up.done).keys()) == set(FAULTS) and target.traffic.frames_resent > 0 < target.traffic.frames_damaged
    assert target.traffic.resets == 0


def test_the_reset_button_in_mid_sentence(case, board):
    target = SerialTarget(case.graph, board.path, settings=SETTINGS)
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
    """The first host leaves in the middle of a sentence; the board forgets it."""
    first = SerialTarget(case.graph, board.path, settings=SETTINGS)
    first.open()
    first._link._cut(case.sentences[0], 0)
    first._link._waiting.pop()  # without its end
    first._link._send_pieces()
    first._link._cut(case.sentences[1], 0)
    first.close()
    second = SerialTarget(case.graph, board.path, settings=SETTINGS)
    second.open()
    case.assert_answered(second.run(case.sentences))
    second.close()


def test_a_slow_reader(case, board):
    target = SerialTarget(case.graph, board.path, settings=SETTINGS)
    target.open()
    naps = iter([0.5, 0.5])
    answers = target.run(case.sentences, progress=lambda _: time.sleep(next(naps, 0)))
    target.close()
    case.assert_answered(answers)
    assert target.traffic.frames_resent < target.traffic.frames_sent / 2  # what had arrived and is sent again brings no more of it


def test_unplugged(case, board):
    target = SerialTarget(case.graph, board.path, settings=SETTINGS)
    target.open()
    with pytest.raises(PortError, match="the port went away"):
        target.run(case.sentences * 20, progress=lambda n: n == 5 and board.unplug())
    target.close()


def test_a_wrong_bitstream(case, board):
    other = make_case(1, 4, hidden=24, heads=1, max_tokens=6, labels=3)
    target = SerialTarget(other.graph, board.path, settings=SETTINGS)
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
    (work / SHAPE_FILE).write_text(shape_package(folder).replace("IN_DEPTH = 128;", "IN_DEPTH = 8192;"))
    encoder = folder / "encoder.sv"
    files = needed([*BOARD_RTL.glob("*.sv"), *(folder / "rtl").glob("*.sv")], "uart_top" + encoder.read_text())
    for path in [*files, encoder, *folder.glob("*.hex")]:
        shutil.copy(path, work)
    return work, [SHAPE_FILE, *(path.name for path in files), "encoder.sv"]


def test_verilator_lint(sources):
    work, files = sources
    own = [path.name for path in BOARD_RTL.glob("*.sv")]
    assert len(own) >= 7 and set(own) <= set(files)
    verilator = find_verilator()
    command = [verilator.command, "--lint-only", "-Wall", "--quiet", "--top-module", "uart_top", *files]
    done = subprocess.run(command, cwd=work, env=verilator.env, capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert [line for line in said if line.startswith("%Error") or line.startswith("%") and any(name in line for name in own)] == []


def test_synthesis(sources):
    """Yosys maps the top around an encoder of which it sees only the ports: two memories in block RAM, the rest small."""
    work, files = sources
    (work / "run.ys").write_text(
        f"read_verilog -sv {' '.join(files)}\nhierarchy -check -top uart_top\nblackbox encoder\n"
        "synth_ecp5 -noabc9 -top uart_top -run begin:json\ntee -o stat.json stat -json\n"
    )
    done = run_yosys(work, "-q", "run.ys")
    assert done.returncode == 0 and "Warning" not in done.stdout + done.stderr, done.stdout + done.stderr
    cells = json.loads((work / "stat.json").read_text())["design"]["num_cells_by_type"]
    assert cells["DP16KD"] == -(-8192 * 21 // 16384) + 1  # beats of two lanes and `last`, 8192 x 2 bits a block; the answers
    assert cells["LUT4"] < 1300 and cells["TRELLIS_FF"] < 1200, cells
