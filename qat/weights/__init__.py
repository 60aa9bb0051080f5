# SPDX-License-Identifier: Apache-2.0
"""How weights are coded, a file a coding; `CODEBOOKS` by the setting `codebook`."""

from bitloom.qat.weights.bs_flex import BsFlexQuant
from bitloom.qat.weights.codebook import CodebookQuant, Coding
from bitloom.qat.weights.dyadic import Dyadic, WeightQuant
from bitloom.qat.weights.ternary import TernaryQuant

CODEBOOKS = {"kmeans": CodebookQuant, "bs_flex": BsFlexQuant}


def quantizer(channels: int, inputs: int, coding: Coding | Dyadic) -> WeightQuant:
    """That of a layer [C, K] with these settings."""
    if isinstance(coding, Coding):
        return CODEBOOKS[coding.kind](channels, inputs, coding)
    quant = WeightQuant(channels, share=coding.share) if coding.ternary == "none" else TernaryQuant(channels, coding)
    quant.coding = coding
    return quant
