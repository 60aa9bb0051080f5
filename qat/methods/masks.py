# SPDX-License-Identifier: Apache-2.0
"""What methods that set single weights to zero share: when they do, and that the zeros stay."""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bitloom.hw.settings import ConfigError, Number
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import Method, PhaseName, Setup, Step, Work, linears, nearest_layer
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.operators import Linear


class Gradual(MethodConfig):
    """When weights are set to zero: in steps from `begin` to `end`, parts of a phase, each `every` training steps."""

    layers: str = "layer.*"  # glob pattern of names as in quantization.overrides
    phase: PhaseName = "float"
    begin: Number = Field(0.0, ge=0, le=1)
    end: Number = Field(0.7, ge=0, le=1)
    every: int = Field(10, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Gradual:
        if self.begin > self.end:
            raise ConfigError(f"begin: got {self.begin:g} with end {self.end:g}, must be at most that; lower it")
        return self

    def due(self, step: Step) -> float | None:
        """How far the pruning should be after this step, 0 .. 1; None: nothing is done now.

        Zhu and Gupta 2017 (arXiv:1710.01878): 1 - (1 - t)**3 of the final sparsity, t from 0 at `begin` to 1 at `end`.
        """
        first, last = int(self.begin * step.total), int(self.end * step.total)
        if step.number == max(last, 1):
            return 1.0
        if not first <= step.number < last or (step.number - first) % self.every:
            return None
        return 1 - (1 - (step.number - first) / (last - first)) ** 3


class Masks(Method):
    """Base of those methods: `choose` says which weights stay.

    A mask is a buffer for each layer, so a resumed training has it. Weights are set to zero after each step, which is all that quantization needs:
    the code of 0 is 0, whatever the scale (of a codebook that has it). In the phase behind the pruning one, zeros are what is zero when it begins.
    """

    Config = Gradual
    any_network = True
    alone = False

    def require(self, setup: Setup) -> None:
        cfg, found = self.cfg, dict(linears(setup.network, self.cfg.layers))
        if not found:
            raise self.error("layers", f"'{cfg.layers}'", "match a layer", nearest_layer(setup.network, cfg.layers))
        if not setup.epochs(cfg.phase):
            other = "qat" if cfg.phase == "float" else "float"
            raise self.error("phase", f"'{cfg.phase}' with no epochs of it", "be a phase that trains", f"set training.{cfg.phase}_epochs, or phase: {other}")
        for name, operator in found.items():
            if setup.quant.of(name, "weights") == 1:
                raise self.error("layers", f"'{name}' with weights of 1 bit", "have a zero among its weights", "give it 2 bits or more, or leave it out")
            if setup.quant.of(name, "codebook") != "none":
                self._has_zero(name, setup)
            self.fits(name, operator)
            self.reaches(name, operator)
        for name, operator in linears(setup.least, cfg.layers):
            self.fits(name, operator)

    def settled(self, network: Encoder) -> None:
        if self.cfg.phase == "qat" and not list(linears(network, self.cfg.layers)):
            raise self.error("layers", f"'{self.cfg.layers}'", "match a layer that is left in the quantized phase", nearest_layer(network, self.cfg.layers))

    def _has_zero(self, name: str, setup: Setup) -> None:
        """Raise MethodError: the codebook of a layer may have no zero, or its weights do not come to it."""
        if setup.quant.of(name, "codebook_zero") != "kept":
            raise self.error("layers", f"'{name}' with a codebook", "have a zero among its values", "set codebook_zero: kept there, or leave it out")
        if setup.quant.of(name, "clusters") == "kept" and self.cfg.phase == "qat":
            raise self.error("phase", f"'qat' for '{name}' with kept clusters", "be before they are found", "set phase: float, or clusters: free there")

    def fits(self, name: str, operator: Linear) -> None:
        """Raise MethodError: a layer's matrix is of a size that has not this pattern."""

    def reaches(self, name: str, operator: Linear) -> None:
        """Raise MethodError: nothing of a layer's matrix would be left."""

    def choose(self, weights: dict[str, Tensor], done: float) -> dict[str, Tensor]:
        """Masks by layer, True where a weight stays.

        weights  [C, K] by layer, 0 where one was pruned before
        done     share of the way to the final sparsity, 0 .. 1
        """
        raise NotImplementedError

    def thin(self, network: Encoder) -> None:
        found = dict(linears(network, self.cfg.layers))
        for name, mask in self.choose({name: operator.weight for name, operator in found.items()}, 1.0).items():
            found[name].weight.mul_(mask)

    def begin(self, work: Work) -> None:
        if work.phase == "float" and self.cfg.phase == "qat":
            return
        for name, operator in linears(work.network, self.cfg.layers):
            kept = operator.weight != 0 if work.phase != self.cfg.phase else torch.ones_like(operator.weight, dtype=torch.bool)
            self.register_buffer(key_of(name), kept)

    @torch.no_grad()
    def during(self, work: Work, step: Step) -> None:
        found = [(name, operator) for name, operator in linears(work.network, self.cfg.layers) if key_of(name) in self._buffers]
        done = self.cfg.due(step) if work.phase == self.cfg.phase else None
        if found and done is not None:
            for name, mask in self.choose({name: operator.weight * self.get_buffer(key_of(name)) for name, operator in found}, done).items():
                self.get_buffer(key_of(name)).copy_(mask)
        for name, operator in found:
            operator.weight.mul_(self.get_buffer(key_of(name)))


def key_of(name: str) -> str:
    """A buffer's name, which has no dots."""
    return name.replace(".", "/")
