# SPDX-License-Identifier: Apache-2.0
"""Every integer code is what it was when the digest was made, and no cycle was lost."""

import json

import pytest

from benchmarks.golden_digest import FILE, SEEDS, random_digest

KNOWN = json.loads(FILE.read_text())


@pytest.mark.parametrize("seed", SEEDS)
def test_codes_are_unchanged_and_cycles_not_more(seed):
    known, got = KNOWN[f"random {seed}"], random_digest(seed)
    assert [name for name, digest in known["codes"].items() if got["codes"][name] != digest] == []
    assert got["codes"].keys() == known["codes"].keys()
    assert {key: cycles for key, cycles in got["cycles"].items() if cycles > known["cycles"][key]} == {}
