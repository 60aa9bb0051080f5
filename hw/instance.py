# SPDX-License-Identifier: Apache-2.0
"""What a folded operator asks of the RTL: a module, its parameters, its memory files."""
from __future__ import annotations

from dataclasses import dataclass, field

from hw.hexfile import Hex


@dataclass(frozen=True, kw_only=True)
class Fold:
    """How one operator is spread over time.

    pe, simd            outputs and inputs processed each cycle (matrix operators)
    lanes_in, lanes_out elements a beat on its input and output streams
    """

    pe: int = 1
    simd: int = 1
    lanes_in: int = 1
    lanes_out: int = 1


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One instance of a module of hw/rtl; a Hex parameter becomes a memory file whose name the parameter holds."""

    module: str
    params: dict[str, int | str | Hex] = field(default_factory=dict)
