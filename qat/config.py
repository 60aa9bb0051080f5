# SPDX-License-Identifier: Apache-2.0
"""Settings of quantization and training: strict, frozen, checked when they are made. Those of networks: qat/networks.py."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import Field, model_serializer, model_validator

from bitloom.hw.settings import ConfigError, Number, Strict, did_you_mean

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
MAX_SEED = (1 << 32) - 1  # NumPy's
MAX_BATCH, MAX_VOCAB = 1 << 16, 1 << 20
MAX_EPOCHS, MAX_RATE, MAX_STEPS = 100_000, 100, 10**9


class CalibrationWarning(UserWarning):
    """What calibration saw does not fit the bits that were asked for."""


class ExitWarning(UserWarning):
    """A rule by which all sentences leave at the same off-ramp."""


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
