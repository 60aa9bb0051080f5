# SPDX-License-Identifier: Apache-2.0
"""Settings of a network, of whatever kind: strict, frozen, checked when they are made."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_serializer, model_validator

from bitloom.hw.keys import SEGMENT
from bitloom.hw.settings import ConfigError, Number, Strict, did_you_mean
from bitloom.qat.cells import OPERATIONS, check_cell, edges

MAX_TOKENS = 512
# Far above any encoder, and MAX_HIDDEN what hw/ops/layernorm.py takes; a slip of a few zeros is then a message.
MAX_LAYERS, MAX_HIDDEN, MAX_INTERMEDIATE = 256, 1 << 12, 1 << 16
LONGEST = 60  # characters of a value in a message
MAX_BESIDE = 16  # convolutions side by side
KIND = "network-"  # in front of a kind in the places that pydantic tells

Dilation = Annotated[int, Field(ge=1, le=MAX_TOKENS)]  # from one token of a window to the next


class NetworkConfig(Strict):
    """What the networks of all kinds have; `network` says which kind (MODELS)."""

    network: str
    max_tokens: int = Field(64, ge=2, le=MAX_TOKENS)
    head: Literal["sequence", "token"] = "sequence"  # one vector of logits a sentence, or one a token
    dropout: Number = Field(0.1, ge=0, lt=1)

    @property
    def size(self) -> tuple[str, str]:
        """For a list of recipes: layers and channels, heads."""
        raise NotImplementedError


class ModelConfig(NetworkConfig):
    """Shape of the encoder. With `checkpoint` (a Hugging Face folder or hub name) the shape comes from there.

    Without one, shape settings left out are those of BERT-tiny (2 layers, hidden 128, 2 heads, feed-forward 512).
    """

    network: Literal["encoder"] = "encoder"
    layers: int | None = Field(None, ge=1, le=MAX_LAYERS)  # with a checkpoint: keep only its first `layers`
    hidden: int | None = Field(None, ge=2, le=MAX_HIDDEN)
    heads: int | None = Field(None, ge=1, le=MAX_HIDDEN)
    intermediate: int | None = Field(None, ge=1, le=MAX_INTERMEDIATE)
    activation: Literal["gelu", "relu"] | None = None
    attention: Literal["full", "window", "causal", "segment"] | None = None  # which keys a query sees; left out: the checkpoint's, or else all
    window: int | None = Field(None, ge=0, le=MAX_TOKENS)  # of attention: window: tokens on each side
    checkpoint: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _shape_from_one_place(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if (kind := str(data.get("network", "encoder"))) != "encoder":
            raise ConfigError(f"network: got {kind[:LONGEST]!r}, must be a kind of network; {did_you_mean(kind, MODELS)}")
        shape = {"hidden": 128, "heads": 2, "intermediate": 512, "activation": "gelu"}
        if data.get("checkpoint") is None:
            defaults = {"layers": 2, **shape}
            return {**defaults, **{k: v for k, v in data.items() if v is not None or k not in defaults}}
        clash = [key for key in shape if data.get(key) is not None]
        if clash:
            raise ConfigError(f"{clash[0]}: got {data[clash[0]]!r}, must be left out when a checkpoint gives the shape; remove '{clash[0]}' or 'checkpoint'")
        return data

    @model_validator(mode="after")
    def _window_has_a_width(self) -> ModelConfig:
        if self.attention == "window" and self.window is None:
            raise ConfigError("attention: got 'window' without a width, must have one; add e.g. window: 8, the tokens that are seen on each side")
        if self.attention != "window" and self.window is not None:
            raise ConfigError(
                f"window: got {self.window} with attention {self.attention or 'full'}, must go with 'window'; set attention: window, or remove it"
            )
        return self

    @property
    def size(self) -> tuple[str, str]:
        return ("-", "-") if self.hidden is None else (f"{self.layers} x {self.hidden}", str(self.heads))

    @property
    def keys(self) -> str | None:
        """As a row tensor's shape states them (hw/keys.py); None: the recipe does not say."""
        return {None: None, "full": "T", "causal": "causal", "segment": SEGMENT, "window": f"window {self.window}"}[self.attention]

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> ModelConfig:
        if self.hidden is not None:
            check_heads(self.hidden, self.heads)
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, write) -> dict[str, Any]:
        """Without the kind, as runs from before there were others have it."""
        return {key: value for key, value in write(self).items() if key != "network"}


class BackboneConfig(NetworkConfig):
    """What all kinds but the encoder have."""

    checkpoint: ClassVar[None] = None  # Hugging Face has none of these kinds

    hidden: int = Field(128, ge=2, le=MAX_HIDDEN)  # channels of the embeddings


class CnnConfig(BackboneConfig):
    """Shape of a convolutional network: a stack of convolutions with residual sums, then convolutions side by side, then one vector a sentence.

    Zeros stand beyond a sentence's ends, so a kernel may be longer than the shortest sentence.
    """

    network: Literal["cnn"]
    kernel: int = Field(3, ge=2, le=MAX_TOKENS)  # tokens that a convolution of the stack reads
    dilations: list[Dilation] = Field([], max_length=MAX_LAYERS)  # of each of them: from one token to the next
    kernels: list[Annotated[int, Field(ge=2, le=MAX_TOKENS)]] = Field([3, 4, 5], max_length=MAX_BESIDE)  # side by side; none: the stack alone
    filters: int = Field(100, ge=1, le=MAX_HIDDEN)  # channels of each of these
    stride: int = Field(1, ge=1, le=MAX_TOKENS)  # tokens from one place of these to the next
    activation: Literal["gelu", "relu"] = "relu"
    pooling: Literal["max", "mean"] = "max"  # over a sentence's tokens

    @property
    def size(self) -> tuple[str, str]:
        beside = f", {'+'.join(map(str, self.kernels))} x {self.filters}" if self.kernels else ""
        return f"{len(self.dilations)} x {self.hidden}{beside}", "-"

    @model_validator(mode="after")
    def _sees_tokens(self) -> CnnConfig:
        for dilation in self.dilations:
            check_reach("dilations", self.kernel, dilation, self.max_tokens)
        for kernel in self.kernels:
            check_reach("kernels", kernel, 1, self.max_tokens, self.stride)
        check_stride(self.stride, self.max_tokens)
        if self.stride > 1 and not self.kernels:
            raise ConfigError(f"stride: got {self.stride} without kernels, must be that of convolutions side by side; give kernels, or remove it")
        if self.stride > 1 and self.head == "token":
            raise ConfigError(f"stride: got {self.stride} with logits of each token, must be 1, as they would be of one in {self.stride}; remove it")
        return self


class BilstmConfig(BackboneConfig):
    """Shape of a recurrent network: layers that read the tokens forward and backward, and a hidden layer on their last states."""

    network: Literal["bilstm"]
    layers: int = Field(1, ge=1, le=MAX_LAYERS)
    units: int = Field(150, ge=1, le=MAX_HIDDEN)  # channels of each direction
    classifier: int = Field(200, ge=1, le=MAX_INTERMEDIATE)  # channels of the hidden layer

    @property
    def size(self) -> tuple[str, str]:
        return f"{self.layers} x {2 * self.units}", "-"


class HybridConfig(BackboneConfig):
    """Shape of a network with convolutions below and attention above: the stack of a convolutional network, then layers of an encoder, each with a convolution
    beside its attention where `beside` says so.
    """

    network: Literal["hybrid"]
    kernel: int = Field(3, ge=2, le=MAX_TOKENS)  # tokens that a convolution reads
    dilations: list[Dilation] = Field([1], max_length=MAX_LAYERS)  # of each of those below, as in a CnnConfig
    beside: list[Dilation] = Field([], max_length=MAX_LAYERS)  # of one beside each layer's attention; none: []
    layers: int = Field(1, ge=1, le=MAX_LAYERS)  # of attention and feed-forward
    heads: int = Field(2, ge=1, le=MAX_HIDDEN)
    intermediate: int = Field(512, ge=1, le=MAX_INTERMEDIATE)
    activation: Literal["gelu", "relu"] = "gelu"
    pooling: Literal["first", "max", "mean"] = "first"  # over a sentence's tokens

    @property
    def size(self) -> tuple[str, str]:
        return f"{len(self.dilations)}+{self.layers} x {self.hidden}", str(self.heads)

    @model_validator(mode="after")
    def _fits(self) -> HybridConfig:
        for key in ("dilations", "beside"):
            for dilation in getattr(self, key):
                check_reach(key, self.kernel, dilation, self.max_tokens)
        if not self.dilations and not self.beside:
            raise ConfigError("dilations: got [] and nothing beside the attention, must be a list of at least one; give dilations: [1], or beside: [1]")
        if self.beside and len(self.beside) != self.layers:
            raise ConfigError(f"beside: got {len(self.beside)} dilations, must be as many as layers: {self.layers}; give one for each, or none")
        check_heads(self.hidden, self.heads)
        return self

    @model_serializer(mode="wrap")
    def _without_beside(self, handler):
        return {key: value for key, value in handler(self).items() if key != "beside" or value}


class HourglassConfig(BackboneConfig):
    """Shape of a network whose middle layers see pooled tokens: layers of an encoder at full length, in the middle one token for each `stride`, and where
    `above` says so at full length again, with what was there before added.
    """

    network: Literal["hourglass"]
    layers: int = Field(1, ge=0, le=MAX_LAYERS)  # of attention and feed-forward at full length
    middle: int = Field(2, ge=1, le=MAX_LAYERS)  # of pooled tokens
    above: int | None = Field(None, ge=0, le=MAX_LAYERS)  # at full length again; left out: tokens stay pooled, but for logits of each token
    stride: int = Field(2, ge=2, le=MAX_TOKENS)  # tokens that become one
    down: Literal["max", "mean"] = "mean"  # how
    heads: int = Field(2, ge=1, le=MAX_HIDDEN)
    intermediate: int = Field(512, ge=1, le=MAX_INTERMEDIATE)
    activation: Literal["gelu", "relu"] = "gelu"
    pooling: Literal["first", "max", "mean"] = "max"  # over a sentence's tokens

    @property
    def size(self) -> tuple[str, str]:
        return f"{self.layers}+{self.middle}{'' if self.above is None else f'+{self.above}'} x {self.hidden}", str(self.heads)

    @model_validator(mode="after")
    def _fits(self) -> HourglassConfig:
        check_stride(self.stride, self.max_tokens)
        check_heads(self.hidden, self.heads)
        return self


class CellsConfig(BackboneConfig):
    """Shape of a network of cells: one cell (qat/cells.py) several times, one behind the other, then one vector a sentence."""

    network: Literal["cells"]
    cells: int = Field(1, ge=1, le=MAX_LAYERS)
    cell: list[list[str]] = [["conv3"], ["skip", "conv3"]]  # of each node, one operation from each earlier one; what a search chooses
    activation: Literal["gelu", "relu"] = "relu"
    pooling: Literal["max", "mean"] = "max"  # over a sentence's tokens

    @property
    def size(self) -> tuple[str, str]:
        return f"{self.cells} x {self.hidden}", "-"

    @model_validator(mode="before")
    @classmethod
    def _is_a_cell(cls, data: Any) -> Any:
        if isinstance(data, dict) and "cell" in data:
            check_cell("cell", data["cell"])
        return data

    @model_validator(mode="after")
    def _sees_tokens(self) -> CellsConfig:
        check_reaches("cell", {name for own in edges(self.cell).values() for name in own.values()}, self.max_tokens)
        return self


MODELS: dict[str, type[NetworkConfig]] = {
    "encoder": ModelConfig,
    "cnn": CnnConfig,
    "bilstm": BilstmConfig,
    "hybrid": HybridConfig,
    "hourglass": HourglassConfig,
    "cells": CellsConfig,
}


def model_kind(data: Any) -> str:
    """The kind of network that a recipe's `model` describes; of one that is not known the encoder, which says so."""
    kind = data.get("network") if isinstance(data, dict) else getattr(data, "network", None)
    return KIND + (kind if isinstance(kind, str) and kind in MODELS else "encoder")


Model = Annotated[reduce(or_, (Annotated[own, Tag(KIND + kind)] for kind, own in MODELS.items())), Discriminator(model_kind)]


def check_stride(stride: int, max_tokens: int) -> None:
    """Refuse a stride that leaves one token of any sentence."""
    if stride >= max_tokens and stride > 1:
        raise ConfigError(f"stride: got {stride}, must be less than max_tokens {max_tokens}: one token of any sentence would be left; lower it")


def check_reach(key: str, kernel: int, dilation: int, max_tokens: int, stride: int = 1) -> None:
    """Refuse a kernel with a place that lies beyond any sentence."""
    if (furthest := kernel // 2 * dilation + (stride - 1) // 2) >= max_tokens:
        apart = f" with a dilation of {dilation}" if dilation > 1 else ""
        raise ConfigError(
            f"{key}: got a kernel of {kernel}{apart}, which reads tokens up to {furthest} away, must be less than max_tokens {max_tokens}; "
            "lower it, or raise model.max_tokens"
        )


def check_reaches(key: str, operations: Iterable[str], max_tokens: int) -> None:
    """The same of operations of a cell."""
    for name in sorted(operations):
        check_reach(key, OPERATIONS[name].kernel, OPERATIONS[name].dilation, max_tokens)


def check_heads(hidden: int, heads: int) -> None:
    """Refuse a hidden size that the heads do not divide."""
    if hidden % heads:
        fits = [n for n in range(1, hidden + 1) if hidden % n == 0]
        near = min(fits, key=lambda n: abs(n - heads))
        raise ConfigError(f"hidden: got {hidden} with {heads} heads, must be divisible by the number of heads; use e.g. heads: {near}")
