# SPDX-License-Identifier: Apache-2.0
"""Settings of a search for bits: which bits each kind of setting may have, what the hardware may take, how sensitivity is measured."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from bitloom.hw.settings import ConfigError, Strict, did_you_mean
from bitloom.qat.config import BIT_RANGES, MAX_STEPS

MAX_EXAMPLES = 1 << 20
RESOURCES = ("block_ram", "dsp", "lut", "bytes")  # what a budget may limit beside the cycles


class Budget(Strict):
    """The most that the hardware may take; what is left out is limited by the board alone."""

    cycles: int | None = Field(None, ge=1, description="between two sentences of max_tokens; without: hardware.target_cycles, or what the board reaches")
    block_ram: int | None = Field(None, ge=0, description="blocks of the board's first kind")
    dsp: int | None = Field(None, ge=0)
    lut: int | None = Field(None, ge=0)
    bytes: int | None = Field(None, ge=1, description="of all parameters as integers, the host's tables too (hw/cost/sizes.py)")


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
    method: Literal["ilp", "trials", "gradient"] = "ilp"
    sampler: Literal["nsga2", "tpe"] = "nsga2"  # of trials: score against what the hardware takes, or the score alone
    pruner: Literal["none", "median", "hyperband"] = "median"  # of tpe's trials
    trials: int = Field(32, ge=1, le=100_000)
    steps: int = Field(100, ge=1, le=MAX_STEPS)  # of fine-tuning, in a trial or while bits are learned
    workers: int = Field(1, ge=1, le=4096)  # trials at once
    cluster: str | None = None  # address of a Ray cluster for them ("local": one on this machine); None: processes of this machine
    storage: str | None = None  # file, or address of a database, of the trials; None: a file in the run folder

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
