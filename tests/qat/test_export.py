# SPDX-License-Identifier: Apache-2.0
"""The frozen graph computes what the Brevitas model does: float64 forward == NumPy golden, on every named tensor."""

import random

import numpy as np
import pytest
import torch
from random_models import padded, random_model, random_sentences

from bitloom.hw import golden, graph_file
from bitloom.qat.config import BIT_RANGES, QuantConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.networks import ModelConfig
from bitloom.qat.quantizers import QuantError


def shape(**settings) -> ModelConfig:
    return ModelConfig(**{"layers": 1, "hidden": 32, "heads": 2, "intermediate": 48, "max_tokens": 16} | settings)


MIXED = QuantConfig(
    weights=4,
    overrides={
        "layer.0.*": {"weights": 2, "activations": 6},
        "layer.0.ffn.up": {"weights": 8, "weight_range": "full"},
        "layer.1.key": {"weights": 1},
        "layer.1.probs": {"probs": 5},
        "layer.1.scores": {"scores": 10},
        "layer.1.*": {"residual": 12},
        "pooler*": {"activations": 7},
        "embeddings.sum": {"embeddings": 6},
    },
)

CASES = {
    "default": (shape(layers=2), QuantConfig()),
    "binary weights": (shape(), QuantConfig(weights=1)),
    "ternary weights, relu": (shape(activation="relu"), QuantConfig(weights=2, activations=4)),
    "two bits, full range": (shape(), QuantConfig(weights=2, weight_range="full")),
    "three bits, token head": (shape(head="token"), QuantConfig(weights=3, activations=6)),
    "eight bits, 16-bit residuals": (shape(), QuantConfig(weights=8, scores=10, overrides={"*": {"residual": 16}})),
    "two-bit activations": (shape(), QuantConfig(activations=2, embeddings=2, scores=2, probs=2, residual=4)),
    "d = 32, root no power of two": (shape(hidden=96, heads=3, max_tokens=9), QuantConfig(activations=5)),
    "hidden 48": (shape(hidden=48, heads=4, max_tokens=33), QuantConfig(weights=4, weight_range="full")),
    "two layers mixed, relu, token head": (
        shape(layers=2, activation="relu", head="token"),
        MIXED.model_copy(update={"overrides": {k: v for k, v in MIXED.overrides.items() if k != "pooler*"}}),
    ),
    "two layers mixed": (shape(layers=2, max_tokens=40), MIXED),
    "causal attention": (shape(layers=2, attention="causal"), QuantConfig()),
    "the own sentence of a pair": (shape(layers=2, attention="segment"), QuantConfig()),
    "a window of attention, token head": (shape(layers=2, head="token", attention="window", window=2), QuantConfig()),
    "one head of two channels": (shape(hidden=2, heads=1, intermediate=3), QuantConfig(residual=6)),
}


def differing(got: dict, want: dict) -> list[str]:
    assert set(got) == set(want)
    return [name for name in want if got[name].shape != want[name].shape or (got[name] != want[name]).any()]


@pytest.mark.parametrize("case", CASES)
def test_float64_forward_equals_golden_on_every_tensor(case):
    config, quant = CASES[case]
    model = random_model(config, quant, seed=len(case), labels=2 if config.head == "token" else 3)
    ids, segments = random_sentences(1, 7, config.max_tokens)
    graph = to_graph(model, "random")
    want = golden.run(graph, ids, segments)
    got = forward_codes(in_float64(model), ids, segments)
    assert differing(got, want) == []
    assert len(want) == len(graph.nodes) and sum(v.size for v in want.values()) > 1000
    assert len(np.unique(want["logits"])) > 1  # a model that says one thing would hide differences


def test_parameters_just_below_a_half_are_those_of_the_exact_model():
    """In float32 a half added to what is just below one rounds to 1."""
    model = random_model(shape(), QuantConfig(), 3)
    embeddings, layer = model.network.embeddings.sum, model.network.layer[0].query
    embeddings.word.data[::2, ::3] = (0.5 - 2**-25) * 2.0**embeddings.e
    layer.weight.data[:, ::3] = (layer.weight_grid.scale() * (0.5 - 2**-25)).float()[:, None]
    ids, segments = random_sentences(4, 8, 16)
    assert differing(forward_codes(in_float64(model), ids, segments), golden.run(to_graph(model, "test"), ids, segments)) == []


def test_padding_changes_no_code():
    """Each sentence alone, and whatever ids the padding holds, gives the codes of the padded batch."""
    model = in_float64(random_model(shape(layers=2), QuantConfig(), seed=4))
    ids, segments = random_sentences(2, 6, 16)
    together = forward_codes(model, ids, segments)
    alone = [forward_codes(model, [i], [s]) for i, s in zip(ids, segments, strict=True)]
    for name, codes in together.items():
        assert np.array_equal(codes, np.concatenate([one[name] for one in alone])), name
    with torch.no_grad():
        logits = [model(**padded(ids, segments, pad=fill)).logits for fill in (0, 7)]
    assert torch.equal(*logits)
    assert torch.equal(logits[0][:, :], torch.as_tensor(together["logits"]) * 2.0**model.network.logits.grid.e)


def test_float32_gives_the_same_answers():
    """Training precision may differ by one code here and there, never by more in the logits of a small model."""
    model = random_model(shape(), QuantConfig(), seed=5)
    ids, segments = random_sentences(3, 12, 16)
    with torch.no_grad():
        single = model(**padded(ids, segments)).logits
        double = in_float64(model)(**padded(ids, segments)).logits
    assert torch.equal(single.argmax(-1), double.argmax(-1))
    assert (single - double).abs().max() < 0.1 * double.std()


@pytest.mark.parametrize(
    "break_it",
    [
        lambda m: m.network.layer[0].query.weight.data.neg_(),
        lambda m: m.network.layer[0].ffn.norm.bias.data.add_(0.3),
        lambda m: m.network.layer[0].scores.grid.set_exponent(m.network.layer[0].scores.grid.e + 1),
        lambda m: m.network.pooler.pre.bias.data.add_(1.0),
    ],
)
def test_a_changed_model_differs_from_its_graph(break_it):
    """The comparison can fail: a model changed after the freeze is found out."""
    model = random_model(shape(), QuantConfig(), seed=6)
    graph, ids = to_graph(model, "random"), random_sentences(1, 5, 16)[0]
    changed = in_float64(model)
    break_it(changed)
    assert differing(forward_codes(changed, ids), golden.run(graph, ids))


def test_graph_has_the_names_and_bits_of_the_specification():
    graph = to_graph(random_model(shape(), QuantConfig()), "random", {"task": "classification"})
    names = ["embeddings.sum", "embeddings.norm"]
    for part in ("query", "key", "value", "scores"):
        names += [f"layer.0.{part}.acc", f"layer.0.{part}"]
    names += [
        "layer.0.probs",
        "layer.0.context.acc",
        "layer.0.context",
        "layer.0.attention.output.acc",
        "layer.0.attention.output",
        "layer.0.attention.sum",
        "layer.0.attention.norm",
        "layer.0.ffn.up.acc",
        "layer.0.ffn.up",
        "layer.0.ffn.act",
        "layer.0.ffn.down.acc",
        "layer.0.ffn.down",
        "layer.0.ffn.sum",
        "layer.0.ffn.norm",
        "pooler.first",
        "pooler.acc",
        "pooler.pre",
        "pooler",
        "logits.acc",
        "logits",
    ]
    assert [node.name for node in graph.nodes] == names
    bits = {name: graph.tensor(name).bits for name in names if not name.endswith(".acc")}
    assert bits.pop("logits") == 16 and bits.pop("embeddings.sum") == 10
    assert {bits.pop("layer.0.attention.sum"), bits.pop("layer.0.ffn.sum")} == {10} and set(bits.values()) == {8}
    assert graph.meta["task"] == "classification" and graph.meta["model"]["hidden"] == 32 and graph.max_tokens == 16


def test_graph_survives_saving(tmp_path):
    graph = to_graph(random_model(shape(), QuantConfig(weights=1)), "random")
    graph_file.save(graph, tmp_path)
    assert graph_file.load(tmp_path).hash == graph.hash


def test_single_precision_codes_are_refused():
    """forward_codes promises exact codes: values between two codes are an error that says what to do."""
    model = random_model(shape(hidden=96, heads=3, intermediate=96), QuantConfig(weights=8), seed=1)
    with pytest.raises(QuantError, match="in_float64"):
        forward_codes(model, random_sentences(1, 8, 16)[0])


def random_settings(seed: int) -> tuple[ModelConfig, QuantConfig]:
    """Any shape, and bits drawn layer by layer."""
    rng = random.Random(seed)
    heads, width = rng.choice([1, 2, 3, 4]), rng.choice([2, 8, 12, 16, 32])
    config = shape(
        layers=rng.choice([1, 2, 3]),
        hidden=heads * width,
        heads=heads,
        intermediate=rng.choice([5, 16, 48, 96]),
        activation=rng.choice(["gelu", "relu"]),
        head=rng.choice(["sequence", "token"]),
        max_tokens=rng.choice([5, 16, 24, 40]),
    )
    ranges = ["narrow", "full"]
    overrides = {
        name: {key: rng.choice(ranges) if key == "weight_range" else rng.randint(*BIT_RANGES[key]) for key in sorted(keys)}
        for name, keys in random_model(config, QuantConfig(), 0).network.settings().items()
    }
    return config, QuantConfig(overrides=overrides)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_random_encoders_equal_golden(seed):
    config, quant = random_settings(seed)
    model = random_model(config, quant, seed)
    ids, segments = random_sentences(seed, 8, config.max_tokens)
    want = golden.run(to_graph(model, "random"), ids, segments)
    assert differing(forward_codes(in_float64(model), ids, segments), want) == []
