# SPDX-License-Identifier: Apache-2.0
"""The choice of bits as an integer linear programme (SciPy's `milp`, HiGHS): the least sensitivity within budgets of the hardware.

x[v, b] is 1 where variable v has b bits. A term of the cost (qat/search/prices.py) depends on few variables; y[t, combination] is 1 where they have those
bits, and the term multiplies in that style. The sums of y over all combinations that hold (v, b) equal x[v, b], so with whole x the costs are exact; y need
not be declared whole but where a style is open. The solver has rules of its own for styles (hw/plan/fit.py), so a choice is folded for real: where
that design is beyond a budget, a cut forbids the choice and the programme is solved again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, lil_array

from bitloom.qat.search.errors import SearchError
from bitloom.qat.search.prices import COSTS, LUT, RULE, Limits, Prices, Real
from bitloom.qat.search.space import Choice

ROUNDS = 40  # of cuts
SLACK = 1e-6  # relative: figures of LUTs are sums of floats
SECONDS = 60.0  # for one programme


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A choice with its sensitivity, its predicted costs (figures of COSTS) and its design. cuts: choices that were forbidden on the way."""

    choice: dict[str, int]
    sensitivity: float
    predicted: np.ndarray
    real: Real
    cuts: int


class Programme:
    """Variables and equations of one network's choice; budgets and cuts are given to each solution."""

    def __init__(self, prices: Prices, sensitivity: Mapping[str, Mapping[int, float]], styles: bool = True):
        self.prices, self.space = prices, prices.space
        self.sensitivity = sensitivity
        self.bits = [(v.name, b) for v in self.space.variables for b in v.bits]
        self.index = {key: i for i, key in enumerate(self.bits)}
        self.rows: list[tuple[dict[int, float], float]] = [({self.index[v.name, b]: 1.0 for b in v.bits}, 1.0) for v in self.space.variables]
        self.costs: list[np.ndarray] = [np.zeros(len(COSTS)) for _ in self.bits]
        self.whole = [True] * len(self.bits)
        for (depends, styled), tables in self._merged(styles).items():
            self._add(depends, styled, tables)

    def _merged(self, styles: bool) -> dict[tuple, dict]:
        """Terms without styles that depend on the same variables, as one; the others each alone, under its tensor."""
        found: dict[tuple, dict] = {}
        for term in self.prices.terms:
            free = styles and term.matrix and any((term.table[key, LUT] != cost).any() for (key, style), cost in term.table.items() if style == RULE)
            into = found.setdefault((term.depends, term.tensor if free else ""), {})
            for key, cost in term.table.items():
                if free or key[1] == RULE:
                    into[key] = into.get(key, 0) + cost
        return found

    def _add(self, depends: Sequence[str], styled: str, table: Mapping[tuple, np.ndarray]) -> None:
        """The columns y of one table, and the equations that tie them to x."""
        first = len(self.costs)
        columns = list(table)
        self.costs += [table[key] for key in columns]
        self.whole += [bool(styled)] * len(columns)
        self.rows.append(({first + i: 1.0 for i in range(len(columns))}, 1.0))
        for at, name in enumerate(depends):
            for b in self.space.by_name[name].bits:
                mine = {first + i: 1.0 for i, (key, _) in enumerate(columns) if key[at] == b}
                self.rows.append((mine | {self.index[name, b]: -1.0}, 0.0))

    def solve(self, limits: Limits, cuts: Sequence[Choice] = (), goal: str | None = None) -> tuple[dict[str, int], float] | None:
        """The choice of least sensitivity within limits, and its value; of least `goal`, a figure of COSTS, where one is named. None: there is none."""
        count = len(self.costs)
        aim = np.zeros(count)
        if goal is None:
            aim[: len(self.bits)] = [self.sensitivity[name][b] for name, b in self.bits]
        else:
            aim[:] = [cost[COSTS.index(goal)] for cost in self.costs]
        scale = float(np.abs(aim).max()) or 1.0
        matrix = lil_array((len(self.rows), count))
        for r, (row, _) in enumerate(self.rows):
            for column, value in row.items():
                matrix[r, column] = value
        exact = np.array([value for _, value in self.rows])
        constraints = [LinearConstraint(csr_array(matrix), exact, exact)]
        figures = np.array(self.costs).T
        for name, most in limits.items():
            unit = max(1.0, most)
            constraints.append(LinearConstraint(figures[COSTS.index(name)] / unit, -np.inf, most / unit + SLACK))
        for cut in cuts:
            row = np.zeros(count)
            row[[self.index[name, b] for name, b in cut.items()]] = 1.0
            constraints.append(LinearConstraint(row, -np.inf, len(cut) - 1))
        result = milp(aim / scale, constraints=constraints, integrality=np.array(self.whole, dtype=int), bounds=Bounds(0, 1),
                      options={"mip_rel_gap": 0.0, "time_limit": SECONDS})  # fmt: skip
        if result.x is None:
            return None
        choice = {name: b for i, (name, b) in enumerate(self.bits) if result.x[i] > 0.5}
        return choice, float(aim @ result.x)


def best(prices: Prices, sensitivity: Mapping[str, Mapping[int, float]], limits: Limits) -> Solution:
    """The choice of least sensitivity whose design, as the solver really makes it, is within the limits and on the board.

    Raises SearchError: no choice is; the message names the budget and by how much.
    """
    plain = Programme(prices, sensitivity, styles=False)
    free = Programme(prices, sensitivity) if prices.board else plain  # products without DSPs may do better, or be all that fits
    cuts: list[dict[str, int]] = []
    while len(cuts) < ROUNDS:
        found, other = plain.solve(limits, cuts), free.solve(limits, cuts) if free is not plain else None
        if other is not None and (found is None or other[1] < found[1] * (1 - SLACK)):
            found = other
        if found is None:
            break
        if (solution := _verified(prices, *found, limits, len(cuts))) is not None:
            return solution
        cuts.append(found[0])
    if not cuts:
        raise SearchError(shortage(free, limits))
    raise SearchError(f"search: got {len(cuts)} choices that fit by their sums, must have one whose design fits; raise the budget of lut or dsp")


def _verified(prices: Prices, choice: dict[str, int], value: float, limits: Limits, cuts: int) -> Solution | None:
    """The choice with its design; None: that is beyond a limit, or takes anything else than predicted, as layers in turn may be cut in another place."""
    real = prices.real(choice)
    predicted = prices.total(choice, real.lut_units)
    over = [name for name, most in limits.items() if real.costs[COSTS.index(name)] > most * (1 + SLACK)]
    return (
        None
        if over or real.fits or not np.allclose(predicted, real.costs, rtol=1e-9, atol=1e-6)
        else Solution(choice=choice, sensitivity=value, predicted=predicted, real=real, cuts=cuts)
    )


NAMES = {"block_ram": "block RAMs", "dsp": "DSPs", "lut": "LUTs", "ff": "flip-flops", "bits": "bits of parameters", "beats": "beats of external memory"}


def shortage(programme: Programme, limits: Limits) -> str:
    """Which budget no choice meets, and by how much; where each alone can be met, the one that is missed least when all others are kept."""
    for name, most in limits.items():
        choice, least = programme.solve({}, goal=name)
        if least > most * (1 + SLACK):
            return _told(name, most, least)
    for name, most in limits.items():
        others = {key: value for key, value in limits.items() if key != name}
        if (found := programme.solve(others, goal=name)) is not None:
            return f"{_told(name, most, found[1])}, or another budget"
    return f"search: got budgets of {', '.join(NAMES[name] for name in limits)} that no choice meets together, must leave one; raise them"


def _told(name: str, most: float, least: float) -> str:
    where = {"bits": "search.budget.bytes", "beats": "hardware.memory"}.get(name, f"search.budget.{name}")
    what = NAMES[name]
    if name == "bits":
        most, least, what = most // 8, -(-least // 8), "bytes"
    wanted = int(np.ceil(least - SLACK))
    return (
        f"{where}: got {int(most):,} {what}, must be at least {wanted:,} for the fewest bits that may be chosen, "
        f"{wanted - int(most):,} more; raise it, allow fewer bits or a slower target"
    )
