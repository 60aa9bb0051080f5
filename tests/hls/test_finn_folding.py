# SPDX-License-Identifier: Apache-2.0
"""Which PE and SIMD FINN's matrix units get, on a stand-in for FINN's unit: its cycles are vectors * (MW / SIMD) * (MH / PE)."""

import json
from types import SimpleNamespace

import pytest

from bitloom.hls.finn.errors import FinnError
from bitloom.hls.finn.folding import Goal, write_config
from bitloom.hw.instance import Fold
from bitloom.hw.plan.folding import Folding

VECTORS = 8


class Unit:
    """Of FINN's custom operations, what folding needs."""

    def __init__(self, **values: int):
        self.values = values

    def get_nodeattr(self, key: str) -> int:
        return self.values[key]

    def set_nodeattr(self, key: str, value: int) -> None:
        self.values[key] = value

    def get_exp_cycles(self) -> int:
        v = self.values
        assert v["MW"] % v["SIMD"] == v["MH"] % v["PE"] == 0, "FINN takes divisors only"
        return VECTORS * (v["MW"] // v["SIMD"]) * (v["MH"] // v["PE"])


def fold(folder, inputs: int, outputs: int, goal: Goal) -> tuple[int, int, int]:
    """PE, SIMD and cycles."""
    unit = Unit(MW=inputs, MH=outputs, PE=1, SIMD=1)
    node = SimpleNamespace(name="MVAU_0", op_type="MVAU_rtl", output=["acc"])
    finn = SimpleNamespace(registry=SimpleNamespace(getCustomOp=lambda node: unit))
    write_config(finn, SimpleNamespace(graph=SimpleNamespace(node=[node])), goal, folder / "config.json")
    made = json.loads((folder / "config.json").read_text())["MVAU_0"]
    return made["PE"], made["SIMD"], unit.get_exp_cycles()


def goal(pe: int, simd: int) -> Goal:
    return Goal(folding=Folding(folds={"acc": Fold(pe=pe, simd=simd)}, lanes={}, interval=0, multipliers=0))


def test_the_same_where_it_divides(tmp_path):
    assert fold(tmp_path, 32, 24, goal(8, 4)) == (8, 4, VECTORS * 8 * 3)


@pytest.mark.parametrize(
    ("inputs", "outputs", "pe", "simd", "most"), [(437, 128, 16, 16, 23 * 16), (128, 437, 16, 16, 23 * 16), (30, 14, 4, 8, 32), (7, 7, 8, 8, 49)]
)
def test_as_fast_where_it_does_not(tmp_path, inputs, outputs, pe, simd, most):
    """Filled streams: PE and SIMD divide a larger matrix. The multipliers are no more than an odd matrix needs."""
    got_pe, got_simd, cycles = fold(tmp_path, inputs, outputs, goal(pe, simd))
    assert outputs % got_pe == inputs % got_simd == 0
    assert cycles <= VECTORS * -(-inputs // simd) * -(-outputs // pe) and got_pe * got_simd <= most


def test_a_unit_without_folding_is_refused(tmp_path):
    with pytest.raises(FinnError, match="finn: MVAU_0: got no folding for 'acc', must be one for each matrix unit; give target_cycles instead"):
        fold(tmp_path, 4, 4, Goal(folding=Folding(folds={}, lanes={}, interval=0, multipliers=0)))
    with pytest.raises(FinnError, match="finn: got target_cycles 3, must be at least 8 for 'acc'; raise the target"):
        fold(tmp_path, 4, 4, Goal(target_cycles=3))
