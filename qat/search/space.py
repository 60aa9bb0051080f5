# SPDX-License-Identifier: Apache-2.0
"""What a search chooses from: variables, each with the bits that it may take, and the quantization that a choice stands for.

Each layer's weights are a variable, each attention's scores and probabilities, each residual sum, the embedding tables. Activations go together: those of
the embeddings, of each layer's attention, of each feed-forward, of the head. In hardware whose layers are used in turn, the layers that share a unit
share a variable, as the widest of them decides what it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from bitloom.hw.settings import ConfigError, did_you_mean
from bitloom.qat.config import BIT_RANGES, QuantConfig
from bitloom.qat.search.config import SearchConfig

Choice = Mapping[str, int]  # bits by variable's name


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One number of bits to choose: of one setting, for all of `tensors`. bits: rising."""

    name: str
    setting: str
    tensors: tuple[str, ...]
    bits: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Space:
    """All variables of a search, and the quantization that they change. settled: the tensors that settings apply to."""

    variables: tuple[Variable, ...]
    quant: QuantConfig
    settled: frozenset[str]

    @classmethod
    def of(cls, settings: Mapping[str, set[str]], quant: QuantConfig, config: SearchConfig, layers: int = 0) -> Space:
        """The space of a network.

        settings  the network's names, each with the quantization settings that apply to it (Network.settings)
        layers    of hardware that are used in turn; 0: each has its own
        Raises ConfigError: a pattern that matches nothing, or nothing with that setting; nothing to choose.
        """
        _check_patterns(config, settings)
        groups: dict[tuple[str, str], list[str]] = {}
        for tensor, own in settings.items():
            for setting in BIT_RANGES:
                if setting in own and _chosen(tensor, setting, own, quant):
                    groups.setdefault((_group(tensor, setting, layers), setting), []).append(tensor)
        found = []
        for (group, setting), tensors in groups.items():
            lists = {tuple(sorted(_bits(config, tensor, setting))) for tensor in tensors}
            for bits in sorted(lists):
                own = tuple(t for t in tensors if tuple(sorted(_bits(config, t, setting))) == bits)
                if bits:
                    found.append(Variable(name=f"{group if len(lists) == 1 else own[0]}:{setting}", setting=setting, tensors=own, bits=bits))
        if not any(len(v.bits) > 1 for v in found):
            raise ConfigError("search: got no setting with two numbers of bits, must have something to choose; give search.weights more, e.g. [2, 4, 8]")
        return cls(variables=tuple(found), quant=quant, settled=frozenset(settings))

    @cached_property
    def by_name(self) -> dict[str, Variable]:
        return {v.name: v for v in self.variables}

    @property
    def top(self) -> dict[str, int]:
        """Every variable at its most bits."""
        return {v.name: v.bits[-1] for v in self.variables}

    @property
    def least(self) -> dict[str, int]:
        """Every variable at its fewest bits."""
        return {v.name: v.bits[0] for v in self.variables}

    def uniform(self, bits: int) -> dict[str, int]:
        """All weights at the nearest to so many bits that they may have, the others as the recipe has them, or nearest to it."""
        wanted = {v.name: bits if v.setting == "weights" else self.quant.of(v.tensors[0], v.setting) for v in self.variables}
        return {v.name: min(v.bits, key=lambda b, v=v: (abs(b - wanted[v.name]), b)) for v in self.variables}

    def quantization(self, choice: Choice) -> QuantConfig:
        """The recipe's quantization with a choice's bits: an override for each tensor that would have others."""
        wanted = {(t, v.setting): choice[v.name] for v in self.variables for t in v.tensors}
        overrides, mine = dict(self.quant.overrides), {}
        for (tensor, setting), bits in wanted.items():
            if self.quant.of(tensor, setting) != bits:
                mine.setdefault(tensor, {})[setting] = bits
        for tensor, settings in mine.items():
            overrides[tensor] = overrides.pop(tensor, {}) | settings  # behind the recipe's own: the later wins
        return QuantConfig.model_validate(self.quant.model_dump() | {"overrides": overrides})

    def steps(self) -> Iterator[tuple[Variable, int]]:
        """Every variable with each of its bits but the most."""
        return ((v, bits) for v in self.variables for bits in v.bits[:-1])


def _chosen(tensor: str, setting: str, own: set[str], quant: QuantConfig) -> bool:
    """Not the residual bits of a projection, whose activations may take them by an override alone, nor the weights of a codebook."""
    if setting == "residual":
        return "weights" not in own
    return setting != "weights" or quant.of(tensor, "codebook") == "none"


def _group(tensor: str, setting: str, layers: int) -> str:
    """The name of the group that a tensor belongs to for a setting."""
    parts = tensor.split(".")
    if parts[0] == "layer" and layers:
        parts[1] = str(int(parts[1]) % layers)
    if setting != "activations":
        return ".".join(parts)
    if parts[0] != "layer":
        return "embeddings" if parts[0] == "embeddings" else "head"
    return ".".join([*parts[:2], "ffn" if parts[2] == "ffn" else "attention"])


def _bits(config: SearchConfig, tensor: str, setting: str) -> list[int]:
    found = getattr(config, setting)
    for pattern, settings in config.only.items():
        if setting in settings and fnmatchcase(tensor, pattern):
            found = settings[setting]
    return found


def _check_patterns(config: SearchConfig, settings: Mapping[str, set[str]]) -> None:
    for pattern, wanted in config.only.items():
        matched = [name for name in settings if fnmatchcase(name, pattern)]
        if not matched:
            raise ConfigError(f"search.only: got pattern '{pattern}', must match a layer or tensor; {did_you_mean(pattern, settings)}")
        for key in wanted:
            if not any(key in settings[name] for name in matched):
                raise ConfigError(
                    f"search.only['{pattern}']: got '{key}', must be a setting of a matching tensor; "
                    f"'{matched[0]}' has {', '.join(sorted(settings[matched[0]]))}"
                )
