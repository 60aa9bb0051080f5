# SPDX-License-Identifier: Apache-2.0
"""Early exit: an off-ramp behind each layer, at which a sentence leaves that it answers for sure.

The rule is confidence (DeeBERT, Xin et al. 2020, arXiv:2004.12993; its margin here: hw/ops/off_ramps.py) or patience (PABEE, Zhou et al. 2020,
arXiv:2006.04152).
Pre-trained encoders that are read as the mean of their tokens hardly look at others from the first token, in the first layers: `first_token: mean` mends that.
Off-ramps are trained together with the layers, weighted by their depth (PABEE), or behind them with all else frozen (DeeBERT's two stages). An off-ramp is one
linear layer on the first token, as DeeBERT's text has it: the layers' hardware waits for what it says, and a pooler would make it wait longer.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bitloom.hw.settings import ConfigError, Number
from bitloom.qat.config import ExitWarning
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import Method, Setup, Step, TaskData, Work
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.model import FloatModel, sequence_loss
from bitloom.qat.net.off_ramps import NEVER, margins, taken
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.networks import MAX_LAYERS

SECOND = 0.5  # share of a phase's steps behind which DeeBERT's second stage begins
LEVELS = 64  # margins of the training sentences, equally spaced in rank, among which the threshold of an off-ramp is chosen


class Config(MethodConfig):
    """rule: confidence, with its `threshold` (a margin between logits), or patience, with its `patience` (off-ramps in a row that agree).

    Where that figure is left out, it is chosen so that it costs at most `accuracy_drop` per cent of the training sentences that are looked at: a threshold
    for each off-ramp, or the least patience.
    """

    method: Literal["early_exit"]
    rule: Literal["confidence", "patience"] = "confidence"
    threshold: Number | None = Field(None, ge=0, le=NEVER)
    patience: int | None = Field(None, ge=1, le=MAX_LAYERS)
    accuracy_drop: Number | None = Field(None, ge=0, le=100)
    train: Literal["joint", "two_stage"] = "joint"
    first_token: Literal["kept", "mean"] = "kept"  # its rows; mean: they start as the mean of all tokens and positions
    weighting: Literal["depth", "equal"] = "depth"  # of the losses, trained jointly: by depth as PABEE, or alike, which early layers learn more from

    @model_validator(mode="after")
    def _one_figure(self) -> Config:
        other, own = ("patience", self.threshold) if self.rule == "confidence" else ("threshold", self.patience)
        if getattr(self, other) is not None:
            raise ConfigError(f"{other}: got {getattr(self, other):g} with rule {self.rule}, must go with the other rule; remove it, or change rule")
        if self.train == "two_stage" and self.weighting != "depth":
            raise ConfigError(f"weighting: got {self.weighting} with train: two_stage, must go with joint; remove it")
        if own is not None and self.accuracy_drop is not None:
            raise ConfigError(f"accuracy_drop: got {self.accuracy_drop:g} with a given figure, must be one of them; remove one")
        return self


class EarlyExit(Method):
    """Minimizes the sum of j * loss_j over the off-ramps j = 1 .. L, divided by the sum of j, or their mean; or in two stages the last one's loss, then the
    sum of the others'."""

    Config = Config
    early = looks = True
    clashes = {"layer_drop": "each off-ramp belongs to its layer, and stands behind it in training"}

    first = 0  # number of the token that every text begins with

    def prepare(self, data: TaskData) -> None:
        self.first = data.tokenizer.encode([""]).ids[0][0]

    def require(self, setup: Setup) -> None:
        shape, layers = setup.shape, len(setup.shape.layers)
        if shape.per_token:
            raise self.error(
                "", "a head of each token", "have one vector of logits a sentence: its tokens leave together", "remove early_exit, or set model.head: sequence"
            )
        if shape.labels < 2:
            raise self.error("", "a task of one number", "have labels, of which one wins", "remove early_exit")
        if layers < 2:
            raise self.error("", "1 layer", "have at least two, to leave before the last", "remove early_exit, or raise model.layers")
        if self.cfg.patience is not None and self.cfg.patience > layers:
            raise self.error("patience", self.cfg.patience, f"be at most the {layers} layers that there are", "lower it")
        if not setup.training.float_epochs and not setup.training.qat_epochs:
            raise self.error("", "no epochs of either kind", "have some to train the off-ramps in", "set training.float_epochs")

    def reshape(self, shape: EncoderShape) -> EncoderShape:
        return replace(shape, exits=True, pooler=None)

    def weights(self, old: Encoder, new: Encoder) -> None:
        """The pooler's matrix goes into the logits': what they were for small values of it, which training then mends. All off-ramps start so."""
        if old.shape.pooler:
            pre = old.pooler.pre
            new.logits.bias.copy_(old.logits.bias + old.logits.weight @ pre.bias)
            new.logits.weight.copy_(old.logits.weight @ pre.weight)
        if self.cfg.first_token == "mean":
            for rows, index in ((new.embeddings.sum.word, self.first), (new.embeddings.sum.position, 0)):
                rows[index] = rows.mean(dim=0)
        for ramp in new.exit:
            ramp.logits.weight.copy_(new.logits.weight)
            ramp.logits.bias.copy_(new.logits.bias)

    def begin(self, work: Work) -> None:
        self._seen: tuple[Tensor, ...] = ()
        self.register_buffer("apart", torch.zeros((), dtype=torch.bool, device=next(work.model.parameters()).device))
        work.hooks.append(work.network.answer.register_forward_pre_hook(self._look))
        if self.cfg.train == "two_stage":
            work.hooks.extend(ramp.logits.register_forward_pre_hook(self._detach) for ramp in work.network.exit)

    def _look(self, module: torch.nn.Module, logits: tuple[Tensor, ...]) -> None:
        self._seen = logits

    def _detach(self, module: torch.nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        """DeeBERT: off-ramps learn from the layers, never the reverse."""
        return (args[0].detach(),)

    def during(self, work: Work, step: Step) -> None:
        self.apart.fill_(step.number >= SECOND * step.total)

    def loss(self, work: Work, loss: Tensor, inputs: dict[str, Tensor], outputs) -> Tensor:
        early = [sequence_loss(logits, inputs["labels"]) for logits in self._seen[:-1]]
        if self.cfg.train == "two_stage":
            return sum(early) if self.apart else loss
        shares = range(1, len(early) + 2) if self.cfg.weighting == "depth" else [1] * (len(early) + 1)
        return sum(share * own for share, own in zip(shares, [*early, loss], strict=True)) / sum(shares)

    @torch.no_grad()
    def finish(self, work: Work) -> FloatModel | None:
        """Set the rule by training sentences, and tell where they leave."""
        answer, (logits, labels) = work.network.answer, self.answers(work)
        threshold, patience = self.chosen(logits, labels)
        answer.threshold.copy_(threshold)
        answer.patience.fill_(patience)
        left = taken(logits, threshold, patience)
        text = told(logits, labels, left)
        if work.data is not None:
            work.data.report(f"early exit, {work.phase}: {text}")
        if bool((left == left[0]).all()):
            key = "threshold" if self.cfg.rule == "confidence" else "patience"
            warnings.warn(f"{self.where}: all sentences leave behind layer {int(left[0]) + 1}: {text}; change {key}", ExitWarning, stacklevel=2)

    def answers(self, work: Work) -> tuple[Tensor, Tensor]:
        """Logits of all off-ramps [L, N, labels] and labels [N] of some training sentences."""
        seen: list[Tensor] = []
        handle = work.network.answer.register_forward_pre_hook(lambda module, logits: seen.append(torch.stack(logits)))
        training, device, labels = work.model.training, next(work.model.parameters()).device, []
        work.model.eval()
        for batch in work.batches():
            work.model(**{key: value.to(device) for key, value in batch.items() if key != "labels"})
            labels.append(batch["labels"].to(device))
        handle.remove()
        work.model.train(training)
        return torch.cat(seen, dim=1), torch.cat(labels)

    def chosen(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, int]:
        """Thresholds [L - 1] and patience: as given, or as far down as they keep the accuracy."""
        least = correct(logits[-1], labels) - (0.5 if self.cfg.accuracy_drop is None else self.cfg.accuracy_drop) / 100
        same = torch.full_like(logits[1:, 0, 0], 0.0 if self.cfg.threshold is None else self.cfg.threshold)
        if self.cfg.rule == "confidence":
            return (thresholds(logits, labels, least) if self.cfg.threshold is None else same), 1
        patience = self.cfg.patience or len(logits)
        while self.cfg.patience is None and patience > 1 and leaving(logits, labels, same, patience - 1)[0] >= least:
            patience -= 1
        return same, patience


def thresholds(logits: Tensor, labels: Tensor, least: float) -> Tensor:
    """Step by step the threshold of one off-ramp is lowered by a level, that one which saves the most layers for the right answers that it costs.

    At an off-ramp that answers all of them alike none leaves: what it gets right there it gets right by chance.
    logits [L, N, labels]; least: share of right answers that must be left
    """
    margin = margins(logits)[0][:-1].sort(dim=1, descending=True).values
    ranks = torch.linspace(0, margin.shape[1] - 1, min(LEVELS, margin.shape[1]), device=margin.device).long()
    levels = torch.cat([torch.full_like(margin[:, :1], NEVER), margin[:, ranks]], dim=1)
    best = logits[:-1].argmax(-1)
    telling = (best != best[:, :1]).any(dim=1).nonzero().flatten().tolist()
    at, now = [0] * len(levels), levels[:, 0].clone()
    right, depth = leaving(logits, labels, now, 1)
    while True:
        steps = []
        for ramp in telling:
            if at[ramp] + 1 < levels.shape[1]:
                lower = now.clone()
                lower[ramp] = levels[ramp, at[ramp] + 1]
                then, left = leaving(logits, labels, lower, 1)
                if then >= least:
                    steps.append(((depth - left) / (max(0.0, right - then) + 0.1 / len(labels)), -ramp, ramp, lower, then, left))
        if not steps:
            return now
        *_, ramp, now, right, depth = max(steps, key=lambda step: step[:2])
        at[ramp] += 1


def correct(logits: Tensor, labels: Tensor) -> float:
    """Share of right answers of logits [N, labels]."""
    return float((logits.argmax(-1) == labels).double().mean())


def leaving(logits: Tensor, labels: Tensor, threshold: Tensor, patience: int) -> tuple[float, float]:
    """Share of right answers where sentences leave by that rule, and how many layers they pass in the mean, from 0 on, of logits [L, N, labels]."""
    left = taken(logits, threshold, patience)
    return correct(logits[left, torch.arange(len(labels), device=labels.device)], labels), float(left.double().mean())


def told(logits: Tensor, labels: Tensor, left: Tensor) -> str:
    """Where sentences leave and what it costs, in a few words."""
    shares = torch.bincount(left, minlength=len(logits)).double() / len(left)
    chosen = correct(logits[left, torch.arange(len(labels), device=labels.device)], labels)
    return (
        f"{len(left)} training sentences leave behind layers 1 .. {len(logits)}: {', '.join(f'{100 * share:.0f} %' for share in shares)}; "
        f"mean {float(left.double().mean()) + 1:.2f} layers; accuracy {100 * chosen:.1f} %, of the last {100 * correct(logits[-1], labels):.1f} %"
    )


METHOD = EarlyExit
