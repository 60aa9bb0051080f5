# SPDX-License-Identifier: Apache-2.0
"""The operators of docs/numerics.md as autograd functions: the integer function forward, a smooth gradient backward.

A quantized tensor holds its *values*, code * 2**exponent, which floats represent exactly. In float64 every function
here is exact, so the codes are those of the NumPy golden model; in float32 (training) a result differs only where a
product of more than 24 bits lands on a rounding boundary.
Each function is fused (few passes, in place where nothing else reads the buffer): an eager step is memory bound.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

FRACTION_BITS = 10  # F: fraction bits of LayerNorm's normalised value
LAST_SHIFT, GAMMA_MAX, BETA_MAX = 30, 1 << 20, 1 << 46  # of LayerNorm: n, |g| and |b| at most
MANTISSA_BITS = 16  # of a weight scale


def pow2(exponent: Tensor) -> Tensor:
    """2.0**exponent, exact, float64, for integers -1022 .. 1023 (torch's pow and exp2 promise no exactness)."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)


def code_range(bits: int, signed: bool) -> tuple[int, int]:
    """Smallest and largest code."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def round_half_up(x: Tensor, factor: float) -> Tensor:
    """floor(x * factor + 1/2) in a new tensor; torch.round would send ties to even."""
    return torch.add(x.new_full((), 0.5), x, alpha=factor).floor_()


def step_gradient(by_scale: Tensor, scale: float, features: int, high: int) -> Tensor:
    """Gradient for the logarithm of a learned activation scale from that for the scale, balanced as LSQ does (Esser et al. 2020): 1 / sqrt(N Qp).

    features  N, of one token
    """
    return by_scale.reshape(1) * (scale / math.sqrt(features * high))


class _Quantize(Function):
    @staticmethod
    def forward(ctx, x: Tensor, log_scale: Tensor | None, exponent: int, low: int, high: int) -> Tensor:
        scale = 2.0**exponent
        y = round_half_up(x, 1 / scale).clamp_(low, high).mul_(scale)
        ctx.save_for_backward(x, *(() if log_scale is None else (y,)))
        ctx.scale, ctx.bounds, ctx.high = scale, ((low - 0.5) * scale, (high + 0.5) * scale), high
        return y

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, *y = ctx.saved_tensors
        grad_x = torch.ops.aten.hardtanh_backward(grad, x, *ctx.bounds)
        by_log = None
        if y:  # d y / d s = (y - x) / s where nothing is clipped, y / s where it is
            by_scale = ((grad * y[0]).sum() - (grad_x * x).sum()) / ctx.scale
            by_log = step_gradient(by_scale, ctx.scale, x.shape[-1], ctx.high)
        return grad_x, by_log, None, None, None


def quantize(x: Tensor, exponent: int, low: int, high: int, log_scale: Tensor | None = None) -> Tensor:
    """clip(floor(x / 2**exponent + 1/2)) * 2**exponent; the gradient passes where nothing is clipped.

    log_scale  [1], what the exponent was rounded from, where that is learned: receives the gradient of LSQ
    """
    return _Quantize.apply(x, log_scale, exponent, low, high)


def snap_scale(log_scale: Tensor, least: int | None = None, coarsest: int | None = None) -> tuple[Tensor, Tensor]:
    """Nearest dyadic scales: (mantissa, exponent) with scale[c] = mantissa[c] * 2**exponent.

    log_scale  [C], natural logarithm of the wanted scale
    least, coarsest  what the hardware can rescale: no scale is below 2**least, and the exponent at most `coarsest`
    returns    float64 integers [C] in 1 .. 2**16-1, the largest at least 2**15 unless `coarsest` counts; int32 scalar
    """
    scale = log_scale.detach().double().exp()
    if least is not None:
        scale.clamp_(2.0**least, 2.0 ** (coarsest + MANTISSA_BITS - 1))
    exponent = torch.frexp(scale.max()).exponent - MANTISSA_BITS
    mantissa = (scale * pow2(-exponent)).add_(0.5).floor_()
    return mantissa.clamp_(1, (1 << MANTISSA_BITS) - 1), exponent


def weight_codes(weight: Tensor, scale: Tensor, bits: int, low: int, high: int) -> tuple[Tensor, Tensor]:
    """(codes, weight / scale); one bit is the sign, with 0 counted as +1."""
    ratio = weight / scale
    if bits == 1:
        return (ratio >= 0).to(ratio.dtype).mul_(2).sub_(1), ratio
    return round_half_up(ratio, 1.0).clamp_(low, high), ratio


class _QuantizeWeight(Function):
    @staticmethod
    def forward(ctx, weight: Tensor, log_scale: Tensor, scale: Tensor, bits: int, low: int, high: int) -> Tensor:
        codes, ratio = weight_codes(weight, scale, bits, low, high)
        ctx.save_for_backward(codes, ratio, scale)
        ctx.bits, ctx.low, ctx.high, ctx.groups = bits, low, high, len(log_scale)
        return codes * scale

    @staticmethod
    def backward(ctx, grad: Tensor):
        codes, ratio, scale = ctx.saved_tensors
        if ctx.bits == 1:
            grad_weight = grad
            grad_scale = (grad * codes).sum(1)
        else:
            grad_weight = torch.ops.aten.hardtanh_backward(grad, ratio, ctx.low - 0.5, ctx.high + 0.5)
            grad_scale = torch.mul(grad, codes).sub_(grad_weight * ratio).sum(1)
        grad_scale.mul_(scale[:, 0])
        if ctx.groups != len(grad_scale):
            grad_scale = grad_scale.view(ctx.groups, -1).sum(1)
        # LSQ (Esser et al. 2020): balance the scale's update with the weights'
        grad_scale.mul_(1 / math.sqrt(codes.numel() // ctx.groups * max(ctx.high, 1)))
        return grad_weight, grad_scale, None, None, None, None


def quantize_weight(weight: Tensor, log_scale: Tensor, scale: Tensor, bits: int, low: int, high: int) -> Tensor:
    """codes * scale, with the learned-step-size gradient (LSQ) for the scale.

    weight     [C, K]
    log_scale  [G], of groups of C / G channels; receives the gradient
    scale      [C, 1], the snapped exp(log_scale)
    """
    return _QuantizeWeight.apply(weight, log_scale, scale, bits, low, high)


class _Straight(Function):
    @staticmethod
    def forward(ctx, x: Tensor, value: Tensor) -> Tensor:
        return value

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad, None


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """`value` forward, the gradient of `x` backward."""
    return _Straight.apply(x, value)


class Entries(NamedTuple):
    """What a table holds for each code of its input, [entries] each.

    values   of the output
    slope    derivative of the smooth function, 0 where it clips
    by_scale derivative of the value with respect to the output's scale: code - f(x) / s, the code alone where it clips
    """

    values: Tensor
    slope: Tensor
    by_scale: Tensor


class _Table(Function):
    @staticmethod
    def forward(ctx, x: Tensor, log_scale: Tensor | None, entries: Entries, exponent: int, low: int, out: tuple[float, int]) -> Tensor:
        index = (x * 2.0**-exponent).sub_(low).to(torch.int32)
        ctx.save_for_backward(index, entries.slope, entries.by_scale)
        ctx.learned, ctx.out = log_scale is not None, out
        return entries.values.index_select(0, index.view(-1)).view(x.shape)

    @staticmethod
    def backward(ctx, grad: Tensor):
        index, slope, by_scale = ctx.saved_tensors
        by_log = None
        if ctx.learned:
            total = torch.dot(by_scale.index_select(0, index.view(-1)), grad.reshape(-1))
            by_log = step_gradient(total, ctx.out[0], grad.shape[-1], ctx.out[1])
        return slope.index_select(0, index.view(-1)).view(grad.shape).mul_(grad), by_log, None, None, None, None


def table(x: Tensor, entries: Entries, exponent: int, low: int, out: tuple[float, int], log_scale: Tensor | None = None) -> Tensor:
    """values[code - low], code = x / 2**exponent.

    out        scale and largest code of the output; log_scale: as of `quantize`
    """
    return _Table.apply(x, log_scale, entries, exponent, low, out)


class SoftmaxPlan(NamedTuple):
    """Constants of one softmax; names as in docs/numerics.md."""

    exponent: int  # of the scores
    low: int
    recip_bits: int  # k
    shift: int  # n
    bits: int  # of the probabilities


def softmax_plan(exponent: int, score_bits: int, prob_bits: int, max_tokens: int) -> SoftmaxPlan:
    """k = ke + t + b_p, n = k - b_p, with ke = b_p + 2 and t = ceil(log2(max_tokens))."""
    recip_bits = (prob_bits + 2) + (max_tokens - 1).bit_length() + prob_bits
    return SoftmaxPlan(exponent, code_range(score_bits, True)[0], recip_bits, recip_bits - prob_bits, prob_bits)


class _Softmax(Function):
    @staticmethod
    def forward(ctx, x: Tensor, real: Tensor | None, exp_table: Tensor, plan: SoftmaxPlan) -> Tensor:
        codes = x * 2.0**-plan.exponent
        if real is not None:
            codes.masked_fill_(~real, plan.low)  # never above a real token's code, so the maximum is theirs
        index = torch.sub(codes.amax(-1, keepdim=True), codes).to(torch.int32)
        e = exp_table.index_select(0, index.view(-1)).view(x.shape)
        if real is not None:
            e.masked_fill_(~real, 0)
        recip = (2.0**plan.recip_bits / e.sum(-1, keepdim=True).double()).floor_().mul_(2.0**-plan.shift)
        p = e.mul_(recip.to(e.dtype)).add_(0.5).floor_()
        p = p.clamp_(max=2**plan.bits - 1).mul_(2.0**-plan.bits)
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx, grad: Tensor):
        (p,) = ctx.saved_tensors
        return torch._softmax_backward_data(grad, p, -1, p.dtype), None, None, None


def softmax(x: Tensor, real: Tensor | None, exp_table: Tensor, plan: SoftmaxPlan) -> Tensor:
    """Integer softmax over the last axis, over real tokens only.

    x          scores' values [..., T], multiples of 2**plan.exponent
    real       bool, broadcastable to x: False for padding, which has e = 0 and no part in the maximum; None: all real
    exp_table  [2**score_bits], E[i] = floor(2**ke * exp(-i*s_x) + 1/2)
    """
    return _Softmax.apply(x, real, exp_table, plan)


class LayerNormPlan(NamedTuple):
    """Constants of one LayerNorm; names as in docs/numerics.md."""

    in_exponent: int
    out_exponent: int
    low: int
    high: int
    eps: int
    recip_bits: int  # k


def layernorm_plan(hidden: int, in_bits: int, in_exponent: int, out_bits: int, out_exponent: int, eps: float) -> LayerNormPlan:
    """eps and k of docs/numerics.md from the shape and the scales."""
    low, high = code_range(out_bits, True)
    eps_int = max(1, hidden * hidden // 16, math.floor(eps * hidden * hidden * 4.0**-in_exponent + 0.5))
    recip_bits = (hidden << (in_bits - 1)).bit_length() + 10
    return LayerNormPlan(in_exponent, out_exponent, low, high, eps_int, recip_bits)


def layernorm_affine(gamma: Tensor, beta: Tensor, out_exponent: int) -> tuple[Tensor, Tensor, Tensor]:
    """Integer gamma and beta as hw/ops/layernorm.py:affine makes them: (g [H], b [H], shift n), float64, float64, int."""
    gamma, beta = gamma.detach().double(), beta.detach().double()
    top = gamma.abs().max()
    point = 11 - torch.frexp(top).exponent.long()  # g = gamma * 2**point
    too_big = (gamma * pow2(point)).add_(0.5).floor_().abs().max() > 2047
    shift = (point - too_big.long() + FRACTION_BITS + out_exponent).clamp(0, LAST_SHIFT)
    shift = torch.where(top > 0, shift, FRACTION_BITS)
    point = shift - FRACTION_BITS - out_exponent
    g = (gamma * pow2(point)).add_(0.5).floor_().clamp_(-GAMMA_MAX, GAMMA_MAX)
    b = (beta * pow2(point + FRACTION_BITS)).add_(0.5).floor_().clamp_(-BETA_MAX, BETA_MAX)
    return g, b, shift


class _LayerNorm(Function):
    @staticmethod
    def forward(ctx, x: Tensor, gamma: Tensor, beta: Tensor, log_scale: Tensor | None, plan: LayerNormPlan) -> Tensor:
        hidden = x.shape[-1]
        codes = x * 2.0**-plan.in_exponent
        s1 = codes.sum(-1, keepdim=True).double()
        s2 = codes.square().sum(-1, keepdim=True).double()
        root = (s2 * hidden).sub_(s1 * s1).add_(plan.eps).sqrt_().floor_()
        recip = (2.0**plan.recip_bits / root).floor_().mul_(2.0 ** (FRACTION_BITS - plan.recip_bits))
        u = codes.mul_(hidden).sub_(s1.to(x.dtype)).mul_(recip.to(x.dtype)).add_(0.5).floor_()
        g, b, shift = layernorm_affine(gamma, beta, plan.out_exponent)
        unit = pow2(-shift)
        g_unit, b_unit = (g * unit).to(x.dtype), (b * unit).add_(0.5).to(x.dtype)
        v = u.mul_(g_unit).add_(b_unit)
        scale = 2.0**plan.out_exponent
        mean = s1.mul_(2.0**plan.in_exponent / hidden).to(x.dtype)
        rstd = (hidden * 2.0**-plan.in_exponent / root).to(x.dtype)
        ctx.save_for_backward(x, v, mean, rstd, gamma, beta)
        ctx.plan, ctx.learned = plan, log_scale is not None
        return v.floor().clamp_(plan.low, plan.high).mul_(scale)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, v, mean, rstd, gamma, beta = ctx.saved_tensors
        kept = torch.ops.aten.hardtanh_backward(grad, v, ctx.plan.low, ctx.plan.high + 1)
        grads = torch.ops.aten.native_layer_norm_backward(kept, x, [x.shape[-1]], mean, rstd, gamma, beta, [True, True, True])
        by_log = None
        if ctx.learned:  # v is y / s + 1/2
            by_scale = (grad * v.floor().clamp_(ctx.plan.low, ctx.plan.high)).sum() - (kept * (v - 0.5)).sum()
            by_log = step_gradient(by_scale, 2.0**ctx.plan.out_exponent, x.shape[-1], ctx.plan.high)
        return *grads, by_log, None


def layernorm(x: Tensor, gamma: Tensor, beta: Tensor, plan: LayerNormPlan, log_scale: Tensor | None = None) -> Tensor:
    """Integer LayerNorm over the last axis: values in, values out.

    x            [..., H], multiples of 2**plan.in_exponent
    gamma, beta  [H], made integers here
    log_scale    of the output, as of `quantize`
    """
    return _LayerNorm.apply(x, gamma, beta, log_scale, plan)


def _gelu_new(x: Tensor) -> Tensor:
    return torch.nn.functional.gelu(x, approximate="tanh")


# The smooth functions of hw/ops/table.py: FUNCTIONS, for gradients and for what is observed in float.
SMOOTH = {
    "gelu": torch.nn.functional.gelu,
    "gelu_new": _gelu_new,
    "gelu_pytorch_tanh": _gelu_new,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": torch.nn.functional.silu,
    "swish": torch.nn.functional.silu,
    "tanh": torch.tanh,
}
