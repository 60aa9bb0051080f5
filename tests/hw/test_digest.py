# SPDX-License-Identifier: Apache-2.0
"""Every integer code and cycle of the random encoders, against those that were written down: the arithmetic stays, and nothing gets slower."""

import json

import pytest

from benchmarks.golden_digest import FILE, SEEDS, random_digest, worse

KNOWN = json.loads(FILE.read_text())


@pytest.mark.parametrize("seed", SEEDS)
def test_codes_are_equal_and_cycles_are_no_more(seed):
    want = KNOWN[f"random {seed}"]
    assert len(want["codes"]) > 10 and set(want["cycles"]) == {"interval", "latency", "mix"}
    assert worse(random_digest(seed), want) == []
