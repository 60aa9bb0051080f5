# SPDX-License-Identifier: Apache-2.0
"""lstm: RTL against golden, bits and cycles; golden against a plain LSTM, and against ONNX Runtime."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matrix_data import corners
from operator_bench import RTL_FILES, check_data, check_units, filled, golden, make_case
from sweep import STALLS, corners_or_all

from bitloom.hw import golden as model
from bitloom.hw import graph_file
from bitloom.hw.graph import GraphBuilder, GraphError, Tensor
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.hw.ops import embed, linear, lstm
from bitloom.hw.ops.common import largest
from bitloom.hw.plan.node_timing import node_interval, simulate_node
from bitloom.sim.errors import SimulationError

LENGTHS = (1, 4, 1, 1, 3, 2, 5, 1, 6, 6, 2)
# X, H, PE, SIMD, lanes in, lanes out, places, bits of x, signed, of weights, of h, of gates, of i f g o, of the cell, of tanh's input; backward, last
SHAPES = [
    (8, 4, 4, 4, 2, 1, 3, 8, True, 4, 8, 8, 8, 16, 8, False, False),
    (8, 4, 4, 4, 2, 1, 4, 8, True, 4, 8, 8, 8, 16, 8, True, False),
    (6, 6, 8, 2, 1, 1, 3, 8, True, 8, 8, 8, 8, 16, 10, False, True),
    (6, 6, 24, 6, 3, 3, 8, 8, False, 3, 8, 8, 8, 12, 8, True, True),  # a step takes two cycles
    (4, 4, 16, 4, 4, 2, 8, 5, True, 1, 6, 6, 5, 10, 7, False, False),  # the beats bind
    (1, 1, 4, 1, 1, 1, 1, 8, True, 8, 8, 8, 8, 16, 10, False, False),  # one place
    (1, 2, 8, 1, 1, 1, 2, 3, False, 2, 2, 4, 3, 6, 4, True, True),
    (12, 3, 4, 3, 3, 1, 5, 4, True, 5, 5, 10, 6, 14, 9, True, False),
    (32, 2, 4, 1, 1, 1, 4, 8, True, 6, 8, 8, 8, 16, 8, False, True),  # h is there before it is asked for
    (5, 10, 20, 5, 5, 1, 6, 16, True, 7, 12, 9, 8, 15, 9, False, False),
    (17, 17, 68, 17, 17, 17, 16, 1, False, 4, 8, 8, 8, 16, 8, True, False),  # one fold of two steps, three stages of adders
    (3, 6, 8, 3, 1, 1, 3, 8, True, 2, 4, 8, 8, 8, 8, False, True),
]
STYLES = [(SHAPES[0], "one"), (SHAPES[1], "lut"), (SHAPES[3], "two"), (SHAPES[9], "one")]
# Streams that are filled up: a shape, with PE, SIMD and lanes of the filled widths; space of the inputs and of the outputs
FILLED = [
    ((7, 5, 8, 2, 2, 2, 4, 8, True, 4, 8, 8, 8, 16, 8, False, False), 8, 6),
    ((7, 5, 12, 2, 2, 1, 3, 8, True, 1, 8, 8, 8, 16, 8, True, True), 8, 6),  # weights of one bit: what is in the filled inputs must be zero
    ((5, 7, 16, 4, 4, 2, 8, 6, False, 3, 6, 8, 7, 16, 8, True, False), 8, 8),
]


def make(seed, shape, style=None, lengths=LENGTHS):
    """A layer with random weights, scaled so that its gates spread over their range; its first two rows have the smallest and the largest weights."""
    inputs, hidden, pe, simd, lanes_in, lanes_out, places, bits, signed, weight_bits, h_bits, gate_bits, act_bits, cell_bits, tanh_bits, back, last = shape
    rng = np.random.default_rng(seed)
    low, high = linear.weight_range(weight_bits)
    weight = rng.integers(low, high + 1, (4 * hidden, inputs + hidden))
    if weight_bits == 1:
        weight = rng.choice([-1, 1], weight.shape)
    weight[0], weight[1] = low, high
    x = Tensor(name="x", shape=("T", inputs), bits=bits, signed=signed)
    spread = math.sqrt((weight**2).mean() * (inputs * largest(x) ** 2 + hidden * 4.0 ** (h_bits - 2)) / 3)
    bias = np.floor(rng.normal(0, spread / 2, 4 * hidden) + np.repeat([0, spread, 0, 0], hidden)).astype(np.int64)
    ratio = 2.0 ** (gate_bits - 1) / (3 * max(spread, 1)) * rng.uniform(0.6, 1.4, 4 * hidden)
    shift = 15 - math.floor(math.log2(ratio.max()))
    mult = np.clip(np.floor(ratio * 2.0**shift + 0.5), 1, 65535).astype(np.int64)
    k = lstm.shifts(act_bits, gate_bits, cell_bits, tanh_bits, min(h_bits, 2 * act_bits))
    gates, tanh = lstm.tables(k)
    return make_case(
        "lstm",
        [x],
        Tensor(name="y", shape=(1 if last else "T", hidden), bits=h_bits, signed=True),
        [corners(rng, x, sum(lengths))],
        lengths,
        attrs={"weight_bits": weight_bits, "direction": "backward" if back else "forward", "shift": shift} | k,
        params={"weight": weight, "bias": bias, "mult": mult, "gates": gates, "tanh": tanh},
        fold=Fold(pe=pe, simd=simd, lanes_in=lanes_in, lanes_out=lanes_out, in_flight=places, multiplier=style),
        max_tokens=max(lengths),
    )


CASES = [*(make(seed, shape) for seed, shape in enumerate(SHAPES)), *(make(50 + i, *case) for i, case in enumerate(STYLES))]
CORNERS = (1, 3, 4, 5, 8, 9)


def filled_cases():
    cases = []
    for seed, (shape, into, out_of) in enumerate(FILLED):
        layouts = Layout(channels=shape[0], space=into), Layout(channels=shape[1], space=out_of)
        cases.append(filled(make(80 + seed, shape), layout_in=layouts[0], layout_out=layouts[1]))
    return cases


@pytest.mark.parametrize("cases", corners_or_all(CASES, CORNERS))
@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 500


@pytest.mark.parametrize("cases", corners_or_all(filled_cases(), (1,)))
@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.0, 0.0), pytest.param(0.5, 0.5, marks=pytest.mark.slow)])
def test_filled_streams_carry_the_same(stall_in, stall_out, cases):
    assert check_units(cases, stall_in=stall_in, stall_out=stall_out) > 30


def by_hand(case):
    """The definition in docs/numerics.md, one code at a time."""
    k, params = case.node.attrs, {key: case.graph.param(case.node, key).tolist() for key in lstm.PARAMS}
    hidden, out, at = case.output.channels, [], 0

    def rounded(value, shift, bits):
        return min(max((value + (1 << shift >> 1)) >> shift, -(1 << bits - 1)), (1 << bits - 1) - 1)

    for length in case.lengths.tolist():
        tokens, states = case.data[0][at : at + length].tolist(), {}
        h, c, at = [0] * hidden, [0] * hidden, at + length
        for t in range(length) if k["direction"] == "forward" else reversed(range(length)):
            acc = [sum(w * v for w, v in zip(row, tokens[t] + h, strict=True)) + b for row, b in zip(params["weight"], params["bias"], strict=True)]
            z = [rounded(a * m, k["shift"], k["gate_bits"]) + (1 << k["gate_bits"] - 1) for a, m in zip(acc, params["mult"], strict=True)]
            h = []
            for channel in range(hidden):
                i, f, g, o = (params["gates"][gate][z[gate * hidden + channel]] for gate in range(4))
                c[channel] = rounded((f * c[channel] << k["keep"]) + (i * g << k["write"]), k["cell_shift"], k["cell_bits"])
                u = rounded(c[channel], k["tanh_shift"], k["tanh_bits"])
                h.append(rounded(o * params["tanh"][u + (1 << k["tanh_bits"] - 1)], k["out_shift"], case.output.bits))
            states[t] = h
        out += [states[t] for t in range(length)] if case.output.kind == "token" else [h]
    return out


@pytest.mark.parametrize("place", range(len(SHAPES)))
def test_golden_is_the_definition(place):
    assert golden(CASES[place]).tolist() == by_hand(CASES[place])


def test_data_shows_rounding(monkeypatch):
    check_data(CASES[:4], monkeypatch)


def test_golden_is_an_lstm():
    """Against real numbers, at many bits: the states differ by few LSB."""
    case = make(7, (16, 12, 4, 4, 1, 1, 3, 8, True, 8, 8, 10, 8, 16, 10, False, False), lengths=(12, 1, 30))
    weight, bias, mult = (case.graph.param(case.node, key).astype(float) for key in ("weight", "bias", "mult"))
    scale = mult / 2.0 ** case.node.attrs["shift"] * 2.0 ** np.repeat(lstm.gate_exponents(10), 12)
    at, got = 0, golden(case) / 128
    for length in case.lengths:
        h, c = np.zeros(12), np.zeros(12)
        for t in range(at, at + length):
            i, f, g, o = ((weight @ np.concatenate([case.data[0][t], h * 128]) + bias) * scale).reshape(4, 12)
            i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f, o))
            c = f * c + i * np.tanh(g)
            h = o * np.tanh(c)
            assert np.abs(h - got[t]).max() < 0.1
        at += length


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("direction", lstm.DIRECTIONS)
def test_onnx_runtime_computes_the_same(direction, last):
    """A Scan, whatever the sentence's length; operands of 8 bits and of more."""
    rng = np.random.default_rng(0)
    for place in (0, 9):
        case = make(place, SHAPES[place])
        b, (x,) = GraphBuilder(6), (case.graph.tensor("x"),)
        tables = {key: rng.integers(-(1 << x.bits - 3), 1 << x.bits - 3, (rows, x.channels)) for key, rows in (("word", 40), ("position", 6), ("segment", 2))}
        sums = embed.append(b, "embeddings.sum", ("input_ids", "token_type_ids"), **tables, bits=x.bits, scale=1.0)
        weight, bias, mult = (case.graph.param(case.node, key) for key in ("weight", "bias", "mult"))
        k, attrs = lstm.shifts(8, 8, 16, 9, case.output.bits), case.node.attrs
        lstm.append(b, "y", sums, weight, bias, mult, attrs["shift"], attrs["weight_bits"], k, bits=case.output.bits, direction=direction, last=last)
        graph = graph_file.check(b.graph("test", ["y"]))
        sentences = [rng.integers(0, 40, n).tolist() for n in (1, 6, 3, 2)]
        want = model.run(graph, sentences)["y"]
        got = OnnxReferee(to_onnx(graph)).run(sentences)["y"]
        assert got.shape == want.shape == ((4 if last else 12), case.output.channels) and (got == want).all()
        assert want.std() > 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"direction": "both"}, "direction got 'both', must be forward or backward"),
        ({"act_bits": 9}, "act_bits got 9, must be 2 .. 8"),
        ({"cell_bits": 17}, "cell_bits got 17, must be 2 .. 16"),
        ({"tanh_bits": 11}, "tanh_bits got 11, must be 2 .. 10"),
        ({"out_shift": 16}, "out_shift got 16, must be 0 .. 15"),
        ({"weight_bits": 3}, r"weight got -8 .. 7, must be within -4 .. 3"),
        ({"gate_bits": 7}, r"gates got shape \(4, 256\), must be \(4, 128\)"),
    ],
)
def test_what_is_no_layer_is_refused(change, text):
    graph = CASES[0].graph
    node = replace(graph.nodes[0], attrs=graph.nodes[0].attrs | change)
    with pytest.raises(GraphError, match=text):
        graph_file.check(replace(graph, nodes=(node,)))


def test_channels_that_are_filled_up_must_stay_zero():
    graph = CASES[0].graph
    tanh = graph.params["y.tanh"] + 1
    with pytest.raises(GraphError, match="tanh got 1 at code 0, must be 0"):
        graph_file.check(replace(graph, params=graph.params | {"y.tanh": np.minimum(tanh, 127)}))


BUSY = 0.85  # of multiplier cycles that must be useful, with 8 sentences in flight


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("direction", lstm.DIRECTIONS)
@pytest.mark.parametrize(("pe", "simd", "lanes"), [(60, 150, 5), *(pytest.param(*one, marks=pytest.mark.slow) for one in ((20, 30, 1), (100, 30, 5)))])
def test_the_recurrence_does_not_idle_the_multipliers(pe, simd, lanes, direction, last):
    """A layer of 300 inputs and 150 channels, sentences as long as those of SST-2, by the modelled cycles, which the RTL keeps exactly: steps of 450 to 30 cycles."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(4, 50, 200).tolist()
    case = make(0, (300, 150, pe, simd, simd, lanes, 8, 8, True, 4, 8, 8, 8, 16, 8, direction == "backward", last), lengths=(1,))
    graph = replace(case.graph, max_tokens=64)
    last_beat = simulate_node(graph, case.node, case.fold, lengths).last[-1]
    useful = lstm.macs(graph, case.node, sum(lengths)) / (pe * simd * last_beat)
    assert BUSY < useful <= 1, useful


def test_the_interval_is_that_of_the_steps():
    """In as many places as the folding takes, one sentence after the other; near it where sentences and steps are as short as the unit's own latency."""
    for shape in (SHAPES[0], SHAPES[1], SHAPES[3], SHAPES[8]):
        case = make(0, shape)
        fold = replace(case.fold, in_flight=lstm.in_flight(case.graph, case.node, case.fold))
        said, takes = lstm.interval(case.graph, case.node, fold, 6), node_interval(case.graph, case.node, fold, 6)
        assert 0.85 * takes <= said <= 1.5 * takes, (shape, said, takes)
    wide = make(0, (32, 32, 16, 8, 2, 1, 4, 8, True, 4, 8, 8, 8, 16, 8, False, True))
    assert node_interval(wide.graph, wide.node, wide.fold, 6) == lstm.interval(wide.graph, wide.node, wide.fold, 6) == 6 * 64


# A line of the RTL -> another, which the bench must find
FAULTS = [
    ("lstm", "half_q <= other;", "half_q <= 1'b0;"),
    ("lstm", "blank_q <= first_q && is_h;", "blank_q <= 1'b0;"),
    ("lstm", "c_blank_q <= tag_q[(CRead-1)*TagW+1];", "c_blank_q <= 1'b0;"),
    ("lstm", "BACKWARD ? x_base - XAddrW'(XWords) : x_base", "x_base"),
    ("lstm", "o_end_q[load_at*OAddrW +: OAddrW] <= o_token_q + OAddrW'(HBeats - 1);", "o_end_q[load_at*OAddrW +: OAddrW] <= o_token_q + OAddrW'(HBeats);"),
    ("lstm_cell", "+ CHalf;", ";"),
    ("lstm_cell", "UTopW'(c_new) + UHalf", "UTopW'(c_new)"),
    ("lstm_cell", "z[1*GATE_W +: GATE_W]", "z[0*GATE_W +: GATE_W]"),
    ("places", "behind != '0 ? behind[i] : can[i]", "can[i]"),
    ("places", "(!BACKWARD || whole_q[i])", "1'b1"),
    ("places", "!wait_q[i] && ", ""),
    ("places", "assign ready = !whole_q[load_at];", "assign ready = 1'b1;"),
]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(fault, tmp_path):
    module, line, other = fault
    files = [Path(shutil.copy(path, tmp_path)) for path in RTL_FILES]
    path = tmp_path / f"{module}.sv"
    assert path.read_text().count(line) == 1
    path.write_text(path.read_text().replace(line, other))
    with pytest.raises((SimulationError, AssertionError)):
        check_units([CASES[place] for place in (0, 1, 3)], rtl_files=files)
