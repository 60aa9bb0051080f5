# SPDX-License-Identifier: Apache-2.0
"""Settings of a model, its quantization and its training: strict, frozen, checked when they are made."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_serializer, model_validator

from bitloom.hw.keys import SEGMENT
from bitloom.hw.settings import ConfigError, Number, Strict, did_you_mean
from bitloom.qat.cells import OPERATIONS, check_cell, edges

# Quantization settings and the bits each may have. Upper ends are the hardware's: a table has at most 2**10 entries,
# LayerNorm takes at most 16 bits.
BIT_RANGES = {
    "weights": (1, 8),
    "activations": (2, 8),
    "embeddings": (2, 8),
    "scores": (2, 10),
    "probs": (2, 8),
    "residual": (4, 16),
    "gates": (4, 10),
    "cell": (8, 16),
}
# Of weights that take few values; what the first one says when the others are left out is in `coding_of`.
CHOICES = {
    "weight_range": ("narrow", "full"),
    "activation_scales": ("calibrated", "learned"),
    "ternary": ("none", "twn", "loss_aware"),
    "codebook": ("none", "kmeans", "bs_flex"),
    "codebook_per": ("layer", "channel"),
    "clusters": ("free", "kept"),
    "centroids": ("learned", "fixed"),
    "codebook_zero": ("free", "kept"),
}
INDEX_BITS = (1, 4)
OF_CODEBOOKS = ("index_bits", "codebook_per", "codebook_zero", "clusters", "centroids")
SETTINGS = (*BIT_RANGES, "weight_range", "weight_scales", "ternary", "activation_scales", "codebook", *OF_CODEBOOKS)
# Settings that are written down with other values alone.
LATER = dict.fromkeys(OF_CODEBOOKS) | {
    "codebook": "none",
    "activation_scales": "calibrated",
    "weight_scales": "channel",
    "ternary": "none",
    "post_training": [],
    "gates": 8,
    "cell": 16,
}
POST_TRAINING = ("equalization", "learned_rounding", "bias_correction")  # in the order in which they are done
AUTO = "auto"  # residual bits that calibration chooses
MAX_TOKENS = 512
# Far above any encoder, and MAX_HIDDEN what hw/ops/layernorm.py takes; a slip of a few zeros is then a message.
MAX_LAYERS, MAX_HIDDEN, MAX_INTERMEDIATE = 256, 1 << 12, 1 << 16
LONGEST = 60  # characters of a value in a message
MAX_BESIDE = 16  # convolutions side by side
KIND = "network-"  # in front of a kind in the places that pydantic tells
MAX_SEED = (1 << 32) - 1  # NumPy's
MAX_BATCH, MAX_VOCAB = 1 << 16, 1 << 20
MAX_EPOCHS, MAX_RATE, MAX_STEPS = 100_000, 100, 10**9


class CalibrationWarning(UserWarning):
    """What calibration saw does not fit the bits that were asked for."""


class ExitWarning(UserWarning):
    """A rule by which all sentences leave at the same off-ramp."""


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


class CnnConfig(NetworkConfig):
    """Shape of a convolutional network: a stack of convolutions with residual sums, then convolutions side by side, then one vector a sentence.

    Zeros stand beyond a sentence's ends, so a kernel may be longer than the shortest sentence.
    """

    checkpoint: ClassVar[None] = None  # Hugging Face has none of this kind

    network: Literal["cnn"]
    hidden: int = Field(128, ge=2, le=MAX_HIDDEN)  # channels of the embeddings and of the stack
    kernel: int = Field(3, ge=2, le=MAX_TOKENS)  # tokens that a convolution of the stack reads
    dilations: list[Annotated[int, Field(ge=1, le=MAX_TOKENS)]] = Field([], max_length=MAX_LAYERS)  # of each of them: from one token to the next
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


class BilstmConfig(NetworkConfig):
    """Shape of a recurrent network: layers that read the tokens forward and backward, and a hidden layer on their last states."""

    checkpoint: ClassVar[None] = None  # Hugging Face has none of this kind

    network: Literal["bilstm"]
    hidden: int = Field(128, ge=2, le=MAX_HIDDEN)  # channels of the embeddings
    layers: int = Field(1, ge=1, le=MAX_LAYERS)
    units: int = Field(150, ge=1, le=MAX_HIDDEN)  # channels of each direction
    classifier: int = Field(200, ge=1, le=MAX_INTERMEDIATE)  # channels of the hidden layer

    @property
    def size(self) -> tuple[str, str]:
        return f"{self.layers} x {2 * self.units}", "-"


class HybridConfig(NetworkConfig):
    """Shape of a network with convolutions below and attention above: the stack of a convolutional network, then layers of an encoder, each with a convolution
    beside its attention where `beside` says so.
    """

    checkpoint: ClassVar[None] = None

    network: Literal["hybrid"]
    hidden: int = Field(128, ge=2, le=MAX_HIDDEN)
    kernel: int = Field(3, ge=2, le=MAX_TOKENS)  # tokens that a convolution reads
    dilations: list[Annotated[int, Field(ge=1, le=MAX_TOKENS)]] = Field([1], max_length=MAX_LAYERS)  # of each of those below, as in a CnnConfig
    beside: list[Annotated[int, Field(ge=1, le=MAX_TOKENS)]] = Field([], max_length=MAX_LAYERS)  # of one beside each layer's attention; none: []
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


class HourglassConfig(NetworkConfig):
    """Shape of a network whose middle layers see pooled tokens: layers of an encoder at full length, in the middle one token for each `stride`, and where
    `above` says so at full length again, with what was there before added.
    """

    checkpoint: ClassVar[None] = None

    network: Literal["hourglass"]
    hidden: int = Field(128, ge=2, le=MAX_HIDDEN)
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


class CellsConfig(NetworkConfig):
    """Shape of a network of cells: one cell (qat/cells.py) several times, one behind the other, then one vector a sentence."""

    checkpoint: ClassVar[None] = None

    network: Literal["cells"]
    hidden: int = Field(128, ge=2, le=MAX_HIDDEN)  # channels of the embeddings and of every node
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


Model = Annotated[
    Annotated[ModelConfig, Tag(f"{KIND}encoder")]
    | Annotated[CnnConfig, Tag(f"{KIND}cnn")]
    | Annotated[BilstmConfig, Tag(f"{KIND}bilstm")]
    | Annotated[HybridConfig, Tag(f"{KIND}hybrid")]
    | Annotated[HourglassConfig, Tag(f"{KIND}hourglass")]
    | Annotated[CellsConfig, Tag(f"{KIND}cells")],
    Discriminator(model_kind),
]


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


def _check_setting(where: str, key: str, value: Any) -> None:
    if key not in SETTINGS:
        raise ConfigError(f"{where}: no setting '{key}'; {did_you_mean(key, SETTINGS)}")
    if key == "weight_scales":
        if value not in ("channel", "layer") and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ConfigError(f"{where}: got {value!r}, must be 'channel', 'layer' or a number of output channels from 1; 'channel' is the usual choice")
        return
    if key in CHOICES:
        if value not in CHOICES[key]:
            known = " or ".join(repr(choice) for choice in CHOICES[key])
            raise ConfigError(f"{where}: got {value!r}, must be {known}; {CHOICES[key][0]} is the usual choice")
        return
    low, high = INDEX_BITS if key == "index_bits" else BIT_RANGES[key]
    if key == "residual" and value == AUTO:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        also = f" or '{AUTO}'" if key == "residual" else ""
        raise ConfigError(f"{where}: got {value!r}, must be an integer {low} .. {high} (bits){also}; change '{key}'")


def _check_steps(steps: Any) -> None:
    """Of post_training."""
    if not isinstance(steps, list):
        raise ConfigError(f"post_training: got {steps!r}, must be a list; write e.g. [{', '.join(POST_TRAINING)}]")
    for step in steps:
        if step not in POST_TRAINING:
            raise ConfigError(f"post_training: got {step!r}, must be one of its steps; {did_you_mean(str(step), POST_TRAINING)}")
        if steps.count(step) > 1:
            raise ConfigError(f"post_training: got {step!r} twice, must be there once; remove one")


class QuantConfig(Strict):
    """Bits by kind of tensor, and overrides for tensors or layers whose name matches a glob pattern.

    Names are those of docs/numerics.md without `.acc`: `layer.0.query`, `layer.1.ffn.norm`, `pooler`, `logits`.
    Later patterns win over earlier ones: `overrides: {"layer.*.ffn.*": {weights: 2}, "layer.0.*": {weights: 8}}`.
    """

    weights: int = 4
    activations: int = 8
    embeddings: int = 8  # the three tables; their sum has two bits more
    scores: int = 8
    probs: int = 8
    gates: int = 8  # of recurrent layers: what the gates' functions are looked up by
    cell: int = 16  # of recurrent layers: the cell's state
    residual: int | Literal["auto"] = 10  # sums that a LayerNorm takes; auto: as many as calibration finds, in the projections before them too
    weight_range: Literal["narrow", "full"] = "narrow"
    weight_scales: Literal["channel", "layer"] | int = "channel"  # what has one: an output channel, all of a layer, or a group of so many neighbouring channels
    ternary: Literal["none", "twn", "loss_aware"] = "none"  # weights -1, 0 and 1 by a rule (qat/weights/ternary.py); none: by learned scales, as all others
    activation_scales: Literal["calibrated", "learned"] = "calibrated"  # learned: training moves them, from power of two to power of two
    codebook: Literal["none", "kmeans", "bs_flex"] = "none"  # weights that take 2**index_bits values alone, integers of `weights` bits
    index_bits: int | None = None  # left out: 2, and 1 with bs_flex, which has two values
    codebook_per: Literal["layer", "channel"] | None = None  # layer; channel: two values for each
    codebook_zero: Literal["free", "kept"] | None = None  # kept: 0 is one of the values, as pruned weights need
    clusters: Literal["free", "kept"] | None = None  # free: in each step of training a weight takes the nearest value; kept: the one that it had first
    centroids: Literal["learned", "fixed"] | None = None  # learned: the values are trained
    post_training: list[Literal["equalization", "learned_rounding", "bias_correction"]] = []  # without training, around calibration (qat/post_training)
    overrides: dict[str, dict[str, int | str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _in_range(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for key, value in data.items():
            if key in SETTINGS and not (key in OF_CODEBOOKS and value is None):
                _check_setting(key, key, value)
        _check_steps(data.get("post_training", []))
        overrides = data.get("overrides", {})
        if not isinstance(overrides, dict) or not all(isinstance(v, dict) for v in overrides.values()):
            raise ConfigError(f"overrides: got {overrides!r}, must be pattern -> settings; write 'layer.0.*': {{weights: 8}}")
        for pattern, settings in overrides.items():
            for key, value in settings.items():
                _check_setting(f"overrides['{pattern}'].{key}", key, value)
        return data

    def of(self, name: str, key: str, default: Any = None) -> Any:
        """The setting `key` of the layer or tensor `name`; without an override `default`, or else the general one."""
        value = getattr(self, key) if default is None else default
        for pattern, settings in self.overrides.items():
            if key in settings and fnmatchcase(name, pattern):
                value = settings[key]
        return value

    @model_serializer(mode="wrap")
    def _as_before(self, write) -> dict[str, Any]:
        """Without the settings that came later where they are left out, as runs and checkpoints from before have it."""
        return {key: value for key, value in write(self).items() if key not in LATER or value != LATER[key]}

    def check_training(self, compiled: bool) -> None:
        """Refuse what a training cannot do. compiled: with torch.compile, which takes what is no tensor as a constant."""
        for key, why in (("activation_scales", "compiled code has scales as constants"), ("ternary", "compiled code has no rule in it")):
            values = [getattr(self, key), *(settings[key] for settings in self.overrides.values() if key in settings)]
            changed = [value for value in values if value != LATER[key]]
            if compiled and changed:
                raise ConfigError(f"{key}: got '{changed[0]}' with training.compile, must be {LATER[key]}: {why}; set training.compile: false")

    def residual_of(self, name: str, projection: bool) -> int | str:
        """Bits of a residual sum, or of a projection before one, which has the activations' where nothing gives it others."""
        plain = self.of(name, "activations") if projection and self.residual != AUTO else self.residual
        return self.of(name, "residual", default=plain)

    def with_residual(self, bits: dict[str, int]) -> QuantConfig:
        """These settings, with those bits of residual tensors by name."""
        own = {name: {key: self.of(name, key) for key in self.overrides.get(name, {})} | {"residual": value} for name, value in bits.items()}
        return self.model_copy(update={"overrides": {k: v for k, v in self.overrides.items() if k not in own} | own})

    def check_names(self, settings_of: dict[str, set[str]]) -> None:
        """Refuse an override that would do nothing: a pattern that matches no tensor, or none with that setting.

        settings_of  the encoder's names, each with the settings that apply to it (bitloom.qat.net.network.Network.settings)
        """
        coded = [name for name, keys in settings_of.items() if "codebook" in keys and self.of(name, "codebook") != "none"]
        for key in OF_CODEBOOKS:
            if getattr(self, key) is not None and not coded:
                raise ConfigError(f"{key}: got {getattr(self, key)!r} without a codebook, must go with one; set codebook: kmeans or bs_flex, or remove it")
        for pattern, settings in self.overrides.items():
            matched = [name for name in settings_of if fnmatchcase(name, pattern)]
            if not matched:
                near = did_you_mean(pattern, settings_of)
                raise ConfigError(f"overrides: got pattern '{pattern}', must match a layer or tensor; {near}")
            for key in settings:
                if not any(key in settings_of[name] for name in matched):
                    raise ConfigError(
                        f"overrides['{pattern}']: got '{key}', must be a setting of a matching tensor; "
                        f"'{matched[0]}' has {', '.join(sorted(settings_of[matched[0]]))}"
                    )
                if key in OF_CODEBOOKS and not set(matched) & set(coded):
                    raise ConfigError(f"overrides['{pattern}'].{key}: got {settings[key]!r} without a codebook, must go with one; set codebook there too")


class DistillConfig(Strict):
    """Learn from a teacher's logits: loss = (1-alpha)*task + alpha*T**2*KL(teacher/T || student/T)."""

    teacher: str = "float"  # 'float': the run's own float model; else a checkpoint folder or hub name
    temperature: Number = Field(2.0, gt=0, le=1000)
    alpha: Number = Field(0.5, ge=0, le=1)


class TrainConfig(Strict):
    """Training effort: a float phase (skipped with 0 epochs), calibration, then quantization-aware fine-tuning."""

    float_epochs: Number = Field(3.0, ge=0, le=MAX_EPOCHS)
    qat_epochs: Number = Field(2.0, ge=0, le=MAX_EPOCHS)
    batch_size: int = Field(32, ge=1, le=MAX_BATCH)
    eval_batch_size: int = Field(64, ge=1, le=MAX_BATCH)
    float_learning_rate: Number = Field(5e-4, gt=0, le=MAX_RATE)
    qat_learning_rate: Number = Field(2e-4, gt=0, le=MAX_RATE)
    warmup_ratio: Number = Field(0.1, ge=0, le=1)
    weight_decay: Number = Field(0.01, ge=0, le=MAX_RATE)
    label_smoothing: Number = Field(0.0, ge=0, lt=1)
    word_dropout: Number = Field(0.0, ge=0, lt=1)  # share of the training tokens replaced by [UNK]
    seed: int = Field(0, ge=0, le=MAX_SEED)
    distill: DistillConfig | None = None
    calibration_batches: int = Field(8, ge=1, le=MAX_BATCH)
    save_steps: int = Field(500, ge=1, le=MAX_STEPS)
    logging_steps: int = Field(50, ge=1, le=MAX_STEPS)
    max_steps: int | None = Field(None, ge=1, le=MAX_STEPS)  # of each phase; None: the epochs decide
    compile: bool = False  # torch.compile for both phases: minutes once, then faster steps
