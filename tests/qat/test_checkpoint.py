# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: safetensors in, safetensors out, anything else refused with what to do."""

import json

import pytest
import torch
from random_models import random_float, random_model
from safetensors.torch import load_file, save_file

from bitloom.hw.cost.sizes import sizes
from bitloom.hw.errors import BitloomError
from bitloom.qat.baseline import load_float
from bitloom.qat.checkpoint import from_pretrained, load_plain, save_float, save_pretrained
from bitloom.qat.config import QuantConfig
from bitloom.qat.export import to_graph
from bitloom.qat.methods.method import linears
from bitloom.qat.net.model import FloatModel
from bitloom.qat.networks import ModelConfig

SMALL = ModelConfig(layers=2, hidden=32, heads=2, intermediate=64, max_tokens=16)


@pytest.mark.parametrize("quant", [QuantConfig(), QuantConfig(weights=1, overrides={"layer.1.*": {"weights": 8}})])
@pytest.mark.parametrize("head", ["sequence", "token"])
def test_a_quantized_checkpoint_keeps_every_bit(tmp_path, quant, head):
    model = random_model(SMALL.model_copy(update={"head": head}), quant)
    save_pretrained(model, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "quant.json"]
    loaded = from_pretrained(tmp_path)
    assert to_graph(loaded, "x").hash == to_graph(model, "x").hash
    assert loaded.quant == quant and not loaded.training


def test_a_float_checkpoint_of_any_shape_keeps_every_bit(tmp_path):
    model = FloatModel.from_hugging_face(random_float(SMALL), 16)
    save_float(model, tmp_path)
    loaded, want = load_plain(tmp_path), dict(model.named_parameters())
    assert loaded.shape == model.shape and all(torch.equal(value, want[name]) for name, value in loaded.named_parameters() if "log_scale" not in name)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "scale" in name or "exponent" in name]
    state = load_file(tmp_path / "model.safetensors")
    del state["network.logits.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(BitloomError, match="not a whole float checkpoint .*network.logits.bias.*; train again, with --force"):
        load_plain(tmp_path)
    (tmp_path / "float.json").write_text('{"schema": "bitloom.float/9"}')
    with pytest.raises(BitloomError, match="got schema 'bitloom.float/9', must be 'bitloom.float/1'"):
        load_plain(tmp_path)


def test_a_float_checkpoint_loads_with_fewer_layers(tmp_path):
    plain = random_float(SMALL)
    plain.save_pretrained(tmp_path)
    loaded = load_float(tmp_path, head="sequence", labels=2, layers=1)
    assert loaded.config.num_hidden_layers == len(loaded.bert.encoder.layer) == 1
    assert torch.equal(loaded.bert.encoder.layer[0].output.dense.weight, plain.bert.encoder.layer[0].output.dense.weight)
    assert torch.equal(loaded.classifier.weight, plain.classifier.weight)
    with pytest.raises(BitloomError, match="layers: got 3, must be at most the checkpoint's 2"):
        load_float(tmp_path, head="sequence", labels=2, layers=3)
    with pytest.raises(BitloomError, match="got 50 tokens, must be at least the tokenizer's 51"):
        load_float(tmp_path, head="sequence", labels=2, vocabulary=51)


def test_pickled_weights_are_refused(tmp_path):
    random_float(SMALL).config.save_pretrained(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    for load in (lambda: load_float(tmp_path, head="sequence", labels=2), lambda: from_pretrained(tmp_path)):
        with pytest.raises(BitloomError, match="got pickled weights pytorch_model.bin, must be safetensors .* convert"):
            load()


def test_other_models_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(BitloomError, match="must be a folder with config.json and safetensors weights, or a hub name"):
        load_float(tmp_path, head="sequence", labels=2)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(BitloomError, match="got a 'gpt2' model, must be one of albert, bert.*add the family"):
        load_float(tmp_path, head="sequence", labels=2)


def test_damaged_checkpoints_are_named(tmp_path):
    model = random_model(SMALL, QuantConfig())
    save_pretrained(model, tmp_path)
    weights, settings = tmp_path / "model.safetensors", tmp_path / "quant.json"
    text, data = settings.read_text(), weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(BitloomError, match="not a whole quantized checkpoint"):
        from_pretrained(tmp_path)
    weights.write_bytes(data)
    settings.write_text(text.replace("bitloom.quant/2", "bitloom.quant/0"))
    with pytest.raises(BitloomError, match="got schema 'bitloom.quant/0', must be 'bitloom.quant/2'"):
        from_pretrained(tmp_path)
    settings.write_text("{")
    with pytest.raises(BitloomError, match="not a whole quantized checkpoint"):
        from_pretrained(tmp_path)
    settings.unlink()
    with pytest.raises(BitloomError, match="quant.json: no such file"):
        from_pretrained(tmp_path)


def test_sizes_by_hand():
    quant = QuantConfig(weights=2, overrides={"logits": {"weights": 8}})
    model = random_model(ModelConfig(layers=1, hidden=8, heads=1, intermediate=16, max_tokens=4), quant)
    got = sizes(to_graph(model, "x"))
    tables = (50 + 4 + 2) * 8
    weights, channels, norms = 4 * 64 + 2 * 128 + 64, 4 * 8 + 16 + 8 + 8, 3 * 2 * 8
    inner = 4 * (weights + 16 + channels + 2 + norms)
    assert got["without_embeddings"]["float_bytes"] == inner
    assert got["float_bytes"] == inner + 4 * tables
    assert got["quantized_bytes"] - got["without_embeddings"]["quantized_bytes"] == tables
    least = (weights * 2 + 16 * 8 + (channels + 2) * 16) // 8
    assert least < got["without_embeddings"]["quantized_bytes"] < least + 4 * (channels + 2 + norms)
    zeros = {name: int((operator.weight_grid.codes(operator.weight) == 0).sum()) for name, operator in linears(model.network, "*")}
    assert got["layers"]["layer.0.ffn.up"] == {"weights": 2, "activations": 8, "parameters": 128, "zeros": zeros["layer.0.ffn.up"]}
    assert got["layers"]["logits"] == {"weights": 8, "activations": 16, "parameters": 16, "zeros": zeros["logits"]}
    assert zeros["layer.0.ffn.up"] > zeros["logits"]
