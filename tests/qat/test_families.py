# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of every family: the float model answers as Hugging Face's, the integers agree from training to RTL."""

import json

import numpy as np
import pytest
import torch
from random_models import random_sentences
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from bitloom.hw import golden
from bitloom.hw.build import build
from bitloom.hw.errors import BitloomError
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.qat.baseline import load_float
from bitloom.qat.calibrate import Observer, calibrate
from bitloom.qat.config import QuantConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.families import FAMILIES
from bitloom.qat.families.heads import HEADS
from bitloom.qat.net.model import FloatModel, QuantModel
from bitloom.qat.trainer import as_taken
from bitloom.sim.encoder import run_encoder
from bitloom.sim.verify import compare

TOKENS, VOCABULARY = 12, 50
FINE = QuantConfig(weights=8, scores=10, residual=16)
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
CONFIGS = {
    "bert": SMALL,
    "distilbert": {"vocab_size": VOCABULARY, "dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 40},
    "roberta": SMALL | {"max_position_embeddings": TOKENS + 2, "type_vocab_size": 1, "pad_token_id": 1},
    "electra": SMALL | {"embedding_size": 16},
    "albert": SMALL | {"embedding_size": 16, "num_hidden_groups": 2, "inner_group_num": 2},
}
HEAD_CASES = [(family, "sequence") for family in CONFIGS] + [("bert", "token"), ("roberta", "span"), ("albert", "token"), ("distilbert", "span")]


def saved(folder, kind: str, head: str, labels: int = 2, **changes):
    """A small random model that transformers itself makes and saves."""
    torch.manual_seed(len(kind))
    config = AutoConfig.for_model(kind, **(CONFIGS[kind] | changes), num_labels=labels)
    model = HEADS[head].from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.ndim == 1 else 0.15))
    model.eval().save_pretrained(folder)
    return model


def batch(kind: str, seed: int = 0):
    """Padded as the family pads."""
    ids, segments = random_sentences(seed, 8, TOKENS)
    pad = 1 if kind == "roberta" else 0
    ids = [[max(i, 2) for i in row] for row in ids]
    longest = max(map(len, ids))
    return {
        "input_ids": torch.tensor([row + [pad] * (longest - len(row)) for row in ids]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids]),
        "token_type_ids": torch.tensor([row + [0] * (longest - len(row)) for row in segments]),
    }


def logits_of(output) -> torch.Tensor:
    return torch.stack([output.start_logits, output.end_logits], -1) if "start_logits" in output else output.logits


@pytest.fixture(params=HEAD_CASES, ids=["-".join(c) for c in HEAD_CASES])
def case(request, tmp_path):
    kind, head = request.param
    model = saved(tmp_path / "checkpoint", kind, head)
    return kind, head, model, tmp_path / "checkpoint"


def test_a_float_checkpoint_is_hugging_faces(case, tmp_path):
    """Both layouts of the file: with the family's prefix, and a bare encoder's (whose head is then new)."""
    kind, head, model, folder = case
    inputs = as_taken(model, batch(kind))
    with torch.no_grad():
        want = logits_of(model(**inputs))
        loaded = load_float(folder, head=head, labels=2)
        assert torch.equal(logits_of(loaded(**inputs)), want) and loaded.notes == []
        body = FAMILIES[kind].body
        bare = {name.removeprefix(f"{body}."): tensor for name, tensor in load_file(folder / "model.safetensors").items() if name.startswith(f"{body}.")}
        save_file(bare, folder / "model.safetensors")
        again = load_float(folder, head=head, labels=2)
        assert len(again.notes) == 1 and "trained from new" in again.notes[0]
        last = lambda m: getattr(m, body)(**inputs)[0]  # noqa: E731
        assert torch.equal(last(again), last(model))


def test_the_network_computes_what_the_float_model_does(case):
    """While observed nothing but weights is quantized: with 8 bits the logits are Hugging Face's, nearly, and only real tokens count."""
    kind, head, model, _ = case
    network = QuantModel.from_float(model, FINE, TOKENS).eval()
    inputs = batch(kind)
    real = inputs["attention_mask"].bool()
    for grid in network.grids().values():
        grid.observer = Observer(*grid.observed_range(), {"real": real})
    with torch.no_grad():
        taken = as_taken(model, inputs)
        if "token_type_ids" not in taken:
            inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
        want, got = logits_of(model(**taken)), logits_of(network(**inputs))
    pick = real if head != "sequence" else slice(None)
    assert (want[pick] - got[pick]).abs().max() < 0.05 * want[pick].std() + 0.01


def test_the_float_network_is_the_float_model(case):
    """And quantizing either gives the same integers."""
    kind, head, model, _ = case
    plain, inputs = FloatModel.from_hugging_face(model, TOKENS).eval(), batch(kind)
    taken, real = as_taken(model, inputs), inputs["attention_mask"].bool()
    inputs["token_type_ids"] = taken.get("token_type_ids", torch.zeros_like(inputs["input_ids"]))
    with torch.no_grad():
        want, got = logits_of(model(**taken)), logits_of(plain(**inputs))
    pick = real if head != "sequence" else slice(None)
    assert (want[pick] - got[pick]).abs().max() < 1e-5 * want[pick].std()
    graphs = []
    for start in (model, plain):
        quantized = QuantModel.from_float(start, QuantConfig(), TOKENS).eval()
        calibrate(quantized, [inputs])
        graphs.append(to_graph(quantized, "family").hash)
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_recipe_can_give_any_family_a_window(kind, tmp_path):
    """The float model's own attention then has the mask, and keeps it in its folder; the network computes the same."""
    saved(tmp_path / "all", kind, "token")
    model, inputs = load_float(tmp_path / "all", head="token", labels=2, keys="window 1"), batch(kind)
    model.save_pretrained(tmp_path / "window")
    taken, real = as_taken(model, inputs), inputs["attention_mask"].bool()
    with torch.no_grad():
        want, full = (load_float(tmp_path / folder, head="token", labels=2)(**taken).logits[real] for folder in ("window", "all"))
        assert torch.equal(model(**taken).logits[real], want) and (want - full).abs().max() > 0.1 * want.std()
        network = QuantModel.from_float(model, FINE, TOKENS).eval()
        for grid in network.grids().values():
            grid.observer = Observer(*grid.observed_range(), {"real": real})
        if "token_type_ids" not in taken:
            inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
        got = network(**inputs).logits[real]
    assert (want - got).abs().max() < 0.05 * want.std() + 0.01


def agree(model, kind: str):
    """A quantized model's graph and the sentences on which Brevitas, golden and ONNX Runtime agree."""
    quantized = QuantModel.from_float(model, QuantConfig(weights=4), TOKENS).eval()
    calibrate(quantized, [batch(kind)])
    graph = to_graph(quantized, "family")
    ids, segments = random_sentences(5, 5, TOKENS)
    want = golden.run(graph, ids, segments)
    got = forward_codes(in_float64(quantized), ids, segments)
    assert set(got) == set(want) and [n for n in want if not np.array_equal(got[n], want[n])] == []
    referee = OnnxReferee(to_onnx(graph)).run(ids, segments)
    assert [n for n in referee if not np.array_equal(referee[n], want[n])] == []
    return graph, ids, want


def test_integers_agree(case):
    agree(case[2], case[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
def test_rtl_agrees(kind, tmp_path):
    graph, ids, want = agree(saved(tmp_path / "checkpoint", kind, "sequence"), kind)
    folder = tmp_path / "build"
    folder.mkdir()
    build(graph, HardwareConfig(multipliers=150), folder)
    report = compare(graph, want, run_encoder(folder, np.split(want[graph.entry], np.cumsum([len(s) for s in ids])[:-1])))
    assert report.ok and report.values_compared > 1000, str(report)


def test_weights_that_did_not_arrive_are_named(tmp_path):
    saved(tmp_path, "bert", "sequence")
    file = tmp_path / "model.safetensors"
    whole = load_file(file)

    def load(state, **changes):
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
        return load_float(tmp_path, head="sequence", labels=2, **changes)

    assert torch.equal(load({f"module.{name}": t for name, t in whole.items()}).classifier.weight, whole["classifier.weight"])
    gone = "bert.encoder.layer.1.output.dense.weight"
    with pytest.raises(BitloomError, match=rf"got no '{gone}' \(1 encoder tensors are missing\), must have all"):
        load({name: t for name, t in whole.items() if name != gone})
    with pytest.raises(BitloomError, match="got 'bert.encoder.layer.1.adapter.weight', which no bert encoder has"):
        load(whole | {"bert.encoder.layer.1.adapter.weight": torch.ones(2)})
    with pytest.raises(BitloomError, match=r"got 'bert.encoder.layer.0.output.dense.weight' of shape \(24, 41\), must be \(24, 40\) as config.json says"):
        load(whole | {"bert.encoder.layer.0.output.dense.weight": torch.ones(24, 41)})
    with pytest.raises(BitloomError, match="got values that are not finite in 'bert.pooler.dense.bias'"):
        load(whole | {"bert.pooler.dense.bias": torch.full((24,), torch.nan)})
    assert load(whole, layers=1).config.num_hidden_layers == 1
    assert "another size" in load_float(tmp_path, head="sequence", labels=3).notes[0]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"model_type": "mobilebert"}, "got a 'mobilebert' model, must be one of albert, bert.*missing for it: NoNorm"),
        ({"model_type": "gpt2"}, "got a 'gpt2' model, must be one of .*or add the family: a file in qat/families/"),
        ({"model_type": "bert", "is_decoder": True}, "got is_decoder"),
        ({"model_type": "bert", "position_embedding_type": "relative_key"}, "got position_embedding_type 'relative_key', must be absolute"),
        ({"model_type": "bert", "hidden_act": "quick_gelu"}, "got activation 'quick_gelu', must be one of gelu"),
        ({"model_type": "bert", "hidden_size": 770}, "got 770 with 12 heads, must be divisible"),
    ],
)
def test_a_config_that_no_forward_pass_fits_is_refused(tmp_path, config, text):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BitloomError, match=text):
        load_float(tmp_path, head="sequence", labels=2)
