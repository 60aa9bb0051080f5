# SPDX-License-Identifier: Apache-2.0
"""How weights are coded, a file a coding; `CODEBOOKS` by the setting `codebook`."""

from bitloom.qat.weights.bs_flex import BsFlexQuant
from bitloom.qat.weights.codebook import CodebookQuant

CODEBOOKS = {"kmeans": CodebookQuant, "bs_flex": BsFlexQuant}
