# SPDX-License-Identifier: Apache-2.0
"""Divisors: what a stream, or a fold, may be cut into."""

from __future__ import annotations

import math
from functools import cache


def divisors(number: int, multiple_of: int = 1) -> list[int]:
    """Divisors of `number` that are multiples of `multiple_of`, ascending."""
    return [d for d in _divisors(number) if d % multiple_of == 0]


@cache
def _divisors(number: int) -> tuple[int, ...]:
    low = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return (*low, *(number // d for d in reversed(low) if d * d != number))
