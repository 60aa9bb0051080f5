# SPDX-License-Identifier: Apache-2.0
"""Each compression method: the network or the zeros that it leaves, integers that agree, and what it refuses."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from compressed import DATA, MODEL, STEPS, TRAINING, answers, assert_same, checked, compress, crashed, inputs, integers_agree, plain_model, weights
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from bitloom.hw import golden
from bitloom.hw.build import build
from bitloom.hw.errors import BitloomError
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.qat.checkpoint import load_plain
from bitloom.qat.compress import Compression, reshaped
from bitloom.qat.config import DistillConfig, QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig, load
from bitloom.qat.methods import method_of, read
from bitloom.qat.methods.cut import cut_layers
from bitloom.qat.methods.method import Step, Work
from bitloom.qat.net.model import FloatModel
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.net.untrained import untrained_shape
from bitloom.qat.networks import ModelConfig
from bitloom.qat.tokenizer import TextTokenizer
from bitloom.qat.train import train
from bitloom.sim.encoder import run_encoder
from bitloom.sim.verify import compare

pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")
HEADS = {"method": "head_pruning", "keep": 0.5}
UNITS = {"method": "ffn_pruning", "keep": 0.5, "multiple": 8}
DROP = {"method": "layer_drop", "rate": 0.4, "keep": 1}
TILES = {"method": "block_pruning", "tile": [4, 4], "keep": 0.25, "every": 3}
BALANCED = {"method": "balanced_pruning", "keep": 1, "of": 4, "every": 3}
RANKS = {"method": "low_rank", "ranks": {"layer.*.ffn.*": 4, "layer.1.query": 4}}
RPP = {"method": "rpp", "gamma": 0.05, "every": 4}
FIXED = {"method": "fixed_patterns", "patterns": ["previous", "left"]}
NO_QUERIES = FIXED | {"patterns": ["next", "current", "left", "right"], "layers": "layer.0"}
NARROW = {"method": "hidden_pruning", "keep": 0.75}
COMPOUND = [
    {"method": "embedding_factorization", "size": 8},
    RANKS,
    {"method": "attention_window", "window": 3, "layers": "layer.1"},
    HEADS,
    UNITS,
    TILES | {"phase": "qat", "keep": 0.5},
]
# One of each kind that changes the network: (entries, heads by layer, widths of the feed-forward by layer).
NETWORKS = {
    "head_pruning": ([HEADS], None, [32, 32]),
    "ffn_pruning": ([UNITS], [4, 4], [16, 16]),
    "layer_drop": ([DROP], [4], [32]),
    "depth": ([{"method": "depth", "layers": [1]}], [4], [32]),
    "compound": (COMPOUND, None, [16, 16]),
    "fixed_patterns": ([FIXED], [2, 2], [32, 32]),
    "fixed_pruned": ([FIXED | {"layers": "layer.1"}, NO_QUERIES, HEADS, NARROW], [0, 1], [32, 32]),
}


@pytest.mark.parametrize("case", [name if name in ("compound", "layer_drop") else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS])
def test_the_network_that_is_left(case, tmp_path):
    """Its shape is what was known before the training where the layers are alike, and half of all heads whichever these are; its integers agree."""
    entries, heads, widths = NETWORKS[case]
    compress(tmp_path, entries)
    shape, graph = load_plain(tmp_path / "float").shape, integers_agree(tmp_path)
    assert [layer.intermediate for layer in shape.layers] == widths
    found = [layer.heads for layer in shape.layers]
    if case == "fixed_pruned":
        assert shape.hidden == 12 and graph.params["layer.1.fixed.value.acc.weight"].shape == (8, 12)
    assert found == heads if heads else sum(found) == 4 and min(found) >= 1
    if case == "fixed_patterns":
        assert [graph.node(f"layer.{i}.fixed.context.acc").attrs for i in (0, 1)] == [{"patterns": "previous left"}] * 2
    assert [graph.node(f"layer.{i}.scores.acc").attrs["heads"] for i, heads in enumerate(found) if heads] == [heads for heads in found if heads]
    known = Compression(tuple(map(read, entries)), QuantConfig(), TrainConfig()).check(untrained_shape(MODEL, labels=2, vocabulary=250))
    assert [layer.intermediate for layer in known.layers] == widths and sum(layer.heads for layer in known.layers) == sum(found)
    if case == "compound":
        assert graph.params["embeddings.project.acc.weight"].shape == (16, 8)
        assert graph.params["layer.0.ffn.up.narrow.acc.weight"].shape == (4, 16) and graph.params["layer.0.ffn.up.wide.acc.weight"].shape == (16, 4)
        assert graph.tensor("layer.1.scores").shape[2] == "window 3" and graph.tensor("layer.0.scores").shape[2] == "T"


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["float", "qat"])
@pytest.mark.parametrize("entries", [[HEADS, DROP], COMPOUND, [BALANCED, RPP], [{"method": "sharing"}, TILES]], ids=["drop", "compound", "masks", "sharing"])
def test_a_crash_changes_nothing(entries, phase, tmp_path):
    compress(tmp_path / "whole", entries)
    crashed(tmp_path / "out", entries, phase, STEPS // 2 + 2)
    compress(tmp_path / "out", entries)
    assert_same(tmp_path / "out", tmp_path / "whole")


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32, "vocab_size": 250}
FAMILIES = {
    "distilbert": {"vocab_size": 250, "dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 32},
    "roberta": SMALL | {"max_position_embeddings": 18, "type_vocab_size": 1, "pad_token_id": 1},
    "electra": SMALL | {"embedding_size": 8},
    "albert": SMALL | {"embedding_size": 8},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_checkpoint_of_any_family(kind, tmp_path):
    """No method knows families."""
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **FAMILIES[kind], num_labels=2)).save_pretrained(tmp_path / "checkpoint")
    TextTokenizer.train(load(DATA).train.all_texts(), 250).save(tmp_path / "vocab")
    model, data = ModelConfig(checkpoint=str(tmp_path / "checkpoint"), max_tokens=16), DATA.model_copy(update={"vocab": str(tmp_path / "vocab")})
    entries = COMPOUND if kind in ("distilbert", "roberta") else COMPOUND[1:]
    compress(tmp_path / "out", entries, model=model, data=data)
    graph = integers_agree(tmp_path / "out")
    assert graph.params["layer.0.ffn.up.wide.acc.weight"].shape == (16, 4) and graph.params["embeddings.project.acc.weight"].shape == (16, 8)


@pytest.mark.slow
def test_spans(tmp_path):
    """Logits of each token, in windows."""
    rows = [{"question": "who ?", "context": f"{'x ' * (i % 9)}the {name} end", "answers": {"text": [name], "answer_start": [2 * (i % 9) + 4]}}
            for i, name in enumerate(["ann", "bob", "cat", "dog"] * 12)]  # fmt: skip
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings, quant = TRAINING.model_copy(update={"distill": DistillConfig()}), QuantConfig()
    train(MODEL.model_copy(update={"head": "token"}), quant, settings, DataConfig(name="squad", vocab=60), tmp_path, tmp_path / "out",
          compression=tuple(map(read, [HEADS, UNITS, {"method": "attention_maps", "teacher": "float", "heads": "mean"}])))  # fmt: skip
    graph = integers_agree(tmp_path / "out")
    assert graph.node("logits.acc").op == "linear" and [layer.intermediate for layer in load_plain(tmp_path / "out" / "float").shape.layers] == [16, 16]


@pytest.mark.slow
def test_rtl_of_layers_that_differ(tmp_path):
    compress(tmp_path, COMPOUND)
    graph, rng = integers_agree(tmp_path), np.random.default_rng(3)
    ids = [rng.integers(0, 200, n).tolist() for n in (5, 16, 1, 9)]
    want = golden.run(graph, ids, [[0] * len(row) for row in ids])
    folder = tmp_path / "build"
    folder.mkdir()
    build(graph, HardwareConfig(multipliers=150), folder)
    report = compare(graph, want, run_encoder(folder, np.split(want[graph.entry], np.cumsum([len(s) for s in ids])[:-1])))
    assert report.ok and report.values_compared > 1000, str(report)


def test_layers_are_cut_in_their_order():
    model = plain_model(layers=4)
    small = cut_layers(model, [1, 3])
    for new, old in enumerate((1, 3)):
        assert torch.equal(small.network.layer[new].value.weight, model.network.layer[old].value.weight)
    model.network.layer = nn.ModuleList(model.network.layer[i] for i in (1, 3))
    assert torch.equal(answers(small.eval()), answers(model))


def test_layers_are_dropped_in_training_only():
    model = plain_model()
    method = method_of("layer_drop")(read(DROP), "")
    whole, work = answers(model), Work(phase="float", model=model, batches=list, methods=[])
    method.begin(work)
    assert torch.equal(answers(model), whole)
    model.train()
    torch.manual_seed(0)
    seen = {float(answers(model)[0, 0]) for _ in range(20)}
    assert len(seen) == 4  # none, the first, the second, both
    assert float(whole[0, 0]) in seen


@pytest.mark.parametrize(("entry", "kept"), [(TILES, 0.25), pytest.param(TILES | {"scope": "all"}, 0.25, marks=pytest.mark.slow), (BALANCED, 0.25)])
def test_zeros_lie_where_the_hardware_can_skip_them(entry, kept, tmp_path):
    """Whole tiles as hw/ops/linear.py lays them, and groups of a row; in the integers too."""
    compress(tmp_path, [entry])
    graph, found = integers_agree(tmp_path), weights(tmp_path)
    total = 0
    for name, weight in found.items():
        if name.startswith("qat/network.layer") and name.endswith(".weight") and ".norm." not in name:
            if entry["method"] == "block_pruning":
                tiles = weight.unflatten(1, (-1, 4)).unflatten(0, (-1, 4)).abs().amax((1, 3)) != 0
            else:
                tiles = weight.unflatten(1, (-1, 4)) != 0
                assert (tiles.sum(-1) == 1).all()
            assert tiles.any() and (entry.get("scope") == "all" or tiles.float().mean() == kept)
            total += int(tiles.sum()) * (16 if entry["method"] == "block_pruning" else 1)
            codes = graph.params[f"{name.removeprefix('qat/network.').removesuffix('.weight')}.acc.weight"]
            assert not codes[(weight == 0).numpy()].any()
    assert total == kept * 2 * (4 * 16 * 16 + 2 * 16 * 32)


def test_layers_share_weights_and_their_codes(tmp_path):
    compress(tmp_path, [{"method": "sharing", "what": "ffn"}])
    found, graph = weights(tmp_path), integers_agree(tmp_path)
    for phase in ("float", "qat"):
        names = [name for name in found if name.startswith(f"{phase}/network.layer.0.") and name.endswith((".weight", ".bias", "log_scale"))]
        same = {name: torch.equal(found[name], found[name.replace("layer.0.", "layer.1.")]) for name in names}
        assert {name for name, equal in same.items() if equal} >= {name for name in names if ".ffn." in name}
        assert not any(same[name] for name in names if name.endswith("query.weight"))
    for name in ("ffn.up", "ffn.down"):
        assert np.array_equal(graph.params[f"layer.0.{name}.acc.weight"], graph.params[f"layer.1.{name}.acc.weight"])


def test_shared_layers_train_with_the_sum_of_their_gradients():
    model, method = plain_model(), method_of("sharing")(read({"method": "sharing"}), "")
    work = Work(phase="float", model=model, batches=list, methods=[])
    method.begin(work)
    model(**inputs(), labels=torch.tensor([0, 1] * 4)).loss.backward()
    first, second = (model.network.layer[i].ffn.up.weight for i in range(2))
    want = first.grad + second.grad
    method.before(work, Step(number=1, total=1))
    assert torch.equal(first.grad, want) and torch.equal(first, second) and want.any()


def test_rpp_shrinks_small_weights_to_zero_and_large_ones_hardly(tmp_path):
    """The proximal step by hand; what is zero at the end stays zero."""
    method, model = method_of("rpp")(read(RPP | {"epsilon": 0.01, "every": 1000}), ""), plain_model()
    weight = model.network.layer[0].query.weight
    before, work = weight.detach().clone(), Work(phase="float", model=model, batches=list, methods=[])
    method.begin(work)
    method.during(work, Step(number=1, total=10, rate=0.02))
    want = before.sign() * (before.abs() - 0.02 * 0.05 / (before.abs() + 0.01)).clamp(min=0)
    assert torch.equal(weight, want) and 0 < int((weight == 0).sum()) < weight.numel() / 2
    compress(tmp_path, [RPP])
    found = weights(tmp_path)
    before, after = (found[f"{phase}/network.layer.0.value.weight"] for phase in ("float", "qat"))
    assert torch.equal(before == 0, after == 0) and (before == 0).any() and not torch.equal(before, after)
    integers_agree(tmp_path)


def test_low_rank_starts_from_the_singular_values():
    """Of full rank it would be the matrix itself; of less the nearest one of that rank."""
    model, method = plain_model(), method_of("low_rank")(read(RANKS), "")
    new = reshaped(model, method.reshape(model.shape), method)
    up = new.network.layer[0].ffn.up
    got, want = up.wide.weight @ up.narrow.weight, model.network.layer[0].ffn.up.weight
    s = torch.linalg.svdvals(want.double())
    assert torch.allclose((got - want).double().norm(), s[4:].norm(), rtol=1e-4)
    assert torch.equal(up.wide.bias, model.network.layer[0].ffn.up.bias) and not up.narrow.bias.any()
    assert torch.equal(new.network.layer[1].key.weight, model.network.layer[1].key.weight)
    new.network.layer[0].query = nn.Identity()  # of the others nothing is factored
    assert isinstance(new.network.layer[1].query, type(up)) and not isinstance(new.network.layer[0].key, type(up))


def test_embeddings_are_factored_by_their_singular_vectors():
    model, method = plain_model(), method_of("embedding_factorization")(read({"method": "embedding_factorization", "size": 8}), "")
    new = reshaped(model, method.reshape(model.shape), method)
    old, project = model.network.embeddings, new.network.embeddings.project
    basis = project.weight / old.norm.weight[:, None] / math.sqrt(2)
    assert torch.allclose(basis.T @ basis, torch.eye(8), atol=1e-4) and torch.equal(project.bias, old.norm.bias)
    assert torch.allclose(new.network.embeddings.sum.word @ basis.T, old.sum.word @ basis @ basis.T, atol=1e-4)


def test_an_override_for_a_layer_that_goes_is_told_before_the_training():
    """And one for a layer that stays is not."""
    shape = untrained_shape(MODEL, labels=2, vocabulary=250)
    for layer, entries in ((1, [DROP]), (2, [])):
        quant = QuantConfig(overrides={f"layer.{layer}.query": {"weights": 8}})
        with pytest.raises(BitloomError, match=f"overrides: got pattern 'layer.{layer}.query', must match a layer or tensor"):
            Compression(tuple(map(read, entries)), quant, TrainConfig()).check(shape)
    Compression((), QuantConfig(overrides={"layer.1.query": {"weights": 8}}), TrainConfig()).check(shape)


@pytest.mark.parametrize(
    ("entries", "training", "expected"),
    [
        ([HEADS | {"keep": 0.1}], {}, "compression.0.keep: got 0.1 of 8 heads in 2 layers, must leave one in each (at least 0.25); raise it"),
        ([HEADS | {"scope": "layer", "keep": 0.1}], {}, "compression.0.keep: got 0.1 of 4 heads in 1 layer, must leave one in each (at least 0.25); raise it"),
        ([HEADS | {"layers": "layer.7"}], {}, "compression.0.layers: got 'layer.7', must match one of layer.0 .. layer.1 that has heads; change it"),
        ([HEADS], {"compile": True},
         "training.compile: got true with 'head_pruning', must be false: it looks into the network while it trains; remove one of them"),
        ([{"method": "depth", "keep": 3}], {}, "compression.0.keep: got 3, must be at most the 2 layers that there are; lower it"),
        ([{"method": "depth", "layers": [0, 2]}], {}, "compression.0.layers: got [0, 2], must be 0 .. 1; change it"),
        ([DROP], {"float_epochs": 0}, "compression.0.rate: got 0.4 with no float epochs, must have some to drop layers in; set training.float_epochs, or use depth"),
        ([{"method": "sharing"}, DROP], {},
         "compression.1: got 'layer_drop' together with 'sharing', must be one of them (layers that share weights are one layer, whose depth is no choice of weights); "
         "remove one"),
        ([HEADS, {"method": "depth", "keep": 1}], {},
         "compression.1: got 'depth' behind 'head_pruning', must be in front of it: it makes the network that 'head_pruning' is trained on; move it up"),
        ([TILES | {"tile": [3, 5]}], {}, "compression.0.tile: got [3, 5], must divide the 16 x 16 weights of 'layer.0.query'; use e.g. [2, 4], or leave it out with layers"),
        ([HEADS, TILES | {"phase": "qat", "tile": [8, 4]}], {},
         "compression.1.tile: got [8, 4], must divide the 4 x 16 weights of 'layer.0.query'; use e.g. [4, 4], or leave it out with layers"),
        ([UNITS | {"scope": "all", "multiple": 1}, TILES | {"phase": "qat"}], {},
         "compression.1.tile: got [4, 4], must divide the 1 x 16 weights of 'layer.0.ffn.up'; use e.g. [1, 4], or leave it out with layers"),
        ([TILES | {"tile": [16, 16]}], {},
         "compression.0.keep: got 0.25 of the 1 tiles of 'layer.0.query', must leave one (at least 1); raise it, or use smaller tiles"),
        ([BALANCED | {"of": 5}], {}, "compression.0.of: got 5, must divide the 16 weights of a row of 'layer.0.query'; use e.g. 4, or leave it out with layers"),
        ([UNITS, BALANCED], {},
         "compression.1.phase: got 'float' with 'ffn_pruning', must be the phase behind it, as a cut through its pattern of zeros breaks it; set phase: qat"),
        ([TILES, HEADS], {},
         "compression.0.phase: got 'float' with 'head_pruning', must be the phase behind it, as a cut through its pattern of zeros breaks it; set phase: qat"),
        ([{"method": "sharing", "groups": 2}, {"method": "depth", "keep": 1}], {}, "compression.0.groups: got 2, must divide the 1 layers; use e.g. 1"),
        ([{"method": "sharing"}, RANKS], {},
         "compression.0.groups: got layers 0 .. 1 of different shapes, must share their weights between equal layers; make them alike, or use more groups"),
        ([DROP, HEADS], {},
         "compression.1: got 'head_pruning' behind 'layer_drop', must be in front of it: the layers that are left have other numbers; move it up"),
        ([TILES | {"layers": "layer.1.*", "phase": "qat"}, DROP], {},
         "compression.0.layers: got 'layer.1.*', must match a layer that is left in the quantized phase; did you mean 'layer.0."),
        ([{"method": "low_rank", "ranks": {"layer.*.ffn.up": 11}}], {},
         "compression.0.ranks['layer.0.ffn.up']: got 11, must be at most 10, above which two matrices hold as many weights as the 32 x 16; lower it, or leave it out"),
        ([{"method": "low_rank", "ranks": {"layer.*.ffn.upp": 2}}], {},
         "compression.0.ranks: got 'layer.*.ffn.upp', must match a weight matrix; did you mean 'layer.1.ffn.up'?"),
        ([{"method": "embedding_factorization", "size": 16}], {}, "compression.0.size: got 16, must be below the encoder's 16; lower it"),
        ([{"method": "sharing", "groups": 3}], {}, "compression.0.groups: got 3, must divide the 2 layers; use e.g. 2"),
        ([{"method": "attention_window", "window": 2, "layers": "layer.0"}, {"method": "sharing"}], {},
         "compression.1.groups: got layers 0 .. 1 of different shapes, must share their weights between equal layers; make them alike, or use more groups"),
        ([{"method": "attention_segments", "layers": "layer.5"}], {}, "compression.0.layers: got 'layer.5', must match one of layer.0 .. layer.1; change it"),
        ([FIXED | {"layers": "layer.2"}], {}, "compression.0.layers: got 'layer.2', must match one of layer.0 .. layer.1; change it"),
        ([FIXED | {"patterns": ["next"] * 5}], {}, "compression.0.patterns: got 5 for layers of 4 heads, must be at most as many; leave some out"),
        ([FIXED, NO_QUERIES], {}, "compression.1.layers: got 'layer.0', of which one has patterns already, must have one entry for each layer; change it"),
        ([RANKS, FIXED], {}, "compression.1: got layers of low rank, must be in front of low_rank; move it up"),
        ([FIXED | {"patterns": ["next"] * 4}, HEADS], {}, "compression.1.layers: got 'layer.*', must match one of layer.0 .. layer.1 that has heads; change it"),
        ([{"method": "attention_window", "window": 2, "layers": "layer.5"}], {}, "compression.0.layers: got 'layer.5', must match one of layer.0 .. layer.1; change it"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_before_the_training(entries, training, expected):
    assert checked(entries, **training).startswith(expected)


def test_fixed_heads_keep_their_values_and_output():
    """Heads without queries and keys: the others compute what they did, and all heads' outputs still add up to what one matrix gave."""
    model, method = plain_model(), method_of("fixed_patterns")(read(FIXED | {"layers": "layer.1"}), "")
    new, x = reshaped(model, method.reshape(model.shape), method).eval(), torch.randn(2, 5, 16)
    old, after = model.network.layer[1], new.network.layer[1]
    with torch.no_grad():
        values = old.value(x)
        neighbours = torch.stack([values[:, max(i - 1, 0), :4] for i in range(5)], 1)
        torch.testing.assert_close(after.fixed.context(after.fixed.value(x), None)[..., :4], neighbours)
        context = torch.randn(2, 5, 16)
        torch.testing.assert_close(after.attention.output(context[..., 8:]) + after.fixed.output(context[..., :8]), old.attention.output(context))
        assert torch.equal(after.query.weight, old.query.weight[8:]) and torch.equal(after.value.weight, old.value.weight[8:])
    assert new.network.layer[0].fixed is None and new.shape.layers[1].patterns == ("previous", "left")
    assert load_shape(new.shape) == new.shape


def load_shape(shape: EncoderShape) -> EncoderShape:
    """Through a checkpoint's JSON."""
    return EncoderShape.from_dict(json.loads(json.dumps(shape.as_dict())))


def test_layers_that_are_told_a_border_can_be_dropped():
    """What a dropped layer gives on is its input and mask alone."""
    plain = plain_model()
    pairs = method_of("attention_segments")(read({"method": "attention_segments"}), "")
    model = reshaped(plain, pairs.reshape(plain.shape), pairs)
    drop = method_of("layer_drop")(read({"method": "layer_drop", "rate": 0.999}), "")
    work = Work(phase="float", model=model, batches=list, methods=[drop])
    torch.manual_seed(0)
    drop.begin(work)
    bare = FloatModel(replace(model.shape, layers=()))
    bare.load_state_dict(dict(model.named_parameters()), strict=False)
    assert torch.equal(model.train()(**inputs()).logits, bare.train()(**inputs()).logits)


def test_layers_are_kept_with_their_weights():
    model, method = plain_model(layers=4), method_of("depth")(read({"method": "depth", "layers": [1, 3]}), "")
    new = reshaped(model, method.reshape(model.shape), method)
    assert torch.equal(answers(new.eval()), answers(cut_layers(model, [1, 3]).eval())) and not torch.equal(answers(new), answers(model))


def test_layers_that_are_kept_are_spaced():
    for depth, keep, want in [(12, 6, [0, 2, 4, 7, 9, 11]), (6, 2, [0, 5]), (4, 1, [0]), (3, 3, [0, 1, 2])]:
        method = method_of("depth")(read({"method": "depth", "keep": keep}), "")
        assert method.chosen(depth) == want
    shape = replace(plain_model().shape, layers=plain_model().shape.layers * 2)
    assert len(method_of("depth")(read({"method": "depth", "keep": 3, "which": "last"}), "").reshape(shape).layers) == 3
