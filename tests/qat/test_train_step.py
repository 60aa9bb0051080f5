# SPDX-License-Identifier: Apache-2.0
"""The cost that the project promises: a quantized training step takes at most 2.5 float ones."""

import pytest

from benchmarks.train_step import measure


@pytest.mark.slow
def test_a_quantized_step_costs_at_most_two_and_a_half_float_ones():
    result = measure(steps=10)
    assert 0.5 < result["ratio_without_optimizer"] <= 2.5
