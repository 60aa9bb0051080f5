# SPDX-License-Identifier: Apache-2.0
"""Ranges of keys through whole encoders: golden against a mask, ONNX Runtime, RTL with the predicted cycles."""

from dataclasses import replace

import numpy as np
import pytest
from draws import draw_encoder, draw_run
from encoder_bench import assert_cycles, assert_equal, assert_fills, assert_onnx_agrees, make
from encoders import ALL_BITS, random_encoder, random_sentences

from bitloom.hw import golden, graph_file
from bitloom.hw.graph import GraphError
from bitloom.hw.keys import Keys
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig, solve

KINDS = ("causal", "window 0", "window 1", "window 3", "window 50")
SMALL = dict(layers=2, hidden=16, heads=2, intermediate=24, max_tokens=11, **ALL_BITS)


def mask(kind: str, tokens: int) -> np.ndarray:
    """bool [query, key], written out."""
    sees = {"T": lambda i, j: True, "causal": lambda i, j: j <= i}.get(kind) or (lambda i, j: abs(i - j) <= int(kind.removeprefix("window ")))
    return np.array([[sees(i, j) for j in range(tokens)] for i in range(tokens)])


@pytest.mark.parametrize("kind", ["T", *KINDS])
def test_ranges_are_the_masks(kind):
    keys = Keys.parse(kind)
    for tokens in range(1, 60):
        want = mask(kind, tokens)
        assert np.array_equal(keys.seen(tokens)[:, 0], want)
        assert keys.spans(tokens).tolist() == want.sum(1).tolist()
        assert [(row.argmax(), tokens - row[::-1].argmax()) for row in want] == list(zip(*keys.bounds(tokens), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_golden_is_attention_under_a_mask(kind):
    """Every code of scores, probabilities and context, by loops over heads and rows that know nothing of ranges."""
    graph = random_encoder(3, **SMALL, keys=("T", kind))
    ids, segments = random_sentences(graph, [7], 3)
    values, sees, heads = golden.run(graph, ids, segments), mask(kind, 7), 2
    for layer, seen in enumerate((np.ones((7, 7), dtype=bool), sees)):
        name = f"layer.{layer}"
        q, k, v = (values[f"{name}.{part}"].reshape(7, heads, 8) for part in ("query", "key", "value"))
        acc, x, p = (values[f"{name}.{part}"].reshape(7, heads, 7) for part in ("scores.acc", "scores", "probs"))
        context, softmax = values[f"{name}.context.acc"].reshape(7, heads, 8), graph.node(f"{name}.probs")
        table, recip_bits, shift = graph.param(softmax, "exp_table"), softmax.attrs["recip_bits"], softmax.attrs["shift"]
        for h in range(heads):
            assert np.array_equal(acc[:, h], np.where(seen, q[:, h] @ k[:, h].T, 0))
            for i in range(7):
                row = x[i, h][seen[i]]
                e = table[row.max() - row]
                want = np.minimum((e * (2**recip_bits // e.sum()) + 2 ** (shift - 1)) >> shift, 2 ** graph.tensor(softmax.name).bits - 1)
                assert p[i, h][seen[i]].tolist() == want.tolist() and not p[i, h][~seen[i]].any()
                assert context[i, h].tolist() == (want @ v[seen[i], h]).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_runtime_equals_golden(kind):
    """The rows too, given out for once: what is not seen is 0."""
    graph = random_encoder(4, **SMALL, keys=kind)
    graph = replace(graph, outputs=("logits", "layer.0.scores.acc", "layer.0.scores", "layer.1.probs"))
    ids, segments = random_sentences(graph, [1, 2, 11, 5], 4)
    values = golden.run(graph, ids, segments)
    for index in range(len(ids)):
        one = golden.run(graph, [ids[index]], [segments[index]])
        for name, got in OnnxReferee(to_onnx(graph), graph.hash).run([ids[index]], [segments[index]]).items():
            assert np.array_equal(got.reshape(one[name].shape), one[name]), name
    full = golden.run(random_encoder(4, **SMALL), ids, segments)["layer.1.probs"]
    assert np.array_equal(values["layer.1.probs"], full) == (kind == "window 50")


def test_a_graph_of_all_keys_is_what_it_was():
    assert random_encoder(0, **SMALL).hash == random_encoder(0, **SMALL, keys="T").hash == random_encoder(0, **SMALL, keys=("T", "T")).hash
    hashes = {random_encoder(0, **SMALL, keys=kind).hash for kind in ("T", *KINDS)}
    assert len(hashes) == 6


def test_a_saved_graph_keeps_its_ranges(tmp_path):
    graph = random_encoder(0, **SMALL, keys=("causal", "window 3"))
    graph_file.save(graph, tmp_path)
    again = graph_file.load(tmp_path)
    assert again.hash == graph.hash and [again.tensor(f"layer.{i}.probs").keys for i in (0, 1)] == [Keys(None, 0), Keys(3, 3)]


@pytest.mark.parametrize(
    ("changed", "keys", "text"),
    [
        ("scores.acc", "causal", r"requant layer.0.scores: output got shape \('T', 2, 'T'\), must be the input's \('T', 2, 'causal'\)"),
        ("probs", "window 1", r"softmax layer.0.probs: output got shape \('T', 2, 'window 1'\), must be the input's \('T', 2, 'T'\)"),
        ("scores.acc", "window", r"scores layer.0.scores.acc: layer.0.scores.acc got shape \('T', 2, 'window'\), must be \('T', 2, KEYS\), KEYS 'T' \(all\), "),
    ],
)
def test_ranges_that_do_not_fit_are_refused(changed, keys, text):
    graph = random_encoder(0, **SMALL)
    name = f"layer.0.{changed}"
    tensors = graph.tensors | {name: replace(graph.tensor(name), shape=("T", 2, keys))}
    with pytest.raises(GraphError, match=text):
        graph_file.check(replace(graph, tensors=tensors))


LONG, FEW = dict(layers=1, hidden=8, heads=2, intermediate=8, max_tokens=32), HardwareConfig(multipliers=20)


@pytest.mark.parametrize(("keys", "least"), [("T", 2048), ("window 3", 1024)])
def test_predicted_intervals(keys, least):
    """With 20 multipliers a window's sentences leave twice as often: what attention no longer takes goes to the linear layers."""
    graph = random_encoder(2, **LONG, keys=keys)
    left = predict(Design(graph, solve(graph, FEW)), [32] * 5).out_last
    assert np.diff(left)[1:].tolist() == [least] * 3


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["T", "window 3"])
def test_predicted_intervals_are_met(keys, tmp_path):
    encoder = make(tmp_path, 2, FEW, [32] * 5, LONG | {"keys": keys})
    got, report = encoder.run()
    assert_equal(encoder, report)
    assert_cycles(encoder, got)
    assert np.diff(got.out_last_cycle)[-1] == encoder.folding.interval


def draw(seed: int) -> dict:
    """A drawn encoder whose layers see drawn ranges of keys."""
    drawn, rng = draw_encoder(seed), np.random.default_rng(5000 + seed)
    return drawn | {"shape": drawn["shape"] | {"keys": tuple(str(rng.choice(KINDS)) for _ in range(drawn["shape"]["layers"]))}}


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.slow) for seed in range(20)])
def test_random_encoder(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    encoder, how = make(tmp_path, **draw(seed)), draw_run(seed)
    got, report = encoder.run(**how)
    assert_equal(encoder, report)
    assert_fills(encoder, got)
    if not how["stall_in"] and not how["stall_out"]:
        assert_cycles(encoder, got)
    assert_onnx_agrees(encoder)
