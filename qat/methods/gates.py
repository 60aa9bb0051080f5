# SPDX-License-Identifier: Apache-2.0
"""What methods that take the least important parts of layers out share: gates on an operator's output, their importance by gradient, rounds, the cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bitloom.hw.settings import ConfigError, Number
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.cut import cut_parts
from bitloom.qat.methods.method import Method, Setup, Step, Work
from bitloom.qat.net.encoder import Encoder, EncoderLayer
from bitloom.qat.net.model import FloatModel
from bitloom.qat.net.shape import EncoderShape, LayerShape


class Rounds(MethodConfig):
    """keep: share of the parts that stay; `rounds` of taking out, from `begin` to `end` of the float phase."""

    keep: Number = Field(gt=0, le=1)
    rounds: int = Field(4, ge=1, le=1000)
    begin: Number = Field(0.3, ge=0, le=1)
    end: Number = Field(0.7, ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> Rounds:
        if self.begin > self.end:
            raise ConfigError(f"begin: got {self.begin:g} with end {self.end:g}, must be at most that; lower it")
        return self

    def due(self, step: Step) -> int | None:
        """The round, 1 .. rounds, that is over after this step; of several at once the last."""
        ends = [max(1, int(step.total * (self.begin + (self.end - self.begin) * n / max(1, self.rounds - 1)))) for n in range(self.rounds)]
        return max((n + 1 for n, end in enumerate(ends) if end == step.number), default=None)


class LayerRounds(Rounds):
    """Of parts of layers: `keep` of all these layers' together, or of each layer's."""

    scope: Literal["layer", "all"] = "all"
    layers: str = "layer.*"  # glob pattern of layer.0, layer.1, ..


def watch(y: Tensor, seen: Tensor) -> None:
    """Add the importance of the parts that lie side by side in y [B, T, C] or [B, C] to `seen`, once the gradients are there.

    Summed over sentences, |sum over tokens of y * dL/dy|, which is |dL/dg| of a gate g = 1 on the part.
    """

    def see(grad: Tensor) -> None:
        products = (y.detach() * grad).reshape(len(y), -1, len(seen), y.shape[-1] // len(seen)).sum((1, 3))  # [B, parts]
        seen.add_(products.abs().sum(0).double())

    if y.requires_grad:
        y.register_hook(see)


def rounds_at_once(work: Work, rounds: int, gated: Callable[[Encoder], list[Any]], take_out: Callable[[int], None]) -> None:
    """All rounds without training in between, on the calibration batches. gated: puts the gates on; take_out: one round."""
    device, training, hooks = next(work.model.parameters()).device, work.model.training, gated(work.network)
    work.model.eval()
    for number in range(1, rounds + 1):
        for batch in work.batches():
            work.model(**{key: value.to(device) for key, value in batch.items()}).loss.backward()
        take_out(number)
    work.model.zero_grad()
    work.model.train(training)
    for hook in hooks:
        hook.remove()


def over_processes(seen: Tensor) -> Tensor:
    """The sum over all processes of a training, so that each takes the same parts out."""
    seen = seen.clone()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(seen)
    return seen


class Gates(Method):
    """Base of those that take parts of layers out.

    Importance is collected over the steps since the last round. Parts that are out have the gate 0 until the phase ends; then the network is made without them,
    which computes the same. With no float epochs the rounds are made at the phase's end, on the calibration batches.
    """

    Config = LayerRounds
    cuts = looks = True
    part: str  # of bitloom.qat.methods.cut
    field: str  # of LayerShape

    def operator(self, layer: EncoderLayer) -> nn.Module:
        """Whose output consists of the parts, side by side."""
        raise NotImplementedError

    def scaled(self, importance: Tensor) -> Tensor:
        """Importance of one layer's parts as it is compared with other layers'."""
        return importance

    def count(self, layer: LayerShape) -> int:
        return getattr(layer, self.field)

    def chosen(self, shape: EncoderShape) -> list[int]:
        """Layers that have such parts."""
        return [i for i, layer in enumerate(shape.layers) if self.count(layer) and fnmatchcase(f"layer.{i}", self.cfg.layers)]

    def target(self, counts: list[int]) -> int:
        return round(self.cfg.keep * sum(counts))

    def require(self, setup: Setup) -> None:
        chosen, cfg = self.chosen(setup.shape), self.cfg
        if not chosen:
            raise self.error("layers", f"'{cfg.layers}'", f"match one of layer.0 .. layer.{len(setup.shape.layers) - 1} that has {self.part}", "change it")
        counts = [self.count(setup.shape.layers[i]) for i in chosen]
        groups = [counts] if cfg.scope == "all" else [[count] for count in counts]
        for group in groups:
            if self.target(group) < len(group):
                least = len(group) / sum(group)
                got, rule = f"{cfg.keep:g} of {sum(group)} {self.part} in {_layers(group)}", f"leave one in each (at least {least:.4g})"
                raise self.error("keep", got, rule, "raise it")

    def expect(self, shape: EncoderShape) -> EncoderShape:
        chosen = self.chosen(shape)
        return replace(shape, layers=tuple(self._fewer(layer) if i in chosen else layer for i, layer in enumerate(shape.layers)))

    def least(self, shape: EncoderShape) -> EncoderShape:
        if self.cfg.scope == "layer":
            return self.expect(shape)
        chosen = self.chosen(shape)
        return replace(shape, layers=tuple(replace(layer, **{self.field: 1}) if i in chosen else layer for i, layer in enumerate(shape.layers)))

    def _fewer(self, layer: LayerShape) -> LayerShape:
        return replace(layer, **{self.field: max(1, self.target([self.count(layer)]))})

    def begin(self, work: Work) -> None:
        if work.phase == "float":
            shape, device = work.network.shape, next(work.model.parameters()).device
            for i in self.chosen(shape):
                self.register_buffer(f"kept/{i}", torch.ones(self.count(shape.layers[i]), dtype=torch.bool, device=device))
                self.register_buffer(f"seen/{i}", torch.zeros(self.count(shape.layers[i]), dtype=torch.float64, device=device))
            work.hooks.extend(self._gated(work.network))

    def _gated(self, network: Encoder) -> list[Any]:
        return [self.operator(network.layer[i]).register_forward_hook(self._gate(i)) for i in self.chosen(network.shape)]

    def _gate(self, i: int) -> Callable:
        def gate(module: nn.Module, args: tuple, y: Tensor) -> Tensor:
            kept = self.get_buffer(f"kept/{i}")
            if not bool(kept.all()):
                y = y * kept.repeat_interleave(y.shape[-1] // len(kept)).to(y.dtype)
            watch(y, self.get_buffer(f"seen/{i}"))
            return y

        return gate

    def during(self, work: Work, step: Step) -> None:
        if work.phase == "float" and (number := self.cfg.due(step)) is not None:
            self._take_out(work.network.shape, number)

    @torch.no_grad()
    def _take_out(self, shape: EncoderShape, number: int) -> None:
        """Round `number` of all: gates of the least important parts become 0."""
        chosen = self.chosen(shape)
        for group in [chosen] if self.cfg.scope == "all" else [[i] for i in chosen]:
            counts = [self.count(shape.layers[i]) for i in group]
            left = sum(counts) - round(number / self.cfg.rounds * (sum(counts) - self.target(counts)))
            self._keep(group, left)
        for i in chosen:
            self.get_buffer(f"seen/{i}").zero_()

    def _keep(self, group: list[int], left: int) -> None:
        """The `left` most important parts of these layers, and each layer's most important one in any case."""
        kept = [self.get_buffer(f"kept/{i}") for i in group]
        sizes = [self.scaled(over_processes(self.get_buffer(f"seen/{i}"))).masked_fill(~own, -1) for i, own in zip(group, kept, strict=True)]
        for own in sizes:
            own[own.argmax()] = torch.inf
        order = torch.cat(sizes).sort(descending=True, stable=True).indices
        mask = torch.zeros(len(order), dtype=torch.bool, device=order.device)
        mask[order[:left]] = True
        for own, part in zip(kept, mask.split([len(own) for own in kept]), strict=True):
            own.copy_(part & own)

    def finish(self, work: Work) -> FloatModel | None:
        if work.phase != "float":
            return None
        shape = work.network.shape
        counts = {i: self.count(shape.layers[i]) for i in self.chosen(shape)}
        if sum(int(self.get_buffer(f"kept/{i}").sum()) for i in counts) > self.target(list(counts.values())):
            rounds_at_once(work, self.cfg.rounds, self._gated, lambda number: self._take_out(shape, number))
        kept = [
            self.get_buffer(f"kept/{i}").nonzero().flatten().tolist() if i in counts else range(self.count(shape.layers[i])) for i in range(len(shape.layers))
        ]
        return cut_parts(work.model, self.part, kept)


def _layers(group: list[int]) -> str:
    return f"{len(group)} layer{'' if len(group) == 1 else 's'}"
