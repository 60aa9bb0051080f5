# SPDX-License-Identifier: Apache-2.0
"""Curvature by layer against the exact Hessian of a small model."""

import pytest
import torch
from search_cases import batches, inputs, rounded, start
from torch import nn
from torch.func import functional_call

from bitloom.qat.search.hessian import Curvature, weights_of
from bitloom.qat.search.sensitivity import rounding_error

pytest.importorskip("curvlinops", reason="no curvlinops: pip install --no-deps curvlinops-for-pytorch backpack-for-pytorch unfoldNd")
LAYERS = ("layer.1.value", "logits")


@pytest.fixture(scope="module")
def case():
    """Curvature, the layers' weights, and each one's exact Hessian."""
    data = [(inputs(batch), batch["labels"]) for batch in batches()]
    of = Curvature(start(), nn.CrossEntropyLoss(), data)
    weights = weights_of(start(), rounded(weights=[2, 8]).network)
    return of, weights, {name: exact(start(), weights[name], data) for name in LAYERS}


def exact(model, weight, data):
    name = next(n for n, p in model.named_parameters() if p is weight)

    def loss(flat):
        total = sum(len(y) * nn.functional.cross_entropy(functional_call(model, {name: flat.reshape(weight.shape)}, (), x).logits, y) for x, y in data)
        return total / sum(len(y) for _, y in data)

    return torch.autograd.functional.hessian(loss, weight.detach().flatten(), vectorize=True)


@pytest.mark.parametrize("name", LAYERS)
def test_the_top_eigenvalue_is_the_exact_one(case, name):
    of, weights, hessians = case
    values = torch.linalg.eigvalsh(hessians[name])
    want = float(values[values.abs().argmax()])
    assert of.top(weights[name]) == pytest.approx(want, rel=0.01)


def test_the_statistic_over_slices_is_of_each_slices_hessian(case):
    of, weights, _ = case
    for data, found in zip(of.batches, of.tops(weights["logits"]), strict=True):
        values = torch.linalg.eigvalsh(exact(start(), weights["logits"], [data]))
        assert found == pytest.approx(float(values[values.abs().argmax()]), rel=0.01)


def test_xtrace_of_a_layer_is_the_exact_trace(case):
    of, weights, hessians = case
    found = of.trace(weights["logits"], 32, "xtrace")
    assert found.value == pytest.approx(float(hessians["logits"].trace()), rel=0.01)


@pytest.mark.parametrize("name", LAYERS)
def test_hutchinsons_trace_is_within_its_standard_error(case, name):
    of, weights, hessians = case
    found, hessian = of.trace(weights[name], 32), hessians[name]
    assert abs(found.value - float(hessian.trace())) < 2 * found.error
    apart = hessian.square().sum() - hessian.diagonal().square().sum()  # the estimator's variance is twice it, of one product
    assert found.error == pytest.approx(float((2 * apart / 32).sqrt()), rel=0.6)


def test_rounding_errors_are_those_of_the_best_scales():
    weight = torch.tensor([[1.0, -1.0, 0.5, 0.0]])
    assert rounding_error(weight, 2, True) == pytest.approx(1 / 6, abs=0.001)  # ternary: 0.5 becomes one scale with both ones, of 5/6
    assert rounding_error(weight, 8, True) < 1e-4 < rounding_error(weight, 4, True)
