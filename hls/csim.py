# SPDX-License-Identifier: Apache-2.0
"""C simulation of an HLS project with g++: the C++ that Vitis HLS would synthesize, every tensor tapped, against the golden model.

The project is compiled by hls4ml's own build_lib.sh in a copy of it and called through hls4ml's own bridge, in a child process: C++ that reads past
an array ends that process and no other.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bitloom.hls.errors import HlsError
from bitloom.hw import golden, process
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import SINK, Design
from bitloom.hw.plan.streams import Stream, borders_in, each_border
from bitloom.sim.errors import SimulationError, ToolError
from bitloom.sim.runner import QUICK, cache_dir, encoder_effort

MIN_GXX = 9
CHUNK = 32  # sentences in one child process: their tensors are held at once
WALL_SECONDS = 1800
STAMP = re.compile(r"LIB_STAMP=\w+")  # hls4ml names each library anew
WARNING = "WARNING: Hls::stream"  # read while empty, or left with data in it: hardware would hang


@dataclass(frozen=True, kw_only=True)
class Library:
    """A compiled project.

    folder   of the copy in the cache, with build.log
    seconds  that g++ took (0.0: it was in the cache)
    """

    folder: Path
    seconds: float

    @property
    def path(self) -> Path:
        return next(self.folder.glob("firmware/*.so"))


class Tap(NamedTuple):
    """Where a tensor of the graph is recorded: a stream of the design, and the turn in which it carries the tensor; None: there is one."""

    tensor: str
    stream: Stream
    turn: int | None


@dataclass(frozen=True, kw_only=True)
class CsimReport:
    """Tensors compared with the golden ones.

    per_tensor  tensor -> values compared
    first       where the first tensor (in the graph's order) that differs does so, or ""
    seconds     of the C simulation, with its taps
    """

    sentences: int
    values_compared: int
    mismatches: int
    per_tensor: dict[str, int]
    first: str
    outputs: np.ndarray
    seconds: float

    @property
    def ok(self) -> bool:
        return not (self.mismatches or self.first)

    def __str__(self) -> str:
        text = f"{self.values_compared} values compared, {self.mismatches} mismatches"
        return f"{text}; first at {self.first}" if self.first else text


def check_compiler() -> str:
    """What g++ calls itself.

    Raises HlsError: there is none, or it is too old.
    """
    if shutil.which("g++") is None:
        raise HlsError("C simulation: got no g++, must be on PATH; apt install g++")
    said = process.ask(["g++", "-dumpfullversion"]).strip()
    if not said.split(".")[0].isdigit() or int(said.split(".")[0]) < MIN_GXX:
        raise HlsError(f"C simulation: got g++ {said or '?'}, must be {MIN_GXX} or newer; install one and put it first on PATH")
    return said


def compile_project(project: Path) -> Library:
    """The project's shared library, compiled unless the cache has it.

    Raises HlsError: no compiler, no project, or a compile error (its first line, and where the log is).
    """
    version, project = check_compiler(), Path(project)
    if not (project / "build_lib.sh").is_file():
        raise HlsError(f"C simulation: got {project} without build_lib.sh, must be a project folder; write it with `bitloom build RUN --backend hls4ml`")
    quick = encoder_effort() is QUICK
    target = cache_dir() / f"csim-{'quick-' * quick}{_key(project, version)}"
    if (target / "done").is_file():
        return Library(folder=target, seconds=0.0)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)  # of a build that was killed; the library knows this path, so it is built here
        shutil.copytree(project, target)
        if quick:
            script = target / "build_lib.sh"
            script.write_text(script.read_text().replace("-O3", "-O0"))
        began = time.monotonic()
        with open(target / "build.log", "w") as log:
            env = process.environment(TMPDIR=str(target))  # what a compiler that was killed leaves goes with the folder
            done = process.run(["bash", "./build_lib.sh"], cwd=target, env=env, stdout=log, stderr=process.STDOUT)
        if done.returncode:
            raise HlsError(f"C simulation: got a compile error, must compile; {_first_error(target / 'build.log')} (log: {target / 'build.log'})")
        (target / "done").write_text(version + "\n")
    except OSError as error:
        raise HlsError(f"C simulation: got '{error}', must have room for a copy of the project; free some, or set BITLOOM_CACHE") from error
    return Library(folder=target, seconds=time.monotonic() - began)


def _key(project: Path, version: str) -> str:
    digest = hashlib.sha256(version.encode())
    files = [*project.glob("firmware/**/*"), *project.glob("*.cpp"), project / "build_lib.sh"]
    for file in sorted(f for f in files if f.is_file() and f.suffix != ".so"):
        text = STAMP.sub("", file.read_text())
        digest.update(f"{file.relative_to(project)}\n".encode() + hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()[:32]


def _first_error(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no output")


def taps(design: Design) -> list[Tap]:
    """Of every tensor that a unit gives, turn after turn, in topological order."""
    once = [Tap(unit.name, unit.out, None) for unit in design.units if unit.turns == 1]
    if not design.loop:
        return once
    turns = [Tap(name, _in_turn(design, unit.out, name), turn) for unit in design.units if unit.turns > 1 for turn, name in enumerate(unit.out.turns)]
    order = {node.name: place for place, node in enumerate(design.graph.source.nodes)}
    return sorted([*once, *turns], key=lambda tap: order[tap.tensor])


def _in_turn(design: Design, stream: Stream, tensor: str) -> Stream:
    """A stream as it carries a tensor: rows of other turns may have other keys."""
    return replace(stream, keys=str(design.graph.source.tensor(tensor).shape[2])) if stream.kind == "row" else stream


def simulate(design: Design, library: Library, sentences: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Run sentences through the compiled encoder.

    sentences  int [T, C] each: codes of the graph's entry tensor
    returns    tensor -> a flat int64 array for each sentence, tokens and channels in order, empty for a turn behind the one in which it left;
               "m_axis" is what left the chip
    Raises SimulationError: the process died, or read a stream that nobody wrote. ToolError: it was killed from outside.
    """
    (out,), top = design.outputs, design.graph.max_tokens
    borders = each_border([len(s) for s in sentences], borders_in(design.streams.values(), sentences))
    with process.scratch("csim") as work:
        recorded = taps(design)
        job = {
            "library": str(library.path),
            "input": _elements(design.entry, top),
            "output": _elements(out, top),
            "traced": [[design.entry.tensor, _elements(design.entry, top)], *([t.tensor, _elements(t.stream, top)] for t in recorded if t.turn is None)],
            "turns": [[tap.tensor, tap.stream.tensor, tap.turn, _elements(tap.stream, top)] for tap in recorded if tap.turn is not None],
        }
        (work / "job.json").write_text(json.dumps(job))
        np.savez(work / "in.npz", *[design.entry.place(np.asarray(s, dtype=np.int64)).reshape(-1) for s in sentences])
        try:
            done = process.run(
                [sys.executable, "-m", "bitloom.hls.csim", str(work)],
                stdout=process.PIPE,
                stderr=process.PIPE,
                text=True,
                timeout=WALL_SECONDS,
                env=process.environment(**process.packages()),
            )
        except process.TimeoutExpired as error:
            raise SimulationError(f"C simulation: got no end after {WALL_SECONDS} s, must be seconds; the code hangs") from error
        if -done.returncode in process.OUTSIDE:
            raise ToolError(f"C simulation: got signal {-done.returncode} from outside, must run to its end; there may be too little memory")
        if done.returncode:
            why = f"signal {-done.returncode}" if done.returncode < 0 else f"exit {done.returncode}: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
            raise SimulationError(f"C simulation: got a process that died ({why}), must end; the code reads or writes past an array")
        made = np.load(work / "out.npz")
        tensors = {
            tap.tensor: [
                _channels(tap.stream, part, len(sentence), border, tap.turn)
                for part, sentence, border in zip(np.split(made[tap.tensor], _ends(made, tap.tensor)), sentences, borders, strict=True)
            ]
            for tap in [*recorded, Tap(SINK, out, None)]
        }
        tensors["warnings"] = [line for line in done.stdout.splitlines() if line.startswith(WARNING)]
    return tensors


def _ends(made: Mapping[str, np.ndarray], tensor: str) -> np.ndarray:
    """Where a tensor's sentences end in what the child wrote, but the last."""
    return np.cumsum(made[f"{tensor}/counts"])[:-1]


def _elements(stream: Stream, max_tokens: int) -> int:
    """Of a sentence in full length, in its beats."""
    if stream.kind == "row":
        return max_tokens * stream.heads * max_tokens
    return stream.layout.width * (max_tokens if stream.kind == "token" else 1)


def _channels(stream: Stream, elements: np.ndarray, tokens: int, border: int | None, turn: int | None) -> np.ndarray:
    """What the stream of a sentence of so many tokens carried in a turn, flat, as the golden tensor lies, without filled places; 0 where rows have no key.

    A token that was cut off, and rows of another number of elements, stay as they are. border: of a pair (hw/keys.py)
    """
    if stream.kind == "row":
        tokens = int(stream.carries(tokens, -1 if turn is None else turn))
        order = stream.order(np.array([tokens]), [border])
        if order is None or len(order) != len(elements):
            return elements
        whole = np.zeros(tokens * stream.heads * tokens, dtype=elements.dtype)
        whole[order] = elements
        return whole
    whole = len(elements) // stream.layout.width * stream.layout.width
    taken = stream.take(elements[:whole].reshape(-1, stream.layout.width)).reshape(-1)
    return np.concatenate([taken, elements[whole:]])


def verify(design: Design, library: Library, ids: Sequence[Sequence[int]], segments: Sequence[Sequence[int]]) -> CsimReport:
    """Compare every tensor of some sentences, and what left the chip, with the golden model.

    Raises SimulationError: see `simulate`; nothing to compare.
    """
    if not len(ids):
        raise SimulationError("C simulation: got 0 sentences, must be at least 1; a comparison of nothing proves nothing")
    graph, recorded = design.graph.source, taps(design)
    (out,) = graph.outputs
    counts, wrong, places, outputs, seconds = dict.fromkeys([*(tap.tensor for tap in recorded), SINK], 0), 0, {}, [], 0.0
    for start in range(0, len(ids), CHUNK):
        part = slice(start, start + CHUNK)
        lengths = [len(s) for s in ids[part]]
        want = golden.run(graph, ids[part], segments[part])
        borders, exits = each_border(lengths, golden.borders(graph, want)), golden.exits(graph, want)
        began = time.monotonic()
        got = simulate(design, library, np.split(want[graph.entry], np.cumsum(lengths)[:-1]))
        seconds += time.monotonic() - began
        for tap in [*recorded, Tap(SINK, design.outputs[0], None)]:
            name, tensor = tap.tensor, out if tap.tensor == SINK else tap.tensor
            for index, (a, b) in enumerate(zip(got[name], split(graph, tensor, want[tensor], lengths), strict=True)):
                if exits and tap.turn is not None and tap.turn > exits[index]:
                    b, order = b[:0], None  # it has left
                else:
                    order = tap.stream.order(np.array([tap.stream.carries(lengths[index], -1 if tap.turn is None else tap.turn)]), [borders[index]])
                counts[name] += len(b) if order is None else len(order)
                different = _differences(a, b)
                wrong += len(different)
                if len(different):
                    places.setdefault(name, _place(graph, name, tensor, start + index, lengths[index], int(different[0]), a, b))
        if got["warnings"] and not places:
            places[SINK] = f"the streams: {got['warnings'][0]}"
        outputs += got[SINK]
    first = next((places[name] for name in counts if name in places), "")
    return CsimReport(
        sentences=len(ids),
        values_compared=sum(counts.values()),
        mismatches=wrong,
        per_tensor=counts,
        first=first,
        outputs=np.concatenate(outputs),
        seconds=seconds,
    )


def split(graph: Graph, name: str, values: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
    """A golden tensor as a flat array for each sentence, in stream order."""
    tensor = graph.tensor(name)
    sizes = {"token": lambda n: n * tensor.channels, "sentence": lambda n: tensor.channels, "row": lambda n: n * n * int(tensor.shape[1])}[tensor.kind]
    return np.split(values.reshape(-1), np.cumsum([sizes(tensor.tokens.of(n)) for n in lengths])[:-1])


def _differences(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    common = min(len(got), len(want))
    return np.concatenate([np.flatnonzero(got[:common] != want[:common]), np.arange(common, max(len(got), len(want)))])


def _place(graph: Graph, name: str, tensor: str, sentence: int, tokens: int, index: int, got: np.ndarray, want: np.ndarray) -> str:
    t = graph.tensor(tensor)
    per_token = t.tokens.of(tokens) * int(t.shape[1]) if t.kind == "row" else t.channels
    a = got[index] if index < len(got) else "nothing (lost)"
    b = want[index] if index < len(want) else "nothing (extra)"
    return f"{name}: sentence {sentence} token {index // per_token} channel {index % per_token}: got {a}, must be {b}"


class _Trace(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_double))]


def _child(work: Path) -> None:
    """Run a job that `simulate` wrote, through hls4ml's bridge: doubles in and out, NaN behind the last value."""
    job = json.loads((work / "job.json").read_text())
    library = ctypes.CDLL(job["library"])
    library.bitloom_turn.restype = ctypes.c_longlong
    inputs = np.load(work / "in.npz")
    sizes = dict(job["traced"])
    made: dict[str, list[np.ndarray]] = {name: [] for name in [*sizes, *(tensor for tensor, *_ in job["turns"]), SINK]}
    library.allocate_trace_storage(ctypes.c_size_t(ctypes.sizeof(ctypes.c_double)))
    traces = (_Trace * len(sizes))()
    pointer = ctypes.POINTER(ctypes.c_double)
    for key in inputs.files:
        x, y = np.full(job["input"], np.nan), np.full(job["output"], np.nan)
        x[: inputs[key].size] = inputs[key]
        library.encoder_double(x.ctypes.data_as(pointer), y.ctypes.data_as(pointer))
        library.collect_trace_output(traces)
        made[SINK].append(_codes(y))
        for trace in traces:
            name = trace.name.decode()
            made[name].append(_codes(np.ctypeslib.as_array(trace.data, shape=(sizes[name],))))
        for tensor, stream, turn, size in job["turns"]:
            values = np.full(size, np.nan)
            count = library.bitloom_turn(stream.encode(), ctypes.c_uint(turn), values.ctypes.data_as(pointer), ctypes.c_longlong(size))
            made[tensor].append(_codes(values) if count <= size else np.zeros(count, dtype=np.int64))
    arrays = {name: np.concatenate(values) for name, values in made.items()}
    counts = {f"{name}/counts": np.array([len(v) for v in values]) for name, values in made.items()}
    np.savez(work / "out.npz", **arrays, **counts)


def _codes(values: np.ndarray) -> np.ndarray:
    """The codes in front of the NaNs, int64."""
    empty = np.flatnonzero(np.isnan(values))
    return values[: empty[0] if len(empty) else None].astype(np.int64)


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
