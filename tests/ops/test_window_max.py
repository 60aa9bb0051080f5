# SPDX-License-Identifier: Apache-2.0
"""window_max: RTL against golden, bits and cycles; which tokens a window has."""

import numpy as np
import pytest
import torch
from operator_bench import RTL_FILES, check_units, filled, golden, intervals, make_case
from sweep import STALLS

from bitloom.hw.graph import GraphError, Tensor
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.parts.window import offsets
from bitloom.hw.tokens import Tokens

# C, kernel, stride, lanes, bits, signed, sentence lengths
SHAPES = [
    (4, 2, 2, 2, 8, True, [7, 1, 1, 1, 2, 3, 12]),
    (8, 3, 1, 1, 8, False, [9, 1, 2, 1, 1, 1, 1, 5]),
    (6, 3, 2, 3, 4, True, [3, 14, 1, 4, 5, 2]),
    (6, 4, 4, 6, 8, True, [2, 1, 9, 1, 1, 4, 8, 16]),  # a beat a token
    (3, 5, 3, 1, 16, True, [1, 1, 5, 2, 16]),
    (12, 2, 1, 4, 1, False, [4, 3, 1, 1, 8]),
    (1, 7, 5, 1, 8, True, [16, 1, 3, 1, 1, 1, 1, 1, 1, 6]),
    (4, 8, 8, 4, 10, True, [16, 16, 1, 15, 2]),
]
FAULTS = {
    "tokens that are not there count": ("{there[k], taps", "{1'b1, taps"),
    "unsigned": ("SIGNED ? W'(1) << (W - 1) : '0", "'0"),
    "the smallest": ("a > b ? a : b", "a > b ? b : a"),
    "a token left out": ("if (k < KERNEL)", "if (k < KERNEL - 1)"),
    "last a beat early": ("Stages'({last_q, taps_last})", "{Stages{taps_last}}"),
}


def case(seed, channels, kernel, stride, lanes, bits, signed, lengths, op="window_max", **more):
    x = Tensor(name="x", shape=("T", channels), bits=bits, signed=signed)
    y = Tensor(name="y", shape=(str(x.tokens.strided(stride)), channels), bits=more.pop("out_bits", bits), signed=signed)
    data = np.random.default_rng(seed).integers(x.low, x.high + 1, (sum(lengths), channels))
    attrs = {"kernel": kernel, "stride": stride} | more.pop("attrs", {})
    return make_case(op, [x], y, [data], lengths, fold=Fold(lanes_in=lanes, lanes_out=lanes), attrs=attrs, max_tokens=16, **more)


def cases():
    return [case(seed, *shape) for seed, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(("stall_in", "stall_out"), [STALLS[0], pytest.param(0.5, 0.5, marks=pytest.mark.slow)])  # its window's stalls: test_token_window.py
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units(cases(), stall_in=stall_in, stall_out=stall_out) > 600


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_any_shape(seed):
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(16):
        kernel, lanes = int(rng.integers(2, 9)), int(rng.integers(1, 5))
        lengths = np.where(rng.integers(2, size=12), rng.integers(1, 17, 12), rng.integers(1, 4, 12)).tolist()
        bits, signed = int(rng.integers(1, 17)), bool(rng.integers(2))
        drawn.append(case(seed, lanes * int(rng.integers(1, 6)), kernel, int(rng.integers(1, kernel + 1)), lanes, bits, signed, lengths))
    assert check_units(drawn, seed=seed) == check_units(drawn, stall_in=0.4, stall_out=0.4, seed=seed) > 2000


@pytest.mark.slow
@pytest.mark.parametrize(("stall_in", "stall_out"), [(0, 0), (0.5, 0.5)])
def test_filled_streams_carry_the_same(stall_in, stall_out):
    wide = []
    for index, blocks, space, lanes in ((0, 1, 5, 5), (1, 2, 6, 3), (3, 1, 9, 3)):
        layout = Layout(channels=SHAPES[index][0], blocks=blocks, space=space)
        wide.append(filled(case(index, *SHAPES[index]), layout_in=layout, layout_out=layout, lanes_in=lanes, lanes_out=lanes))
    assert check_units(wide, stall_in=stall_in, stall_out=stall_out) > 200


@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 8])
def test_each_token_is_in_a_window(kernel):
    """Whatever the stride, up to the kernel; those of a stride as long as the kernel follow each other."""
    for stride in range(1, kernel + 1):
        for tokens in range(1, 3 * kernel):
            seen = [i + at for i in range(0, tokens, stride) for at in offsets(kernel, 1, stride) if 0 <= i + at < tokens]
            assert set(seen) == set(range(tokens)) and (stride < kernel or len(seen) == tokens)


def test_how_many_tokens_are_left():
    """Strides that follow each other are one; shares of what is left then are as before."""
    assert Tokens.parse("T /2 128").of(np.array([1, 9, 64])).tolist() == [1, 3, 16]
    assert str(Tokens.parse("T /2").strided(3)) == "T /6" and str(Tokens.parse("T 128").strided(2)) == "T 128 /2" and Tokens().strided(1) == Tokens()
    assert all(Tokens().strided(6).of(n) == Tokens().strided(3).of(Tokens().strided(2).of(n)) for n in range(1, 50))
    for text in ("T /1", "T /0", "T 2/", "T /-2", "T/2", "T  /2"):
        with pytest.raises(ValueError, match="got tokens"):
            Tokens.parse(text)


def test_it_is_max_pooling():
    """torch's, with the padding that it calls `same` at stride 1, and in windows that follow each other."""
    for kernel, stride in ((3, 1), (5, 1), (2, 2), (4, 4)):
        c = case(1, 3, kernel, stride, 1, 8, True, [12])
        pad = ((kernel - 1) // 2, kernel // 2) if stride == 1 else (0, -12 % stride)
        x = torch.nn.functional.pad(torch.tensor(c.data[0].T[None]).double(), pad, value=-torch.inf)
        assert (golden(c) == torch.max_pool1d(x, kernel, stride)[0].T.long().numpy()).all()


def test_tokens_come_as_they_are_pooled():
    """A token of the input a token's beats, whatever the lengths."""
    assert set(intervals(case(0, 4, 2, 2, 1, 8, True, [16, 2, 2, 16, 8, 4])).tolist()) == {8}
    assert set(intervals(case(0, 4, 3, 1, 4, 8, True, [16, 1, 2, 16, 7, 1])).tolist()) == {1}


def test_what_it_refuses():
    with pytest.raises(GraphError, match="stride got 4, must be at most the kernel 3: else tokens are in no window"):
        case(0, 4, 3, 4, 1, 8, True, [3])
    with pytest.raises(GraphError, match="kernel got 1, must be at least 2"):
        case(0, 4, 1, 1, 1, 8, True, [3])
    with pytest.raises(GraphError, match="stride got 0, must be at least 1"):
        case(0, 4, 3, 0, 1, 8, True, [3])
    with pytest.raises(GraphError, match="stride got 16, must be less than 16, as many tokens as a sentence has"):
        case(0, 4, 17, 16, 1, 8, True, [3])


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")  # it simulates a moment
    right, wrong = FAULTS[fault]
    source = next(p for p in RTL_FILES if p.name == "window_max.sv")
    assert source.read_text().count(right) == 1
    (tmp_path / source.name).write_text(source.read_text().replace(right, wrong))
    files = [tmp_path / source.name if p == source else p for p in RTL_FILES]
    with pytest.raises(Exception):  # noqa: B017  (a difference, or a simulation that ends without its beats)
        check_units(cases(), stall_in=0.5, stall_out=0.5, rtl_files=files)
