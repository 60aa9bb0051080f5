# SPDX-License-Identifier: Apache-2.0
"""Curvature of the loss of a float model by layer: the largest eigenvalue and the trace of the Hessian of each layer's weights.

Both come from products of the Hessian with vectors alone (curvlinops: HessianLinearOperator): the eigenvalue by Lanczos iteration (SciPy's eigsh), the trace
by XTrace (Epperly et al. 2024) or Hutchinson's estimator.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from bitloom.qat.families import family_of
from bitloom.qat.families.heads import head_of
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import Linear
from bitloom.qat.search.errors import SearchError
from bitloom.qat.trainer import as_taken

INSTALL = "pip install --no-deps curvlinops-for-pytorch backpack-for-pytorch"
TOLERANCE = 1e-3  # of the eigenvalue, relative
Batch = tuple[dict[str, Tensor], Tensor]  # a model's inputs, labels


class _Logits(nn.Module):
    """A Hugging Face model as a function of its inputs: a mapping, as curvlinops takes it."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, inputs: MutableMapping) -> Tensor:
        return self.model(**as_taken(self.model, inputs)).logits


def _sentences(inputs: MutableMapping) -> int:
    return len(inputs["input_ids"])


@dataclass(frozen=True, kw_only=True)
class Trace:
    """An estimate of a trace and its standard error."""

    value: float
    error: float


class Curvature:
    """Of one model's loss over some batches.

    model  float, with a sentence head, in evaluation mode; its attention is computed step by step from here on, as that alone has second derivatives
    """

    def __init__(self, model: nn.Module, loss: nn.Module, batches: Sequence[Batch]):
        if hasattr(model, "set_attn_implementation"):
            model.set_attn_implementation("eager")
        self.model, self.loss, self.batches = model.eval(), loss, batches

    def operator(self, weight: nn.Parameter, batches: Sequence[Batch] | None = None):
        """The Hessian of the mean loss in one weight, as a linear operator of numel rows."""
        try:
            from curvlinops import HessianLinearOperator
        except ImportError as error:
            raise SearchError(f"search.by: got no curvlinops ({error}), must be installed for the Hessian; {INSTALL}, or set search.by: divergence") from error

        data = list(batches or self.batches)
        return HessianLinearOperator(_Logits(self.model), self.loss, [weight], data, batch_size_fn=_sentences, check_deterministic=False)

    def top(self, weight: nn.Parameter, batches: Sequence[Batch] | None = None, seed: int = 0) -> float:
        """The eigenvalue of largest magnitude."""
        from scipy.sparse.linalg import eigsh

        hessian = self.operator(weight, batches).to_scipy()
        start = np.random.default_rng(seed).standard_normal(hessian.shape[0]).astype(np.float32)
        return float(eigsh(hessian, k=1, which="LM", tol=TOLERANCE, v0=start, return_eigenvectors=False)[0])

    def tops(self, weight: nn.Parameter) -> list[float]:
        """Over each batch alone: the slices of Q-BERT's statistic."""
        return [self.top(weight, [batch]) for batch in self.batches]

    def trace(self, weight: nn.Parameter, products: int, method: Literal["xtrace", "hutchinson"] = "hutchinson", seed: int = 0) -> Trace:
        """The trace, from so many products with the Hessian (xtrace: at least 4, at most as many as it has rows).

        The error is that of the mean of Hutchinson's samples v'Hv, v of random signs; XTrace's is the spread of two halves.
        """
        hessian = self.operator(weight)
        torch.manual_seed(seed)
        if method == "xtrace":
            from curvlinops import xtrace

            halves = [float(xtrace(hessian, products // 4 * 2)) for _ in range(2)]  # an even number each
            return Trace(value=sum(halves) / 2, error=abs(halves[0] - halves[1]) / 2)
        samples = []
        for _ in range(products):
            v = torch.randint(0, 2, (hessian.shape[1],), dtype=weight.dtype, device=weight.device) * 2 - 1
            samples.append(float(v @ (hessian @ v)))
        return Trace(value=float(np.mean(samples)), error=float(np.std(samples, ddof=1) / np.sqrt(len(samples))) if len(samples) > 1 else float("inf"))


def weights_of(model: nn.Module, network: Network) -> dict[str, nn.Parameter]:
    """The weight of each linear layer of a network, in the float model that it was made of, by the layer's tensor."""
    family, head = family_of(model.config), head_of(model)
    paths = {network.get_submodule(step.path).tensor: step.path for step in network.steps if isinstance(network.get_submodule(step.path), Linear)}
    return {tensor: family.module(model, path, head, model.config).weight for tensor, path in paths.items()}
