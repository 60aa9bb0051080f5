# SPDX-License-Identifier: Apache-2.0
"""Dual training with a small vocabulary: a teacher reads texts of which some words are in the student's vocabulary, embedded by the student's own table.

Zhao, Gupta, Song and Zhou 2019, "Extreme Language Model Compression with Optimal Subwords and Shared Projections" (arXiv:1909.11687; at EACL 2021 as "Extremely
Small BERT Models from Mixed-Vocabulary Training"). The student's table, through a learned projection up, must mean to the teacher what the teacher's own tokens
mean; there by masked words on a large corpus, here by the labels of the task. Projections that are shared by all layers align the layers' matrices, up or down.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as TF

from bitloom.hw.settings import Number
from bitloom.qat.methods.method import Setup, TaskData, Work
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.model import FloatModel, sequence_loss
from bitloom.qat.net.operators import Linear
from bitloom.qat.objectives.teacher import OWN, Objective, Taught, Weight, load_teacher, spaced_pairs
from bitloom.qat.tokenizer import TextTokenizer

SIDES = {"query": "ah", "key": "ah", "value": "ah", "attention.output": "ha", "ffn.up": "fh", "ffn.down": "hf"}  # of matrices: outputs, inputs


class Config(Taught):
    """share: of a text's words that are in the student's vocabulary when the teacher reads it. weight: of the teacher's loss on such texts.

    projection: of the layers' matrices, each with an equally spaced one of the teacher: `up` to the teacher's size, `down` to the student's, with `strength`
    """

    method: Literal["dual_vocabulary"]
    share: Number = Field(0.5, gt=0, le=1)
    weight: Weight = 1.0
    projection: Literal["none", "up", "down"] = "none"
    strength: Weight = 1.0


class DualVocabulary(Objective):
    """loss <- loss + weight * L_teacher(mixed text) + strength * mean over matrices of D.

    A word is in the student's vocabulary with probability `share`; its tokens are embedded as E_student U, the others as E_teacher. The teacher is frozen:
    the student's table and U learn. D of down: mean of (A W' B^T - W)**2, of up: mean of (A^T W B - W')**2, W' the teacher's matrix, W the student's; A and B
    project hidden channels, those of attention, or units of the feed-forward, the same in all layers.
    """

    Config = Config

    def phases(self) -> tuple[str, ...]:
        return ("float",)

    def require(self, setup: Setup) -> None:
        if self.cfg.teacher == OWN:
            raise self.error("teacher", "'float'", "be another model, of a larger vocabulary", "name a checkpoint, or the train/float of another run")
        if self.cfg.phases not in (None, ("float",)):
            raise self.error("phases", list(self.cfg.phases), "be [float]: the tables are trained in float", "remove it")
        super().require(setup)
        if setup.shape.per_token:
            raise self.error("", "a head of each token", "have one vector of logits a sentence: the teacher's tokens are others", "remove dual_vocabulary")
        if self.cfg.projection != "none" and any(layer.ranks for layer in setup.shape.layers):
            raise self.error("projection", f"'{self.cfg.projection}' with low_rank", "align whole matrices", "set projection: none")

    def prepare(self, data: TaskData) -> None:
        if data.dataset.train.pairs is not None:
            raise self.error("", "a task of text pairs", "be one of single texts", "remove dual_vocabulary")
        load_teacher(self, data)
        if len(TextTokenizer.load(self.cfg.teacher)) <= len(data.tokenizer):
            got = f"a teacher of {len(TextTokenizer.load(self.cfg.teacher)):,} tokens for a student of {len(data.tokenizer):,}"
            raise self.error("teacher", got, "have more", "lower data.vocab")

    def begin(self, work: Work) -> None:
        if work.phase != "float":
            return
        data, device = work.data, next(work.model.parameters()).device
        self._teacher = (load_teacher(self, data).to(device).eval().requires_grad_(False),)  # in a tuple: no part of the method's own state
        reader = TextTokenizer.load(self.cfg.teacher)
        texts = [text.split() for text in data.dataset.train.texts]
        self._words = list(zip(_pieces(reader, texts), _pieces(data.tokenizer, texts), strict=True))  # of each text: its words in both vocabularies
        self._ends = reader.encode([""]).ids[0]
        data.train.add("dual_row", list(range(len(texts))))
        teacher, student = self.teacher.shape, work.network.shape
        if self.cfg.projection != "none" and len(teacher.layers) < len(student.layers):
            raise self.error("teacher", f"{len(teacher.layers)} layers", f"have the student's {len(student.layers)} at least", "set projection: none")
        self.up = nn.Linear(student.embedding or student.hidden, teacher.embedding or teacher.hidden, bias=False).to(device)
        sizes = {"h": (student.hidden, teacher.hidden)} | {
            key: (size(student.layers[0]), size(teacher.layers[0])) for key, size in (("a", _inner), ("f", lambda layer: layer.intermediate))
        }
        self.sides = nn.ParameterDict()
        if self.cfg.projection != "none":
            self.sides.update({key: nn.Parameter(nn.init.orthogonal_(torch.empty(ours, theirs)).to(device)) for key, (ours, theirs) in sizes.items()})

    @property
    def teacher(self) -> FloatModel:
        return self._teacher[0]

    def mixed(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Ids and mask [B, T] of these texts, each word in one of the vocabularies; the student's tokens are numbered behind the teacher's.

        torch's own random numbers: a checkpoint holds their state.
        """
        behind, texts = self.teacher.shape.vocabulary, []
        for row in rows:
            theirs, ours = self._words[row]
            chosen = (torch.rand(len(theirs)) < self.cfg.share).tolist()
            ids = [i for t, s, own in zip(theirs, ours, chosen, strict=True) for i in ([behind + i for i in s] if own else t)]
            texts.append([self._ends[0], *ids[: self.teacher.max_tokens - 2], self._ends[-1]])
        mask = torch.arange(max(map(len, texts))) < torch.tensor([len(text) for text in texts])[:, None]
        ids = torch.zeros(mask.shape, dtype=torch.long)
        ids[mask] = torch.tensor([i for text in texts for i in text])
        return ids, mask

    def loss(self, work: Work, loss: Tensor, inputs: dict[str, Tensor], outputs: Any) -> Tensor:
        if work.phase != "float":
            return loss
        ids, mask = self.mixed(inputs["dual_row"].tolist())
        device, name = inputs["labels"].device, "network.embeddings.sum.word"
        table = torch.cat([self.teacher.get_parameter(name), self.up(work.network.embeddings.sum.word)])
        read = {"input_ids": ids.to(device), "attention_mask": mask.to(device).long()}
        logits = torch.func.functional_call(self.teacher, {name: table}, kwargs=read).logits
        loss = loss + self.cfg.weight * sequence_loss(logits, inputs["labels"])
        return loss + self.cfg.strength * self._apart(work.network, self.teacher.network) if self.sides else loss

    def _apart(self, student: Encoder, teacher: Encoder) -> Tensor:
        terms = []
        for i, g in spaced_pairs(len(student.layer), len(teacher.layer)):
            for name, (out, inputs) in SIDES.items():
                ours, theirs = (_matrix(layer, name) for layer in (student.layer[i], teacher.layer[g]))
                a, b = self.sides[out], self.sides[inputs]
                terms.append(TF.mse_loss(a @ theirs @ b.T, ours) if self.cfg.projection == "down" else TF.mse_loss(a.T @ ours @ b, theirs))
        return sum(terms) / len(terms)


def _inner(layer) -> int:
    """Channels of attention."""
    return layer.heads * layer.head_width


def _matrix(layer: nn.Module, name: str) -> Tensor:
    linear = layer.get_submodule(name)
    assert isinstance(linear, Linear)
    return linear.weight


def _pieces(reader: TextTokenizer, texts: list[list[str]]) -> list[list[list[int]]]:
    """Of each text, the ids of each of its words."""
    ids, _, first = reader.encode_words(texts)
    found = []
    for row, places in zip(ids, first, strict=True):
        ends = [place for place in places if place is not None] + [len(row) - 1]
        at = dict(zip(ends[:-1], ends[1:], strict=True))
        found.append([row[place : at[place]] if place is not None else [] for place in places])
    return found


METHOD = DualVocabulary
