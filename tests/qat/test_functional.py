# SPDX-License-Identifier: Apache-2.0
"""Autograd operators: exact integer forward (against the NumPy golden functions), smooth gradient backward."""

import numpy as np
import pytest
import torch
from torch.nn import functional as TF

from bitloom.hw.graph import Tensor
from bitloom.hw.ops import layernorm as layernorm_op
from bitloom.hw.ops import softmax as softmax_op
from bitloom.qat import functional as F
from bitloom.qat.weights.dyadic import WeightQuant


def values(rng, shape, bits, exponent):
    """Random values on a signed grid, float64."""
    return torch.as_tensor(rng.integers(-(1 << bits - 1), 1 << bits - 1, shape) * 2.0**exponent)


def test_rounding_is_half_up_and_saturates():
    x = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 99.0, -99.0])
    assert F.quantize(x, 0, -8, 7).tolist() == [-2, -1, 0, 1, 2, 3, 7, -8]
    assert F.quantize(x / 4, -2, -8, 7).tolist() == [v / 4 for v in (-2, -1, 0, 1, 2, 3, 7, -8)]


def test_quantize_gradient_stops_where_clipped():
    x = torch.tensor([-9.0, -8.4, 0.2, 7.4, 7.6], requires_grad=True)
    F.quantize(x, 0, -8, 7).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_pow2_is_exact():
    exponents = torch.arange(-1022, 1024, dtype=torch.int32)
    assert F.pow2(exponents).tolist() == [2.0**e for e in range(-1022, 1024)]


@pytest.mark.parametrize("top", [1.0, 1 - 2.0**-30, 0.7, 3e-5, 123.0])
def test_snapped_scales_obey_the_specification(top):
    wanted = top * torch.tensor([1.0, 0.99999, 0.5, 0.1, 1e-7], dtype=torch.float64)
    mantissa, exponent = F.snap_scale(wanted.log())
    assert 2**15 <= mantissa[0] <= 2**16 - 1 and mantissa.min() >= 1 and torch.equal(mantissa, mantissa.floor())
    error = (mantissa * 2.0 ** int(exponent) / wanted - 1).abs()
    assert error[:4].max() < 2.0**-12  # half an LSB of the least of the four


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("narrow", [True, False])
def test_weight_codes(bits, narrow):
    torch.manual_seed(0)
    quant, weight = WeightQuant(6, bits, narrow), torch.randn(6, 40, dtype=torch.float64)
    quant.fit(weight)
    codes, scale = quant.codes(weight), quant.scale()[:, None]
    low, high = (-1, 1) if bits == 1 else (-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1)
    assert low <= codes.min() and codes.max() <= high and torch.equal(codes, codes.floor())
    if bits == 1:
        assert torch.equal(codes, torch.where(weight >= 0, 1.0, -1.0).double())
    else:
        assert torch.equal(codes, (weight / scale + 0.5).floor().clamp(low, high))
    value = quant(weight)[0]
    assert torch.equal(value, codes * scale)


def test_fitted_scale_is_the_best_of_its_candidates():
    """No scale on a finer grid than the search's is better by more than the grid can explain."""
    torch.manual_seed(1)
    quant, weight = WeightQuant(1, 3), torch.randn(1, 200, dtype=torch.float64)
    quant.fit(weight)

    def error(scale):
        return float((F.weight_codes(weight, torch.tensor([[scale]]), 3, -3, 3)[0] * scale - weight).square().sum())

    best = min(error(s) for s in torch.linspace(0.05, 1.2, 400).tolist())
    assert error(float(quant.scale())) <= best * 1.02


def test_learned_scale_follows_the_error():
    """With a scale far too small the gradient enlarges it, far too large it shrinks it."""
    torch.manual_seed(0)
    weight = torch.randn(1, 64)
    for factor, sign in ((0.2, -1), (5.0, 1)):
        quant = WeightQuant(1, 4)
        quant.fit(weight)
        quant.log_scale.data += np.log(factor)
        (quant(weight)[0] - weight).square().sum().backward()
        assert torch.sign(quant.log_scale.grad).item() == sign


@pytest.mark.parametrize(
    ("bits", "exponent", "prob_bits", "tokens", "max_tokens"),
    [
        (8, -4, 8, 64, 64),
        (10, -6, 8, 33, 64),
        (2, 0, 2, 5, 5),
        (6, -2, 4, 1, 7),
        (8, -3, 8, 512, 512),
    ],
)
def test_softmax_equals_golden(bits, exponent, prob_bits, tokens, max_tokens):
    rng = np.random.default_rng(0)
    x = values(rng, (3, 2, 4, tokens), bits, exponent)
    scores = Tensor(name="x", shape=("T", 2, "T"), bits=bits, signed=True, scale=2.0**exponent)
    table = softmax_op.exp_table(scores, prob_bits)
    plan = F.softmax_plan(exponent, bits, prob_bits, max_tokens)
    assert {"recip_bits": plan.recip_bits, "shift": plan.shift} == softmax_op.constants(prob_bits, max_tokens)
    got = F.softmax(x, None, torch.as_tensor(table).double(), plan) * 2.0**prob_bits
    codes = (x * 2.0**-exponent).reshape(-1, tokens).numpy().astype(np.int64)
    want = softmax_op.softmax(codes, table, plan.recip_bits, plan.shift, prob_bits)
    assert np.array_equal(got.reshape(-1, tokens).numpy(), want)


def test_softmax_ignores_padding():
    """The same codes whatever the padded scores are, the largest included."""
    rng, plan = np.random.default_rng(0), F.softmax_plan(-4, 8, 8, 16)
    x = values(rng, (2, 1, 3, 16), 8, -4)
    scores = Tensor(name="x", shape=("T", 1, "T"), bits=8, signed=True, scale=2.0**-4)
    table = torch.as_tensor(softmax_op.exp_table(scores, 8)).double()
    real = (torch.arange(16) < 9).expand(2, 1, 1, 16)
    alone = F.softmax(x[..., :9], None, table, plan)
    for filler in (-8.0, 7.9375):
        masked = F.softmax(torch.where(real, x, filler), real, table, plan)
        assert torch.equal(masked[..., :9], alone) and not masked[..., 9:].any()


@pytest.mark.parametrize(
    ("hidden", "bits", "in_exponent", "out_bits", "out_exponent", "eps"),
    [
        (128, 10, -5, 8, -5, 1e-12),
        (48, 8, -3, 8, -4, 1e-5),
        (384, 16, -7, 8, -3, 1e-12),
        (2, 4, 0, 2, 0, 1e-12),
        (1024, 16, -8, 8, -4, 1e-12),
    ],
)
def test_layernorm_equals_golden(hidden, bits, in_exponent, out_bits, out_exponent, eps):
    rng = np.random.default_rng(hidden)
    x = values(rng, (40, hidden), bits, in_exponent)
    x[0] = x[0, 0]  # no variance
    x[1], x[1, 0] = -(2.0 ** (bits - 1 + in_exponent)), (2 ** (bits - 1) - 1) * 2.0**in_exponent  # one outlier
    x[2:10] = (x[2:10] * 2.0**-in_exponent / 2 ** (bits - 2)).floor() * 2.0**in_exponent  # little variance
    gamma, beta = torch.as_tensor(rng.normal(1, 0.5, hidden)), torch.as_tensor(rng.normal(0, 0.5, hidden))
    plan = F.layernorm_plan(hidden, bits, in_exponent, out_bits, out_exponent, eps)
    source = Tensor(name="x", shape=("T", hidden), bits=bits, signed=True, scale=2.0**in_exponent)
    constants = layernorm_op.constants(source, eps)
    assert (plan.eps, plan.recip_bits) == (constants["eps"], constants["recip_bits"])
    g, b, shift = F.layernorm_affine(gamma, beta, out_exponent)
    want_g, want_b, want_shift = layernorm_op.affine(gamma.numpy(), beta.numpy(), 2.0**out_exponent)
    assert np.array_equal(g.numpy(), want_g) and np.array_equal(b.numpy(), want_b) and int(shift) == want_shift
    codes = (x * 2.0**-in_exponent).numpy().astype(np.int64)
    want = layernorm_op.layernorm(codes, want_g, want_b, plan.eps, plan.recip_bits, F.FRACTION_BITS, want_shift, out_bits)
    got = F.layernorm(x, gamma, beta, plan) * 2.0**-out_exponent
    assert np.array_equal(got.numpy(), want) and len(np.unique(want)) > min(3, out_bits)


def test_layernorm_gamma_rounds_into_its_range():
    """A gamma just below a power of two would round to 2**11: it takes one bit less."""
    g, _, _ = F.layernorm_affine(torch.tensor([1 - 2.0**-14, -0.5]), torch.zeros(2), -5)
    assert g.tolist() == [1024, -512]


def test_gradients_are_those_of_the_smooth_functions():
    """On fine grids, nothing clipped, softmax and LayerNorm pass the float functions' gradients."""
    rng = np.random.default_rng(0)
    x = values(rng, (2, 1, 6, 16), 8, -5).requires_grad_()
    weight = torch.as_tensor(rng.normal(size=x.shape))
    scores = Tensor(name="x", shape=("T", 1, "T"), bits=8, signed=True, scale=2.0**-5)
    table = torch.as_tensor(softmax_op.exp_table(scores, 8)).double()
    (F.softmax(x, None, table, F.softmax_plan(-5, 8, 8, 16)) * weight).sum().backward()
    smooth = x.detach().clone().requires_grad_()
    (torch.softmax(smooth, -1) * weight).sum().backward()
    assert (x.grad - smooth.grad).norm() < 0.05 * smooth.grad.norm()

    x, weight = values(rng, (50, 64), 10, -6), torch.as_tensor(rng.normal(size=(50, 64)))
    gamma, beta = torch.as_tensor(rng.normal(1, 0.1, 64)), torch.as_tensor(rng.normal(0, 0.1, 64))
    mine = [t.clone().requires_grad_() for t in (x, gamma, beta)]
    (F.layernorm(*mine, F.layernorm_plan(64, 10, -6, 8, -4, 1e-12)) * weight).sum().backward()
    smooth = [t.clone().requires_grad_() for t in (x, gamma, beta)]
    (TF.layer_norm(smooth[0], (64,), smooth[1], smooth[2], 1e-12) * weight).sum().backward()
    for ours, theirs in zip(mine, smooth, strict=True):
        assert (ours.grad - theirs.grad).norm() < 0.01 * theirs.grad.norm()


def test_table_looks_up_codes_and_slopes():
    x = torch.tensor([[-2.0, -0.5], [0.0, 1.5]], requires_grad=True)
    table, slope = torch.arange(8.0) * 10, torch.arange(8.0)
    y = F.table(x, F.Entries(table, slope, slope), -1, -4, (1.0, 8))
    y.sum().backward()
    assert y.tolist() == [[0, 30], [40, 70]] and x.grad.tolist() == [[0, 3], [4, 7]]
