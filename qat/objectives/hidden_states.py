# SPDX-License-Identifier: Apache-2.0
"""Distillation by hidden states: the outputs of the student's layers, through a learned projection, are as those of equally spaced layers of the teacher.

Sun et al. 2019, "Patient Knowledge Distillation for BERT Model Compression" (arXiv:1908.09355); projection and square error: Jiao et al. 2020, "TinyBERT"
(arXiv:1909.10351); start from the teacher's layers: Sanh et al. 2019, "DistilBERT" (arXiv:1910.01108).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as TF

from bitloom.qat.methods.method import Work
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.objectives.teacher import Looking, Taught, Weight, spaced_pairs

POSITIONS = "embeddings.sum.position"


class Config(Taught):
    """tokens: all real ones, or each sentence's first. distance: square error (TinyBERT's), or that of vectors of length one (PKD's).

    initialize: the student starts from the teacher's embeddings and the layers it is compared with; it then has the same widths.
    """

    method: Literal["hidden_states"]
    weight: Weight = 1.0
    tokens: Literal["all", "first"] = "all"
    distance: Literal["square", "normalized"] = "square"
    initialize: bool = False


class HiddenStates(Looking):
    """loss <- loss + weight * mean over layers i of D(P h_i, h'_g(i)), g(i) = round((i+1) * L'/L) - 1 the teacher's layer, P a matrix, one for all layers.

    D of square: mean over tokens and channels of the squared difference; normalized: mean over tokens of ||x/|x| - y/|y|||**2. P is there where widths differ.
    Tokens are those that both still have, where layers take some out.
    """

    Config = Config

    def fits(self, student: EncoderShape, teacher: EncoderShape) -> None:
        super().fits(student, teacher)
        if self.cfg.initialize:
            ours = [(student.hidden, student.embedding, student.vocabulary), *((x.heads, x.head_width, x.intermediate, x.ranks) for x in student.layers)]
            kept = [teacher.layers[g] for _, g in spaced_pairs(len(student.layers), len(teacher.layers))]
            theirs = [(teacher.hidden, teacher.embedding, teacher.vocabulary), *((x.heads, x.head_width, x.intermediate, x.ranks) for x in kept)]
            if ours[1:] != theirs[1:] or ours[0][:2] != theirs[0][:2]:
                got = f"a teacher of {teacher.hidden} channels, {kept[0].heads} heads and a feed-forward of {kept[0].intermediate}"
                first = student.layers[0]
                raise self.error("initialize", got, f"have the student's {student.hidden}, {first.heads} and {first.intermediate}", "set initialize: false")

    def begin(self, work: Work) -> None:
        super().begin(work)
        if work.phase not in self.phases():
            return
        teacher = work.shared["teachers"][self.cfg.teacher].model
        if self.cfg.initialize and work.phase == "float":
            self._start(work, teacher)
        ours, theirs = work.network.shape.hidden, teacher.shape.hidden
        self.project = nn.Linear(ours, theirs, bias=False).to(next(work.model.parameters()).device) if ours != theirs else None

    @torch.no_grad()
    def _start(self, work: Work, teacher: nn.Module) -> None:
        place = dict(spaced_pairs(len(work.network.layer), len(teacher.network.layer)))
        there = dict(teacher.network.named_parameters())
        for name, parameter in work.network.named_parameters():
            parts = name.split(".")
            source = there[".".join(["layer", str(place[int(parts[1])]), *parts[2:]]) if parts[0] == "layer" else name]
            if name == POSITIONS:
                source = source[: len(parameter)]
            if source.shape != parameter.shape:
                got = f"a teacher whose '{name}' is {tuple(source.shape)}"
                raise self.error("initialize", got, f"have the student's {tuple(parameter.shape)}", "set initialize: false")
            parameter.copy_(source)

    def loss(self, work: Work, loss: Tensor, inputs: dict[str, Tensor], outputs: Any) -> Tensor:
        if work.phase not in self.phases():
            return loss
        ours, theirs = self.seen(work, inputs)
        pairs = spaced_pairs(len(work.network.layer), len(work.shared["teachers"][self.cfg.teacher].model.network.layer))
        terms = []
        for i, g in pairs:
            (x, own), (y, its) = ours.states(i), theirs.states(g)
            x, y = (x[:, 0], y[:, 0]) if self.cfg.tokens == "first" else (x[own & its], y[own & its])
            x = x if self.project is None else self.project(x)
            if self.cfg.distance == "square":
                terms.append(TF.mse_loss(x, y))
            else:
                terms.append((TF.normalize(x, dim=-1) - TF.normalize(y, dim=-1)).square().sum(-1).mean())
        return loss + self.cfg.weight * sum(terms) / len(terms)


METHOD = HiddenStates
