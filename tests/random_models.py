# SPDX-License-Identifier: Apache-2.0
"""Random quantized models for tests: weights wide enough that codes spread, calibrated on random sentences."""

from __future__ import annotations

import random

import torch

from bitloom.qat.baseline import float_model
from bitloom.qat.calibrate import calibrate
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.model import QuantModel
from bitloom.qat.networks import ModelConfig

VOCABULARY = 50


def random_float(shape: ModelConfig, seed: int = 0, labels: int = 2) -> torch.nn.Module:
    """Hugging Face model with weights, biases, gamma and beta far from their initial values."""
    torch.manual_seed(seed)
    model = float_model(shape, VOCABULARY, labels)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            else:
                parameter.normal_(0, 0.1)
    return model


def random_sentences(seed: int, count: int, max_tokens: int) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids and segments; the first sentence has one token, the second the most."""
    rng = random.Random(seed)
    lengths = [1, max_tokens, *(rng.randint(1, max_tokens) for _ in range(count - 2))]
    ids = [[rng.randrange(VOCABULARY) for _ in range(n)] for n in lengths]
    return ids, [[int(i >= n // 2) for i in range(n)] for n in lengths]


def padded(ids: list[list[int]], segments: list[list[int]], pad: int = 0) -> dict[str, torch.Tensor]:
    """A padded batch with its mask; `pad` fills the ids beyond each sentence."""
    longest = max(map(len, ids))
    fill = lambda rows, value: torch.tensor([row + [value] * (longest - len(row)) for row in rows])  # noqa: E731
    return {
        "input_ids": fill(ids, pad),
        "attention_mask": fill([[1] * len(row) for row in ids], 0),
        "token_type_ids": fill(segments, 0),
    }


def random_model(shape: ModelConfig, quant: QuantConfig, seed: int = 0, labels: int = 2) -> QuantModel:
    """A calibrated QuantModel in eval mode."""
    model = QuantModel.from_float(random_float(shape, seed, labels), quant, shape.max_tokens)
    calibrate(model, [padded(*random_sentences(seed, 8, shape.max_tokens))])
    return model.eval()


def last_hidden(model: QuantModel, **inputs) -> torch.Tensor:
    """Values of the last layer, [B, T, H]."""
    seen = []
    handle = model.network.layer[-1].ffn.norm.register_forward_hook(lambda module, args, out: seen.append(out))
    try:
        model(**inputs)
    finally:
        handle.remove()
    return seen[0]
