# SPDX-License-Identifier: Apache-2.0
"""A recipe's compression at work: its methods, in their order, before, in and behind each phase of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from transformers import TrainerCallback

from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.data import Dataset
from bitloom.qat.methods import MethodConfig, MethodError, method_of, read
from bitloom.qat.methods.method import Batches, Method, PhaseName, Setup, Step, TaskData, Work
from bitloom.qat.net.kinds import build
from bitloom.qat.net.model import EncoderModel, FloatModel
from bitloom.qat.net.network import Network
from bitloom.qat.net.shape import EncoderShape, NetworkShape
from bitloom.qat.tokenizer import TextTokenizer

DISTILL = "logits"  # the method that training.distill is a short form of, in the quantized phase


class Compression:
    """The methods of one recipe.

    Raises MethodError: an order that contradicts itself, two methods that cannot be combined.
    """

    def __init__(self, entries: Sequence[MethodConfig], quant: QuantConfig, training: TrainConfig):
        self.entries, self.quant, self.training = tuple(entries), quant, training
        self.data: TaskData | None = None
        self.told = ""  # what `check` found, in a line
        self.methods = self._made()
        for index, method in enumerate(self.methods):
            for earlier in self.methods[:index]:
                _require_order(earlier, method)

    @property
    def changes(self) -> bool:
        """There are methods of its own section, so that the float phase is theirs too."""
        return bool(self.entries)

    def _made(self) -> list[Method]:
        made = [method_of(entry.method)(entry, f"compression.{index}") for index, entry in enumerate(self.entries)]
        if (distill := self.training.distill) is not None and self.training.qat_epochs:
            made.append(method_of(DISTILL)(read({"method": DISTILL, "phases": ["qat"]} | distill.model_dump()), "training.distill"))
        return made

    def examples(self, dataset: Dataset, tokenizer: TextTokenizer) -> Dataset:
        """The data that is trained on. Raises MethodError: a task whose data a method cannot change."""
        for method in self.methods:
            dataset = method.examples(dataset, tokenizer.mask, self.training.seed)
        return dataset

    def prepare(self, data: TaskData) -> None:
        """The data has been read. Raises MethodError: a teacher of other labels or another tokenizer."""
        self.data = data
        for method in self.methods:
            method.prepare(data)

    def check(self, shape: NetworkShape) -> NetworkShape:
        """The shape that the network has in the end, as far as it is known before training.

        Raises MethodError: a method on a network without the part that it needs, a target out of reach. ConfigError: an override that then matches nothing.
        """
        before = least = shape
        for method in self.methods:
            if method.looks and self.training.compile:
                name = method.cfg.method
                raise MethodError(f"training.compile: got true with '{name}', must be false: it looks into the network while it trains; remove one of them")
            if not method.any_network and shape.kind != EncoderShape.kind:
                got = f"'{method.cfg.method}' on a network of kind '{shape.kind}'"
                raise method.error("method", got, "be on an encoder, whose parts it works on", "remove it, or change model.network")
            method.require(Setup(network=_network(shape), least=_network(least), quant=self.quant, training=self.training))
            shape, least = method.expect(method.reshape(shape)), method.least(method.reshape(least))
        network = _network(shape, self.quant)  # an override for a layer that will be gone is told now
        for method in self.methods:
            method.settled(network)
        if self.changes:
            self.told = f"Compression: {_told(before)} become {_told(shape)}; where training decides which parts stay, layers are taken alike here."
        return shape

    @torch.no_grad()
    def thin(self, network: Network) -> None:
        """Zeros in the weights of an untrained network, as training would make them."""
        for method in self.methods:
            method.thin(network)

    def start(self, model: FloatModel) -> FloatModel:
        """The network that is trained, with its initial weights."""
        for method in self.methods:
            shape = method.reshape(model.shape)
            if shape != model.shape:
                model = reshaped(model, shape, method)
        return model

    def begin(self, phase: PhaseName, model: EncoderModel, batches: Batches, own: nn.Module | None = None) -> Work:
        """Put the methods to work on a model, for one phase. own: the float model behind a quantized one."""
        work = Work(phase=phase, model=model, batches=batches, methods=self._made(), data=self.data, own=own)
        for method in work.methods:
            method.begin(work)
        model.methods = nn.ModuleList(work.methods)
        return work

    def finish(self, work: Work) -> EncoderModel:
        """The model without them, reshaped where the methods say so, on the same device."""
        device = next(work.model.parameters()).device
        for hook in work.hooks:
            hook.remove()
        del work.model.methods
        for method in work.methods:
            if (after := method.finish(work)) is not None:
                work = replace(work, model=after.to(device))
        return work.model


class Hooks(TrainerCallback):
    """Tells the methods of each training step."""

    def __init__(self, work: Work):
        self.work = work

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        for method in self.work.methods:
            method.before(self.work, _step(state, optimizer))

    def on_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        for method in self.work.methods:
            method.during(self.work, _step(state, optimizer))


def _step(state, optimizer) -> Step:
    return Step(number=state.global_step + 1, total=state.max_steps, rate=float(optimizer.param_groups[0]["lr"]))


def reshaped(model: FloatModel, shape: NetworkShape, method: Method | None = None) -> FloatModel:
    """A model of another shape with the weights of the old one: those of the same name and shape, and what the method says of the others."""
    new = FloatModel(shape)
    with torch.no_grad():
        there = dict(new.network.named_parameters())
        for name, parameter in model.network.named_parameters():
            if name in there and there[name].shape == parameter.shape:
                there[name].copy_(parameter)
        if method is not None:
            method.weights(model.network, new.network)
    return new.to(next(model.parameters()).device)


def _told(shape: NetworkShape) -> str:
    """A shape in a few words."""
    return f"{shape.words()}, {shape.parameters():,} parameters"


def _network(shape: NetworkShape, quant: QuantConfig | None = None) -> Network:
    """The operators of a shape, without memory for their weights."""
    with torch.device("meta"):
        return build(shape).bind(quant or QuantConfig(), shape.max_tokens)


def _require_order(earlier: Method, method: Method) -> None:
    """Raise MethodError: two entries that cannot stand like this."""
    first, second = earlier.cfg.method, method.cfg.method
    if first == second and method.alone and set(method.phases()) & set(earlier.phases()):
        raise MethodError(f"{method.where}: got a second '{second}', must be there once; remove one")
    for one, other in ((method, first), (earlier, second)):
        if other in one.clashes:
            raise MethodError(f"{method.where}: got '{second}' together with '{first}', must be one of them ({one.clashes[other]}); remove one")
    for one, other in ((method, earlier), (earlier, method)):
        if one.aligned and other.cuts and one.cfg.phase == "float":
            rule = "the phase behind it, as a cut through its pattern of zeros breaks it"
            raise one.error("phase", f"'float' with '{other.cfg.method}'", f"be {rule}", "set phase: qat")
    if earlier.fewer and method.cuts:
        raise MethodError(f"{method.where}: got '{second}' behind '{first}', must be in front of it: the layers that are left have other numbers; move it up")
    if method.early and not earlier.early:
        raise MethodError(
            f"{method.where}: got '{second}' behind '{first}', must be in front of it: it makes the network that '{first}' is trained on; move it up"
        )
