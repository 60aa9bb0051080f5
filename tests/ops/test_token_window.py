# SPDX-License-Identifier: Apache-2.0
"""token_window: RTL against golden, bits and cycles; what the ends of sentences see; a convolution of torch's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from operator_bench import RTL_FILES, check_units, filled, golden, intervals, make_case
from sweep import STALLS

from bitloom.hw.graph import GraphError, Tensor
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.ops import token_window

# C, kernel, dilation, lanes, bits, signed, sentence lengths, stride (1 if not given)
SHAPES = [
    (4, 3, 1, 2, 8, True, [7, 1, 1, 1, 2, 3, 12]),
    (8, 5, 1, 1, 8, False, [9, 1, 2, 1, 1, 1, 1, 5]),
    (6, 3, 4, 3, 4, True, [3, 14, 1, 4, 5, 2]),
    (6, 4, 1, 6, 8, True, [2, 1, 9, 1, 1, 4]),  # a beat a token
    (3, 2, 1, 1, 16, True, [1, 1, 5, 2]),
    (12, 2, 3, 4, 1, False, [4, 3, 1, 1, 8]),
    (1, 7, 2, 1, 8, True, [16, 1, 3, 1, 1, 1, 1, 1, 1, 6]),
    (4, 3, 15, 4, 8, True, [16, 16, 1, 15, 2]),
    (16, 6, 1, 2, 10, True, [4, 1, 1, 1, 6]),
    (4, 3, 1, 2, 8, True, [7, 1, 1, 1, 2, 3, 12], 2),
    (3, 2, 2, 1, 5, False, [5, 16, 1, 1, 4, 6], 4),  # the windows leave tokens out
    (6, 4, 3, 6, 8, True, [2, 1, 9, 1, 1, 4, 16], 3),
]


def case(seed, channels, kernel, dilation, lanes, bits, signed, lengths, stride=1):
    x = Tensor(name="x", shape=("T", channels), bits=bits, signed=signed)
    y = Tensor(name="y", shape=(str(x.tokens.strided(stride)), kernel * channels), bits=bits, signed=signed)
    data = np.random.default_rng(seed).integers(x.low, x.high + 1, (sum(lengths), channels))
    attrs = {"kernel": kernel, "dilation": dilation, "stride": stride}
    return make_case("token_window", [x], y, [data], lengths, fold=Fold(lanes_in=lanes, lanes_out=kernel * lanes), attrs=attrs, max_tokens=16)


def cases():
    return [case(seed, *shape) for seed, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units(cases(), stall_in=stall_in, stall_out=stall_out) > 4000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_any_shape(seed):
    """Sentences of any length among each other, with stalls and without."""
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(16):
        kernel, lanes = int(rng.integers(2, 8)), int(rng.integers(1, 5))
        dilation = int(rng.integers(1, 1 + 15 // (kernel // 2)))
        lengths = np.where(rng.integers(2, size=12), rng.integers(1, 17, 12), rng.integers(1, 4, 12)).tolist()
        stride = int(rng.integers(1, 6)) if rng.integers(2) and (kernel // 2 * dilation) < 14 else 1
        drawn.append(case(seed, lanes * int(rng.integers(1, 6)), kernel, dilation, lanes, int(rng.integers(1, 17)), True, lengths, stride))
    assert check_units(drawn, seed=seed) == check_units(drawn, stall_in=0.4, stall_out=0.4, seed=seed) > 4000


@pytest.mark.slow
@pytest.mark.parametrize(("stall_in", "stall_out"), [(0, 0), (0.5, 0.5)])
def test_filled_streams_carry_the_same(stall_in, stall_out):
    wide = []
    for index, blocks, space, lanes in ((0, 1, 5, 5), (1, 2, 6, 3), (8, 1, 18, 3)):
        channels, kernel = SHAPES[index][:2]
        layouts = [Layout(channels=channels, blocks=blocks, space=space), Layout(channels=kernel * channels, blocks=blocks, space=kernel * space)]
        wide.append(filled(case(index, *SHAPES[index]), layout_in=layouts[0], layout_out=layouts[1], lanes_in=lanes, lanes_out=kernel * lanes))
    assert check_units(wide, stall_in=stall_in, stall_out=stall_out) > 1000


@pytest.mark.parametrize(("kernel", "dilation"), [(2, 1), (3, 1), (4, 1), (5, 2), (3, 15)])
def test_a_linear_layer_behind_it_is_a_convolution(kernel, dilation):
    """Zero padding (kernel-1)//2 * dilation in front, kernel//2 * dilation behind; a sentence shorter than the kernel sees zeros for the rest."""
    rng, lengths = np.random.default_rng(kernel), [1, 2, 9, 16]
    x, weight = rng.integers(-8, 8, (sum(lengths), 3)), rng.integers(-8, 8, (5, 3, kernel))
    got = token_window.token_window(x, np.array(lengths), kernel, dilation) @ weight.reshape(5, -1).T
    for sentence, own in zip(np.split(x, np.cumsum(lengths)[:-1]), np.split(got, np.cumsum(lengths)[:-1]), strict=True):
        padded = np.pad(sentence, (((kernel - 1) // 2 * dilation, kernel // 2 * dilation), (0, 0)))
        want = torch.conv1d(torch.tensor(padded.T[None]).double(), torch.tensor(weight).double(), dilation=dilation)
        assert (own == want[0].T.long().numpy()).all()


@pytest.mark.parametrize(("kernel", "dilation", "stride"), [(3, 1, 2), (2, 1, 2), (3, 2, 2), (5, 1, 3), (4, 1, 4)])
def test_a_stride_takes_one_window_of_each_few(kernel, dilation, stride):
    """Those of stride 1 whose middle is that of the tokens that it stands for: with stride 2 torch's, with kernel and stride alike side by side."""
    x, lengths = np.random.default_rng(kernel).integers(-8, 8, (28, 3)), np.array([1, 2, 9, 16])
    middle = (stride - 1) // 2
    got = np.split(token_window.token_window(x, lengths, kernel, dilation, stride), np.cumsum(-(-lengths // stride))[:-1])
    for sentence, own in zip(np.split(x, np.cumsum(lengths)[:-1]), got, strict=True):
        long = np.concatenate([sentence, np.zeros((stride, 3), dtype=np.int64)])  # a window's middle may be behind the sentence
        assert (own == token_window.token_window(long, np.array([len(long)]), kernel, dilation)[middle::stride][: len(own)]).all()


def test_nothing_of_another_sentence_is_seen():
    one = case(3, 2, 3, 2, 1, 8, True, [3, 4, 2])
    other = replace(one, data=(np.concatenate([one.data[0][:3], 0 * one.data[0][3:7], one.data[0][7:]]),))
    assert (golden(one)[:3] == golden(other)[:3]).all() and (golden(one)[7:] == golden(other)[7:]).all()


def test_no_gap_between_sentences():
    """A token a token's beats, whatever the sentences' lengths."""
    for lanes in (1, 4):
        assert set(intervals(case(0, 4, 5, 3, lanes, 8, True, [16, 1, 2, 16, 7, 1])).tolist()) == {4 // lanes}


def test_a_window_that_reaches_beyond_any_sentence():
    with pytest.raises(GraphError, match="got a window of tokens up to 16 away, must be less than 16, as many as a sentence has"):
        case(0, 4, 3, 16, 1, 8, True, [3])
    with pytest.raises(GraphError, match="kernel got 1, must be at least 2"):
        case(0, 4, 1, 1, 1, 8, True, [3])
    with pytest.raises(GraphError, match="dilation got 0, must be at least 1"):
        case(0, 4, 3, 0, 1, 8, True, [3])
    with pytest.raises(GraphError, match="stride got 16, must be less than 16, as many tokens as a sentence has"):
        case(0, 4, 3, 1, 1, 8, True, [3], 16)


# Each is one line of the unit.
FAULTS = {
    "each window leaves": ("assign leaves = phase_q == '0;", "assign leaves = 1'b1;"),
    "a sentence goes on in the next one's stride": ("sentence_out || phase_q ==", "phase_q =="),
    "a neighbour beyond the end": ("exists = !known ||", "exists = known ||"),
    "a neighbour before the start": ("at_q >= CountW'(-Off)", "at_q >= CountW'(-Off - 1)"),
    "reads before the last neighbour is there": ("ahead_q > AheadW'(Behind * BEATS)", "ahead_q >= AheadW'(Behind * BEATS)"),
    "takes a beat more than there is room for": ("s_ready = ahead_q != AheadW'(Room)", "s_ready = ahead_q != AheadW'(Room + 1)"),
    "taps in another order": ("m_data[(i*KERNEL+k)*W +: W]", "m_data[(i*KERNEL+KERNEL-1-k)*W +: W]"),
    "last a token late": (">= (CountW + 1)'(length)", "> (CountW + 1)'(length)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")  # it simulates a moment
    right, wrong = FAULTS[fault]
    source = next(p for p in RTL_FILES if p.name == "window.sv")
    text = source.read_text()
    assert text.count(right) == 1
    (tmp_path / source.name).write_text(text.replace(right, wrong))
    files = [tmp_path / source.name if p == source else p for p in RTL_FILES]
    with pytest.raises(Exception):  # noqa: B017  (a difference, or a simulation that ends without its beats)
        check_units(cases(), stall_in=0.5, stall_out=0.5, rtl_files=files)
