# SPDX-License-Identifier: Apache-2.0
"""Compression methods: a method is one small file, and one line here. This file needs no torch: recipes are read with it.

A file has `METHOD`, a class of method.py's hooks with its `Config`. What changes the network is in this folder, what training minimizes in qat/objectives.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError

from bitloom.hw.errors import BitloomError
from bitloom.hw.settings import ConfigError, Strict, did_you_mean, rule

METHODS = {
    "augmentation": "bitloom.qat.methods.augmentation",
    "depth": "bitloom.qat.methods.depth",
    "sharing": "bitloom.qat.methods.sharing",
    "embedding_factorization": "bitloom.qat.methods.embedding_factorization",
    "pretrained_embeddings": "bitloom.qat.methods.pretrained_embeddings",
    "low_rank": "bitloom.qat.methods.low_rank",
    "ternary_splitting": "bitloom.qat.methods.ternary_splitting",
    "attention_window": "bitloom.qat.methods.attention_window",
    "attention_segments": "bitloom.qat.methods.attention_segments",
    "fixed_patterns": "bitloom.qat.methods.fixed_patterns",
    "token_elimination": "bitloom.qat.methods.token_elimination",
    "layer_drop": "bitloom.qat.methods.layer_drop",
    "early_exit": "bitloom.qat.methods.early_exit",
    "head_pruning": "bitloom.qat.methods.head_pruning",
    "ffn_pruning": "bitloom.qat.methods.ffn_pruning",
    "hidden_pruning": "bitloom.qat.methods.hidden_pruning",
    "magnitude_pruning": "bitloom.qat.methods.magnitude_pruning",
    "block_pruning": "bitloom.qat.methods.block_pruning",
    "balanced_pruning": "bitloom.qat.methods.balanced_pruning",
    "rpp": "bitloom.qat.methods.rpp",
    "logits": "bitloom.qat.objectives.logits",
    "hidden_states": "bitloom.qat.objectives.hidden_states",
    "attention_maps": "bitloom.qat.objectives.attention_maps",
    "dual_vocabulary": "bitloom.qat.objectives.dual_vocabulary",
}
MOST = 32  # entries of a recipe
SHOWN = 60  # characters of a value in a message


class MethodError(BitloomError):
    """A method that this network, these trainings or these other methods do not let work."""


class MethodConfig(Strict):
    """Settings of one method: the base of its own."""

    method: str


def method_of(name: str) -> type:
    """The class of a method that is in METHODS."""
    return import_module(METHODS[name]).METHOD


def read(entry: Any) -> Any:
    """One entry of a recipe's `compression` as its method's own settings.

    Raises ConfigError: no such method, or a setting that does not fit; the message begins with the key.
    """
    if isinstance(entry, MethodConfig):
        return entry
    if not isinstance(entry, dict) or not isinstance(name := entry.get("method"), str):
        raise ConfigError(f"got {str(entry)[:SHOWN]!r}, must be a mapping with a method; write e.g. {{method: magnitude_pruning, keep: 0.5}}")
    if name not in METHODS:
        raise ConfigError(f"method: got '{name[:SHOWN]}', must be a known method; {did_you_mean(name, METHODS)}")
    try:
        return method_of(name).Config.model_validate(entry)
    except ValidationError as errors:
        raise ConfigError(_told(errors.errors()[0])) from errors


def _told(error: dict) -> str:
    """The first of pydantic's errors in the words that a recipe's reader uses (bitloom/recipe.py puts the place in front)."""
    key, message = ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key}: {message}" if key and not message.startswith(f"{key}: ") else message
    if error["type"] == "missing":
        return f"{key}: got nothing, must be given; add '{key}:'"
    return f"{key}: got {str(error['input'])[:SHOWN]!r}, must be {rule(message)}; change it"


Compression = Annotated[tuple[Annotated[SerializeAsAny[MethodConfig], BeforeValidator(read)], ...], Field(strict=False, max_length=MOST)]
