# SPDX-License-Identifier: Apache-2.0
"""The design: what every room reads of a folded graph."""

from dataclasses import replace

import numpy as np
import pytest
from encoders import random_encoder

from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.hw.plan.streams import Stream


@pytest.fixture(scope="module")
def graph():
    return random_encoder(0, layers=2, hidden=16, heads=2, intermediate=24, max_tokens=9)


@pytest.fixture(scope="module")
def design(graph):
    return Design(graph, solve(graph, HardwareConfig(multipliers=40)))


def test_units_are_the_nodes_in_hardware_with_their_ports(graph, design):
    assert [u.name for u in design.units] == [n.name for n in graph.nodes if n.op != "embed"]
    for unit in design.units:
        assert [p.stream.tensor for p in unit.ports] == list(unit.node.inputs) and [p.prefix for p in unit.ports] == list(unit.op.ports)[: len(unit.ports)]
        assert unit.out.tensor == unit.name and all(p.depth >= 2 for p in unit.ports)
    assert design.multipliers == sum(u.multipliers for u in design.units)
    assert design.unit("layer.0.scores.acc").instance.module == "scores"


def test_entry_and_output(graph, design):
    assert (design.entry.tensor, design.entry.port, design.entry.io_bits) == ("embeddings.sum", "s_axis", 16)
    assert [(s.tensor, s.port) for s in design.outputs] == [("logits", "m_axis")]
    assert [s.port for s in design.streams.values() if s.port] == ["s_axis", "m_axis"]
    assert (design.streams["layer.1.probs"].heads, design.streams["layer.1.probs"].channels, design.entry.heads) == (2, 1, 0)


def test_every_reader_has_a_source_of_its_own(design):
    sources = [p.source for ports in design.readers.values() for p in ports]
    assert len(sources) == len(set(sources))
    assert {s.tensor for s in design.forks} == {"embeddings.norm", "layer.0.attention.norm", "layer.0.ffn.norm", "layer.1.attention.norm"}
    assert [p.source for p in design.readers["embeddings.norm"]][:2] == ["embeddings_norm__to_layer_0_query_acc_0", "embeddings_norm__to_layer_0_key_acc_0"]


def test_outputs_that_are_read_inside_are_forked(graph, design):
    """An early exit: the first output stays m_axis, each other one is named from its tensor."""
    more = replace(graph, outputs=("logits", "layer.0.ffn.norm"))
    exits = Design(more, design.folding)
    assert [(p.prefix, p.stream.tensor, p.source) for p in exits.exits] == [
        ("m_axis", "logits", "logits"),
        ("m_layer_0_ffn_norm", "layer.0.ffn.norm", "layer_0_ffn_norm__to_m_layer_0_ffn_norm_1"),
    ]
    assert exits.readers["layer.0.ffn.norm"][-1].unit == "" and len(exits.readers["layer.0.ffn.norm"]) == 5


def test_a_stream_is_saved_and_loaded(design):
    for stream in design.streams.values():
        assert Stream.from_dict(stream.as_dict()) == stream
    codes = np.arange(32).reshape(2, 16)
    assert np.array_equal(design.entry.take(design.entry.place(codes)), codes)
