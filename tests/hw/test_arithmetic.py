# SPDX-License-Identifier: Apache-2.0
"""Root, reciprocal and split multiplier against Python's integers, also where a digit just fits or just does not."""

import math
from pathlib import Path

import numpy as np
import pytest
from operator_bench import RTL_FILES

from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

FILES = [*RTL_FILES, *sorted(Path(__file__).parent.glob("*_unit.sv"))]
STALLS = pytest.mark.parametrize("stall", [0.0, 0.5])


def unit(module, params, values, bits, out_bits, signed=False):
    beats = np.array(values, dtype=np.int64).reshape(-1, 1)
    last = np.arange(len(values)) % 3 == 0
    return UnitCase(module, params, {"s": Stimulus(beats, last, bits)}, OutSpec("m", 1, out_bits, signed), len(values))


def compare(cases, wants, stall, interval=None):
    results = run_units(cases, FILES, stall_in=stall, stall_out=stall)
    for case, want, result in zip(cases, wants, results, strict=True):
        wrong = [(i, got, w) for i, (got, w) in enumerate(zip(result.beats[:, 0].tolist(), want, strict=True)) if got != w]
        assert not wrong, f"{case.module} {dict(case.params)}: {len(wrong)} of {len(want)} differ: (at, got, must be) {wrong[0]}"
        assert (result.last == next(iter(case.inputs.values())).last).all()
        if interval and not stall:
            assert set(np.diff(result.cycle).tolist()) == {interval(case.params)}


@STALLS
def test_isqrt(stall):
    cases, wants = [], []
    for bits in (1, 2, 5, 16, 33, 52):
        rng, top = np.random.default_rng(bits), math.isqrt((1 << bits) - 1)
        roots = [int(r) for r in rng.integers(0, top + 1, 40)] + [0, 1, top]
        values = [v for r in roots for v in (r * r, max(0, r * r - 1), r * r + r)] + [(1 << bits) - 1] + [int(v) for v in rng.integers(0, 1 << bits, 60)]
        values = [min(v, (1 << bits) - 1) for v in values]
        cases.append(unit("isqrt_unit", {"V_W": bits}, values, bits, (bits + 1) // 2))
        wants.append([math.isqrt(v) for v in values])
    compare(cases, wants, stall, lambda p: (p["V_W"] + 1) // 2 + 1)


@STALLS
def test_recip(stall):
    cases, wants = [], []
    for k, bits, least in ((24, 17, 10), (36, 26, 8), (12, 5, 0), (5, 5, 5), (4, 6, 2), (45, 28, 9)):
        bits = max(bits, least + 1)
        rng, low, high = np.random.default_rng(k), 1 << least, (1 << bits) - 1
        powers = [1 << i for i in range(least, bits)]
        exact = [s for s in ((1 << k) // int(q) for q in rng.integers(1, 1 << 10, 30)) if low <= s <= high]
        near = [min(high, max(low, s + d)) for s in powers for d in (-1, 0, 1)]
        values = near + exact + [low, high] + [int(v) for v in rng.integers(low, high + 1, 60)]
        cases.append(unit("recip_unit", {"K": k, "S_W": bits, "S_MIN_LOG2": least}, values, bits, k - least + 1))
        wants.append([(1 << k) // v for v in values])
    compare(cases, wants, stall, lambda p: p["K"] - p["S_MIN_LOG2"] + 2)


@STALLS
def test_mul(stall):
    cases, wants = [], []
    for a_bits, b_bits, p_bits in (
        (18, 18, 36),
        (19, 18, 37),
        (18, 19, 37),
        (27, 29, 56),
        (2, 40, 42),
        (36, 20, 56),
        (7, 5, 12),
        (28, 28, 30),
        (41, 12, 51),
    ):
        rng = np.random.default_rng(a_bits)
        ends = [[-(1 << n - 1), (1 << n - 1) - 1, -1, 0, 1, -(1 << n // 2)] for n in (a_bits, b_bits)]
        pairs = [(a, b) for a in ends[0] for b in ends[1]]
        pairs += [
            (
                int(rng.integers(-(1 << a_bits - 1), 1 << a_bits - 1)),
                int(rng.integers(-(1 << b_bits - 1), 1 << b_bits - 1)),
            )
            for _ in range(100)
        ]
        words = [(a & (1 << a_bits) - 1) | (b & (1 << b_bits) - 1) << a_bits for a, b in pairs]
        cases.append(unit("mul_unit", {"A_W": a_bits, "B_W": b_bits, "P_W": p_bits}, words, a_bits + b_bits, p_bits))
        wants.append([a * b & (1 << p_bits) - 1 for a, b in pairs])
    compare(cases, wants, stall, lambda p: 1)
