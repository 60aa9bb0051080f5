# SPDX-License-Identifier: Apache-2.0
"""Bias correction: rounding shifts the mean of a layer's outputs; the bias takes the shift back.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv:1906.04721), its empirical form. Brevitas has it for
models whose activations are all its own; here LayerNorm, softmax and tables are operators of this project, so the layers are visited as these need it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitloom.qat.net.operators import Linear


@torch.no_grad()
def correct_bias(layer: Linear, inputs: Tensor, wanted: Tensor) -> None:
    """Subtract from the bias, channel by channel, by how much the mean of the layer's outputs is off.

    inputs  [N, K] that the quantized layer sees; wanted: [N, C] that the float layer gives
    """
    layer.bias.sub_((layer.forward(inputs) - wanted).mean(0))  # forward: no hook is called
