# SPDX-License-Identifier: Apache-2.0
"""Families of checkpoints: FAMILIES[model type]. A new one is its file here and one name in the list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitloom.qat.families import albert, bert, distilbert, electra, roberta
from bitloom.qat.families.family import Family
from bitloom.qat.quantizers import QuantError
from torch import nn
from transformers import AutoConfig

FAMILIES: dict[str, Family] = {m.FAMILY.name: m.FAMILY for m in (bert, distilbert, roberta, electra, albert)}
# Ends of the names of Hugging Face's classes, and the task that each is for
CLASSES = {"ForSequenceClassification": "classification", "ForQuestionAnswering": "span", "ForTokenClassification": "token_classification"}
# What is missing for families that are asked for; else the message says how to add one.
MISSING = {
    "mobilebert": "NoNorm (a multiplier and an offset a channel in place of LayerNorm), trigram embeddings, bottleneck projections around each layer "
    "and up to four feed-forward blocks in it",
    "deberta": "disentangled attention (scores of content and relative position)",
    "deberta-v2": "disentangled attention (scores of content and relative position)",
    "modernbert": "rotary positions, LayerNorm in front of the blocks, gated feed-forward blocks and sliding attention windows",
}


def family_of(config: Any) -> Family:
    """The family of a Hugging Face configuration.

    Raises QuantError: an unknown family, or an encoder that this one's forward pass does not describe (decoders, relative positions).
    """
    kind = config.model_type
    if kind not in FAMILIES:
        why = f"a {kind} needs {MISSING[kind]}" if kind in MISSING else "choose another checkpoint, or add its family as bitloom/qat/families/bert.py is one"
        raise QuantError(f"checkpoint: got a '{kind}' model, must be one of {', '.join(FAMILIES)}; {why}")
    for key, text in (("is_decoder", "a decoder"), ("add_cross_attention", "cross attention")):
        if getattr(config, key, False):
            raise QuantError(f"checkpoint: got {text} ({key}), must be an encoder; choose another checkpoint")
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    if positions != "absolute":
        raise QuantError(f"checkpoint: got {positions} positions (position_embedding_type), must be absolute; choose another checkpoint")
    return FAMILIES[kind]


def load_config(checkpoint: str | Path) -> Any:
    """A checkpoint's configuration.

    Raises QuantError: no such folder or hub name, or no config.json that can be read.
    """
    try:
        return AutoConfig.from_pretrained(checkpoint)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise QuantError(f"checkpoint: got '{checkpoint}', must be a Hugging Face folder or hub name ({first})") from error


def segments_of(config: Any) -> int:
    """Rows of the segment table of a Hugging Face model; 0: it takes no token_type_ids."""
    return getattr(config, "type_vocab_size", 0)


def task_of(model: nn.Module) -> str:
    """One of CLASSES' tasks, from the model's class. Raises QuantError for another class."""
    name = type(model).__name__
    for suffix, task in CLASSES.items():
        if name.endswith(suffix):
            return task
    raise QuantError(f"from_float: got {name}, must be a model for {', '.join(CLASSES)}; load the checkpoint with bitloom.qat.families.load.load_float")
