# SPDX-License-Identifier: Apache-2.0
"""upsample: RTL against golden, bits and cycles; each token is repeated, up to the sentence's end."""

import numpy as np
import pytest
from encoders import random_hourglass
from operator_bench import RTL_FILES, check_units, golden, intervals, make_case
from sweep import STALLS

from bitloom.hw.graph import GraphError, Tensor
from bitloom.hw.instance import Fold
from bitloom.hw.ops import add
from bitloom.hw.plan import fifos
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.hw.plan.timing import DeadlockError

# C, stride, lanes, bits of a, b, y, a signed, b signed, mult_a, mult_b, shift
SHAPES = [
    (16, 2, 1, 8, 8, 10, True, True, 1, 1, 1),
    (16, 3, 4, 8, 10, 10, True, True, 4, 1, 2),
    (4, 4, 4, 8, 8, 6, True, True, 3, 5, 5),  # a beat a token
    (8, 2, 4, 16, 3, 9, True, False, 40503, 1 << 24, 23),
    (6, 5, 2, 4, 5, 10, False, True, 2, 1, 2),
]
LENGTHS = [7, 1, 1, 12, 2, 3, 4, 5]
FAULTS = {
    "not cut": ("a_last || phase_q ==", "phase_q =="),
    "one more": ("PhaseW'(STRIDE - 1) ?", "PhaseW'(STRIDE - 2) ?"),
    "a beat later": ("token_end ? '0 : beat_q + 1'b1];", "beat_q];"),
    "the next one is taken": ("b_ready = ready && first", "b_ready = ready"),
    "nothing is waited for": ("b_valid || !first", "1'b1"),
}


def case(seed, channels, stride, lanes, a_bits, b_bits, y_bits, a_signed, b_signed, mult_a, mult_b, shift, lengths=tuple(LENGTHS)):
    rng, lengths = np.random.default_rng(seed), list(lengths)
    a = Tensor(name="a", shape=("T", channels), bits=a_bits, signed=a_signed)
    b = Tensor(name="b", shape=(str(a.tokens.strided(stride)), channels), bits=b_bits, signed=b_signed)
    y = Tensor(name="y", shape=("T", channels), bits=y_bits, signed=True)
    data = [rng.integers(t.low, t.high + 1, (int(t.tokens.of(np.array(lengths)).sum()), channels)) for t in (a, b)]
    attrs = {"stride": stride, "mult_a": mult_a, "mult_b": mult_b, "shift": shift}
    return make_case("upsample", [a, b], y, data, lengths, fold=Fold(lanes_in=lanes, lanes_out=lanes), attrs=attrs, max_tokens=16)


def cases():
    return [case(seed, *shape) for seed, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(("stall_in", "stall_out"), STALLS)
def test_rtl_equals_golden(stall_in, stall_out):
    assert check_units(cases(), stall_in=stall_in, stall_out=stall_out) == 35 * 50


def test_data_shows_rounding(monkeypatch):
    for c in cases():
        y = golden(c)
        with monkeypatch.context() as patch:
            patch.setattr(add, "round_shift", lambda x, shift: x >> shift)
            assert (golden(c) != y).any() and ((y == c.output.low) | (y == c.output.high)).mean() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_any_shape(seed):
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(12):
        lanes, bits = int(rng.integers(1, 5)), [int(n) for n in rng.integers(2, 17, 3)]
        signed, mults = rng.integers(2, size=2), rng.integers(1, 9, 2)
        lengths = np.where(rng.integers(2, size=12), rng.integers(1, 17, 12), rng.integers(1, 4, 12)).tolist()
        how = (lanes, *bits, bool(signed[0]), bool(signed[1]), int(mults[0]), int(mults[1]), int(rng.integers(6)), lengths)
        drawn.append(case(seed, lanes * int(rng.integers(1, 6)), int(rng.integers(2, 7)), *how))
    assert check_units(drawn, seed=seed) == check_units(drawn, stall_in=0.4, stall_out=0.4, seed=seed) > 1000


def test_each_token_is_repeated_up_to_the_sentences_end():
    c = case(0, 2, 3, 1, 8, 8, 10, True, True, 1, 1, 0, lengths=[5, 1, 3])
    a, b = c.data
    assert (golden(c) == a + b[[0, 0, 0, 1, 1, 2, 3, 3, 3]]).all()


def test_what_goes_around_waits_for_the_middle(monkeypatch):
    """With a FIFO that holds less than the middle does nothing moves."""
    graph, lengths = random_hourglass(1, hidden=8, intermediate=8, layers=(0, 1, 0), returns=True), [16, 1, 9, 16]
    folding, depths = solve(graph, HardwareConfig(multipliers=30)), fifos.depths
    assert predict(Design(graph, folding), lengths).lengths == lengths
    monkeypatch.setattr(fifos, "depths", lambda *args: depths(*args) | {("up.sum", 0): fifos.MIN_DEPTH})
    with pytest.raises(DeadlockError):
        predict(Design(graph, folding), lengths)


def test_no_gap():
    assert set(intervals(case(0, 8, 3, 2, 8, 8, 10, True, True, 1, 1, 0, lengths=[5, 1, 3, 16])).tolist()) == {4}


def test_what_it_refuses():
    x = [Tensor(name=n, shape=(tokens, 4), bits=8, signed=True) for n, tokens in (("a", "T"), ("b", "T /3"))]
    y, attrs = Tensor(name="y", shape=("T", 4), bits=10, signed=True), {"mult_a": 1, "mult_b": 1, "shift": 0}
    for stride, text in ((2, r"b got shape \('T /3', 4\), must be \('T /2', 4\), a token for each 2 of a"), (1, "stride got 1, must be at least 2")):
        with pytest.raises(GraphError, match=text):
            make_case("upsample", x, y, [np.zeros((3, 4)), np.zeros((1, 4))], [3], fold=Fold(), attrs=attrs | {"stride": stride})


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")  # it simulates a moment
    right, wrong = FAULTS[fault]
    source = next(p for p in RTL_FILES if p.name == "upsample.sv")
    assert source.read_text().count(right) == 1
    (tmp_path / source.name).write_text(source.read_text().replace(right, wrong))
    files = [tmp_path / source.name if p == source else p for p in RTL_FILES]
    with pytest.raises(Exception):  # noqa: B017  (a difference, or a simulation that ends without its beats)
        check_units(cases(), stall_in=0.5, stall_out=0.5, rtl_files=files)
