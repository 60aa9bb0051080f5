# SPDX-License-Identifier: Apache-2.0
"""Benches of single modules: many cases side by side in one simulation, fed and recorded in HDL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bitloom.hw import process
from bitloom.hw.hexfile import Hex
from bitloom.sim.bench import Bench, bundle, literal
from bitloom.sim.errors import SimulationError
from bitloom.sim.plusargs import settings
from bitloom.sim.records import MAX_BITS, Record, clear, read_faults, read_tap, write_source
from bitloom.sim.runner import BENCH_FILES, Model, build, needed, run

RESETS = 5  # of a simulation, besides that at power-up
RESET_WITHIN = 2000  # cycles from one to the next, at most; fewer where a case's stimulus is shorter


@dataclass(frozen=True)
class Stimulus:
    """Beats for an input port.

    beats  integers [n, lanes], each fits `bits` as a signed or as an unsigned code
    last   bool [n]
    bits   of one lane
    """

    beats: np.ndarray
    last: np.ndarray
    bits: int


@dataclass(frozen=True)
class OutSpec:
    """How to read an output port: name prefix, lanes a beat, bits a lane, whether its codes are signed."""

    prefix: str
    lanes: int
    bits: int
    signed: bool


@dataclass(frozen=True)
class UnitCase:
    """One module with its parameters and stimulus.

    params        integers, strings, or Hex memories (the parameter then holds the file's name)
    inputs        port prefix -> Stimulus (ports <prefix>_valid, _ready, _data, _last)
    output        the port that is compared
    n_out         beats expected there
    more_outputs  (port, beats expected) of modules that have several
    tied          other inputs -> what they are tied to, in Verilog
    """

    module: str
    params: Mapping[str, int | str | Hex]
    inputs: Mapping[str, Stimulus]
    output: OutSpec
    n_out: int
    more_outputs: tuple[tuple[OutSpec, int], ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[tuple[OutSpec, int], ...]:
        return ((self.output, self.n_out), *self.more_outputs)


@dataclass(frozen=True)
class UnitResult:
    """What left a module.

    beats  int64 [n, lanes], last bool [n]
    cycle  int64 [n], the cycle in which each beat moved; cycle 0 is that of the first accepted beat at any input
    inputs port prefix -> Record of the accepted beats, on the same cycle count
    more   results of `more_outputs`
    """

    beats: np.ndarray
    last: np.ndarray
    cycle: np.ndarray
    inputs: dict[str, Record] = field(default_factory=dict)
    more: tuple[UnitResult, ...] = ()


def run_units(
    cases: Sequence[UnitCase],
    rtl_files: Sequence[Path],
    *,
    stall_in: float = 0.0,
    stall_out: float = 0.0,
    seed: int = 0,
    timeout_cycles: int = 20000,
    drain_cycles: int = 1000,
    resets: int = RESETS,
    more: Mapping[str, int] | None = None,
    folder: Path | None = None,
) -> list[UnitResult]:
    """Simulate all cases at once; a result each, in order.

    stall_in, stall_out  share of cycles in which an input offers nothing, an output is not ready (0 <= p < 1)
    timeout_cycles       cycles without any beat before a simulation with missing beats ends
    drain_cycles         cycles without any beat, after all expected ones, in which extra beats may still come
    resets               in mid-run, in random cycles; each run until then must be as the last one, which is what comes back
    more                 plusargs of the modules themselves (models of what is around a chip)
    folder               where inputs, records and logs are kept; default: a temporary folder, removed if all went well

    Registers begin with random bits, by the seed.
    Only modules, integer and string parameters and widths decide the build: other data, stalls or memories run at once.
    Raises SimulationError: a stream rule broken (module, port, cycle), beats missing, inputs not taken, another run after a reset, a crash.
    """
    if not cases:
        raise SimulationError("run_units: got no case, must be at least one")
    for number, case in enumerate(cases):
        _check_case(number, case)
    text = bench_text(cases)
    executable = build(Model(sources=(*BENCH_FILES, *needed(rtl_files, text)), generated={"bench.sv": text}))
    plusargs = settings(
        stall_in=stall_in,
        stall_out=stall_out,
        seed=seed,
        beats=_beats(cases),
        expect=sum(n for case in cases for _, n in case.outputs),
        timeout_cycles=timeout_cycles,
        drain_cycles=drain_cycles,
        resets=resets,
        reset_within=min(RESET_WITHIN, max(len(s.last) for case in cases for s in case.inputs.values())),
    ) | dict(more or {})
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        return _run_in(folder, executable, cases, plusargs)
    with process.scratch("unit", keep_on=SimulationError) as work:
        return _run_in(work, executable, cases, plusargs)


def _beats(cases: Sequence[UnitCase]) -> dict[str, int]:
    """Tap -> beats that it may see."""
    inputs = {f"c{number}_{port}": len(stimulus.last) for number, case in enumerate(cases) for port, stimulus in case.inputs.items()}
    return inputs | {f"c{number}_{out.prefix}": count for number, case in enumerate(cases) for out, count in case.outputs}


def _run_in(folder: Path, executable: Path, cases: Sequence[UnitCase], plusargs: dict[str, int]) -> list[UnitResult]:
    clear(folder)
    for number, case in enumerate(cases):
        for key, value in case.params.items():
            if isinstance(value, Hex):
                value.write(folder / _hex_name(number, key))
        for port, stimulus in case.inputs.items():
            write_source(
                folder / f"c{number}_{port}.in",
                np.asarray(stimulus.beats),
                np.asarray(stimulus.last, dtype=bool),
                stimulus.bits,
            )
    run(executable, folder, plusargs)
    _raise_faults(folder, cases)
    return [_collect(folder, number, case) for number, case in enumerate(cases)]


def _collect(folder: Path, number: int, case: UnitCase) -> UnitResult:
    taken = {}
    for port, stimulus in case.inputs.items():
        taken[port] = read_tap(folder / f"c{number}_{port}.tap", stimulus.beats.shape[1], stimulus.bits, False, f"{_where(number, case)} port {port}")
        got, want = len(taken[port].beats), len(stimulus.beats)
        if got != want:
            raise SimulationError(f"{_where(number, case)} port {port}: accepted {got} of {want} beats, then nothing moved; {_progress(folder, number, case)}")
    start = min((int(r.cycle[0]) for r in taken.values() if len(r.cycle)), default=0)
    taken = {port: Record(r.beats, r.last, r.cycle - start) for port, r in taken.items()}
    results = []
    for out, expected in case.outputs:
        record = read_tap(folder / f"c{number}_{out.prefix}.tap", out.lanes, out.bits, out.signed, f"{_where(number, case)} port {out.prefix}")
        if len(record.beats) < expected:
            raise SimulationError(f"{_where(number, case)} port {out.prefix}: {len(record.beats)} of {expected} beats came, then nothing moved")
        results.append(UnitResult(record.beats, record.last, record.cycle - start, taken))
    first = results[0]
    return UnitResult(first.beats, first.last, first.cycle, taken, tuple(results[1:]))


def _progress(folder: Path, number: int, case: UnitCase) -> str:
    counts = []
    for out, expected in case.outputs:
        record = read_tap(folder / f"c{number}_{out.prefix}.tap", out.lanes, out.bits, out.signed)
        counts.append(f"{len(record.beats)} of {expected} at {out.prefix}")
    return "output beats: " + ", ".join(counts)


def bench_text(cases: Sequence[UnitCase]) -> str:
    """The generated module that holds all cases."""
    bench = Bench()
    for number, case in enumerate(cases):
        connections = [".clk", ".rst", *(f".{port}({value})" for port, value in case.tied.items())]
        for port, stimulus in case.inputs.items():
            bench.source(f"c{number}_{port}", stimulus.beats.shape[1] * stimulus.bits)
            connections.append(bundle(f"c{number}_{port}", f"{port}_"))
        for out, _ in case.outputs:
            bench.sink(f"c{number}_{out.prefix}", out.lanes * out.bits)
            connections.append(bundle(f"c{number}_{out.prefix}", f"{out.prefix}_"))
        params = ", ".join(f".{k}({literal(_hex_name(number, k) if isinstance(v, Hex) else v)})" for k, v in case.params.items())
        bench.body.append(f"  {case.module} {f'#({params}) ' if params else ''}dut{number} (\n    {', '.join(connections)});")
    return bench.text()


def _raise_faults(folder: Path, cases: Sequence[UnitCase]) -> None:
    faults = read_faults(folder)
    if faults:
        cycle, tap, what = faults[0]
        number, port = tap[1:].split("_", 1)
        raise SimulationError(
            f"{_where(int(number), cases[int(number)])} port {port}: stream rule broken "
            f"in cycle {cycle} after reset: {what} "
            f"({len(faults)} streams with a broken rule)"
        )


def _check_case(number: int, case: UnitCase) -> None:
    where = _where(number, case)
    for port, stimulus in case.inputs.items():
        beats, last = np.asarray(stimulus.beats), np.asarray(stimulus.last)
        if beats.ndim != 2 or last.shape != beats.shape[:1] or not np.issubdtype(beats.dtype, np.integer):
            raise SimulationError(f"{where} port {port}: got beats {beats.dtype} {beats.shape} and last {last.shape}, must be integers [n, lanes] and [n]")
        if not 1 <= stimulus.bits <= MAX_BITS:
            raise SimulationError(f"{where} port {port}: got {stimulus.bits} bits, must be 1 .. {MAX_BITS}")
        low, high = -(1 << stimulus.bits - 1), (1 << stimulus.bits) - 1
        if beats.size and not (low <= beats.min() and beats.max() <= high):
            raise SimulationError(f"{where} port {port}: got codes {beats.min()} .. {beats.max()}, must be {low} .. {high} for {stimulus.bits} bits")
    if sum(n for _, n in case.outputs) == 0:
        raise SimulationError(f"{where}: 0 beats expected, must be at least 1; a bench that compares nothing proves nothing")


def _where(number: int, case: UnitCase) -> str:
    return f"{case.module} (case {number})"


def _hex_name(number: int, key: str) -> str:
    return f"c{number}_{key}.hex"
