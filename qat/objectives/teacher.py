# SPDX-License-Identifier: Apache-2.0
"""Teachers: a checkpoint of larger shape, of any family or of another run, or the run's own float model; and what is seen inside of teacher and student."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bitloom.hw.settings import ConfigError
from bitloom.qat.baseline import checkpoint_config, head_of_task, load_float
from bitloom.qat.checkpoint import is_plain, labels_of, load_plain, plain_shape
from bitloom.qat.config import MAX_RATE
from bitloom.qat.families import family_of
from bitloom.qat.labels import order_by_name
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import Method, PhaseName, Setup, TaskData, Work
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.model import FloatModel
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.tokenizer import TextTokenizer

OWN = "float"  # the teacher that is the run's own float model, for its quantized phase
Weight = Annotated[float, Field(strict=False, allow_inf_nan=False, gt=0, le=MAX_RATE)]


class Taught(MethodConfig):
    """teacher: a checkpoint's folder or hub name, the train/float of another run, or `float`. phases: all that train where the teacher is there."""

    teacher: str
    phases: Annotated[tuple[PhaseName, ...], Field(strict=False, min_length=1)] | None = None

    @model_validator(mode="after")
    def _own_teacher_is_late(self) -> Taught:
        if self.teacher == OWN and self.phases is not None and "float" in self.phases:
            raise ConfigError("phases: got 'float' with teacher: float, must be [qat]: in the float phase it is the student itself; change one")
        return self


class Objective(Method):
    """Base of what a teacher is needed for."""

    Config = Taught

    def phases(self) -> tuple[PhaseName, ...]:
        return self.cfg.phases or (("qat",) if self.cfg.teacher == OWN else ("float", "qat"))

    def require(self, setup: Setup) -> None:
        if not any(setup.epochs(phase) for phase in self.phases()):
            phases = " and ".join(self.phases())
            raise self.error("phases", f"{phases} with no epochs", "train in one of them", f"set training.{self.phases()[-1]}_epochs")


class Looking(Objective):
    """Base of objectives that look into both: the teacher reads what the student reads, so it has the same tokenizer."""

    looks = True

    def require(self, setup: Setup) -> None:
        super().require(setup)
        if self.cfg.teacher != OWN:
            self.fits(setup.shape, teacher_shape(self.cfg.teacher, setup.shape))

    def settled(self, network: Encoder) -> None:
        if self.cfg.teacher != OWN and "qat" in self.phases():
            self.fits(network.shape, teacher_shape(self.cfg.teacher, network.shape))

    def fits(self, student: EncoderShape, teacher: EncoderShape) -> None:
        """Raise MethodError: shapes that cannot be compared."""
        if teacher.max_tokens < student.max_tokens:
            raise self.error("teacher", f"a teacher of {teacher.max_tokens} tokens", f"take the student's {student.max_tokens}", "lower model.max_tokens")
        if len(teacher.layers) < len(student.layers):
            raise self.error(
                "teacher", f"a teacher of {len(teacher.layers)} layers", f"have the student's {len(student.layers)} at least", "choose a deeper one"
            )

    def prepare(self, data: TaskData) -> None:
        if self.cfg.teacher == OWN:
            return
        load_teacher(self, data)
        theirs, ours = TextTokenizer.load(self.cfg.teacher), data.tokenizer
        if theirs.words() != ours.words():
            got = f"a teacher whose {len(theirs):,} tokens are not the student's {len(ours):,}"
            raise self.error("teacher", got, "read the same tokens", f"set data.vocab: {self.cfg.teacher}")

    def begin(self, work: Work) -> None:
        if work.phase not in self.phases():
            return
        teacher = work.own if self.cfg.teacher == OWN else load_teacher(self, work.data)
        self.fits(work.network.shape, teacher.shape)
        found: dict[str, Teacher] = work.shared.setdefault("teachers", {})
        if self.cfg.teacher not in found:
            found[self.cfg.teacher] = Teacher(teacher.to(next(work.model.parameters()).device))
        if "student" not in work.shared:
            work.shared["student"] = {}
            work.hooks.extend(taps(work.network, work.shared["student"]))

    def seen(self, work: Work, inputs: dict[str, Tensor]) -> tuple[Inside, Inside]:
        """What the student and the teacher computed inside, each token in its place of the sentence."""
        real = inputs["attention_mask"].bool()
        return Inside(work.shared["student"], real), Inside(work.shared["teachers"][self.cfg.teacher].see(inputs), real)


class Inside:
    """What was computed inside for a batch, each token where it stands in its sentence, zeros in the places of those that have been taken out.

    seen  as `taps` keep it; real: mask of the batch's tokens, bool [B, T]
    """

    def __init__(self, seen: dict[str, Any], real: Tensor):
        self._seen, self._real = seen, real

    def _left(self, layers: int) -> tuple[Tensor | None, Tensor]:
        """Behind so many layers: places of the tokens that are left [B, T'], None for all, and which tokens these are, bool [B, T]."""
        places, there = None, self._real
        for i in range(layers):
            if (kept := self._seen.get(f"layer.{i}.left")) is not None:
                places = kept[0] if places is None else places.gather(1, kept[0])
                there = torch.zeros_like(self._real).scatter(1, places, kept[1])
        return places, there

    def states(self, layer: int) -> tuple[Tensor, Tensor]:
        """Its output [B, T, H], and which tokens that has, bool [B, T]."""
        places, there = self._left(layer + 1)
        return _put_back(self._seen[f"layer.{layer}"], 1, places, there), there

    def maps(self, layer: int, kind: str) -> tuple[Tensor, Tensor]:
        """Its attention `before` or `after` softmax [B, heads, T, T], and which tokens that has, bool [B, T]."""
        places, there = self._left(layer)
        x = self._seen[f"layer.{layer}.{kind}"]
        return _put_back(_put_back(x, 2, places, there), 3, places, there), there


def _put_back(x: Tensor, dim: int, places: Tensor | None, there: Tensor) -> Tensor:
    """x [B, .., T', ..] with its tokens, which lie along `dim`, in their places [B, T'] of the sentence."""
    if places is None:
        return x
    shape = list(x.shape)
    shape[dim] = there.shape[1]
    index = places.reshape(len(places), *[-1 if d == dim else 1 for d in range(1, x.dim())]).expand(x.shape)
    return x.new_zeros(shape).scatter(dim, index, x)


class Teacher:
    """A float model in evaluation; what it computes inside is kept for the batch, so that several objectives ask once."""

    def __init__(self, model: FloatModel):
        self.model, self._seen, self._of = model.eval().requires_grad_(False), {}, None
        self._hooks = list(taps(model.network, self._seen))

    @torch.no_grad()
    def see(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        if self._of is not inputs["input_ids"]:
            self._of = inputs["input_ids"]
            self.model(**{key: inputs[key] for key in ("input_ids", "attention_mask", "token_type_ids")})
        return self._seen


def taps(network: Encoder, seen: dict[str, Tensor]) -> Iterator[Any]:
    """Hooks that keep the last outputs: `layer.i` [B, T, H], its attention before and after softmax [B, heads, T, T], where it has heads with queries and
    keys, and `layer.i.left`, what is left of its tokens (qat/net/kept.py: KeepTokens.taken), where it takes some out."""

    def keep(name: str):
        return lambda module, args, y: seen.__setitem__(name, y)

    for i, layer in enumerate(network.layer):
        yield layer.ffn.norm.register_forward_hook(keep(f"layer.{i}"))
        if layer.layer.heads:
            yield layer.scores.register_forward_hook(keep(f"layer.{i}.before"))
            yield layer.probs.register_forward_hook(keep(f"layer.{i}.after"))
        if layer.kept is not None:
            yield layer.kept.register_forward_hook(lambda module, args, y, name=f"layer.{i}.left": seen.__setitem__(name, module.taken))


def spaced_pairs(student: int, teacher: int) -> list[tuple[int, int]]:
    """Each of the student's layers with the teacher's layer that ends the same part of the depth (PKD-skip, Sun et al. 2019)."""
    return [(i, round((i + 1) * teacher / student) - 1) for i in range(student)]


def teacher_shape(name: str, student: EncoderShape) -> EncoderShape:
    """Of a checkpoint, from its configuration alone."""
    if is_plain(name):
        return plain_shape(name)
    config, family = checkpoint_config(name, labels=student.labels)
    return family.shape(config, min(student.max_tokens, family.rows(config)), student.head, student.labels)


def load_teacher(method: Method, data: TaskData) -> FloatModel:
    """The model of a checkpoint in float, its logits in the order of the data's labels.

    Raises MethodError: it has no head for these labels, or others; QuantError: as of any checkpoint.
    """
    if method.cfg.teacher not in data.models:
        data.models[method.cfg.teacher] = _loaded(method, data)
    return data.models[method.cfg.teacher]


def _loaded(method: Method, data: TaskData) -> FloatModel:
    name, labels = method.cfg.teacher, data.dataset.num_labels
    if is_plain(name):
        model = load_plain(name)
        if (model.shape.head, model.shape.labels) != (head := head_of_task(data.dataset.task, data.model.head), labels):
            got = f"'{name}' with a {model.shape.head} head of {model.shape.labels} logits"
            raise method.error("teacher", got, f"have a {head} head of {labels}", "choose one that was trained on this task")
        if data.dataset.label_names and (theirs := labels_of(name)):
            order_by_name(model.network.logits, theirs, data.dataset.label_names, name)
        return model
    hugging = hugging_teacher(method, data)
    return FloatModel.from_hugging_face(hugging, min(data.model.max_tokens, family_of(hugging.config).rows(hugging.config))).eval()


def hugging_teacher(method: Method, data: TaskData):
    """The Hugging Face model of a teacher's folder. Raises MethodError: it has no head for these labels."""
    name, labels = method.cfg.teacher, data.dataset.num_labels
    model = load_float(name, head=head_of_task(data.dataset.task, data.model.head), labels=labels, names=data.dataset.label_names)
    if model.fresh:
        got = f"'{name}' without a head for {labels} labels"
        raise method.error("teacher", got, "have been trained on this task", "fine-tune it first, or set teacher: float")
    return model
