# SPDX-License-Identifier: Apache-2.0
"""How weights are coded, a file a coding; `CODEBOOKS` by the setting `codebook`."""

from bitloom.hw.settings import ConfigError
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


def require_rounded(name: str, coding: Coding | Dyadic, bits: int) -> None:
    """Raise ConfigError: a layer whose weights are not rounded to multiples of a scale, so that no rounding of theirs can be learned."""
    if isinstance(coding, Coding):
        got = f"codebook {coding.kind}"
    elif coding.ternary != "none":
        got = f"ternary {coding.ternary}"
    elif bits == 1:
        got = "weights of 1 bit"
    else:
        return
    rule = "must be weights of 2 bits or more that are rounded to nearest"
    raise ConfigError(f"quantization: {name}: got {got} with post_training learned_rounding, {rule}; remove one of them")
