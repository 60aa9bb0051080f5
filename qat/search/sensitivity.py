# SPDX-License-Identifier: Apache-2.0
"""How much each variable's bits cost in accuracy: measured, with all others at their most bits, and estimated from the curvature of the loss.

measured   loss: the mean loss of the rounded model on training sentences, less that with all variables at their most bits. divergence: the same of the mean
           KL divergence of its answers from the float model's, which no luck with a label disturbs.
estimated  for weights alone. trace: half the Hessian's mean diagonal times the squared rounding error, the second term of the loss's Taylor series
           (HAWQ-V2, Dong et al. 2020). eigenvalue: the same with |mean| + standard deviation of the largest eigenvalue over slices of the data in the
           place of the mean diagonal (Q-BERT, Shen et al. 2020). All other variables keep their measured loss.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bitloom.qat.net.operator import Bits
from bitloom.qat.objectives.logits import distance
from bitloom.qat.quantizers import WeightQuant
from bitloom.qat.search.hessian import Batch, Curvature, weights_of
from bitloom.qat.search.rounded import Rounded
from bitloom.qat.trainer import as_taken

ESTIMATES = ("trace", "eigenvalue")
PRODUCTS = 16  # with the Hessian, for a trace
Progress = Callable[[float | None, str], None]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Curvature of one layer's weights."""

    tensor: str
    weights: int
    eigenvalues: list[float]
    trace: float
    trace_error: float
    rounding: dict[int, float]  # by bits: sum of squared rounding errors

    @property
    def spread(self) -> float:
        """Q-BERT's statistic."""
        return abs(float(np.mean(self.eigenvalues))) + float(np.std(self.eigenvalues))

    def estimate(self, by: str, bits: int) -> float:
        """Of the loss's increase at so many bits."""
        curvature = max(0.0, self.trace) / self.weights if by == "trace" else self.spread
        return 0.5 * curvature * self.rounding[bits]


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Of all variables. tensors: of each. loss, divergence: by variable and bits, the increase over `base`, all variables at their most bits."""

    sentences: int
    base: dict[str, float]
    tensors: dict[str, list[str]]
    loss: dict[str, dict[int, float]]
    divergence: dict[str, dict[int, float]]
    layers: dict[str, Layer] = field(default_factory=dict)

    def by(self, kind: str) -> dict[str, dict[int, float]]:
        """By variable and bits: never below 0, and never less with fewer bits, as what is measured otherwise is noise."""
        chosen = self.divergence if kind == "divergence" else self.loss
        found = {}
        for name, measured in chosen.items():
            layers = [self.layers[t] for t in self.tensors[name] if t in self.layers] if kind in ESTIMATES and name.endswith(":weights") else []
            values = {b: sum(layer.estimate(kind, b) - layer.estimate(kind, max(measured)) for layer in layers) for b in measured} if layers else measured
            worst, found[name] = 0.0, {}
            for bits in sorted(values, reverse=True):
                worst = max(worst, values[bits])
                found[name][bits] = worst
        return found

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Sensitivity:
        data = json.loads(path.read_text())
        for key in ("loss", "divergence"):
            data[key] = {name: {int(bits): v for bits, v in of.items()} for name, of in data[key].items()}
        layers = {name: Layer(**(of | {"rounding": {int(b): v for b, v in of["rounding"].items()}})) for name, of in data.pop("layers").items()}
        return cls(**data, layers=layers)


class Judge:
    """Loss of a model on fixed sentences, and the divergence of its answers from the float model's.

    batches  a model's inputs with their targets (qat/features.py: Collator)
    """

    def __init__(self, start: nn.Module, batches: Sequence[dict[str, Tensor]]):
        self.batches = batches
        with torch.no_grad():
            self.wanted = [answers(start.eval()(**as_taken(start, batch))) for batch in batches]

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """{"loss", "divergence"}: means over all sentences; divergence is the distance that distillation minimizes (qat/trainer.py), at temperature 1."""
        total, sums = 0, {"loss": 0.0, "divergence": 0.0}
        model.eval()
        for batch, wanted in zip(self.batches, self.wanted, strict=True):
            outputs, count = model(**as_taken(model, batch)), len(batch["input_ids"])
            total += count
            sums["loss"] += count * float(outputs.loss)
            sums["divergence"] += count * float(distance(outputs, wanted, batch["attention_mask"], 1.0))
        return {key: value / total for key, value in sums.items()}


def answers(outputs) -> Tensor:
    """Logits as `distance` takes a teacher's: [B, C], [B, T, C], or [B, T, 2] for spans."""
    return torch.stack([outputs.start_logits, outputs.end_logits], -1) if "start_logits" in outputs else outputs.logits


def measure(rounded: Rounded, judge: Judge, progress: Progress = lambda fraction, text: None) -> tuple[dict, dict, dict]:
    """(base, loss, divergence) as `Sensitivity` has them."""
    space = rounded.space
    base = judge(rounded.choose(space.top))
    loss, apart = ({v.name: {v.bits[-1]: 0.0} for v in space.variables} for _ in range(2))
    steps = list(space.steps())
    for done, (variable, bits) in enumerate(steps):
        progress(done / len(steps), f"{variable.name} at {bits} bits")
        found = judge(rounded.choose(space.top | {variable.name: bits}))
        loss[variable.name][bits] = found["loss"] - base["loss"]
        apart[variable.name][bits] = found["divergence"] - base["divergence"]
    rounded.choose(space.top)
    return base, loss, apart


def curvature(
    start: nn.Module, rounded: Rounded, batches: Sequence[Batch], loss: nn.Module, progress: Progress = lambda fraction, text: None
) -> dict[str, Layer]:
    """Of every layer whose weights are chosen, by its tensor; each batch is one slice of the data."""
    weights, found = weights_of(start, rounded.network), {}
    of = Curvature(start, loss, batches)
    chosen = [(v, t) for v in rounded.space.variables if v.setting == "weights" for t in v.tensors]
    for done, (variable, tensor) in enumerate(chosen):
        progress(done / len(chosen), f"curvature of {tensor}")
        weight, narrow = weights[tensor], rounded.space.quant.of(tensor, "weight_range") == "narrow"
        share = getattr(Bits(rounded.space.quant, rounded.max_tokens).coding(tensor), "share", 1)
        trace = of.trace(weight, PRODUCTS)
        found[tensor] = Layer(
            tensor=tensor,
            weights=weight.numel(),
            eigenvalues=of.tops(weight),
            trace=trace.value,
            trace_error=trace.error,
            rounding={bits: rounding_error(weight, bits, narrow, share) for bits in variable.bits},
        )
    return found


@torch.no_grad()
def rounding_error(weight: Tensor, bits: int, narrow: bool, share: int = 1) -> float:
    """Sum of squared differences between weights [C, K] and what they are rounded to, each channel (or group of `share`, 0: all) with its best scale."""
    grid = WeightQuant(len(weight), bits, narrow, share)
    grid.fit(weight)
    return float((grid(weight.detach())[0] - weight.detach()).square().sum())
