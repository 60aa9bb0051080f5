# SPDX-License-Identifier: Apache-2.0
"""Sweeps: their corners in the plain run, all of them in the slow one (what a sweep takes is its compile, by the number and size of its cases)."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest


def corners_or_all(cases: Sequence, corners: Sequence[int]) -> list:
    """Parameters of a test that takes its cases all at once: those at these places, and, slow, every one."""
    return [pytest.param([cases[place] for place in corners], id="corners"), pytest.param(list(cases), id="all", marks=pytest.mark.slow)]


def plain_or_slow(values: Sequence, plain: Sequence) -> list:
    """Parameters of a test that takes its values one by one: slow, but for the plain ones."""
    return [value if value in plain else pytest.param(value, marks=pytest.mark.slow) for value in values]


# Shares of cycles in which a unit's input offers nothing and its output is not ready: none, either (slow), both.
STALLS = [(0.0, 0.0), *(pytest.param(*one, marks=pytest.mark.slow) for one in ((0.5, 0.0), (0.0, 0.5))), (0.5, 0.5)]


def random_seeds(count: int) -> list:
    """Of random networks: those that BITLOOM_SEEDS asks for (17, or 100-199), else `count`, as slow tests."""
    if asked := os.environ.get("BITLOOM_SEEDS"):
        first, _, last = asked.partition("-")
        return list(range(int(first), int(last or first) + 1))
    return [pytest.param(seed, marks=pytest.mark.slow) for seed in range(count)]
