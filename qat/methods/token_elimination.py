# SPDX-License-Identifier: Apache-2.0
"""Token elimination: behind attention, each layer keeps the tokens that received most of it; the layers behind have fewer.

Goyal et al. 2020, "PoWER-BERT: Accelerating BERT Inference via Progressive Word-vector Elimination" (arXiv:2001.08950), in its three steps: fine-tuning; how
many stay in each layer, learned by soft-extract layers, or given; re-training with those that stay alone. There is no padding here, so a layer keeps a share
of a sentence's tokens where the paper has a number for all sentences.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bitloom.hw.keys import Keys
from bitloom.hw.settings import ConfigError, Number
from bitloom.hw.tokens import SHARE_BITS
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import Method, Setup, Step, Work
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.kept import ALL, KeepTokens, ranked
from bitloom.qat.net.model import FloatModel
from bitloom.qat.net.shape import EncoderShape

RANKS = 32  # places in the order of what tokens receive, from the most to the least, each with a retention of its own
FAST = 100.0  # times the learning rate that Adam moves a retention by in a step, at most
STRENGTH = 0.1


class Config(MethodConfig):
    """keep: share that each layer keeps of the tokens that it gets; left out: learned, with a regularizer of that `strength` (lambda).

    begin, end  of learning it, in shares of the float phase; a given one is in force from `begin` on
    """

    method: Literal["token_elimination"]
    keep: Annotated[tuple[Annotated[Number, Field(gt=0, le=1)], ...], Field(strict=False, min_length=1)] | None = None
    strength: Number | None = Field(None, gt=0, le=1000)
    begin: Number = Field(0.3, ge=0, le=1)
    end: Number = Field(0.6, ge=0, le=1)

    @model_validator(mode="after")
    def _one_way(self) -> Config:
        if self.keep is not None and self.strength is not None:
            raise ConfigError(f"strength: got {self.strength:g} with a given keep, must be one of them; remove one")
        if self.begin >= self.end:
            raise ConfigError(f"begin: got {self.begin:g} with end {self.end:g}, must be below that; lower it")
        return self


class TokenElimination(Method):
    """loss + strength * sum over layers l = 1 .. L of l * mean of r_l, the retentions of layer l's ranks, 0 <= r <= 1: while it learns, a token's hidden state
    behind attention is multiplied by the r of its rank. A layer then keeps mean of r_l of the sentence's tokens, no more than the layer before."""

    Config = Config
    early = looks = True
    clashes = {"layer_drop": "a layer's share is that of its place"}
    open: list[bool] = []  # layers that may take tokens out, where the method stands in the list

    def phases(self) -> tuple[str, ...]:
        return ("float",)

    def require(self, setup: Setup) -> None:
        shape, cfg = setup.shape, self.cfg
        if shape.per_token:
            raise self.error("", "a head of each token", "have one vector of logits a sentence", "remove token_elimination, or set model.head: sequence")
        if cfg.keep is not None and len(cfg.keep) != len(shape.layers):
            raise self.error("keep", f"{len(cfg.keep)} shares", f"be one for each of the {len(shape.layers)} layers", "add or remove some")
        keys = [Keys.parse(layer.keys) for layer in shape.layers]
        if blind := [i for i, own in enumerate(keys) if not (own.tells_end or own.segment)]:
            rule = "see tokens behind its own: the first one, from which the answer is read, sees nothing else"
            raise self.error("", f"keys '{shape.layers[blind[0]].keys}' in layer.{blind[0]}", rule, "widen the window, or remove token_elimination")
        self._require_open(shape)
        if "learned_rounding" in setup.quant.post_training:
            rule = "have other steps: it compares tokens, and the quantized network may keep others"
            raise self.error("", "post_training: learned_rounding", rule, "remove it there")
        if cfg.keep is None and not setup.training.float_epochs:
            raise self.error("keep", "none and no float epochs to learn it in", "be given then", "set keep or training.float_epochs")

    def _require_open(self, shape: EncoderShape) -> None:
        """Raise MethodError: a layer that cannot take tokens out shall, or all of them are such."""
        if not any(found := may_take_out(shape)):
            got = "layers of which each stands in front of a sentence seen alone, or has fixed patterns alone"
            raise self.error("", got, "be some that can take tokens out", "leave the last layers all keys, and a head without a pattern")
        if shut := [i for i, (may, keep) in enumerate(zip(found, self.given() or [], strict=False)) if keep < ALL and not may]:
            why = "a layer that sees each sentence of a pair alone, or stands in front of one" if shape.layers[shut[0]].heads else "fixed patterns alone"
            raise self.error("keep", f"{self.cfg.keep[shut[0]]:g} for layer.{shut[0]}, {why}", "be 1 there", "raise it")

    def settled(self, network: Encoder) -> None:
        layers, may = network.shape.layers, may_take_out(network.shape)
        late = [i for i, was in enumerate(self.open) if len(may) == len(self.open) and was and not (may[i] and Keys.parse(layers[i].keys).tells_end)]
        if late:
            got = f"keys of layer.{late[0]} or behind it that a method behind it changes"
            raise self.error("", got, "stand behind that", "move token_elimination down")

    def reshape(self, shape: EncoderShape) -> EncoderShape:
        self.open = may_take_out(shape)
        return replace(shape, layers=tuple(replace(layer, keep=ALL if may else None) for layer, may in zip(shape.layers, self.open, strict=True)))

    def expect(self, shape: EncoderShape) -> EncoderShape:
        """A learned one is not known: all tokens then."""
        return kept_shape(shape, self.given() or [ALL] * len(shape.layers))

    def given(self) -> list[int] | None:
        """In 256ths."""
        return None if self.cfg.keep is None else [max(1, round(share * ALL)) for share in self.cfg.keep]

    def begin(self, work: Work) -> None:
        if work.phase != "float":
            return
        layers, device = work.network.layer, next(work.model.parameters()).device
        self.register_buffer("learns", torch.zeros((), dtype=torch.bool, device=device))
        self.register_buffer("keeps", torch.full((len(layers),), ALL, dtype=torch.long, device=device))
        self.below = nn.ParameterList()  # (r - 1) / FAST of each layer; vectors, so that they do not decay
        if self.cfg.keep is None:
            self.below.extend(torch.zeros(RANKS, device=device) for _ in layers)
        work.hooks.append(work.network.register_forward_pre_hook(self._set))
        work.hooks.extend(layer.kept.register_forward_hook(self._soft(i)) for i, layer in enumerate(layers) if layer.kept)

    def retention(self, layer: int) -> Tensor:
        """r of the layer's ranks, [RANKS]."""
        return 1 + FAST * self.below[layer]

    def _set(self, network: nn.Module, args: tuple) -> None:
        for layer, keep in zip(network.layer, self.keeps.tolist(), strict=True):
            if layer.kept is not None:
                layer.kept.keep = keep

    def _soft(self, i: int):
        def soft(module: KeepTokens, args: tuple[Tensor, Tensor, Tensor | None], y: Tensor) -> Tensor:
            if not self.learns:
                return y
            x, probs, real = args
            there = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if real is None else real[:, 0, 0]
            rank = ranked(probs, there).argsort(dim=1)
            places = (rank * RANKS // there.sum(1, keepdim=True)).clamp(max=RANKS - 1)
            factor = torch.where(rank == 0, 1.0, self.retention(i)[places])  # the first token always stays
            return x * factor[..., None].to(x.dtype)

        return soft

    def loss(self, work: Work, loss: Tensor, inputs: dict[str, Tensor], outputs) -> Tensor:
        if work.phase != "float" or not self.learns:
            return loss
        learned = [i for i, layer in enumerate(work.network.layer) if layer.kept]
        return loss + (self.cfg.strength or STRENGTH) * sum((i + 1) * self.retention(i).mean() for i in learned)

    def during(self, work: Work, step: Step) -> None:
        if work.phase != "float":
            return
        with torch.no_grad():
            for below in self.below:
                below.clamp_(-1 / FAST, 0)
        begin, end = (max(1, int(share * step.total)) for share in (self.cfg.begin, self.cfg.end))
        if self.cfg.keep is None:
            self.learns.fill_(begin <= step.number < end)
            if step.number == end:
                self.keeps.copy_(torch.tensor(self.learned()))
        elif step.number == begin:
            self.keeps.copy_(torch.tensor(self.given()))

    @torch.no_grad()
    def learned(self) -> list[int]:
        """In 256ths of what each layer gets, rounded up: its mean retention is a share of the sentence."""
        found, before = [], 1.0
        for i in range(len(self.below)):
            share = min(before, max(float(self.retention(i).mean()), 2.0**-SHARE_BITS))
            found.append(max(1, math.ceil(share / before * ALL)))
            before = share
        return found

    def finish(self, work: Work) -> FloatModel | None:
        if work.phase != "float":
            return None
        keeps = self.given() or self.keeps.tolist()
        if work.data:
            work.data.report(f"token elimination: layers keep {', '.join(f'{keep}/{ALL}' for keep in keeps)} of the tokens that they get")
        new = FloatModel(kept_shape(work.model.shape, keeps))
        new.load_state_dict(dict(work.model.named_parameters()), strict=False)
        return new


def may_take_out(shape: EncoderShape) -> list[bool]:
    """Of each layer: it has heads that say what a token receives, and it and all layers behind it see both sentences of a pair."""
    pairs = [Keys.parse(layer.keys).segment for layer in shape.layers]
    return [layer.heads > 0 and not any(pairs[i:]) for i, layer in enumerate(shape.layers)]


def kept_shape(shape: EncoderShape, keeps: list[int]) -> EncoderShape:
    """Layers that keep these shares, in 256ths; all: without an operator for it."""
    layers = tuple(replace(layer, keep=None if keep == ALL else keep) for layer, keep in zip(shape.layers, keeps, strict=True))
    return replace(shape, layers=layers)


METHOD = TokenElimination
