# SPDX-License-Identifier: Apache-2.0
"""Settings of a search: which bits each kind of setting may have or which cells there may be, what the hardware may take, what is minimized."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_serializer, model_validator

from bitloom.hw.settings import ConfigError, Number, Strict, did_you_mean
from bitloom.qat.cells import MAX_NODES, NONE, OPERATIONS, check_operations
from bitloom.qat.config import BIT_RANGES, MAX_RATE, MAX_STEPS
from bitloom.qat.networks import MAX_LAYERS

MAX_EXAMPLES = 1 << 20
RESOURCES = ("block_ram", "dsp", "lut", "bytes")  # what a budget may limit beside the cycles


class Budget(Strict):
    """The most that the hardware may take; what is left out is limited by the board alone."""

    cycles: int | None = Field(None, ge=1, description="between two sentences of max_tokens; without: hardware.target_cycles, or what the board reaches")
    block_ram: int | None = Field(None, ge=0, description="blocks of the board's first kind")
    dsp: int | None = Field(None, ge=0)
    lut: int | None = Field(None, ge=0)
    multipliers: int | None = Field(None, ge=1, description="of a cell that is searched; in all matrix units together")
    bytes: int | None = Field(None, ge=1, description="of all parameters as integers, the host's tables too (hw/cost/sizes.py)")


class ArchitectureConfig(Strict):
    """Which cells a search may choose (qat/cells.py), and how it learns which is best."""

    operations: list[str] = list(OPERATIONS)
    nodes: int = Field(3, ge=1, le=MAX_NODES)  # behind a cell's input; the last one is its output
    cells: list[Annotated[int, Field(ge=1, le=MAX_LAYERS)]] = Field([1, 2], min_length=1)  # how many there may be, one behind the other
    held_out: Number = Field(0.5, ge=0, lt=1)  # share of the training split that the architecture learns on; 0: on what the weights learn on, in the same step
    warm_up: Number = Field(0.2, ge=0, lt=1)  # share of the steps before the architecture learns too
    temperature: Number = Field(1.0, gt=0, le=100)  # of the Gumbel softmax, at the beginning
    final_temperature: Number = Field(0.1, gt=0, le=100)  # and at the end
    learning_rate: Number = Field(0.05, gt=0, le=MAX_RATE)  # Adam's, of the architecture
    efficiency: Number = Field(0.1, ge=0, le=MAX_RATE)  # what taking all of the budget counts, in units of the loss; what is beyond it counts in any case
    candidates: int = Field(50, ge=1, le=100_000)  # most probable cells of which the first that fits is taken

    @model_validator(mode="after")
    def _is_a_space(self) -> ArchitectureConfig:
        check_operations("operations", self.operations)
        for key in ("operations", "cells"):
            if len(set(own := getattr(self, key))) < len(own):
                raise ConfigError(f"{key}: got {own!r}, must name each once; remove the second")
        if not set(self.operations) - {NONE}:
            raise ConfigError(f"operations: got {self.operations!r}, must have one that is not '{NONE}'; add e.g. conv3")
        return self


class SearchConfig(Strict):
    """What a search may choose, and by what. An empty list of bits leaves a setting as the recipe has it."""

    weights: list[int] = [2, 3, 4, 6, 8]
    activations: list[int] = [6, 8]
    embeddings: list[int] = [4, 6, 8]
    scores: list[int] = [6, 8]
    probs: list[int] = [6, 8]
    residual: list[int] = []
    only: dict[str, dict[str, list[int]]] = {}  # pattern -> setting -> bits, for the layers and tensors that match; the later wins
    budget: Budget = Budget()
    by: Literal["divergence", "loss", "trace", "eigenvalue"] = "divergence"  # the sensitivity that is minimized
    sentences: int = Field(256, ge=1, le=MAX_EXAMPLES)  # of the training split, that sensitivity is measured on
    curvature_sentences: int = Field(64, ge=4, le=MAX_EXAMPLES)  # those of them that the Hessian is of, where `by` needs it
    points: int = Field(8, ge=2, le=64)  # of the Pareto front
    method: Literal["ilp", "trials", "gradient", "architecture"] = "ilp"
    architecture: ArchitectureConfig = ArchitectureConfig()  # of method: architecture
    sampler: Literal["nsga2", "tpe"] = "nsga2"  # of trials: score against what the hardware takes, or the score alone
    pruner: Literal["none", "median", "hyperband"] = "median"  # of tpe's trials
    trials: int = Field(32, ge=1, le=100_000)
    steps: int = Field(100, ge=1, le=MAX_STEPS)  # of fine-tuning, in a trial or while bits or the architecture are learned
    workers: int = Field(1, ge=1, le=4096)  # trials at once
    cluster: str | None = None  # address of a Ray cluster for them ("local": one on this machine); None: processes of this machine
    storage: str | None = None  # file, or address of a database, of the trials; None: a file in the run folder

    @model_serializer(mode="wrap")
    def _as_before(self, write) -> dict[str, Any]:
        """Without what came later where it is left out, as runs from before have it."""
        values = write(self)
        if self.architecture == ArchitectureConfig():
            values.pop("architecture", None)
        if self.budget.multipliers is None:
            values["budget"].pop("multipliers", None)
        return values

    @model_validator(mode="before")
    @classmethod
    def _bits_in_range(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for key in BIT_RANGES:
            if key in data:
                _check_bits(key, key, data[key])
        only = data.get("only", {})
        if not isinstance(only, dict) or not all(isinstance(v, dict) for v in only.values()):
            raise ConfigError(f"only: got {only!r}, must be pattern -> setting -> bits; write 'layer.0.*': {{weights: [4, 8]}}")
        for pattern, settings in only.items():
            for key, bits in settings.items():
                if key not in BIT_RANGES:
                    raise ConfigError(f"only['{pattern}'].{key}: no setting '{key}'; {did_you_mean(str(key), BIT_RANGES)}")
                _check_bits(f"only['{pattern}'].{key}", key, bits)
        return data


def _check_bits(where: str, key: str, bits: Any) -> None:
    """Refuse what is no list of different bits that the setting may have."""
    low, high = BIT_RANGES[key]
    if not isinstance(bits, list) or not all(isinstance(b, int) and not isinstance(b, bool) and low <= b <= high for b in bits):
        raise ConfigError(f"{where}: got {bits!r}, must be a list of integers {low} .. {high} (bits); change it")
    if len(set(bits)) < len(bits):
        raise ConfigError(f"{where}: got {bits!r}, must name each number of bits once; remove the second")
