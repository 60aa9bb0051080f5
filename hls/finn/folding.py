# SPDX-License-Identifier: Apache-2.0
"""bitloom's folding as FINN's folding configuration: PE and SIMD of the matrix units as solved (or as fast), every other node at their pace."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bitloom.hls.finn.errors import FinnError
from bitloom.hw.divisors import divisors
from bitloom.hw.plan.folding import Folding

MIN_NORM_BEATS = 13  # a LayerNorm's pipeline needs more than 12 beats a token


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Exactly one of bitloom's folding and cycles between two sentences."""

    folding: Folding | None = None
    target_cycles: int | None = None

    def __post_init__(self) -> None:
        if (self.folding is None) == (self.target_cycles is None):
            got = "both" if self.folding else "neither"
            raise FinnError(f"finn: got {got} of folding and target_cycles, must be exactly one; leave one out")


def write_config(finn: SimpleNamespace, model: Any, goal: Goal, path: Path) -> None:
    """FINN's folding_config.json for a model of specialised nodes."""
    units = {n.name: (n, finn.registry.getCustomOp(n)) for n in model.graph.node}
    matrix = {name: pair for name, pair in units.items() if pair[0].op_type.startswith("MVAU")}
    config: dict[str, dict[str, Any]] = {"Defaults": {}}
    for name, (node, unit) in matrix.items():
        config[name] = _matrix(node, unit, goal)
    pace = goal.target_cycles or max(_cycles(unit) for _, unit in matrix.values())
    for name, (node, unit) in units.items():
        if name not in matrix:
            config[name] = _stream(node, unit, pace)
    path.write_text(json.dumps(config, indent=1) + "\n")


def _cycles(unit: Any) -> int:
    return int(unit.get_exp_cycles())


def _matrix(node: Any, unit: Any, goal: Goal) -> dict[str, int]:
    """As bitloom's unit of that name is folded, where that divides FINN's matrix; else the cheapest folding that is at least as fast.

    bitloom's need not divide it: streams may be filled up, and FINN's graph may be of another length.
    """
    name, inputs, outputs = node.output[0], *(int(unit.get_nodeattr(key)) for key in ("MW", "MH"))
    if goal.target_cycles:
        chosen = _cheapest(unit, inputs, outputs, goal.target_cycles, name)
    else:
        fold = goal.folding.folds.get(name)
        if fold is None:
            raise FinnError(f"finn: {node.name}: got no folding for '{name}', must be one for each matrix unit; give target_cycles instead")
        chosen = {"PE": fold.pe, "SIMD": fold.simd}
        if outputs % fold.pe or inputs % fold.simd:
            _set(unit, {"PE": 1, "SIMD": 1})
            vectors = _cycles(unit) // (inputs * outputs)
            chosen = _cheapest(unit, inputs, outputs, vectors * -(-outputs // fold.pe) * -(-inputs // fold.simd), name)
    _set(unit, chosen)
    return chosen


def _set(unit: Any, chosen: dict[str, int]) -> None:
    for key, value in chosen.items():
        unit.set_nodeattr(key, value)


def _cheapest(unit: Any, inputs: int, outputs: int, target: int, name: str) -> dict[str, int]:
    """Fewest multipliers within `target` cycles a sentence; then PE and SIMD close to each other."""
    found = []
    for pe in divisors(outputs):
        for simd in divisors(inputs):
            _set(unit, {"PE": pe, "SIMD": simd})
            if _cycles(unit) <= target:
                found.append((pe * simd, abs(pe - simd), pe, simd))
                break
    if not found:
        raise FinnError(f"finn: got target_cycles {target}, must be at least {_cycles(unit)} for '{name}'; raise the target")
    _, _, pe, simd = min(found)
    return {"PE": pe, "SIMD": simd}


def _stream(node: Any, unit: Any, pace: int) -> dict[str, int]:
    """The fewest lanes at which a node that is not a matrix unit keeps up; also for nodes that FINN's own folding skips."""
    key = next((k for k in ("PE", "SIMD") if k in unit.get_nodeattr_types()), None)
    if key is None:
        return {}
    channels = int(unit.get_normal_output_shape()[-1])
    lanes = [d for d in divisors(channels) if not node.op_type.startswith("LayerNorm") or channels // d >= MIN_NORM_BEATS or d == 1]
    for value in lanes:
        unit.set_nodeattr(key, value)
        if _cycles(unit) <= pace:
            break
    return {key: int(unit.get_nodeattr(key))}
