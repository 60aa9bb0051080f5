# SPDX-License-Identifier: Apache-2.0
"""verify: simulate the hardware on development sentences; tensors must equal the golden ones, cycles the prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bitloom.errors import VerificationError
from bitloom.flow import Context
from bitloom.hw import golden, image
from bitloom.hw.graph import Graph
from bitloom.hw.memory_files import MemoryFileError, Reads, check_memory_files
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import mean_interval, predict
from bitloom.hw.plan.streams import each_border
from bitloom.hw.workers import Crew, workers
from bitloom.qat.data import Dataset
from bitloom.sentences import Sentences, score_some
from bitloom.sim.encoder import EncoderRun, Options
from bitloom.sim.encoder_bench import encoder_model, load_streams, longest_pause
from bitloom.sim.errors import SimulationError, ToolError
from bitloom.sim.job import Done, Hardware, Job, simulated
from bitloom.sim.runner import build
from bitloom.sim.tools import find_verilator
from bitloom.stage import STAGES

CYCLE_TOLERANCE = 0.01  # of a whole encoder; single operators are exact (docs/architecture.md)
# Of saturated hardware: most of it is waiting at the entrance, so it says when a beat was let in, not how fast the
# hardware is. It is shown, but not held to the tolerance (off by up to 2 % on toys).
QUEUED = "mean latency, waiting included"
# With weights in external memory the sentences behind the first one make it wait for its weights: which of two units that ask in nearly the same cycle is
# served first changes by a cycle's difference. Shown, but not held to the tolerance (off by up to 2 % on toys); a lone sentence's latency is.
BESIDE = "latency of the first, others behind it"
STALL = 0.3  # share of cycles in which the source has nothing, and in which the sink takes nothing
SLOW = 1.5  # a slow consumer takes a sentence's logits in that many times the interval, so that everything before it fills up
LONGEST_GAP = 60_000  # cycles between two beats that a slow consumer takes; the bench's limit is 65,536
GAPS = 40  # mean gaps of the consumer without any progress, beside the longest pause of the hardware itself, behind which it hangs
FULL_SENTENCES = 4  # of max_tokens, for the steady-state interval
WAVE_SENTENCES = 2
RESETS = 1  # in mid-run, of each simulation of several sentences


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One simulation, compared. seed: of its stalls, of the registers at power-up, of the cycles of `resets` in mid-run."""

    name: str
    sentences: int
    tokens: list[int]
    seed: int
    resets: int
    values_compared: int
    mismatches: int
    cycles: int
    wall_seconds: float


class Bench:
    """The built hardware, its graph and its golden model."""

    def __init__(self, context: Context):
        self.context, self.folder = context, context.run.stage("build")
        self.graph, self.folding = context.graph, context.folding
        self.design = Design(self.graph, self.folding)
        self.jobs: list[Job] = []
        self.outcomes: list[Outcome] = []
        self.reads: Reads | None = None
        self.fills: dict[str, int] = {}
        self.fetched = 0  # beats of weights, each as often as planned

    def compare_memories(self) -> None:
        """Every memory file, or the image, against the graph, which also tells of words that no simulated sentence reads.

        Raises VerificationError: a word differs.
        """
        design = self.design
        try:
            self.reads = Reads(design, check_memory_files(design, self.folder))
        except (MemoryFileError, image.ImageError) as error:
            raise VerificationError(f"verify: {self.folder}: {error}; it is not the graph's: run `{STAGES['build'].command(self.context.run.path)}`") from error

    def compile(self) -> None:
        """Build the simulation (or find it in the cache), so that its time is not taken for that of the first run.

        Raises BuildError: the RTL cannot be compiled.
        """
        build(encoder_model(self.folder, load_streams(self.folder), taps=True))

    @property
    def crew(self) -> Crew:
        """Who simulates."""
        settings = self.context.recipe.verification
        return Crew(section="verification", call="simulation", count=settings.workers, cluster=settings.cluster)

    @cached_property
    def loading(self) -> int:
        """Cycles from reset in which memories are loaded from the image; 0 where there is none."""
        return image.load_cycles(self.design) if self.design.fetch else 0

    @cached_property
    def filled(self) -> int:
        """Cycles in which the hardware goes from empty to busy everywhere: a reset in one of them comes in mid-sentence."""
        return int(predict(self.design, [self.graph.max_tokens] * 2).out_last[-1])

    def slow_gap(self, sentences: Sentences) -> float:
        """Mean cycles between two beats that a slow consumer takes."""
        output = self.graph.tensor(self.graph.outputs[0])
        tokens = np.mean(sentences.lengths) if output.kind == "token" else 1
        return float(np.clip(SLOW * self.folding.interval / (tokens * output.channels), 2, LONGEST_GAP))

    def plan(self, name: str, sentences: Sentences, stall_in: float = 0.0, stall_out: float = 0.0, waves: Path | None = None, kept: bool = False) -> None:
        """A simulation that `simulate` makes: sentences back to back, every tensor compared.

        Registers begin with random bits; several sentences are broken off by a reset, then begin anew.
        kept  first sentences of pairs that are as those before are not sent (bitloom.hw.recall)
        """
        options = Options(
            stall_in=stall_in,
            stall_out=stall_out,
            timeout_cycles=self.loading + longest_pause(self.folding) + int(GAPS / (1 - stall_out)),
            waves=waves,
            seed=self.context.recipe.verification.seed + len(self.jobs),
            resets=RESETS if len(sentences) > 1 and not waves else 0,
            reset_within=self.loading + self.filled,
        )
        self.jobs.append(Job(name=name, ids=sentences.ids, segments=sentences.segments, options=options, kept=kept))

    def simulate(self) -> dict[str, EncoderRun]:
        """Make all that are planned, as many at once as there are workers; what each showed, without its streams.

        Raises VerificationError: a difference, a simulation that died, another run after the reset, nothing compared.
        """
        hardware = Hardware(graph=self.graph, folding=self.folding, words=self.reads.words, folder=self.folder)
        crew, done = self.crew, {}
        spread = [job for job in self.jobs if (crew.count > 1 or crew.cluster) and not job.options.waves]  # a waveform is written here
        for job in self.jobs:
            if job not in spread:
                self.began(job)
                done[job.name] = self.judge(job, simulated(hardware, job))
        if spread:
            left = {job.name: job for job in spread}
            with workers(crew, simulated, hardware.packed() if crew.cluster else hardware) as pool:
                while spread or len(done) < len(self.jobs):
                    while spread and pool.room:
                        job = spread.pop(0)
                        self.began(job)
                        pool.submit(job.name, job)
                    name, result = pool.next()
                    done[name] = self.judge(left[name], result)
        self.outcomes.sort(key=lambda outcome: outcome.seed)
        return {name: result.run for name, result in done.items()}

    def began(self, job: Job) -> None:
        self.context.progress(None, f"{job.name}: {len(job.ids)} sentences, {sum(job.lengths)} tokens")

    def judge(self, job: Job, result: Done | SimulationError) -> Done:
        """Raises VerificationError: as `simulate`. ToolError: no finding about the hardware."""
        if isinstance(result, ToolError):
            raise result
        if isinstance(result, SimulationError):
            raise VerificationError(f"verify: {job.name}: {result}") from result
        got, report = result.run, result.report
        self.outcomes.append(
            Outcome(
                name=job.name,
                sentences=len(job.ids),
                tokens=job.lengths,
                seed=job.options.seed,
                resets=job.options.resets,
                cycles=got.cycles,
                values_compared=report.values_compared,
                mismatches=report.mismatches,
                wall_seconds=round(got.wall_seconds, 2),
            )
        )
        if not report.ok:
            raise VerificationError(f"verify: {job.name}: {report}")
        if self.design.fetch:
            self.count_fetches(job.name, got)
        self.reads.merge(result.read)
        self.fills |= {name: max(most, self.fills.get(name, 0)) for name, most in got.fills.items()}
        return result

    def count_fetches(self, name: str, got: EncoderRun) -> None:
        """Raises VerificationError: a beat of the weights' image was read more or less often than the blocks of these sentences need."""
        planned = image.reads(self.design, got.whole, got.exits, got.left_out)
        if len(wrong := np.flatnonzero(got.fetched != planned)):
            beat = int(wrong[0])
            where = f"{self.folder / image.FILE}, beat {beat} at byte {beat * self.design.folding.memory.data_bits // 8}"
            raise VerificationError(f"verify: {name}: {where}: read {got.fetched[beat]} times, must be {planned[beat]} ({len(wrong)} beats differ)")
        self.fetched += int(planned.sum())

    def fifos(self) -> list[dict]:
        """Every FIFO of the hardware: whose input it is, its depth, and the most beats that it held in all runs together.

        Raises VerificationError: one held more than its depth, or was not counted.
        """
        design = self.design
        ports = [*(port for unit in design.units for port in unit.ports), *design.exits, *(design.loop.ports if design.loop else ())]
        found = [{"reader": p.unit or p.prefix, "stream": p.stream.tensor, "depth": p.depth, "most": self.fills.get(p.wire, -1)} for p in ports]
        if wrong := [one for one in found if not 0 < one["most"] <= one["depth"]]:
            raise VerificationError(f"verify: FIFO of {wrong[0]['reader']}: got {wrong[0]['most']} beats at most, must be 1 .. {wrong[0]['depth']}")
        return found


def run(context: Context) -> str:
    """Raises VerificationError: values or cycles are not as promised."""
    find_verilator()  # a missing simulator is the machine's fault, not the hardware's: exit code 2
    bench, settings = Bench(context), context.recipe.verification
    bench.compare_memories()
    context.progress(None, "compiling the simulation, once for each design")
    bench.compile()
    dataset, _, dev = context.dev
    chosen = dev.spread(settings.sentences, settings.seed)
    bench.plan("back to back", chosen)
    most, border = bench.graph.max_tokens, bench.graph.border
    full = dev.of_length(most, max(FULL_SENTENCES, 2 * bench.design.together + bench.design.behind if bench.design.together > 1 else 0), border(most))
    bench.plan("full length", full)
    lone = {f"{one.lengths[0]} tokens alone": one for one in dev.alone(most, border)}
    for name, one in lone.items():
        bench.plan(name, one)
    if settings.stall_sentences:
        some = dev.spread(settings.stall_sentences, settings.seed + 1)
        bench.plan("random stalls", some, stall_in=STALL, stall_out=STALL)
        bench.plan("slow consumer", some, stall_out=1 - 1 / bench.slow_gap(some))
    if context.waves:
        bench.plan("waveform", dev.spread(WAVE_SENTENCES, settings.seed), waves=context.out / "waves.vcd")
    pairs = _plan_kept(bench, chosen, settings.stall_sentences)
    got = bench.simulate()
    mixed = got["back to back"]
    cycles = _cycles(bench, (chosen, mixed), (full, got["full length"]), [(one.lengths[0], got[name]) for name, one in lone.items()])
    kept = _kept(bench, got, cycles["table"]) if pairs else None
    total = {key: sum(getattr(o, key) for o in bench.outcomes) for key in ("values_compared", "mismatches")}
    result = {
        "backend": "rtl",
        "graph_hash": bench.graph.hash,
        "sentences": len(chosen),  # the development split may hold fewer than asked for
        **total,
        "stall_runs": sum(o.name.endswith("random stalls") or o.name == "slow consumer" for o in bench.outcomes),
        "memories": (memories := bench.reads.summary()),
        "fifos": bench.fifos(),
        "fetched_beats": bench.fetched,
        "runs": [asdict(o) for o in bench.outcomes],
        "cycles": cycles,
        "early_exit": _early(bench, chosen, mixed),
        "recall": kept,
        "pack": _packed(bench, chosen, mixed),
        "rtl_accuracy": _accuracy(dataset, bench.graph, chosen, mixed),
    }
    (context.out / "verify.json").write_text(json.dumps(result, indent=1) + "\n")
    check_cycles(cycles["table"])
    return (
        f"0 of {total['values_compared']:,} values differ, {cycles['interval_measured']:,.0f} cycles between sentences "
        f"({cycles['interval_predicted']:,.0f} predicted), {memories['words']:,} words of memory files as in the graph, {memories['read']:,} of them read"
    )


def _cycles(
    bench: Bench,
    mixed: tuple[Sentences, EncoderRun],
    full: tuple[Sentences, EncoderRun],
    alone: Sequence[tuple[int, EncoderRun]],
) -> dict:
    """Predicted against measured. Cycles count from the first input beat that the hardware takes."""
    graph, folding = bench.graph, bench.folding
    table, figures, together = [], {}, {}
    for name, (sentences, got) in (("full", full), ("mixed", mixed)):
        guess = predict(Design(graph, folding), sentences.lengths, exits=got.exits, borders=got.borders)
        behind, together[name] = Design(graph, folding).behind if name == "full" else 0, guess.together
        figures[name] = {
            "interval": tuple(mean_interval(ends, guess.together, behind) for ends in (guess.out_last, got.out_last_cycle)),
            "latency": (guess.latency[0], _latencies(got)[0]),
            "all": (guess.out_last[-1], int(got.out_last_cycle[-1] - got.in_first_cycle[0])),
            QUEUED: (float(np.mean(guess.latency)), float(np.mean(_latencies(got)))),
        }
        label = f"{graph.max_tokens} tokens" if name == "full" else f"{len(sentences)} mixed lengths"
        table += [
            {"name": f"{BESIDE if key == 'latency' and folding.memory else key}, {label}", "predicted": pair[0], "measured": pair[1]}
            for key, pair in figures[name].items()
            if len(sentences) > guess.together + behind or key == "latency"
        ]
    points = [[n, _latencies(got)[0]] for n, got in alone]
    design = Design(graph, folding)
    guesses = [predict(design, [n], exits=got.exits, borders=got.borders).latency[0] for n, got in alone]
    table += [{"name": f"latency, {n} tokens", "predicted": guess, "measured": m} for guess, (n, m) in zip(guesses, points, strict=True)]
    interval, latency = figures["full"]["interval"], figures["full"]["latency"]
    busy = [_utilization(design, sentences, got, together[name]) for name, (sentences, got) in (("full", full), ("mixed", mixed))]
    return {
        "tokens": graph.max_tokens,
        "interval_predicted": interval[0],
        "interval_measured": interval[1],
        "latency_predicted": latency[0],
        "latency_measured": latency[1],
        "latency_points": [*points, [graph.max_tokens, latency[1]]],
        "mac_utilization": busy[0],
        "mac_utilization_real": busy[1],
        "table": table,
    }


def _utilization(design: Design, sentences: Sentences, got: EncoderRun, together: int) -> float | None:
    """Share of the multipliers' cycles that do useful work, behind the first `together`, which fill the hardware; of those that leave early, of all of them.

    None: there are no others
    """
    first, last = (0, len(sentences)) if got.exits else (min(together, len(sentences)), len(sentences) - design.behind)
    borders = each_border(sentences.lengths, got.borders)
    work = sum(design.work(sentences.lengths[i], got.exits and got.exits[i], borders[i]) for i in range(first, last))
    span = int(got.out_last_cycle[last - 1]) - (int(got.out_last_cycle[first - 1]) if first else 0) if work else 0
    return work / (design.multipliers * span) if work else None


def _early(bench: Bench, sentences: Sentences, got: EncoderRun) -> dict | None:
    """Behind which layers sentences left, and what it saves; None: all pass all layers.

    leaving  sentences by layer; cycles a sentence, of all until the last has left: measured, predicted, and predicted where all of them pass all layers
    """
    if got.exits is None:
        return None
    with_exits, without = (predict(bench.design, sentences.lengths, exits=exits, borders=got.borders) for exits in (got.exits, None))
    return {
        "leaving": np.bincount(got.exits, minlength=bench.design.graph.count).tolist(),
        "mean": float(np.mean(got.exits)) + 1,
        "measured": int(got.out_last_cycle[-1]) / len(sentences),
        "predicted": with_exits.out_last[-1] / len(sentences),
        "without": without.out_last[-1] / len(sentences),
    }


def _packed(bench: Bench, sentences: Sentences, got: EncoderRun) -> dict | None:
    """Cycles a sentence, of all until the last answer, and predicted of the same hardware where each is a pack; None: the host sends each alone."""
    if got.packs is None:
        return None
    with_packs, without = (predict(bench.design, sentences.lengths, packs=packs).out_last[-1] for packs in (None, [(n,) for n in sentences.lengths]))
    ends = {"measured": int(got.out_last_cycle[-1]), "predicted": with_packs, "without": without}
    return {"packs": len(got.packs)} | {key: end / len(sentences) for key, end in ends.items()}


WHOLE, KEPT = "one first sentence", "one first sentence, kept"


def _plan_kept(bench: Bench, sentences: Sentences, stalled: int) -> bool:
    """Pairs of one first sentence, sent whole and without what is kept; whether there are any: the hardware keeps it, and among the sentences is a pair."""
    if not bench.folding.recall or not any(1 in segments for segments in sentences.segments):
        return False
    pairs = sentences.one_first(bench.graph.max_tokens)
    bench.plan(WHOLE, pairs)
    bench.plan(KEPT, pairs, kept=True)
    if stalled:
        bench.plan("kept, random stalls", pairs.take(range(min(stalled, len(pairs)))), stall_in=STALL, stall_out=STALL, kept=True)
    return True


def _kept(bench: Bench, runs: Mapping[str, EncoderRun], table: list[dict]) -> dict:
    """What it saves that pairs come without a first sentence that is kept.

    cycles a pair, of all until the last answer: sent whole, without, and that as predicted (also in the table)
    """
    whole, got = runs[WHOLE], runs[KEPT]
    pairs = len(got.lengths)
    guess = predict(bench.design, got.lengths.tolist(), borders=got.borders, left_out=got.left_out.tolist())
    ends = {"whole": int(whole.out_last_cycle[-1]), "measured": int(got.out_last_cycle[-1]), "predicted": guess.out_last[-1]}
    table.append({"name": f"all, {pairs} pairs with one first sentence", "predicted": ends["predicted"], "measured": ends["measured"]})
    return {"pairs": pairs} | {key: end / pairs for key, end in ends.items()}


def _latencies(got: EncoderRun) -> list[int]:
    return [int(out) - int(start) for start, out in zip(got.in_first_cycle, got.out_last_cycle, strict=True)]


def check_cycles(table: Sequence[dict]) -> None:
    """Raise VerificationError if a measured figure is further from its prediction than the contract allows.

    table  rows {"name", "predicted", "measured"}
    """
    for row in table:
        off = abs(row["measured"] - row["predicted"])
        if not row["name"].startswith((QUEUED, BESIDE)) and off > CYCLE_TOLERANCE * row["predicted"]:
            raise VerificationError(
                f"verify: {row['name']}: got {row['measured']:,.0f} cycles, must be within {CYCLE_TOLERANCE:.0%} of "
                f"{row['predicted']:,.0f} predicted; the timing model or the RTL is wrong"
            )


def _accuracy(dataset: Dataset, graph: Graph, sentences: Sentences, got: EncoderRun) -> dict:
    """The task's metric from the hardware's own logits, and from the golden ones, on the simulated sentences."""
    want = golden.run(graph, sentences.ids, sentences.segments, keep_all=False)[graph.outputs[0]]
    return {
        "examples": len(sentences),
        "value": score_some(dataset, graph, sentences, got.outputs.reshape(want.shape)),
        "golden": score_some(dataset, graph, sentences, want),
    }
