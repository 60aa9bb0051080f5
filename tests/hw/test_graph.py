# SPDX-License-Identifier: Apache-2.0
"""Saving, hashing and checking integer graphs."""

import json
from dataclasses import replace

import numpy as np
import pytest
from encoders import random_encoder, random_sentences
from safetensors.numpy import load_file, save_file

from bitloom.hw import golden, graph_file
from bitloom.hw.graph import GraphError


@pytest.fixture
def graph():
    return random_encoder(0, layers=1, hidden=16, heads=2, intermediate=24, max_tokens=9)


def test_saved_and_loaded_is_the_same(graph, tmp_path):
    graph_file.save(graph, tmp_path)
    again = graph_file.load(tmp_path)
    assert again.hash == graph.hash
    assert again.nodes == graph.nodes and again.tensors == graph.tensors
    assert all((again.params[k] == v).all() for k, v in graph.params.items())


def test_hash_follows_one_weight_one_attribute_and_one_width(graph):
    params = dict(graph.params)
    key = "layer.0.query.acc.weight"
    params[key] = params[key].copy()
    params[key][0, 0] += 1 if params[key][0, 0] < 0 else -1
    node = graph.node("layer.0.query")
    nodes = tuple(replace(n, attrs={"shift": n.attrs["shift"] + 1}) if n is node else n for n in graph.nodes)
    tensors = graph.tensors | {"logits": replace(graph.tensors["logits"], bits=15)}
    hashes = {graph.hash, replace(graph, params=params).hash, replace(graph, nodes=nodes).hash, replace(graph, tensors=tensors).hash}
    assert len(hashes) == 4
    assert replace(graph, meta={"note": 1}).hash == graph.hash


def test_a_changed_parameter_file_is_refused(graph, tmp_path):
    graph_file.save(graph, tmp_path)
    params = load_file(tmp_path / "graph.safetensors")
    params["logits.acc.bias"][0] += 1
    save_file(params, tmp_path / "graph.safetensors")
    with pytest.raises(GraphError, match=r"content has hash \w{16}, must be \w{16}; graph.json and graph.safetensors do not belong together"):
        graph_file.load(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "bitloom.graph/0"}'])
def test_files_that_hold_no_graph(graph, tmp_path, text):
    graph_file.save(graph, tmp_path)
    (tmp_path / "graph.json").write_text(text)
    with pytest.raises(GraphError, match="run `bitloom export` again"):
        graph_file.load(tmp_path)


@pytest.mark.parametrize("key", ["nodes", "tensors", "meta", "hash"])
def test_a_graph_with_a_part_missing_is_refused(graph, tmp_path, key):
    graph_file.save(graph, tmp_path)
    text = json.loads((tmp_path / "graph.json").read_text())
    del text[key]
    (tmp_path / "graph.json").write_text(json.dumps(text))
    with pytest.raises(GraphError, match="run `bitloom export` again"):
        graph_file.load(tmp_path)


def test_a_node_with_a_part_missing_is_named_by_what_it_lacks(graph, tmp_path):
    graph_file.save(graph, tmp_path)
    text = json.loads((tmp_path / "graph.json").read_text())
    del text["nodes"][3]["op"]
    (tmp_path / "graph.json").write_text(json.dumps(text))
    with pytest.raises(GraphError, match=r"got a graph with a part missing or malformed \(KeyError: 'op'\), must be as it was written"):
        graph_file.load(tmp_path)


def broken(graph, **change):
    """The graph with one node, tensor or parameter replaced."""
    nodes = tuple(change.get("nodes", {}).get(n.name, n) for n in graph.nodes)
    return replace(graph, nodes=nodes, tensors=graph.tensors | change.get("tensors", {}), params=graph.params | change.get("params", {}))


def test_rules_of_the_operators(graph):
    node = graph.node
    cases = {
        "no operator 'gelu', must be one of add, border": {"nodes": {"pooler": replace(node("pooler"), op="gelu")}},
        "input 'nothing' is made by no earlier node": {"nodes": {"pooler": replace(node("pooler"), inputs=("nothing",))}},
        "attribute 'shift' is missing": {"nodes": {"logits": replace(node("logits"), attrs={})}},
        "weight got .* must be within -8 .. 7": {"params": {"logits.acc.weight": np.full((2, 16), 9)}},
        "weight_bits got 9, must be 1 .. 8": {"nodes": {"logits.acc": replace(node("logits.acc"), attrs={"weight_bits": 9})}},
        "output got 3 bits, must be at least": {"tensors": {"logits.acc": replace(graph.tensors["logits.acc"], bits=3)}},
        "mult got 0 .. 0, must be within 1 .. 65535": {"params": {"logits.mult": np.zeros(2, np.int64)}},
        "table got shape": {"params": {"pooler.table": np.zeros(5, np.int64)}},
        "eps got 0, must be": {"nodes": {"embeddings.norm": replace(node("embeddings.norm"), attrs=node("embeddings.norm").attrs | {"eps": 0})}},
        "position got 2 rows, must be at least max_tokens = 9": {"params": {"embeddings.sum.position": np.zeros((2, 16), np.int64)}},
    }
    for text, change in cases.items():
        with pytest.raises(GraphError, match=text):
            graph_file.check(broken(graph, **change))


def test_a_missing_parameter_is_named(graph):
    params = {k: v for k, v in graph.params.items() if k != "logits.acc.bias"}
    with pytest.raises(GraphError, match="node logits.acc: parameter 'bias' is missing"):
        graph_file.check(replace(graph, params=params))


def test_saved_widths_are_the_smallest(graph, tmp_path):
    graph_file.save(graph, tmp_path)
    assert load_file(tmp_path / "graph.safetensors")["layer.0.query.acc.weight"].dtype == np.int8
    assert json.loads((tmp_path / "graph.json").read_text())["hash"] == graph.hash


def test_a_layer_cut_out_computes_the_same(graph):
    values = golden.run(graph, *random_sentences(graph, [4, 9, 1]))
    part = graph_file.extract(graph, "embeddings.norm", "layer.0.ffn.norm")
    alone = golden.evaluate(part, {"embeddings.norm": values["embeddings.norm"]}, np.array([4, 9, 1]))
    assert part.entry == "embeddings.norm" and part.hash != graph.hash
    assert np.array_equal(alone["layer.0.ffn.norm"], values["layer.0.ffn.norm"]) and len(alone) == len(part.nodes)


def test_a_cut_through_two_tensors_is_refused(graph):
    with pytest.raises(GraphError, match="layer.0.attention.norm needs embeddings.norm besides layer.0.attention.output|needs .* besides"):
        graph_file.extract(graph, "layer.0.attention.output", "layer.0.attention.norm")
