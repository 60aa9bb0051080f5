# SPDX-License-Identifier: Apache-2.0
"""sdram before a model of its chip that checks every timing: random words and reads as a memory would give them, the rate that its header promises."""

import json
import shutil
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from yosys import run_yosys

from bitloom.hw.parts import axi_fetch
from bitloom.hw.parts.sdram import Sdram
from bitloom.sim.errors import SimulationError
from bitloom.sim.runner import HDL, Model, build, run
from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

HERE = Path(__file__).parent
LIBRARY = HERE.parents[1] / "hw" / "rtl"
RTL = [*LIBRARY.glob("*.sv"), LIBRARY / "board" / "sdram.sv", HDL / "sdram_chip.sv", HERE / "sdram_unit.sv"]
ROW_BYTES, ROWS = 512, 1 << 13  # of all banks: 11 bits of rows, 8 of columns
LONG = 12000  # beats of the long read


@dataclass(frozen=True)
class Ops:
    """rows: (word or beats, address, read, wait, first); beats: what the reads give, [n, 64 bits as 2 words]; last: of each."""

    rows: list[tuple[int, int, int, int, int]]
    beats: np.ndarray
    last: np.ndarray

    def case(self, **params) -> UnitCase:
        codes = np.array([[wait | read << 1 | address << 2 | value << 24] for value, address, read, wait, _ in self.rows])
        stimulus = Stimulus(codes, np.array([bool(row[4]) for row in self.rows]), 40)
        return UnitCase("sdram_unit", params, {"s": stimulus}, OutSpec("m", 2, 32, False), len(self.beats))


def random_ops(seed: int, count: int, fetch: bool) -> Ops:
    """Rows that follow each other in some places of the chip are filled, then read and written at random; a word waits for reads that it would change."""
    rng = np.random.default_rng(seed)
    places = [int(rng.integers(0, ROWS - 4)) * ROW_BYTES for _ in range(3)] + [(ROWS - 3) * ROW_BYTES]
    words, rows, asked, got, last = {}, [], set(), [], []
    behind = -1  # the address behind the word before

    def write(address: int) -> None:
        nonlocal behind
        word = int(rng.integers(0, 1 << 16))
        wait = address // 8 in asked
        if wait:
            asked.clear()
        first = address != behind or rng.random() < 0.1
        rows.append((word, address if first else int(rng.integers(0, 1 << 22)) & ~1, 0, int(wait), int(first)))
        words[address], behind = word, address + 2

    for place in places:
        for address in range(place, place + 3 * ROW_BYTES, 2):
            write(address)
    for _ in range(count):
        place = places[rng.integers(len(places))]
        if rng.random() < 0.4:
            start, length = int(rng.integers(0, 3 * ROW_BYTES // 2 - 8)), int(rng.integers(1, 8))
            for offset in range(length):
                write(place + 2 * (start + offset))
            continue
        start = int(rng.integers(0, 3 * ROW_BYTES // 8 - 1))
        most = 3 * ROW_BYTES // 8 - start if fetch else min(3 * ROW_BYTES - 8 * start, 4096 - (place + 8 * start) % 4096) // 8
        beats = int(rng.integers(1, min(most, 60) + 1))
        rows.append((beats, place + 8 * start, 1, int(rng.random() < 0.1), 0))
        for beat in range(start, start + beats):
            at = place + 8 * beat
            asked.add(at // 8)
            got.append([words[at] | words[at + 2] << 16, words[at + 4] | words[at + 6] << 16])
            last.append(beat == start + beats - 1)
    return Ops(rows, np.array(got), np.array(last))


RANDOM = [  # parameters
    dict(CLOCK_MHZ=50, CL=2, CAPTURE=2, INVERT=1),
    dict(CLOCK_MHZ=100, CL=3, CAPTURE=4, INVERT=0, SLOW=1),
    dict(CLOCK_MHZ=133, CL=3, CAPTURE=3, INVERT=1, FETCH=1, OUTSTANDING=8),
    dict(CLOCK_MHZ=25, CL=2, CAPTURE=3, INVERT=0, FETCH=1, OUTSTANDING=2),
]
SPEED = RANDOM[2:]
READS = 24  # requests of the random reads, behind one that waits for the chip
WORDS = 60  # that are written in rows of one bank in turn, then as many in one row
WAITING = RANDOM[1] | dict(SLOW=0)
# Reads one behind the other, of one beat: address, and whether its row is open, no row of its bank is, or another one.
LATENCIES = [(0, "none"), (8, "open"), (ROW_BYTES, "none"), (2 * ROW_BYTES, "none"), (4 * ROW_BYTES, "other"), (4 * ROW_BYTES + 256, "open"), (0, "other")]


def random_reads(seed: int) -> list[tuple[int, int, int, int, int]]:
    """Requests of many rows and banks, some behind all that was asked for before, others at once."""
    rng = np.random.default_rng(seed)
    rows = [(1, 0, 1, 0, 0)]
    for number in range(READS):
        address = int(rng.integers(0, 24)) * ROW_BYTES + 8 * int(rng.integers(0, ROW_BYTES // 8))
        rows.append((int(rng.integers(1, 33)), address, 1, int(number == 0 or rng.random() < 0.3), 0))
    return rows


def simulate(**options):
    """Random cases, then long reads: one build for this file."""
    ops = [random_ops(seed, 150, "FETCH" in params) for seed, params in enumerate(RANDOM)]
    long = Ops([(LONG, 8 * 37, 1, 0, 0)], np.zeros((LONG, 2)), np.zeros(LONG, bool))
    reads = [(1, address, 1, 1, 0) for address, _ in LATENCIES]
    words = [(number, 64 + 4 * ROW_BYTES * (number % 2), 0, number == 0, 1) for number in range(WORDS)] + [(0, 0, 0, 0, 0)] * WORDS  # where nothing is read
    apart = Ops(reads + words, np.zeros((len(reads), 2)), np.ones(len(reads), bool))
    mixed = [Ops(rows, np.zeros((n := sum(row[0] for row in rows), 2)), np.zeros(n, bool)) for rows in map(random_reads, range(len(SPEED) + 1))]
    cases = [*(o.case(**params) for o, params in zip(ops, RANDOM, strict=True)), *(long.case(**params) for params in SPEED), apart.case(**WAITING)]
    cases += [m.case(**params) for m, params in zip(mixed, [*SPEED, WAITING], strict=True)]
    results = run_units(cases, RTL, drain_cycles=2500, **options)
    for params, o, result in zip(RANDOM, ops, results, strict=False):
        wrong = np.argwhere((result.beats != o.beats).any(axis=1) | (result.last != o.last))
        assert not len(wrong), f"{params}: {len(wrong)} of {len(o.beats)} beats differ, first {wrong[0]}"
    return results[len(RANDOM) :]


@cache
def unhindered():
    return simulate()


def test_random_reads_and_writes():
    unhindered()


@pytest.mark.parametrize("stall", [0.5])
def test_random_reads_and_writes_at_random_times(stall):
    simulate(stall_in=stall, seed=2)


def test_rate():
    """Every beat four cycles behind the one before, but for one refresh in each interval, of the length that the header says."""
    for params, result in zip(SPEED, unhindered(), strict=False):
        mhz = params["CLOCK_MHZ"]
        rcd, rp, ras, rfc = (ceil(ns * mhz / 1000) for ns in (20, 20, 45, 70))
        interval = 7812 * 15 // 16 * mhz // 1000
        gaps = np.diff(result.cycle)
        lost = gaps[gaps != 4] - 4
        assert rp + rfc + rcd <= lost.min() and lost.max() <= rp + rfc + rcd + ras, (params, np.unique(lost, return_counts=True))
        whole = int(result.cycle[-1] - result.cycle[0])
        assert whole // interval <= len(lost) <= whole // interval + 1
        assert 8 * LONG / whole > 2 * (1 - (rp + rfc + rcd + ras) / interval)


SLOW_TOO = [pytest.param(time, marks=pytest.mark.slow) for time in ("t_wr", "t_init", "t_rp", "t_ras", "t_rc", "t_rrd", "t_rfc", "t_mrd")]


def test_latency():
    """From AR accepted to the beat, and between words: as the header says, but for the first, which waits for the chip, and refreshes among the words."""
    result = unhindered()[len(SPEED)]
    wait = {"open": 0, "none": 2, "other": 4}  # tRCD, tRP + tRCD at 100 MHz
    took = np.diff(result.inputs["s"].cycle[len(LATENCIES) :])
    assert 5 + 2 == np.median(took[4 : WORDS - 2]) == took[4 : WORDS - 2].min()  # tRAS + tRP
    assert np.median(took[WORDS + 4 :]) == 2 == took[WORDS + 4 :].min()
    got = (result.cycle - result.inputs["s"].cycle[: len(LATENCIES)]).tolist()
    assert got[1:] == [9 + WAITING["CAPTURE"] + wait[row] for _, row in LATENCIES[1:]]


def measured_reads(index: int) -> tuple[list[tuple], list[int], list[int], dict]:
    """Of the random reads: requests, cycles in which each was accepted and in which its last beat came; the memory's parameters."""
    params, result, rows = [*SPEED, WAITING][index], unhindered()[len(SPEED) + 1 + index], random_reads(index)
    ends = np.cumsum([row[0] for row in rows]) - 1
    memory = dict(clock_mhz=params["CLOCK_MHZ"], column_bits=8, row_bits=11, capture=params["CAPTURE"], refresh_ns=7812 << 11)
    return rows, result.inputs["s"].cycle.tolist(), result.cycle[ends].tolist(), memory


def as_predicted(memory: dict, predict) -> bool:
    """Whether all cycles are, for one of the moments in which refreshes may have begun to count: that is not known here."""
    return any(predict(Sdram(**memory, start=start)) for start in range(Sdram(**memory).interval))


@pytest.mark.parametrize("index", range(len(SPEED)))
def test_cycles_are_the_models(index):
    """hw/parts/sdram.py behind axi_fetch: every request's last beat, in the exact cycle. The first request waits for the chip."""
    rows, asked, ends, memory = measured_reads(index)
    fetch = axi_fetch.instance(clients=1, address_bits=22, data_bits=64, burst=16, outstanding=SPEED[index]["OUTSTANDING"])
    cycles = [ends[0] - Sdram(**memory).alone(1) - 6, *asked[1:]]
    requests = [axi_fetch.Request(client=0, cycle=c, address=row[1], beats=row[0]) for c, row in zip(cycles, rows, strict=True)]
    assert as_predicted(memory, lambda sdram: [served.last for served in axi_fetch.last_beats(requests, fetch, sdram)][1:] == ends[1:])


def test_cycles_of_bursts_are_the_models():
    """By itself: when each burst's address is taken and its last beat is there."""
    rows, asked, ends, memory = measured_reads(len(SPEED))

    def predict(sdram: Sdram) -> bool:
        port, there = sdram.port(), 0
        port.burst(ends[0] - sdram.alone(1) - sdram.cycles(sdram.t_rcd), rows[0][1], rows[0][0])
        for (beats, address, _, waits, _), taken, last in zip(rows[1:], asked[1:], ends[1:], strict=True):
            if port.burst(taken if waits else there, address, beats) != (taken, last):
                return False
            there = taken + 1
        return True

    assert as_predicted(memory, predict)


@pytest.mark.parametrize("time", ["t_rcd", *SLOW_TOO])
def test_a_chip_that_is_slower_is_told(time):
    """The controller's own times are too short for it."""
    name = "t" + time[2:].upper()
    with pytest.raises(SimulationError, match=rf"sdram_chip: {name}: got \d+"):
        simulate(more={f"chip_{time}": 90 if time != "t_init" else 6000}, resets=0)


def test_a_chip_that_needs_more_refreshes_is_told():
    with pytest.raises(SimulationError, match=r"sdram_chip: tREF: got \d+ ns for 64 refreshes, must be at most 400000"):
        simulate(more={"chip_t_refresh": 400000}, resets=0)


@pytest.mark.slow
def test_synthesis(tmp_path):
    """For the ECP5 of a ULX3S: no block RAM, little logic."""
    for source in (LIBRARY / "board" / "sdram.sv", LIBRARY / "fifo.sv", LIBRARY / "fifo_deep.sv"):
        shutil.copy(source, tmp_path)
    (tmp_path / "run.ys").write_text(
        "read_verilog -sv sdram.sv fifo.sv fifo_deep.sv\nsynth_ecp5 -noabc9 -top sdram -run begin:json\ntee -o stat.json stat -json\n"
    )
    done = run_yosys(tmp_path, "-q", "run.ys")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((tmp_path / "stat.json").read_text())["design"]["num_cells_by_type"]
    assert "DP16KD" not in cells and cells["LUT4"] < 1200 and cells["TRELLIS_FF"] < 900, cells


NOP, ACTIVE, READ, WRITE, PRECHARGE, REFRESH, MODE = 7, 3, 5, 4, 2, 1, 0
ALL, SINGLE = 1 << 10, 0b1000100010  # all banks; the mode that sdram sets: single writes, CAS latency 2, bursts of 4


def line(command: int, a: int = 0, bank: int = 0, oe: int = 0, dqm: int = 0, cke: int = 1, wait: int = 9) -> list[int]:
    """A command and cycles without one behind it."""
    return [oe << 20 | cke << 19 | dqm << 17 | bank << 15 | a << 4 | command, *[1 << 19 | 1 << 3 | NOP] * wait]


UP = [*line(8, wait=12), *line(PRECHARGE, ALL), *line(REFRESH), *line(REFRESH)]
SET = [*UP, *line(MODE, SINGLE)]
OPEN = [*SET, *line(ACTIVE, 5)]
GOOD = [*OPEN, *line(WRITE, 4, oe=1), *line(READ, 4), *line(ACTIVE, 6, bank=1), *line(READ, 0, bank=1, wait=3), *line(READ, 0), *line(PRECHARGE, ALL)]
RULES = {
    "a read where no row is open": [*SET, *line(READ)],
    "a write where no row is open": [*OPEN, *line(WRITE, bank=1, oe=1)],
    "a row is opened where one is open": [*OPEN, *line(ACTIVE, 6)],
    "a row is opened before the mode is set": [*UP, *line(ACTIVE)],
    "refresh before all rows were closed": [*line(8, wait=12), *line(REFRESH)],
    "refresh while a row is open": [*OPEN, *line(REFRESH)],
    "mode while a row is open": [*OPEN, *line(MODE, SINGLE)],
    "mode before two refreshes": [*line(8, wait=12), *line(PRECHARGE, ALL), *line(REFRESH), *line(MODE, SINGLE)],
    "a mode that this model has not": [*UP, *line(MODE, SINGLE | 1 << 3)],
    "a command that this model has not": [*OPEN, *line(6)],
    "precharge cuts off a read": [*OPEN, *line(READ, wait=2), *line(PRECHARGE)],
    "both sides drive dq": [*OPEN, *line(READ, wait=3), *line(WRITE, oe=1)],
    "no cycle between words read and written": [*OPEN, *line(READ, wait=5), *line(WRITE, oe=1)],
    "a write without data": [*OPEN, *line(WRITE)],
    "a write with auto precharge": [*OPEN, *line(WRITE, ALL, oe=1)],
    "a read with auto precharge": [*OPEN, *line(READ, ALL)],
    "a read with dqm": [*OPEN, *line(READ, dqm=1)],
    "a cycle behind mode": [*UP, *line(MODE, SINGLE, wait=0), *line(ACTIVE)],
    "cke is low": [*OPEN, *line(8, cke=0)],
}


@pytest.fixture(scope="module")
def chip() -> Path:
    bench = HERE / "chip_bench.sv"
    return build(Model(sources=(HDL / "bench.vlt", HDL / "sdram_chip.sv", bench), generated={}))


def play(chip: Path, folder: Path, commands: list[int]) -> None:
    (folder / "commands.hex").write_text("".join(f"{word:06x}\n" for word in [*commands, *[1 << 19 | 15] * (400 - len(commands))]))
    run(chip, folder, {})


def test_a_chip_that_is_used_well_says_nothing(chip, tmp_path):
    play(chip, tmp_path, GOOD)


SOME = ("a read where no row is open", "both sides drive dq")


@pytest.mark.parametrize("rule", [*SOME, *(pytest.param(rule, marks=pytest.mark.slow) for rule in RULES if rule not in SOME)])
def test_a_rule_that_is_broken_is_told(rule, chip, tmp_path):
    with pytest.raises(SimulationError, match=f"sdram_chip: {rule}"):
        play(chip, tmp_path, RULES[rule])
