# SPDX-License-Identifier: Apache-2.0
"""From a float model to a calibrated quantized one: what a recipe's `quantization.post_training` names is done around calibration, without training.

equalization first, on the float model; behind calibration learned_rounding and bias_correction, layer by layer in the order of computation, each layer
seeing what the quantized ones in front of it give.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from bitloom.qat.calibrate import calibrate
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.model import FloatModel, QuantModel
from bitloom.qat.post_training.bias_correction import correct_bias
from bitloom.qat.post_training.equalization import equalize
from bitloom.qat.post_training.layers import merged, outputs, visit
from bitloom.qat.post_training.learned_rounding import learn_rounding

CHANGES = {"learned_rounding": learn_rounding, "bias_correction": correct_bias}  # of a layer, in this order


def quantize(start: nn.Module, quant: QuantConfig, max_tokens: int, batches: Sequence[dict[str, Tensor]]) -> tuple[QuantModel, dict[str, int]]:
    """The quantized model of a FloatModel or a Hugging Face model, calibrated; and the exponents by tensor name.

    max_tokens  of a Hugging Face model; batches: as of bitloom.qat.calibrate.calibrate
    """
    wanted = quant.post_training
    if not wanted:
        model = QuantModel.from_float(start, quant, max_tokens)
        return model, calibrate(model, batches)
    plain = copy.deepcopy(start) if isinstance(start, FloatModel) else FloatModel.from_hugging_face(start, max_tokens)
    batch = merged(batches)
    if "equalization" in wanted:
        equalize(plain.network, outputs(plain.network, batch))
    model = QuantModel.from_float(plain, quant, max_tokens)
    exponents = calibrate(model, batches)
    changes = [change for name, change in CHANGES.items() if name in wanted]
    if changes:
        visit(model.network, batch, outputs(plain.network, batch), changes)
    return model, exponents
