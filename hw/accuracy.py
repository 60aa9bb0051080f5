# SPDX-License-Identifier: Apache-2.0
"""Approximation error of the nonlinear operators: golden against float64, on the same input codes, as a Markdown table.

    python -m bitloom.hw.accuracy

Unit: an LSB of the output. The reference is the function's real value, clipped to the output's range but not rounded,
so an operator without any error but the rounding of its output reaches a maximum of 0.5 and, where outputs are spread
evenly, a mean of 0.25.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bitloom.hw.graph import Tensor
from bitloom.hw.ops import layernorm, softmax, table
from bitloom.hw.ops.common import clip

ROWS = 400  # random rows (tokens) a measurement
LAYERNORM_EPS = 1e-12


@dataclass(frozen=True, kw_only=True)
class Error:
    """One measurement: error in LSB of the output, over `values` outputs."""

    function: str
    inputs: str
    bits_in: int
    bits_out: int
    worst: float
    mean: float
    values: int


def measure(function: str, inputs: str, x: Tensor, y: Tensor, got: np.ndarray, real: np.ndarray) -> Error:
    """Compare codes with real values in units of the output's scale."""
    error = np.abs(got - np.clip(real / y.scale, y.low, y.high))
    return Error(
        function=function,
        inputs=inputs,
        bits_in=x.bits,
        bits_out=y.bits,
        worst=float(error.max()),
        mean=float(error.mean()),
        values=error.size,
    )


def quantize(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Codes of a tensor nearest to real values."""
    return clip(np.floor(values / tensor.scale + 0.5).astype(np.int64), tensor.bits, tensor.signed)


def softmax_error(bits: int, p_bits: int, tokens: int, max_tokens: int, seed: int = 0) -> Error:
    """Rows of normal scores of 2 nats deviation in a range of -8 .. 8."""
    x = Tensor(name="x", shape=("T", 1, "T"), bits=bits, signed=True, scale=2.0 ** (4 - bits))
    p = Tensor(name="p", shape=x.shape, bits=p_bits, signed=False, scale=2.0**-p_bits)
    codes = quantize(np.random.default_rng(seed).normal(0, 2, (ROWS, tokens)), x)
    constants = softmax.constants(p_bits, max_tokens)
    got = softmax.softmax(codes, softmax.exp_table(x, p_bits), constants["recip_bits"], constants["shift"], p_bits)
    e = np.exp((codes - codes.max(axis=1, keepdims=True)) * x.scale)
    return measure(softmax.OP.name, f"{tokens} of {max_tokens} tokens", x, p, got, e / e.sum(axis=1, keepdims=True))


def layernorm_error(bits: int, y_bits: int, size: int, deviation: float, seed: int = 0) -> Error:
    """Tokens of a mean of their own, a deviation in LSB, one channel in 64 ten times as large; outputs in -4 .. 4."""
    rng = np.random.default_rng(seed)
    x = Tensor(name="x", shape=("T", size), bits=bits, signed=True, scale=2.0**-6)
    y = Tensor(name="y", shape=x.shape, bits=y_bits, signed=True, scale=2.0 ** (3 - y_bits))
    values = rng.normal(rng.normal(0, deviation / 4, (ROWS, 1)), deviation, (ROWS, size))
    values[:, ::64] *= 10
    codes = quantize(values * x.scale, x)
    gamma, beta = rng.normal(1, 0.2, size), rng.normal(0, 0.2, size)
    constants, affine = layernorm.constants(x, LAYERNORM_EPS), layernorm.affine(gamma, beta, y.scale)
    got = layernorm.layernorm(codes, *affine[:2], *constants.values(), affine[2], y_bits)
    v = codes * x.scale
    normal = (v - v.mean(axis=1, keepdims=True)) / np.sqrt(v.var(axis=1, keepdims=True) + LAYERNORM_EPS)
    return measure("LayerNorm", f"H = {size}, deviation {deviation:g} LSB", x, y, got, normal * gamma + beta)


def table_error(function: str, bits: int, y_bits: int) -> Error:
    """Every code of an input range of -4 .. 4."""
    x = Tensor(name="x", shape=("T", 1), bits=bits, signed=True, scale=2.0 ** (3 - bits))
    y = Tensor(name="y", shape=x.shape, bits=y_bits, signed=True, scale=2.0 ** ((1 if function == "tanh" else 3) - y_bits))
    codes = np.arange(x.low, x.high + 1)
    real = np.array([table.FUNCTIONS[function](v) for v in codes * x.scale])
    name = {"gelu": "GELU", "tanh": "tanh"}[function]
    return measure(name, "every code", x, y, table.table(codes, table.entries(function, x, y), x.low), real)


def measurements() -> Iterator[Error]:
    """The rows of the table, in order."""
    for bits, p_bits, tokens, max_tokens in [
        (8, 8, 16, 64),
        (8, 8, 64, 64),
        (8, 8, 512, 512),
        (10, 8, 64, 64),
        (6, 6, 64, 64),
        (4, 4, 16, 16),
    ]:
        yield softmax_error(bits, p_bits, tokens, max_tokens)
    for bits, y_bits, size, deviation in [
        (10, 8, 128, 50),
        (10, 8, 128, 2),
        (10, 8, 384, 50),
        (12, 8, 768, 150),
        (16, 8, 1024, 2000),
        (8, 4, 128, 10),
    ]:
        yield layernorm_error(bits, y_bits, size, deviation)
    for function in ("gelu", "tanh"):
        for bits, y_bits in [(8, 8), (10, 8), (6, 6), (4, 4)]:
            yield table_error(function, bits, y_bits)


def markdown() -> str:
    """The table as Markdown, one row a measurement."""
    lines = [
        "| function | inputs | bits in | bits out | worst error, LSB | mean error, LSB | values |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {e.function} | {e.inputs} | {e.bits_in} | {e.bits_out} | {e.worst:.3f} | {e.mean:.3f} | {e.values} |" for e in measurements()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
