# SPDX-License-Identifier: Apache-2.0
"""The whole search: float model, sensitivity, costs, the front of best choices, and the one within the budget. What a killed one left is gone on from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bitloom.hw.board import Board
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import FoldingError
from bitloom.hw.plan.predict import steady_interval
from bitloom.hw.plan.rolled import layers_of
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.qat.calibrate import calibrate
from bitloom.qat.config import AUTO, QuantConfig, TrainConfig
from bitloom.qat.features import Collator
from bitloom.qat.net.model import QuantModel
from bitloom.qat.resume import write_json
from bitloom.qat.search.blackbox import PARTS, Study, Tried, best_of, fingerprint, run_trials
from bitloom.qat.search.config import SearchConfig
from bitloom.qat.search.errors import SearchError
from bitloom.qat.search.ilp import Programme, Solution, best
from bitloom.qat.search.learned import Learner, distances
from bitloom.qat.search.prices import COSTS, Limits, Prices, fill, limits_of
from bitloom.qat.search.rounded import Rounded
from bitloom.qat.search.sensitivity import ESTIMATES, Judge, Sensitivity, curvature, measure
from bitloom.qat.search.space import Choice, Space
from bitloom.qat.search.trial import Task
from bitloom.qat.search.trial import score as score_of
from bitloom.qat.train import Start, calibration_batches

SPEEDS = (0.5, 1, 2)  # of the target interval, that the front is drawn for
UNIFORM = (8, 4, 2)  # bits of weights that a choice is compared with
BATCH = 64  # sentences of the sensitivity that are computed at once
SLICES = 4  # of the sentences that the Hessian is of: Q-BERT's statistic is over their eigenvalues
Progress = Callable[[float | None, str], None]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One choice of bits and its design.

    name         of a uniform choice; "" of a searched one
    sensitivity  what was minimized; of trials 1 - score
    score        of the development split: of the float model rounded to these bits, or fine-tuned for `steps`; None: it was not trained, as beyond the budget
    loss, divergence  of the training sentences, rounded
    interval     cycles between two sentences of max_tokens, all operators counted
    dsp, block_ram, lut, ff  of the encoder and the bridge beside it on the board; 0 without one. bytes: of all parameters
    predicted    dsp, block_ram and bytes as the sums of terms said before the design was made
    fits         "" or by how much the board is too small
    """

    name: str
    target_cycles: int
    choice: dict[str, int]
    sensitivity: float
    score: float | None
    steps: int
    loss: float
    divergence: float
    interval: int
    dsp: int
    block_ram: int
    lut: int
    ff: int
    bytes: int
    predicted: dict[str, int]
    fits: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search gives: the chosen point, with the recipe sections that stand for it, and the points around it.

    rivals     the best choices for the block RAM (bytes without a board) of the uniform ones
    variables  the tensors of each; places: where each stood when bits were learned
    """

    chosen: Point
    quant: QuantConfig
    hardware: HardwareConfig
    front: list[Point]
    uniform: list[Point]
    rivals: list[Point]
    metric: str
    float_score: float | None
    budget: dict[str, float]
    method: str
    variables: dict[str, list[str]]
    sensitivity: Sensitivity | None = field(default=None, repr=False)
    places: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For pareto.json."""
        points = {"chosen": asdict(self.chosen), "front": [asdict(p) for p in self.front], "uniform": [asdict(p) for p in self.uniform],
                  "rivals": [asdict(p) for p in self.rivals]}  # fmt: skip
        return {"schema": "bitloom.search/1", "method": self.method, "metric": self.metric, "float_score": self.float_score,
                "budget": self.budget, "variables": self.variables, "places": self.places} | points  # fmt: skip


class Search:
    """One network's search.

    start     float model and data
    hardware  the recipe's; board: in the place of the one that it names
    out       folder for sensitivity.json, which is read where it is there
    """

    def __init__(self, start: Start, quant: QuantConfig, training: TrainConfig, max_tokens: int, hardware: HardwareConfig, config: SearchConfig,
                 board: Board | None, out: Path, progress: Progress = lambda fraction, text: None):  # fmt: skip
        self.start, self.training, self.config, self.board, self.out, self.progress = start, training, config, board, out, progress
        batches = calibration_batches(start.train, start.tokenizer, training)
        model = QuantModel.from_float(start.model, quant, max_tokens)
        if AUTO in (quant.residual, *(settings.get("residual") for settings in quant.overrides.values())):  # what is not searched, calibration chooses
            calibrate(model, batches)
            quant = model.quant
        settings = model.network.settings()
        self.progress(None, "scales of all bits")
        self._rounded = lambda space: Rounded(start.model, space, max_tokens, batches)
        self.rounded = self._rounded(Space.of(settings, quant, config))
        self.hardware = self._goal(hardware)
        if self.hardware.layers and self.hardware.layers < layers_of(self.rounded.graph(self.space.top)):
            self.rounded = self._rounded(Space.of(settings, quant, config, self.hardware.layers))
        self.sample = _sample(start, config.sentences, training.seed)
        self.judge = Judge(start.model, self.sample)

    @property
    def space(self) -> Space:
        return self.rounded.space

    def _goal(self, hardware: HardwareConfig) -> HardwareConfig:
        """The target interval and the layers in hardware: as the recipe says, or as its own bits reach them on the board, or the fewest bits."""
        cycles, layers = self.config.budget.cycles or hardware.target_cycles, hardware.layers
        if not cycles:
            asked = hardware.model_copy(update={"board": self.board and self.board.name})
            own = {v.name: min(v.bits, key=lambda b, v=v: abs(b - self.space.quant.of(v.tensors[0], v.setting))) for v in self.space.variables}
            try:
                folding = solve(self.rounded.graph(own), asked, self.board)
            except FoldingError:
                folding = solve(self.rounded.graph(self.space.least), asked, self.board)
            cycles, layers = folding.interval, folding.layers or layers
        several = layers_of(self.rounded.graph(self.space.top))
        layers = layers or (None if hardware.memory or several < 2 else several)
        return HardwareConfig.model_validate(hardware.model_dump() | {"target_cycles": cycles, "multipliers": None, "layers": layers, "board": None})

    def run(self) -> Found:
        """Raises SearchError, FoldingError: nothing is within the budget; which and by how much."""
        return {"ilp": self._by_sensitivity, "trials": self._by_trials, "gradient": self._by_gradient}[self.config.method]()

    def _by_sensitivity(self) -> Found:
        sensitivity = self.sensitivity()
        prices = self.prices(SPEEDS if self.board else (1,))  # bytes are the same at any speed
        at = prices[self.hardware.target_cycles]
        by, limits = sensitivity.by(self.config.by), self.limits(at)
        self.progress(None, "choosing bits")
        chosen = self.point("", at, best(at, by, limits))
        front = self.front(prices, by, limits, chosen)
        uniform = [self.at(f"uniform {bits}", at, self.space.uniform(bits), by) for bits in UNIFORM]
        return self._found(chosen, front, uniform, limits, sensitivity=sensitivity, rivals=self._rivals(at, by, limits, uniform))

    def _rivals(self, at: Prices, by: Mapping, limits: Limits, uniform: list[Point]) -> list[Point]:
        """The best choice that takes no more than each uniform one that fits."""
        figure, found = "block_ram" if self.board else "bits", []
        for point in uniform:
            costs = at.total(point.choice)
            if not point.fits and costs[COSTS.index(figure)] <= limits.get(figure, math.inf):
                solution = best(at, by, limits | {figure: float(costs[COSTS.index(figure)])})
                found.append(self.point(f"searched, for what {point.name} takes", at, solution))
        return found

    def _by_gradient(self) -> Found:
        at = self.prices((1,))[self.hardware.target_cycles]
        limits = self.limits(at)
        places = Learner(self.task(), self.rounded, at, limits).run(self.progress)
        self.rounded = self._rounded(self.space)  # its weights were trained
        near = distances(places, self.space.variables)
        chosen = self.point("", at, best(at, near, limits))
        uniform = [self.at(f"uniform {bits}", at, self.space.uniform(bits), near) for bits in UNIFORM]
        return self._found(chosen, [chosen], uniform, limits, places=places)

    def _by_trials(self) -> Found:
        at = self.prices((1,), filled=False)[self.hardware.target_cycles]
        limits = self.limits(at)
        start = {key: getattr(self, key).model_dump(mode="json") for key in ("training", "hardware", "config")}
        for key in ("trials", "workers", "cluster", "storage"):
            del start["config"][key]
        network = {"shape": self.rounded.model.shape.as_dict(), "quant": self.space.quant.model_dump(), "board": self.board and self.board.name}
        study = Study(self.config, self.out, fingerprint(start | network | {"data": self.start.dataset.name}))
        first = [self.space.uniform(bits) for bits in UNIFORM]
        tried = run_trials(study, self.task(1 if study.several or self.config.pruner == "none" else PARTS), self.space, at, limits, first, self.progress)
        least = best_of(tried)
        score = {tuple(sorted(t.choice.items())): t.score for t in tried}

        def point(name: str, choice: Choice) -> Point:
            found = score.get(tuple(sorted(choice.items())))
            return self.at(name, at, choice, None, trained=(found, self.config.steps))

        chosen = point("", least.choice)
        apart = {tuple(sorted(t.choice.items())): t for t in tried}.values()
        front = _undominated([chosen, *(point("", t.choice) for t in _leading(list(apart)))])
        return self._found(chosen, front, [point(f"uniform {bits}", choice) for bits, choice in zip(UNIFORM, first, strict=True)], limits)

    def _found(self, chosen: Point, front: list[Point], uniform: list[Point], limits: Limits, rivals: Sequence[Point] = (), **more: Any) -> Found:
        return Found(
            rivals=list(rivals),
            chosen=chosen,
            quant=self.space.quantization(chosen.choice),
            hardware=self.hardware.model_copy(update={"board": self.board and self.board.name}),
            front=front,
            uniform=uniform,
            metric=self.start.dataset.metric,
            float_score=score_of(self.start.model, self.start, self.training),
            budget={"cycles": self.hardware.target_cycles} | limits,
            method=self.config.method,
            variables={v.name: list(v.tensors) for v in self.space.variables},
            **more,
        )

    def task(self, parts: int = 1) -> Task:
        return Task(start=self.start, training=self.training, max_tokens=self.rounded.max_tokens, steps=self.config.steps, parts=parts)

    def sensitivity(self) -> Sensitivity:
        """Measured, or as an earlier attempt left it."""
        path = self.out / "sensitivity.json"
        if path.is_file():
            return Sensitivity.load(path)
        base, loss, apart = measure(self.rounded, self.judge, self.progress)
        layers = {}
        if self.config.by in ESTIMATES:
            layers = curvature(self.start.model, self.rounded, self._slices(), _loss_of(self.start), self.progress)
        tensors = {v.name: list(v.tensors) for v in self.space.variables}
        found = Sensitivity(sentences=len(self.sample) and sum(len(b["input_ids"]) for b in self.sample), base=base, tensors=tensors, loss=loss,
                            divergence=apart, layers=layers)  # fmt: skip
        found.save(path)
        return found

    def _slices(self) -> list:
        """Of the sentences that the Hessian is of: each some of every length."""
        batches = _sample(self.start, self.config.curvature_sentences, self.training.seed, SLICES)
        return [({key: batch[key] for key in batch if key != "labels"}, batch["labels"]) for batch in batches]

    def prices(self, speeds: Sequence[float], filled: bool = True) -> dict[int, Prices]:
        """By target interval: the budget's times each speed, those that can be met at all."""
        found = {}
        for speed in speeds:
            config = self.hardware.model_copy(update={"target_cycles": round(speed * self.hardware.target_cycles)})
            try:
                found[config.target_cycles] = Prices(self.space, lambda choice: self.rounded.graph(choice), config, self.board)
            except FoldingError:
                if speed == 1:
                    raise
        if filled:
            fill(list(found.values()), self.progress)
        return found

    def limits(self, at: Prices) -> dict[str, float]:
        """The budget by figure of COSTS: as `limits_of` has it, and what the external memory gives."""
        if self.config.budget.multipliers is not None:
            got = f"got {self.config.budget.multipliers} with method {self.config.method}"
            raise SearchError(f"search.budget.multipliers: {got}, must go with architecture: bits do not change how many there are; remove it")
        given = limits_of(self.config.budget, self.board)
        beats = at.most_beats()
        return given | ({"beats": beats} if beats < math.inf else {})

    def front(self, prices: Mapping[int, Prices], by: Mapping, limits: Limits, chosen: Point) -> list[Point]:
        """Points of which none is better in everything: for each interval, of block RAM (without a board: of bytes) from the least to what the best takes."""
        figure, found = "block_ram" if self.board else "bits", [chosen]
        for cycles, at in prices.items():
            programme = Programme(at, by)
            inner = {name: most for name, most in limits.items() if name != figure} | ({"beats": at.most_beats()} if "beats" in limits else {})
            least, most = programme.solve(inner, goal=figure), programme.solve(inner)
            if least is None:
                continue
            low, high = least[1], min(float(at.total(most[0])[COSTS.index(figure)]), limits.get(figure, math.inf))
            for i, room in enumerate(np.linspace(low, high, self.config.points) if high > low else [low]):
                self.progress(i / self.config.points, f"best bits at {cycles:,} cycles")
                try:
                    found.append(self.point("", at, best(at, by, inner | {figure: float(room)})))
                except SearchError:  # its design is beyond a budget, though the sums are not
                    continue
        return _undominated(found)

    def point(self, name: str, at: Prices, solution: Solution) -> Point:
        """A solution, judged."""
        return self.at(name, at, solution.choice, None, solution)

    def at(self, name: str, at: Prices, choice: Choice, by: Mapping | None, solution: Solution | None = None,
           trained: tuple[float | None, int] | None = None) -> Point:  # fmt: skip
        """A choice, folded and judged. by: the sensitivity, where no solution says it; trained: score and steps of a trial."""
        real = solution.real if solution else at.real(choice)
        predicted = dict(zip(COSTS, at.total(choice, real.lut_units) if at.filled else real.costs, strict=True))
        costs = dict(zip(COSTS, real.costs, strict=True))
        interval = math.ceil(steady_interval(Design(self.rounded.graph(choice), real.folding)))
        model = self.rounded.choose(choice)
        score, steps = trained or (score_of(model, self.start, self.training), 0)
        if solution:
            sensitivity = solution.sensitivity
        else:
            sensitivity = 1 - (score or 0.0) if by is None else sum(by[v][bits] for v, bits in choice.items())
        return Point(
            name=name,
            target_cycles=at.config.target_cycles,
            choice=dict(choice),
            sensitivity=sensitivity,
            score=score,
            steps=steps,
            **self.judge(model),
            interval=interval,
            dsp=int(costs["dsp"]),
            block_ram=int(costs["block_ram"]),
            lut=math.ceil(costs["lut"]),
            ff=math.ceil(costs["ff"]),
            bytes=-(-int(costs["bits"]) // 8),
            predicted={"dsp": int(predicted["dsp"]), "block_ram": int(predicted["block_ram"]), "bytes": -(-int(predicted["bits"]) // 8)},
            fits=real.fits,
        )


def _leading(tried: list[Tried]) -> list[Tried]:
    """Those of which none is better in score and cost."""
    return [t for t in tried if not any(o.score >= t.score and o.cost <= t.cost and (o.score, o.cost) != (t.score, t.cost) for o in tried)]


def _sample(start: Start, count: int, seed: int, slices: int = 0) -> list[dict[str, torch.Tensor]]:
    """Batches of that many items of the training split, drawn at random. slices: so many batches, each of every length; 0: batches of like lengths."""
    order = np.random.default_rng(seed).permutation(len(start.train))[:count]
    if slices:
        parts = [order[i::slices] for i in range(slices)]
    else:
        order = sorted(order, key=lambda i: start.train.lengths[i])
        parts = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
    collate = Collator(start.tokenizer.pad_id)
    return [collate([start.train[int(i)] for i in part]) for part in parts if len(part)]


def _loss_of(start: Start) -> nn.Module:
    """Of logits and labels. Raises SearchError: a head whose loss curvlinops cannot take."""
    if start.dataset.task not in ("classification", "regression"):
        raise SearchError(f"search.by: got the Hessian for a {start.dataset.task} task, must be a sentence head's; set search.by: divergence")
    if start.dataset.task == "classification":
        return nn.CrossEntropyLoss()
    return _SquaredError()


class _SquaredError(nn.MSELoss):
    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return super().forward(logits.squeeze(-1), labels.to(logits.dtype))


def _undominated(points: Sequence[Point]) -> list[Point]:
    """Without those that another beats or equals in cycles, block RAM (bytes without a board) and sensitivity; by cycles, then what they take."""

    def takes(p: Point) -> tuple:
        return (p.target_cycles, p.block_ram or p.bytes, p.sensitivity)

    kept: list[Point] = []
    for point in sorted(points, key=takes):
        if not any(all(a <= b for a, b in zip(takes(other), takes(point), strict=True)) for other in kept):
            kept.append(point)
    return kept


def save(found: Found, out: Path) -> None:
    """pareto.json, whole or not at all."""
    write_json(out / "pareto.json", found.as_dict())
