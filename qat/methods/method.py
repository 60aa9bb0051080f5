# SPDX-License-Identifier: Apache-2.0
"""What a compression method may do, hook by hook; each does nothing here. qat/compress.py calls them, for all entries of a recipe in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bitloom.hw.settings import did_you_mean
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.data import Dataset
from bitloom.qat.features import Features
from bitloom.qat.methods import MethodConfig, MethodError
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.model import EncoderModel, FloatModel
from bitloom.qat.net.operators import Linear
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.networks import ModelConfig
from bitloom.qat.tokenizer import TextTokenizer

PhaseName = Literal["float", "qat"]
Batches = Callable[[], Iterable[dict[str, Tensor]]]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is known before any training: the network as it is where the method stands in the list, and the recipe's other sections.

    least  the same with as few parts in each layer as training may leave; where nothing is open, as `network`
    """

    network: Encoder
    least: Encoder
    quant: QuantConfig
    training: TrainConfig

    @property
    def shape(self) -> EncoderShape:
        return self.network.shape

    def epochs(self, phase: PhaseName) -> float:
        return getattr(self.training, f"{phase}_epochs")


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """What is known once the data has been read.

    train    features of the training split; an item may be given more entries, which batches then have
    answers, models  of teachers that have been asked or loaded, by their names
    report   report(text) shows what is done
    """

    dataset: Dataset
    tokenizer: TextTokenizer
    train: Features
    model: ModelConfig
    training: TrainConfig
    device: torch.device
    report: Callable[[str], None]
    answers: dict[str, list] = field(default_factory=dict)
    models: dict[str, FloatModel] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Work:
    """One phase of a training.

    model    in float, or quantized; while it trains its `methods` are those at work, so that a checkpoint holds their buffers and parameters
    batches  some of the training data with labels, the same ones each time
    methods  made anew for each phase
    data     None in a test of a method that needs none
    own      the float model behind a quantized one
    hooks    handles that end with the phase
    shared   what methods of one kind share
    """

    phase: PhaseName
    model: EncoderModel
    batches: Batches
    methods: list[Method]
    data: TaskData | None = None
    own: nn.Module | None = None
    hooks: list[Any] = field(default_factory=list)
    shared: dict[str, Any] = field(default_factory=dict)

    @property
    def network(self) -> Encoder:
        return self.model.network


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where in its phase a training is: `number` of `total` steps, the last with the learning rate `rate`."""

    number: int
    total: int
    rate: float = 0.0


class Method(nn.Module):
    """Base of the methods. One is made for each entry of a recipe and lives as long as its training.

    Config  its settings
    any_network  it works on networks of every kind (qat/net/kinds.py), else on encoders alone
    early   it makes the network that is trained, so it must stand before those that are not
    alone   a second entry of its kind is refused, where they work in the same phase
    cuts    it takes rows or columns out of matrices at the end of the float phase
    aligned it makes zeros in a pattern that such a cut would break
    looks   it has hooks inside of the network while it trains, which torch.compile does not know
    fewer   it takes layers out at the end of the float phase, so that those behind have other numbers
    clashes names of the methods that it cannot be combined with, each with the reason
    """

    Config: type[MethodConfig] = MethodConfig
    any_network = False
    early = False
    alone = True
    cuts = False
    aligned = False
    looks = False
    fewer = False
    clashes: dict[str, str] = {}

    def __init__(self, cfg: MethodConfig, where: str):
        super().__init__()
        self.cfg, self.where = cfg, where

    def error(self, key: str, got: object, must: str, do: str) -> MethodError:
        """`where.key: got .., must ..; ..`, the entry alone where no key is to blame."""
        return MethodError(f"{self.where}{f'.{key}' if key else ''}: got {got}, must {must}; {do}")

    def phases(self) -> tuple[PhaseName, ...]:
        """Those in which it works."""
        return ("float", "qat")

    def require(self, setup: Setup) -> None:
        """Raise MethodError: the network has not the part, or the recipe not the phase, that the method needs."""

    def settled(self, network: Encoder) -> None:
        """Raise MethodError: the network of the quantized phase, as far as it is known, is none on which the method can work; others stand behind it."""

    def examples(self, dataset: Dataset, mask: str, seed: int) -> Dataset:
        """The data that is trained on. Raise MethodError: of a task that it cannot change.

        mask  the tokenizer's token for a hidden word, or else for an unknown one; seed: the training's
        """
        return dataset

    def prepare(self, data: TaskData) -> None:
        """Before any training, but with the data at hand. Raise MethodError: it does not fit."""

    def reshape(self, shape: EncoderShape) -> EncoderShape:
        """The network that is trained, from the one before it."""
        return shape

    def weights(self, old: Encoder, new: Encoder) -> None:
        """Initial weights of the reshaped network, whose weights of the same name and shape have been copied already."""

    def expect(self, shape: EncoderShape) -> EncoderShape:
        """The network that `finish` leaves, as far as it is known before training: layers alike where training decides which."""
        return shape

    def least(self, shape: EncoderShape) -> EncoderShape:
        """As `expect`, with the fewest parts that each layer may have in the end; all it may have are multiples of theirs."""
        return self.expect(shape)

    def thin(self, network: Encoder) -> None:
        """Set those weights of an untrained network to zero that the method would: what they cost is then known before training."""

    def begin(self, work: Work) -> None:
        """A phase begins: make buffers (a checkpoint then fills them), put hooks on modules."""

    def before(self, work: Work, step: Step) -> None:
        """The gradients of step `step.number` are there, the weights are still those before it."""

    def during(self, work: Work, step: Step) -> None:
        """Step `step.number` has changed the weights."""

    def loss(self, work: Work, loss: Tensor, inputs: dict[str, Tensor], outputs: Any) -> Tensor:
        """What training minimizes, from what it would without the method."""
        return loss

    def finish(self, work: Work) -> FloatModel | None:
        """A phase ends: the network in its place, None: it stays."""


def linears(network: Encoder, pattern: str) -> Iterator[tuple[str, Linear]]:
    """Names and operators of the weight matrices whose name matches a glob pattern, in the order of computation."""
    for operator in network.operators():
        if isinstance(operator, Linear) and fnmatchcase(operator.tensor, pattern):
            yield operator.tensor, operator


def nearest_layer(network: Encoder, pattern: str) -> str:
    """For a pattern that matches none."""
    return did_you_mean(pattern, [name for name, _ in linears(network, "*")])
