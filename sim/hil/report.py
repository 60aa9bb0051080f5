# SPDX-License-Identifier: Apache-2.0
"""A set of sentences on a target: every answer against the golden one, every cycle count against the prediction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from bitloom.hw import pack
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import External, Prediction, predict
from bitloom.hw.plan.streams import borders_in, each_border
from bitloom.sim.hil.errors import TargetError
from bitloom.sim.hil.target import Answer, Progress, Shape, Target, Traffic

TOLERANCE = 0.01  # of a sentence's cycles
BURST = 32  # sentences whose intervals are measured


@dataclass(frozen=True, kw_only=True)
class Cycles:
    """Measured against predicted, over sentences (latencies) or pairs of neighbours (intervals).

    measured, predicted  sums of cycles
    worst                largest error of one latency as a share of it; of intervals, the error of their sum. Where weights come from a memory of which only
                         the least that it gives is known, or waiting for it is only estimated, only cycles above the prediction are an error
    """

    count: int
    measured: int
    predicted: int
    worst: float

    @property
    def ok(self) -> bool:
        return self.worst <= TOLERANCE


@dataclass(frozen=True, kw_only=True)
class HilReport:
    """The verdict; `ok` only if all answers came, equal the golden ones, and took the predicted cycles.

    outputs          int64 [values], what the board answered, flat, in the order of the sentences
    first            the first answer that differs, "" if none does
    seconds          host's clock, without opening the target
    board_seconds    the board's cycle counter over its clock, from the first beat in to the last beat out; None: it has no clock to tell
    latency          every sentence alone: first beat in to last beat out
    interval         of neighbours that ran through the encoder together, None where there were none
    line_share       part of board_seconds in which the line to the board was busy; None: no serial line
    encoder_share    part of board_seconds in which a sentence was in the encoder; None likewise
    """

    target: str
    identity: str
    sentences: int
    values_compared: int
    mismatches: int
    first: str
    outputs: np.ndarray
    seconds: float
    board_seconds: float | None
    clock_hz: int | None
    latency: Cycles
    interval: Cycles | None
    line_share: float | None
    encoder_share: float | None
    traffic: Traffic

    @property
    def ok(self) -> bool:
        return not self.mismatches and self.latency.ok and (self.interval is None or self.interval.ok)

    @property
    def sentences_per_second(self) -> float:
        """By the board's clock where it is known: that of a simulation is not the host's."""
        return self.sentences / (self.board_seconds or self.seconds)

    @property
    def bound(self) -> str:
        """What the speed is bound by: `line`, `encoder`, or `host` where neither was busy half of the time."""
        shares = {"line": self.line_share or 0.0, "encoder": self.encoder_share or 0.0}
        name = max(shares, key=shares.get)
        return name if shares[name] >= 0.5 else "host"

    def as_dict(self) -> dict:
        """Plain values, for report.json; without the outputs."""
        values = {key: value for key, value in asdict(self).items() if key != "outputs"}
        return values | {"ok": self.ok, "sentences_per_second": self.sentences_per_second, "bound": self.bound}


def hil(
    design: Design,
    target: Target,
    sentences: Sequence[np.ndarray],
    want: Sequence[np.ndarray],
    *,
    weights: Path | None = None,
    exits: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> HilReport:
    """Run sentences on a target (opened and closed here) and compare.

    sentences  codes of the graph's entry tensor, int64 [T, C] each
    want       the golden codes of its output, [1, C] or [T, C] each
    weights    the image that is loaded first, of a design with its weights in external memory
    exits      the off-ramp at which each leaves (bitloom.hw.golden.exits); None: there are none
    The first BURST sentences run once more in bursts, so that intervals are measured too, whatever the line's speed.
    Raises TargetError: nothing to run, another graph's bitstream, a board that does not answer.
    """
    if not len(sentences) or len(sentences) != len(want):
        raise TargetError(f"hil: got {len(sentences)} sentences and {len(want)} golden answers, must be as many and at least 1; check the data set")
    try:
        target.open()
        if weights is not None:
            target.load(weights)
        identity = target.identify()
        Shape.of(design).must_match(target.name, identity)
        began = time.monotonic()
        answers = target.run(sentences, progress=progress)
        seconds, traffic = time.monotonic() - began, Traffic(**asdict(target.traffic))
        together = sentences[:BURST]
        bursts = target.run(together, burst=True)
        info, external = getattr(target, "info", None), getattr(target, "external", None)
    finally:
        target.close()
    differing = [(i, got.codes, gold) for i, (got, gold) in enumerate(zip(answers, want, strict=True)) if not _equal(got.codes, gold)]
    differing += [(i, got.codes, gold) for i, (got, gold) in enumerate(zip(bursts, want, strict=False)) if not _equal(got.codes, gold)]
    span = _span(answers)
    lengths = [len(s) for s in sentences]
    borders = each_border(lengths, borders_in(design.streams.values(), sentences))
    return HilReport(
        target=target.name,
        identity=identity,
        sentences=len(answers),
        values_compared=sum(a.codes.size for a in (*answers, *bursts)),
        mismatches=sum(_count(codes, gold) for _, codes, gold in differing),
        first=_place(*differing[0]) if differing else "",
        outputs=np.concatenate([a.codes.reshape(-1) for a in answers]),
        seconds=seconds,
        board_seconds=span / info.clock_hz if info and span else None,
        clock_hz=info.clock_hz if info else None,
        latency=latencies(design, lengths, answers, external, exits, borders),
        interval=intervals(design, lengths[:BURST], bursts, external, exits, borders),
        line_share=min(1.0, traffic.bytes_sent * 10 * info.divider / span) if info and span else None,
        encoder_share=sum(map(len, periods(answers, busy=True))) / span if info and span else None,
        traffic=traffic,
    )


def periods(answers: Sequence[Answer], *, busy: bool = False) -> list[range]:
    """Runs of sentences in each of which the next one entered before the one before it had left, as indices.

    busy  the cycles of each instead: range(first beat in, last beat out)
    """
    starts = [i for i, a in enumerate(answers) if i == 0 or a.epoch != answers[i - 1].epoch or a.start > answers[i - 1].end]
    runs = [range(begin, end) for begin, end in zip(starts, [*starts[1:], len(answers)], strict=True)]
    return [range(answers[run[0]].start, answers[run[-1]].end) for run in runs] if busy else runs


def latencies(
    design: Design,
    lengths: Sequence[int],
    answers: Sequence[Answer],
    external: External | None = None,
    exits: Sequence[int] | None = None,
    borders: Sequence[int | None] = (),
) -> Cycles:
    """Each sentence's cycles against the prediction for the moment in which it entered, and for what was in the encoder then.

    external  the memory of the weights, if it is known exactly
    borders   of pairs (`predict`); (): none is known
    """
    known: dict[tuple, Prediction] = {}
    measured, predicted, worst = [], [], []
    for run in periods(answers):
        starts = tuple(answers[i].start - answers[run[0]].start for i in run)
        key = (tuple(lengths[i] for i in run), starts, exits and tuple(exits[i] for i in run), tuple(borders[run[0] : run[-1] + 1]) or None)
        if key not in known:
            known[key] = predict(design, key[0], starts, external=external, exits=key[2], borders=key[3])
        guess = [end - start for end, start in zip(_ends(design, known[key]), starts, strict=True)]
        got = [answers[i].latency for i in run]
        worst += [_error(m, p, _exact(design, external)) for m, p in zip(got, guess, strict=True)]
        predicted += guess
        measured += got
    return Cycles(count=len(measured), measured=sum(measured), predicted=sum(predicted), worst=max(worst))


def intervals(
    design: Design,
    lengths: Sequence[int],
    answers: Sequence[Answer],
    external: External | None = None,
    exits: Sequence[int] | None = None,
    borders: Sequence[int | None] = (),
) -> Cycles | None:
    """Cycles between the last beats of sentences (or packs, for each of the later ones' sentences) that ran through the encoder together."""
    measured = predicted = count = 0
    for run in periods(answers):
        if later := sum(answers[i].end != answers[run[0]].end for i in run):
            own = borders[run[0] : run[-1] + 1] or None
            guess = predict(design, [lengths[i] for i in run], external=external, exits=exits and [exits[i] for i in run], borders=own)
            measured += answers[run[-1]].end - answers[run[0]].end
            ends = _ends(design, guess)
            predicted += ends[-1] - ends[0]
            count += later
    return Cycles(count=count, measured=measured, predicted=predicted, worst=_error(measured, predicted, _exact(design, external))) if count else None


def _ends(design: Design, guess: Prediction) -> list[int]:
    """When each sentence's answer is there: in a pack, with the last one's."""
    if not design.graph.packed:
        return guess.out_last
    firsts = pack.firsts(pack.packs_of(guess.lengths, design.graph.max_tokens))
    return [guess.out_last[end - 1] for begin, end in pairwise(firsts) for _ in range(begin, end)]


def _exact(design: Design, external: External | None) -> bool:
    """Whether fewer cycles than predicted are an error, too."""
    return design.fetch is None or external is not None


def _error(measured: int, predicted: int, exact: bool) -> float:
    return max(measured - predicted, predicted - measured if exact else 0) / max(measured, 1)


def _span(answers: Sequence[Answer]) -> int:
    """Board cycles from the first beat in to the last beat out, epoch by epoch."""
    epochs = {a.epoch for a in answers}
    return sum(max(a.end for a in answers if a.epoch == e) - min(a.start for a in answers if a.epoch == e) for e in epochs)


def _equal(got: np.ndarray, gold: np.ndarray) -> bool:
    return got.size == np.size(gold) and np.array_equal(got.reshape(-1), np.reshape(gold, -1))


def _count(got: np.ndarray, gold: np.ndarray) -> int:
    """Values that differ, are lost or extra."""
    common = min(got.size, np.size(gold))
    return int((got.reshape(-1)[:common] != np.reshape(gold, -1)[:common]).sum()) + max(got.size, np.size(gold)) - common


def _place(sentence: int, got: np.ndarray, gold: np.ndarray) -> str:
    return f"sentence {sentence}: got {got.reshape(-1).tolist()}, must be {np.reshape(gold, -1).tolist()}"
