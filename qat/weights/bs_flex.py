# SPDX-License-Identifier: Apache-2.0
"""BS-Flex: each weight takes one of two values of its layer or channel, which are found without clustering and then learned."""

from __future__ import annotations

import torch
from torch import Tensor

from bitloom.qat.weights.codebook import CodebookQuant, _size, fitted


class BsFlexQuant(CodebookQuant):
    """Weight quantizer of two values: at first the means of the negative weights and of the others, so binary weights whose two values are free."""

    def cluster(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        scale = _size(weight)
        ratio = weight / scale[:, None]
        if self.coding.channel:
            return sign_means(ratio, 1), scale
        values = sign_means(ratio)[None]
        return values, fitted(weight, scale, values)


def sign_means(numbers: Tensor, axis: int | None = None) -> Tensor:
    """Means of the negative numbers and of the others, along `axis` or of all: [..., 2]; 0 where there are none."""
    negative = numbers < 0
    sums = [torch.where(part, numbers, 0).sum(axis) / part.sum(axis).clamp(min=1) for part in (negative, ~negative)]
    return torch.stack(sums, -1)
