# SPDX-License-Identifier: Apache-2.0
"""image_loader: it takes the headers that hw/image.py writes for its shapes and no others, and loads what is behind them, in the cycle that is predicted."""

import pytest
from loader_bench import CHUNKS, MEMORY, WIDTHS, check_headers
from sweep import corners_or_all

from bitloom.hw.parts import image_loader


@pytest.fixture(scope="module", params=corners_or_all(WIDTHS, (0, -1)))
def widths(request) -> list[int]:
    return request.param


def test_headers_and_cycles(widths):
    for bits, cycles in zip(widths, check_headers(widths=widths), strict=True):
        assert set(cycles) == {image_loader.load_cycles(bits, CHUNKS, MEMORY)}


def test_whatever_the_memory_does(widths):
    """Random stalls and latencies, ARs that wait: the same, later."""
    cycles = check_headers(widths=widths, seed=2, more={"memory_stall": 30000, "memory_busy": 40000, "memory_jitter": 50})
    assert all(min(some) > image_loader.load_cycles(bits, CHUNKS, MEMORY) for bits, some in zip(widths, cycles, strict=True))
