# SPDX-License-Identifier: Apache-2.0
"""Decomposed attention: in some layers a token of a pair sees its own sentence alone. What is not seen costs no cycle.

Cao, Trivedi, Balasubramanian and Balasubramanian 2020, "DeFormer: Decomposing Pre-trained Transformers for Faster Question Answering"
(arXiv:2005.00697): the lower layers, so that what they make of one sentence does not depend on the other, and can be kept.
"""

from __future__ import annotations

from typing import Literal

from bitloom.hw.keys import SEGMENT
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.attention_window import AttentionWindow


class Config(MethodConfig):
    """layers: glob pattern of layer.0, layer.1, .."""

    method: Literal["attention_segments"]
    layers: str = "layer.*"


class AttentionSegments(AttentionWindow):
    """Query i sees the keys of its own sentence: 0 .. B-1 or B .. T-1, with B tokens in the first one."""

    Config = Config
    keys = SEGMENT


METHOD = AttentionSegments
