# SPDX-License-Identifier: Apache-2.0
"""Simulation of a whole generated encoder: sentences in, logits out, every stream between them recorded."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bitloom.hw import image, pack, process
from bitloom.hw.keys import PACK, SEGMENT, Packs
from bitloom.hw.plan.design import SOURCE, TURNS
from bitloom.hw.plan.streams import Stream, borders_in
from bitloom.sim.encoder_bench import encoder_model, load_streams, longest_pause, promised_identity, read_folding, read_memory, sinks
from bitloom.sim.errors import SimulationError
from bitloom.sim.memory import WEIGHTS, MemoryOptions
from bitloom.sim.plusargs import settings
from bitloom.sim.records import Record, clear, cycles_of, read_faults, read_fills, read_tap, write_source
from bitloom.sim.runner import Model, build, run


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an encoder is simulated.

    stall_in, stall_out  share of cycles in which the source offers nothing, the sinks are not ready
    seed                 of the stalls, of the bits in the registers at power-up, and of the cycles of the resets
    resets               in mid-run, besides that at power-up; each run until then must be as the last one, which is the result
    reset_within         cycles from one reset to the next, at most
    reset_cycles         how long each lasts
    taps                 record every stream, which `bitloom.sim.verify.compare` needs; without, only inputs and outputs
    waves                write a .vcd (or .fst) there; such a build is its own
    timeout_cycles       cycles without any recorded beat (without taps: of inputs and outputs) after which it counts as hung; None: `longest_pause`
    drain_cycles         that the bench runs on behind the last expected beat
    wall_seconds         limit of the whole simulation
    folder               where inputs, records and the log are kept; None: a temporary folder, removed if the run succeeded
    memory               how external memory behaves, of an encoder that has its weights there
    exits                of a rolled encoder with off-ramps: that at which each sentence leaves, as golden says (bitloom.hw.golden.exits)
    left_out             of an encoder that keeps the first sentence of a pair: tokens of each that are not sent, as the sentence before had them
    identity             16 hex digits that the hardware must tell (the graph hash's first); None: what encoder.sv says
    """

    stall_in: float = 0.0
    stall_out: float = 0.0
    seed: int = 0
    resets: int = 0
    reset_within: int = 1000
    reset_cycles: int = 1
    taps: bool = True
    waves: Path | None = None
    timeout_cycles: int | None = None
    drain_cycles: int = 2000
    wall_seconds: float = 3600.0
    folder: Path | None = None
    memory: MemoryOptions = MemoryOptions()
    exits: tuple[int, ...] | None = None
    left_out: tuple[int, ...] | None = None
    identity: str | None = None


@dataclass(frozen=True, kw_only=True)
class EncoderRun:
    """What a simulation showed. Cycle 0 is that of the first accepted input beat.

    streams         tensor -> Record of its stream (empty if taps were off)
    infos           tensor -> Stream
    outputs         int64, elements that left at m_axis, flat in stream order
    output_last     bool, `last` of each of m_axis's beats
    lengths         int64 [S], tokens of each sentence, as sent
    packs           tokens of the sentences of each pack, where the encoder takes packs (bitloom.hw.pack); None: it takes sentences
    left_out        int64 [S], tokens that were not sent (Options.left_out)
    in_first_cycle  int64 [S], when a sentence's first beat was accepted
    out_last_cycle  int64, when the last beat of each sentence left at m_axis; shorter than S if the hardware stopped
    cycles          simulated cycles, drain, resets and the runs that these broke off included
    wall_seconds    of the simulation, without the build
    problem         "" or why the run counts as failed: a hang, a broken stream rule
    left            tensor -> Record of what left at its port, for every output
    fills           FIFO, by the bundle that it gives to -> the most beats that it held (empty if taps were off)
    taps            tensor -> int64 flat, in stream order, without filled places
    fetched         how often each beat of the weights' image was read, int64; empty if they are on the chip
    visits          in a rolled encoder: (sentence, turn) in the order in which they went through the layers, as far as taps tell; () in others
    exits           Options.exits
    borders         int64 [S], of an encoder whose keys depend on it: tokens of the first sentence of each pair, as the marks say; None of any other
    """

    streams: dict[str, Record]
    infos: dict[str, Stream]
    outputs: np.ndarray
    output_last: np.ndarray
    lengths: np.ndarray
    in_first_cycle: np.ndarray
    out_last_cycle: np.ndarray
    cycles: int
    wall_seconds: float
    problem: str = ""
    left: dict[str, Record] = field(default_factory=dict)
    fills: dict[str, int] = field(default_factory=dict)
    taps: dict[str, np.ndarray] = field(init=False)
    visits: tuple[tuple[int, int], ...] = ()
    exits: tuple[int, ...] | None = None
    borders: np.ndarray | None = None
    left_out: np.ndarray | None = None
    packs: tuple[tuple[int, ...], ...] | None = None
    fetched: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        taps = {name: codes(self.infos[name], record, self.sizes_of(name)[0]) for name, record in self.streams.items()}
        object.__setattr__(self, "taps", taps)

    @property
    def whole(self) -> np.ndarray:
        """Tokens of each sentence, those that were not sent among them, int64 [S]."""
        return self.lengths if self.left_out is None else self.lengths + self.left_out

    def sizes(self, tensor: str) -> np.ndarray:
        """Tokens of what a stream carries of the sentences, or packs, once each, as the host sends them."""
        return self.infos[tensor].sizes(self.whole, self.packs)

    def sizes_of(self, tensor: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Tokens of what a stream carries, in its order, and the borders: of the sentences, or in a rolled encoder of their visits."""
        info = self.infos[tensor]
        carried = [info.carries(self.sizes(tensor), turn) for turn in range(max(1, len(info.turns)))]
        lengths = np.array([carried[turn][sentence] for sentence, turn in self.visits], dtype=np.int64) if info.turns else carried[0]
        missing, borders = self.missing(tensor), self.borders
        if self.packs is not None:
            return lengths, [self.packs[own] for own, _ in self.visits] if info.turns else list(self.packs)
        if borders is not None:
            everything = np.array([not name for name in told_in(self.infos.values()).turns])
            borders = np.array([0 if everything[turn] else borders[sentence] for sentence, turn in self.visits]) if info.turns else borders
        return lengths - missing, borders

    def missing(self, tensor: str) -> np.ndarray:
        """Tokens that a stream lacks of each sentence, or visit, that it carries: those that were not sent, in front of where they come back."""
        info = self.infos[tensor]
        count = len(self.visits) if info.turns else len(self.lengths)
        if self.left_out is None or not self.left_out.any():
            return np.zeros(count, dtype=np.int64)
        if info.turns:
            recall = [bool(name) for name in told_in(self.infos.values()).turns].index(False)
            return np.array([self.left_out[sentence] * (turn < recall) for sentence, turn in self.visits], dtype=np.int64)
        order = [name for name, s in self.infos.items() if s.kind != "sentence"]
        behind = max(i for i, name in enumerate(order) if self.infos[name].turns)
        return self.left_out * (info.kind == "token" and order.index(tensor) < behind)


def codes(stream: Stream, record: Record, lengths: np.ndarray) -> np.ndarray:
    """A record's elements, int64 flat in stream order, without filled places; a token that broke off is kept as far as it came.

    lengths  tokens of the sentences, in the stream's order
    """
    flat = record.beats.reshape(-1)
    return flat[np.resize(stream.holds_channel(lengths), len(flat))] if stream.filled else flat


def run_encoder(build_dir: Path, sentences: Sequence[np.ndarray], options: Options = Options()) -> EncoderRun:
    """Simulate a generated encoder (encoder.sv, rtl/, *.hex, streams.json) on sentences, back to back.

    sentences  codes of the entry (`embeddings.sum`), int64 [T, C] each; where its stream is filled up, the zeros are put in here; where the encoder takes
               packs, they are packed here

    A hang or a broken stream rule is told in `problem`, with all that was recorded until then.
    Raises SimulationError: bad arguments, build failure, a simulation that died, another identity, another run after a reset.
    """
    build_dir = Path(build_dir)
    infos = load_streams(build_dir)
    check_sentences(sentences, infos[0])
    pause = options.timeout_cycles or longest_pause(read_folding(build_dir))
    options = replace(options, identity=options.identity or promised_identity(build_dir), timeout_cycles=pause)
    bench = encoder_model(build_dir, infos, taps=options.taps, waves=options.waves)
    weights = sorted(build_dir.glob(image.FILE))
    more = options.memory.plusargs(read_memory(build_dir), options.seed) if weights else {}
    told = weights[0].read_bytes()[image.GRAPH].hex()[:16] if weights else ""
    return simulate(bench, infos, sentences, options, memories=[*sorted(build_dir.glob("*.hex")), *weights], more=more, weights_hash=told)


def simulate(
    bench: Model,
    infos: Sequence[Stream],
    sentences: Sequence[np.ndarray],
    options: Options,
    *,
    memories: Sequence[Path],
    more: Mapping[str, int] | None = None,
    weights_hash: str = "",
) -> EncoderRun:
    """Build and run a bench around any module with the encoder's ports; options.identity and options.timeout_cycles are given.

    bench     of `bench_text`
    infos     its streams: the input first, the first output last; those without a port are read only with taps
    memories  files that the hardware loads by their bare names
    more      arguments of the simulation besides those of the bench
    weights_hash  16 hex digits that the hardware must tell of the weights that it has read
    """
    executable = build(bench)
    lengths, packs = np.array([len(s) for s in sentences], dtype=np.int64), None
    if infos[0].pack:
        packs = pack.packs_of(lengths, infos[0].pack)
        sentences = pack.sent(sentences, packs)
    borders = borders_in(infos, sentences)
    whole = lengths + np.array(options.left_out or [0] * len(lengths), dtype=np.int64)
    sent = {s.tensor: s.sizes(whole, packs) for s in infos}
    expect = {s.tensor: expected_beats(s, sent[s.tensor]) for s in sinks(infos)}
    taps = {s.port: expected_beats(s, sent[s.tensor]) for s in infos if s.port}
    for s in infos if options.taps else ():
        told = [packs] * max(1, len(s.turns)) if packs else by_turn(infos, s, borders)
        taps[s.wire] = sum(expected_beats(s, sent[s.tensor], turn, part) for turn, part in enumerate(told))
    plusargs = settings(
        stall_in=options.stall_in,
        stall_out=options.stall_out,
        seed=options.seed,
        beats=taps,
        expect=sum(expect.values()),
        timeout_cycles=options.timeout_cycles,
        drain_cycles=options.drain_cycles,
        resets=options.resets,
        reset_within=options.reset_within,
        reset_cycles=options.reset_cycles,
    ) | (more or {})
    args = ["--trace", "--trace-file", str(Path(options.waves).absolute())] if options.waves else []
    with nullcontext(Path(options.folder)) if options.folder else process.scratch("encoder", keep_on=SimulationError) as work:
        work.mkdir(parents=True, exist_ok=True)
        clear(work)
        link_memories(memories, work)
        write_sentences(work / f"{SOURCE}.in", sentences, infos[0])
        began = time.monotonic()
        run(
            executable,
            work,
            plusargs,
            env={"BITLOOM_IDENTITY": options.identity, "BITLOOM_WEIGHTS": weights_hash},
            args=args,
            wall_seconds=options.wall_seconds,
        )
        result = _collect(work, infos, lengths, (borders, packs), expect, options, time.monotonic() - began)
        if result.problem and not options.folder:
            process.keep(work)
    return result


def told_in(infos: Iterable[Stream]) -> Stream:
    """The stream of borders."""
    return next(s for s in infos if s.kind == "sentence" and s.keys == SEGMENT)


def by_turn(infos: Sequence[Stream], stream: Stream, borders: np.ndarray | None) -> list[np.ndarray | None]:
    """The borders that count for a stream, in each turn in which it carries a sentence: none where all keys are seen."""
    if not stream.turns or borders is None:
        return [borders] * max(1, len(stream.turns))
    return [borders if name else np.zeros_like(borders) for name in told_in(infos).turns]


def write_sentences(path: Path, sentences: Sequence[np.ndarray], first: Stream) -> None:
    """The input file of the source: a beat is `lanes` elements of `io_bits`, `last` ends a sentence."""
    beats = first.place(np.concatenate([np.asarray(s) for s in sentences])).reshape(-1, first.lanes)
    ends = np.cumsum([len(s) * first.beats for s in sentences]) - 1
    last = np.zeros(len(beats), dtype=bool)
    last[ends] = True
    write_source(path, beats, last, first.io_bits)


def expected_beats(stream: Stream, lengths: np.ndarray, turn: int = -1, borders: np.ndarray | None = None) -> int:
    """Beats of a stream for sentences of these lengths, in one turn (that in which they leave). borders: of pairs, where keys depend on it."""
    lengths = stream.carries(lengths, turn)
    units = {"token": lambda: lengths, "row": lambda: stream.row_lengths(lengths, borders), "sentence": lambda: lengths > 0}[stream.kind]()
    return int(units.sum()) * stream.beats


def _collect(
    work: Path,
    infos: Sequence[Stream],
    lengths: np.ndarray,
    told: tuple[np.ndarray | None, Packs | None],
    expect: dict[str, int],
    options: Options,
    seconds: float,
) -> EncoderRun:
    """told: borders and packs of what was sent."""
    borders, packs = told
    source = read_tap(work / f"{SOURCE}.tap", infos[0].lanes, infos[0].io_bits, True)
    start = int(source.cycle[0]) if len(source.cycle) else 0

    def read(name: str, stream: Stream, bits: int, signed: bool) -> Record:
        record = read_tap(work / f"{name}.tap", stream.lanes, bits, signed)
        return Record(record.beats, record.last, record.cycle - start)

    streams = {s.tensor: read(s.wire, s, s.bits, s.signed) for s in (infos if options.taps else ())}
    left = {s.tensor: read(s.port, s, s.io_bits, s.signed) for s in sinks(infos)}
    begins = (np.cumsum(lengths) - lengths) * infos[0].beats
    came, wanted, first = sum(len(r.last) for r in left.values()), sum(expect.values()), left[infos[-1].tensor]
    ends = np.flatnonzero(first.last)
    if packs:  # `last` is at the end of a pack's answers alone
        ends = np.cumsum(np.ones_like(lengths) if infos[-1].keys == PACK else lengths) * infos[-1].beats - 1
    problem = ""
    if faults := read_faults(work):
        cycle, tap, what = faults[0]
        problem = f"stream {tap}: rule broken in cycle {cycle - start}: {what}; records in {work}"
    elif came < wanted:
        what = "packs" if packs else "sentences"
        problem = (
            f"{came} of {wanted} output beats came, {int(source.last.sum())} of {len(packs or lengths)} {what} were taken, then nothing moved; "
            f"records in {work}"
        )
    elif came > wanted:
        problem = f"{came} output beats came, must be {wanted}; records in {work}"
    return EncoderRun(
        streams=streams,
        infos={i.tensor: i for i in infos},
        outputs=first.beats.reshape(-1),
        output_last=first.last,
        lengths=lengths,
        borders=borders,
        packs=packs and tuple(packs),
        left_out=None if options.left_out is None else np.array(options.left_out, dtype=np.int64),
        in_first_cycle=source.cycle[begins[begins < len(source.cycle)]] - start,
        out_last_cycle=first.cycle[ends[ends < len(first.cycle)]],
        cycles=cycles_of(work)[0],
        wall_seconds=seconds,
        problem=problem,
        left=left,
        fills=read_fills(work),
        fetched=np.fromfile(path, dtype=np.uint32).astype(np.int64) if (path := work / f"{WEIGHTS}.fetched").is_file() else np.zeros(0, dtype=np.int64),
        exits=options.exits,
        visits=visits(streams[TURNS].beats[:, 0].tolist(), len(infos[1].turns), len(packs or lengths), options.exits) if TURNS in streams else (),
    )


def visits(turns: Sequence[int], count: int, sentences: int, exits: Sequence[int] | None = None) -> tuple[tuple[int, int], ...]:
    """(sentence, turn) of everything that went into the layers of a rolled encoder, from the turns in their order: in turn 0 the next sentence comes, in any
    other the one that has been longest in the turn before. What did not come is added behind, so that all `sentences` have all `count` turns.

    exits  the turn behind which each of them leaves; None: the last

    Raises SimulationError: a turn that no sentence can be in.
    """
    last = [count - 1] * sentences if exits is None else exits
    waiting = [deque(range(sentences)), *(deque() for _ in range(count))]
    found = []
    for place, turn in enumerate(turns):
        if turn >= count or not waiting[turn]:
            raise SimulationError(f"loop: visit {place} of the layers: got turn {turn}, in which no sentence can be; look at hw/rtl/loop.sv")
        found.append((sentence := waiting[turn].popleft(), turn))
        if turn < last[sentence]:
            waiting[turn + 1].append(sentence)
    missing = [(sentence, later) for turn in range(count) for sentence in waiting[turn] for later in range(turn, last[sentence] + 1)]
    return (*found, *missing)


def link_memories(memories: Sequence[Path], work: Path) -> None:
    """Put the memory files where `$readmemh` looks: into the simulation's folder."""
    for path in memories:
        link = work / path.name
        link.unlink(missing_ok=True)
        link.symlink_to(path.absolute())


def check_sentences(sentences: Sequence[np.ndarray], first: Stream) -> None:
    """Raise SimulationError unless these are codes of the input stream."""
    if not len(sentences):
        raise SimulationError("run_encoder: got no sentence, must be at least one")
    high = (1 << first.bits - 1 - (first.pack > 0)) - 1
    for index, sentence in enumerate(sentences):
        codes = np.asarray(sentence)
        if codes.ndim != 2 or codes.shape[1] != first.channels or not len(codes):
            raise SimulationError(f"run_encoder: sentence {index}: got shape {codes.shape}, must be [T, {first.channels}] with T >= 1")
        if codes.min() < -high - 1 or codes.max() > high:
            raise SimulationError(f"run_encoder: sentence {index}: got codes {codes.min()} .. {codes.max()}, must be {-high - 1} .. {high}")
