# SPDX-License-Identifier: Apache-2.0
"""The heads that a model may have, as Hugging Face's classes name them."""

from __future__ import annotations

from torch import nn
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoModelForTokenClassification

from bitloom.qat.quantizers import QuantError

HEADS = {"sequence": AutoModelForSequenceClassification, "token": AutoModelForTokenClassification, "span": AutoModelForQuestionAnswering}
ENDINGS = {"ForSequenceClassification": "sequence", "ForTokenClassification": "token", "ForQuestionAnswering": "span"}


def head_of(model: nn.Module) -> str:
    """'sequence', 'token' or 'span'. Raises QuantError for another class."""
    name = type(model).__name__
    for ending, head in ENDINGS.items():
        if name.endswith(ending):
            return head
    raise QuantError(f"from_float: got {name}, must end in {', '.join(ENDINGS)}; load the checkpoint with bitloom.qat.baseline.load_float")
