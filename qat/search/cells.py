# SPDX-License-Identifier: Apache-2.0
"""The search for a cell: weights and architecture learn in turn, what the hardware takes counts in the loss; then the most probable cell that fits.

Chen et al. 2020, "AdaBERT: Task-Adaptive BERT Compression with Differentiable Neural Architecture Search" (arXiv:2001.04246), with this project's own
hardware model in the place of FLOPs; in turn as first-order DARTS (Liu et al. 2019, arXiv:1806.09055), on two parts of the training split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitloom.hw.board import Board
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.qat.cells import Cell, edges, tidy, told
from bitloom.qat.compress import Compression
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.net.untrained import untrained_shape
from bitloom.qat.networks import NetworkConfig
from bitloom.qat.resume import write_json
from bitloom.qat.search.cell_prices import FIGURES, RealCell
from bitloom.qat.search.cell_space import most_probable, priced, too_much
from bitloom.qat.search.config import SearchConfig
from bitloom.qat.search.errors import SearchError
from bitloom.qat.search.supernet import Supernet, cell_of
from bitloom.qat.search.trial import batches, optimizer_of
from bitloom.qat.train import Read

PENALTY = 10.0  # of a cost that is twice the limit, in units of the loss
TAKEN = ("augmentation", "pretrained_embeddings", "logits")  # methods that the search has too; all others are those of the chosen network's training
EVERY = 25  # steps from one kept state to the next
JUDGED = 8  # batches that the chosen cell is judged on
BETAS = (0.5, 0.999)  # of the architecture's Adam, as in DARTS
Progress = Callable[[float | None, str], None]


@dataclass(frozen=True, kw_only=True)
class FoundCell:
    """What a search gives.

    real, predicted   figures of FIGURES of the design, and as the sums of the prices said
    probabilities     of each edge's operations, in the order in which a cell is written; depth: of each number of cells
    passed_over       more probable cells that did not fit, each with what was too much
    loss              of the chosen cell with the weights of the search, on sentences that the architecture learned on
    history           [{step, loss, held_out, temperature, and the mean of each figure}]
    """

    cell: Cell
    cells: int
    real: RealCell
    predicted: dict[str, float]
    limits: dict[str, float]
    target_cycles: int
    operations: list[str]
    probabilities: list[list[float]]
    depth: dict[int, float]
    passed_over: list[dict[str, Any]]
    loss: float
    steps: int
    history: list[dict[str, float]] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """For architecture.json."""
        return {"schema": "bitloom.architecture/1", "text": told(self.cell)} | asdict(self)


class CellSearch:
    """One search.

    model, hardware  the recipe's; board: in the place of the one that it names
    out              folder for the state, which is gone on from where it is there
    Raises SearchError, ConfigError: settings that do not fit, a space in which nothing fits; FoldingError: an operation that cannot be that fast.
    """

    def __init__(self, read: Read, model: NetworkConfig, quant: QuantConfig, training: TrainConfig, hardware: HardwareConfig,
                 config: SearchConfig, board: Board | None, out: Path, progress: Progress = lambda fraction, text: None):  # fmt: skip
        self.read, self.training, self.config, self.out, self.progress = read, training, config, out, progress
        self.space = config.architecture
        if read.dataset.task == "span":
            raise SearchError("search.method: got architecture for the task span, must be one with labels of sentences or tokens; choose another data set")
        shape = untrained_shape(model, labels=read.dataset.num_labels, vocabulary=len(read.tokenizer), task=read.dataset.task)
        read.compression.check(shape)
        self.progress(None, "costs of the hardware")
        self.prices, self.limits = priced(shape, quant, hardware, config, board)
        torch.manual_seed(training.seed)
        self.net = Supernet(shape, self.space.nodes, self.space.operations, self.space.cells)
        taken = Compression([entry for entry in read.compression.entries if entry.method in TAKEN], quant, training.model_copy(update={"distill": None}))
        taken.data = read.compression.data
        self.work = taken.begin("float", self.net, lambda: ())
        self.optimizers = (optimizer_of(self.net.network, training.model_copy(update={"qat_learning_rate": training.float_learning_rate})),
                           torch.optim.Adam(self.net.architecture(), lr=self.space.learning_rate, betas=BETAS))  # fmt: skip
        self.learned, self.held = self._parts()
        self.history: list[dict[str, float]] = []

    def _parts(self) -> tuple[list, list]:
        """Items that the weights learn on, and those that the architecture does; what was made of a sentence is where it is."""
        held = round(self.space.held_out * self.read.own)
        if self.space.held_out and not 0 < held < self.read.own:
            got = f"{self.space.held_out:g} of {self.read.own} training sentences"
            raise SearchError(f"search.architecture.held_out: got {got}, must leave some on both sides; change it, or take more sentences")
        drawn = torch.randperm(self.read.own, generator=torch.Generator().manual_seed(self.training.seed))[:held]
        held_out, items = set(drawn.tolist()), list(self.read.train)
        learned = [item for i, item in enumerate(items) if i % self.read.own not in held_out]
        return learned, [item for i, item in enumerate(items) if i % self.read.own in held_out] or learned

    def run(self) -> FoundCell:
        """Raises SearchError: none of the most probable cells fits."""
        self._learn()
        return self._chosen()

    def _learn(self) -> None:
        steps, first = self.config.steps, self._restored()
        learned, held = (islice(batches(part, self.read.tokenizer.pad_id, self.training), first, None) for part in (self.learned, self.held))
        self.net.train()
        for step in range(first, steps):
            temperature = self._temperature(step / max(1, steps - 1))
            loss, held_loss = self._step(step, next(learned), held, temperature)
            beyond = float(self.beyond(temperature).detach())
            if step % max(1, steps // 100) == 0 or step == steps - 1:
                means = dict(zip(FIGURES, self.prices.mean(*self.net.probabilities()).tolist(), strict=True))
                self.history.append({"step": step, "loss": loss, "held_out": held_loss, "temperature": temperature} | means)
            if (step + 1) % EVERY == 0 or step == steps - 1:
                self._keep(step + 1)
            self.progress((step + 1) / steps, f"step {step + 1}: loss {loss:.3f}, beyond the budget {beyond:.1%}")

    def _step(self, step: int, batch: dict[str, Tensor], held: Iterator[dict[str, Tensor]], temperature: float) -> tuple[float, float]:
        """Losses of the weights' step, and of the architecture's (the same where it learns in that step too, or not yet).

        The weights learn in cells that are nearly drawn: in a mixture of ten operations a convolution would learn at a tenth of its rate, and lose to poolings.
        """
        weights, architecture = self.optimizers
        late, together = step >= self.space.warm_up * self.config.steps, self.learned is self.held
        loss = self._loss(batch, temperature if together else self.space.final_temperature)
        total = loss + self.cost(step, temperature) if late and together else loss
        self._zero()
        total.backward()
        weights.step()
        own = next(held)  # a batch a step, so that a search that goes on finds its place
        if late and not together:
            self._zero()
            own_loss = self._loss(own, temperature)
            (own_loss + self.cost(step, temperature)).backward()
        if late:
            architecture.step()
        return float(loss.detach()), float((own_loss if late and not together else loss).detach())

    def _zero(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def _loss(self, batch: dict[str, Tensor], temperature: float | None) -> Tensor:
        """The task's, with a teacher's word where the recipe has one. temperature: of newly drawn weights; None: as they are."""
        if temperature is not None:
            self.net.draw(temperature)
        outputs = self.net(**{key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids", "labels")})
        loss = outputs.loss
        for method in self.work.methods:
            loss = method.loss(self.work, loss, batch, outputs)
        return loss

    def _temperature(self, done: float) -> float:
        """From the first to the last in equal factors."""
        return self.space.temperature * (self.space.final_temperature / self.space.temperature) ** done

    def shares(self, temperature: float) -> dict[str, Tensor]:
        """Of each limit what the mean cell takes, differentiable; without any, of the multipliers and bits of the dearest cell.

        Its probabilities are as sharp as the step's temperature: those of a uniform start at first, in the end nearly those of the most probable cell alone.
        """
        means, dearest = self.prices.mean(*self.net.probabilities(temperature)), self.prices.dearest()
        most = self.limits or {name: float(dearest[FIGURES.index(name)]) for name in ("multipliers", "bits")}
        return {name: means[FIGURES.index(name)] / max(limit, 1.0) for name, limit in most.items()}

    def beyond(self, temperature: float) -> Tensor:
        """The sum of what is beyond each limit, in shares of it."""
        return sum((torch.relu(share - 1) for share in self.shares(temperature).values()), torch.zeros(())) if self.limits else torch.zeros(())

    def cost(self, step: int, temperature: float) -> Tensor:
        """What the hardware adds to the loss: efficiency * mean share of the limits, and up to PENALTY times what is beyond them.

        The penalty grows from 0 in the first step of the architecture: before the loss has told operations apart, it would put out all that are dear.
        """
        shares, first = self.shares(temperature), self.space.warm_up * self.config.steps
        grown = (step + 1 - first) / (self.config.steps - first)
        return self.space.efficiency * sum(shares.values()) / len(shares) + PENALTY * grown * self.beyond(temperature)

    def _keep(self, step: int) -> None:
        part = self.out / "state.pt.tmp"
        torch.save({"step": step, "net": self.net.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers], "random": torch.get_rng_state(),
                    "history": self.history}, part)  # fmt: skip
        part.replace(self.out / "state.pt")

    def _restored(self) -> int:
        """The step to go on with."""
        path = self.out / "state.pt"
        if not path.is_file():
            return 0
        state = torch.load(path, weights_only=True)
        self.net.load_state_dict(state["net"])
        for optimizer, own in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        torch.set_rng_state(state["random"])
        self.history = state["history"]
        return state["step"]

    def _chosen(self) -> FoundCell:
        probabilities, depth = (p.detach().double() for p in self.net.probabilities())
        passed_over: list[dict[str, Any]] = []
        for names, count in islice(most_probable(probabilities, depth), self.space.candidates):
            cell, cells = tidy(cell_of([self.space.operations[o] for o in names], self.space.nodes)), self.space.cells[count]
            if not edges(cell) or any(other["cell"] == cell and other["cells"] == cells for other in passed_over):
                continue
            real = self.prices.real(cell, cells)
            if not (why := too_much(real, self.limits)):
                return self._found(cell, cells, real, (probabilities, depth), passed_over, self._judged(names, count))
            passed_over.append({"cell": cell, "cells": cells, "why": why})
        got = f"none that fits among the {self.space.candidates} most probable cells ({passed_over[0]['why'] if passed_over else 'no edges'})"
        raise SearchError(f"search: got {got}, must have one; raise search.architecture.efficiency, steps or candidates, or the budget")

    def _found(self, cell: Cell, cells: int, real: RealCell, learned: tuple[Tensor, Tensor], passed_over: list, loss: float) -> FoundCell:
        return FoundCell(
            cell=cell,
            cells=cells,
            real=real,
            predicted=self.prices.total(cell, cells),
            limits=dict(self.limits),
            target_cycles=self.prices.config.target_cycles,
            operations=list(self.space.operations),
            probabilities=learned[0].tolist(),
            depth=dict(zip(self.space.cells, learned[1].tolist(), strict=True)),
            passed_over=passed_over,
            loss=loss,
            steps=self.config.steps,
            history=self.history,
        )

    @torch.no_grad()
    def _judged(self, operations: Sequence[int], count: int) -> float:
        self.net.eval()
        self.net.choose(operations, count)
        drawn = islice(batches(self.held, self.read.tokenizer.pad_id, self.training), JUDGED)
        losses = [float(self._loss(batch, None)) for batch in drawn]
        return sum(losses) / len(losses)


def save(found: FoundCell, out: Path) -> None:
    """architecture.json, whole or not at all."""
    write_json(out / "architecture.json", found.as_dict())
