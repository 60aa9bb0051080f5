# SPDX-License-Identifier: Apache-2.0
"""BS-Flex: each weight takes one of two values of its layer or channel, which are found without clustering and then learned."""

from __future__ import annotations

import torch
from torch import Tensor

from bitloom.qat.weights.codebook import LEAST, CodebookQuant


class BsFlexQuant(CodebookQuant):
    """Weight quantizer of two values: at first the means of the negative weights and of the others, so binary weights whose two values are free."""

    def cluster(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """By sums over each channel alone: what BS-Flex needs in the place of clustering."""
        size, sums, counts = sign_sums(weight)
        if self.coding.channel:
            return sums / counts.clamp(min=1) / size[:, None], size
        values = (sums / size[:, None]).sum(0) / counts.sum(0).clamp(min=1)
        power = counts @ values.square()
        best = sums @ values / power.clamp(min=1e-30)  # the scale of least squared error where each weight takes its sign's value
        return values[None], torch.where(best > 0, best, size)


def sign_sums(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each channel of [C, K], float64: its root mean square, bounded below [C]; sum and number of its negative weights and of the others, [C, 2]."""
    double = {"dim": 1, "dtype": torch.float64}
    size = torch.linalg.vector_norm(weight, **double) / weight.shape[1] ** 0.5
    total, magnitude = weight.sum(**double), torch.linalg.vector_norm(weight, ord=1, **double)
    negative = (weight < 0).sum(**double)
    sums = torch.stack([total - magnitude, total + magnitude], 1) / 2
    return size.clamp(min=max(float(size.max()) * LEAST, LEAST**2)), sums, torch.stack([negative, weight.shape[1] - negative], 1)
