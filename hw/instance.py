# SPDX-License-Identifier: Apache-2.0
"""What a folded operator asks of its hardware: a module of the RTL, or a layer of the HLS code; parameters and memories."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from bitloom.hw.hexfile import Hex


@dataclass(frozen=True, kw_only=True)
class Fold:
    """How one operator is spread over time.

    pe, simd            outputs and inputs processed each cycle (matrix operators)
    lanes_in, lanes_out elements a beat on its input and output streams
    multiplier          how a matrix operator makes its products: a style of hw/mapping.py; None: by its rule, for any family
    """

    pe: int = 1
    simd: int = 1
    lanes_in: int = 1
    lanes_out: int = 1
    multiplier: str | None = None


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One instance of a module of hw/rtl; a Hex parameter becomes a memory file whose name the parameter holds."""

    module: str
    params: dict[str, int | str | Hex] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Codes:
    """A memory of the HLS code: its words in the order in which the header reads them, and how wide they are."""

    data: np.ndarray
    bits: int
    signed: bool = True


@dataclass(frozen=True, kw_only=True)
class HlsLayer:
    """One call of the operator's header in hls/nnet: the constants of its CONFIG and its memories."""

    constants: dict[str, int | bool] = field(default_factory=dict)
    memories: dict[str, Codes] = field(default_factory=dict)
