# SPDX-License-Identifier: Apache-2.0
"""Families of checkpoints: what transformers wrote is read back whole, the network computes what its model computes, and its graph what the network does."""

import json
import random
import warnings

import numpy as np
import pytest
import torch
from bitloom.hw import golden
from bitloom.hw.errors import BitloomError
from bitloom.hw.onnx_export import OnnxReferee, observed, to_onnx
from bitloom.qat.calibrate import calibrate, unquantized
from bitloom.qat.config import CheckpointWarning, ModelConfig, QuantConfig
from bitloom.qat.families import FAMILIES, family_of
from bitloom.qat.families.load import TASKS, load_float
from bitloom.qat.net.codes import forward_codes, in_float64
from bitloom.qat.net.model import QuantModel
from bitloom.qat.net.untrained import untrained_graph
from bitloom.qat.trainer import without_segments
from graph_rtl import compare_rtl
from random_models import padded
from safetensors.torch import load_file, save_file
from transformers import AlbertConfig, AutoModel, BertConfig, DistilBertConfig, ElectraConfig, MobileBertConfig, RobertaConfig

TOKENS, VOCABULARY = 12, 60
COMMON = dict(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, max_position_embeddings=20)
CONFIGS = {
    "bert": BertConfig(**COMMON),
    "distilbert": DistilBertConfig(vocab_size=VOCABULARY, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=20),
    "roberta": RobertaConfig(**COMMON, type_vocab_size=1, layer_norm_eps=1e-5),
    "electra": ElectraConfig(**COMMON, embedding_size=16),
    "albert": AlbertConfig(**COMMON | {"num_hidden_layers": 4}, embedding_size=16, num_hidden_groups=2, inner_group_num=2),
}
LABELS = {"classification": 3, "span": 2, "token_classification": 5}


def sentences(kind: str):
    """Without padding's id inside; segments where the family has them."""
    rng, two = random.Random(1), kind in ("bert", "electra", "albert")
    lengths = [1, TOKENS, 5, 8, 3]
    ids = [[rng.randrange(4, VOCABULARY) for _ in range(n)] for n in lengths]
    return ids, [[int(two and i >= n // 2) for i in range(n)] for n in lengths]


def random_checkpoint(kind, task, folder, **settings):
    """A saved Hugging Face model whose every parameter is far from its initial value."""
    config = CONFIGS[kind].from_dict(CONFIGS[kind].to_dict() | settings)
    config.num_labels = LABELS[task]
    torch.manual_seed(3)
    model = TASKS[task].from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            else:
                parameter.normal_(0, 0.6 if "embeddings" in name else 0.15)
    model.save_pretrained(folder)
    return model.eval()


def load(folder, task, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)
        return load_float(folder, task=task, labels=LABELS[task], **settings)


def answers(model, kind):
    """Logits at real tokens."""
    ids, segments = sentences(kind)
    inputs = padded(ids, segments, pad=CONFIGS[kind].pad_token_id)
    with torch.no_grad():
        out = model(**without_segments(model, inputs))
    logits = out.logits if "logits" in out else torch.stack([out.start_logits, out.end_logits], -1)
    return logits if logits.ndim == 2 else logits[inputs["attention_mask"].bool()]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", CONFIGS)
def test_float_models_are_read_back_whole_and_the_network_computes_what_they_do(kind, task, tmp_path):
    saved = random_checkpoint(kind, task, tmp_path)
    loaded = load(tmp_path, task)
    want = answers(saved, kind)
    assert torch.equal(answers(loaded, kind), want) and want.std() > 0.05
    model = QuantModel.from_float(loaded, QuantConfig(), TOKENS).eval()
    with unquantized(model.network):
        torch.testing.assert_close(answers(model, kind), want, atol=2e-5, rtol=1e-4)
    with pytest.raises(BitloomError, match="must be calibrated"):
        answers(model, kind)


def quantized(kind, task, folder, **quant):
    random_checkpoint(kind, task, folder)
    model = QuantModel.from_float(load(folder, task), QuantConfig(**quant), TOKENS).eval()
    ids, segments = sentences(kind)
    calibrate(model.network, [padded(ids, segments)])
    return model, model.to_graph(kind)


@pytest.mark.parametrize(("kind", "task"), [*((kind, "classification") for kind in CONFIGS), ("electra", "token_classification"), ("roberta", "span")])
def test_brevitas_golden_and_onnx_runtime_are_equal(kind, task, tmp_path):
    model, graph = quantized(kind, task, tmp_path)
    ids, segments = sentences(kind)
    want = golden.run(graph, ids, segments)
    got = forward_codes(in_float64(model.network), ids, segments)
    assert set(got) == set(want) and len(want) > 40
    assert [name for name in want if not np.array_equal(want[name], got[name])] == []
    assert len(np.unique(want["logits"])) > 5
    referee = OnnxReferee(to_onnx(graph), graph.hash).run(ids, segments)
    assert [name for name in observed(graph) if not np.array_equal(referee[name], want[name])] == []
    float_logits, logits = answers(load(tmp_path, task), kind).flatten(), answers(model, kind).flatten()
    assert torch.corrcoef(torch.stack([float_logits, logits]))[0, 1] > 0.9


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=() if kind in ("electra", "distilbert") else pytest.mark.slow) for kind in CONFIGS])
def test_rtl_is_equal(kind, tmp_path):
    _, graph = quantized(kind, "classification", tmp_path / "checkpoint")
    assert compare_rtl(graph, *sentences(kind), tmp_path / "build") > 1000


@pytest.mark.parametrize("layout", ["plain", "no prefix", "wrapped", "parts", "old names"])
def test_layouts_of_a_checkpoint(layout, tmp_path):
    """A model with a head, an encoder alone (AutoModel), a data-parallel wrapper's names, several files, gamma and beta."""
    saved = random_checkpoint("bert", "classification", tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    if layout == "no prefix":
        AutoModel.from_pretrained(tmp_path).save_pretrained(tmp_path)
        assert "embeddings.word_embeddings.weight" in load_file(path)
        with pytest.warns(CheckpointWarning, match="'classifier.bias', 'classifier.weight' starts at random, for it is not there: train it"):
            loaded = load_float(tmp_path, task="classification", labels=3)
        assert torch.equal(loaded.bert(torch.arange(9)[None]).pooler_output, saved.bert(torch.arange(9)[None]).pooler_output)
        return
    if layout == "wrapped":
        save_file({f"module.{name}": tensor for name, tensor in tensors.items()}, path)
    elif layout == "parts":
        path.unlink()
        saved.save_pretrained(tmp_path, max_shard_size="20KB")
        assert not path.exists() and len(list(tmp_path.glob("model-*.safetensors"))) > 1
    elif layout == "old names":
        old = lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")  # noqa: E731
        save_file({old(name): tensor for name, tensor in tensors.items()} | {"bert.embeddings.position_ids": torch.arange(20)}, path)
    assert torch.equal(answers(load(tmp_path, "classification"), "bert"), answers(saved, "bert"))


def test_what_the_head_is_made_of(tmp_path):
    """Pre-training's head is left behind, one of another size starts anew; both are said."""
    random_checkpoint("electra", "classification", tmp_path)
    with pytest.warns(
        CheckpointWarning, match=r"'classifier.out_proj.bias', .* starts at random, for it is not there \(the checkpoint's .* has another size\)"
    ):
        model = load_float(tmp_path, task="classification", labels=7)
    assert model.classifier.out_proj.out_features == 7
    tensors = load_file(tmp_path / "model.safetensors")
    assert torch.equal(model.classifier.dense.weight, tensors["classifier.dense.weight"])
    encoder = {name: tensor for name, tensor in tensors.items() if name.startswith("electra.")}
    save_file(encoder | {"discriminator_predictions.dense.weight": torch.ones(32, 32)}, tmp_path / "model.safetensors")
    with pytest.warns(CheckpointWarning, match="'classifier.dense.bias', .* starts at random"):
        load_float(tmp_path, task="classification", labels=3)


def change(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def set_config(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


QUERY = "bert.encoder.layer.1.attention.self.query.weight"


@pytest.mark.parametrize(
    ("break_it", "text"),
    [
        (lambda f: change(f, lambda t: t.pop(QUERY)), f"got no tensor '{QUERY}', must be there as config.json describes the encoder"),
        (
            lambda f: change(f, lambda t: t.update({"bert.encoder.layer.2.new": torch.ones(2)})),
            "got tensor 'bert.encoder.layer.2.new', must be one of the encoder",
        ),
        (lambda f: change(f, lambda t: t[QUERY].fill_(torch.nan)), f"got values that are not finite in '{QUERY}', must be finite"),
        (lambda f: set_config(f, intermediate_size=40), r"got \(48,\) of 'bert.encoder.layer.0.intermediate.dense.bias', must be \(40,\) as config.json says"),
        (lambda f: set_config(f, num_hidden_layers=1), "got tensor 'bert.encoder.layer.1.attention.output.LayerNorm.bias', .* and 12 more"),
        (lambda f: set_config(f, num_attention_heads=5), "hidden: got 32 with 5 heads, must be divisible"),
        (lambda f: set_config(f, is_decoder=True), r"got a decoder \(is_decoder\), must be an encoder"),
        (lambda f: set_config(f, position_embedding_type="relative_key"), r"got relative_key positions \(position_embedding_type\), must be absolute"),
        (lambda f: set_config(f, hidden_act="quick_gelu"), "got activation 'quick_gelu', must be one of gelu, gelu_new, relu, silu"),
        (lambda f: set_config(f, model_type="gpt2"), "got a 'gpt2' model, must be one of bert, distilbert, roberta, electra, albert; .* add its family"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x"), "must hold readable safetensors weights"),
        (lambda f: (f / "model.safetensors").unlink(), "must hold readable safetensors weights"),
    ],
)
def test_checkpoints_that_do_not_fit_are_named(break_it, text, tmp_path):
    random_checkpoint("bert", "classification", tmp_path)
    break_it(tmp_path)
    with pytest.raises(BitloomError, match=text) as error:
        load_float(tmp_path, task="classification", labels=3)
    assert "\n" not in str(error.value)


def test_mobilebert_is_refused_with_what_is_missing():
    with pytest.raises(BitloomError, match="got a 'mobilebert' model, must be one of .*; a mobilebert needs NoNorm .* trigram embeddings"):
        family_of(MobileBertConfig())


def test_fewer_layers_and_fewer_positions(tmp_path):
    random_checkpoint("roberta", "classification", tmp_path)
    model = load(tmp_path, "classification", layers=1)
    assert len(QuantModel.from_float(model, QuantConfig(), 18).network.layer) == 1
    with pytest.raises(BitloomError, match="max_tokens: got 19, must be at most the checkpoint's 18 positions"):
        QuantModel.from_float(model, QuantConfig(), 19)  # the first two rows are the padding's


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_untrained_graph_needs_the_configuration_alone(kind, tmp_path):
    CONFIGS[kind].save_pretrained(tmp_path)
    graph = untrained_graph(ModelConfig(checkpoint=str(tmp_path), max_tokens=TOKENS), QuantConfig(), 3, VOCABULARY)
    model, trained = quantized(kind, "classification", tmp_path / "checkpoint")
    assert [(n.name, n.op, n.inputs) for n in graph.nodes] == [(n.name, n.op, n.inputs) for n in trained.nodes]
    assert {n: t.bits for n, t in graph.tensors.items() if not n.endswith(".acc")} == {n: t.bits for n, t in trained.tensors.items() if not n.endswith(".acc")}
    assert set(FAMILIES) == set(CONFIGS)


def test_losses_of_a_label_for_each_token(tmp_path):
    random_checkpoint("bert", "token_classification", tmp_path)
    plain = load(tmp_path, "token_classification")
    model = QuantModel.from_float(plain, QuantConfig(), TOKENS).eval()
    ids, segments = sentences("bert")
    inputs = padded(ids, segments)
    labels = torch.where(inputs["attention_mask"].bool(), inputs["input_ids"] % 5, -100)
    labels[1, 3:7] = -100
    with unquantized(model.network):
        torch.testing.assert_close(model(**inputs, labels=labels).loss, plain(**inputs, labels=labels).loss, atol=1e-5, rtol=1e-4)
