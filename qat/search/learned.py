# SPDX-License-Identifier: Apache-2.0
"""Bits learned by gradient, with the hardware's cost as a penalty.

A variable stands at a place between two neighbours of its bits. In every step it takes the upper one with the probability of how far it has come (so that all
tensors are whole codes on one grid, which integer operators need), and the output of each of its operators gets `f (y_upper - y_lower)` as an addition
whose value is 0 and whose slope in f is that of a value interpolated between both: straight-through, as HGQ (Sun et al. 2024) has it for its bits. The
cost is the mean of the terms of qat/search/prices.py under these probabilities, exactly, and so differentiable too. At the end the places are rounded to
the nearest choice within the budget, by the programme of qat/search/ilp.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bitloom.qat.net.operator import Bits, Operator
from bitloom.qat.net.operators import Linear
from bitloom.qat.search.prices import COSTS, RULE, Limits, Prices
from bitloom.qat.search.rounded import Rounded
from bitloom.qat.search.space import Variable
from bitloom.qat.search.trial import Task, batches, loss_of, optimizer_of

RATE = 0.05  # Adam's, in neighbours
PENALTY = 10.0  # of a cost that is twice the budget, in units of the loss
Progress = Callable[[float | None, str], None]


class Places(nn.Module):
    """Where each variable stands among its bits: 0 the fewest, len - 1 the most, where all begin."""

    def __init__(self, variables: tuple[Variable, ...]):
        super().__init__()
        self.variables = variables
        self.at = nn.Parameter(torch.tensor([float(len(v.bits) - 1) for v in variables]))

    def lower(self, i: int) -> int:
        """Index of the lower neighbour; the place of the most bits lies at the end of the last interval."""
        return max(0, min(math.floor(float(self.at.detach()[i])), len(self.variables[i].bits) - 2))

    def share(self, i: int) -> Tensor:
        """How far it is from the lower to the upper neighbour, 0 .. 1."""
        return self.at[i] - self.lower(i)

    @torch.no_grad()
    def clip(self) -> None:
        for i, v in enumerate(self.variables):
            self.at[i].clamp_(0, len(v.bits) - 1)

    def probabilities(self, i: int) -> Tensor:
        """Of each of its bits."""
        count, low = len(self.variables[i].bits), self.lower(i)
        if count == 1:
            return torch.ones(1)
        unit, f = torch.eye(count), self.share(i)
        return (1 - f) * unit[low] + f * unit[low + 1]

    def drawn(self, draw: torch.Generator) -> dict[str, int]:
        """Bits for one step."""
        found = {}
        for i, v in enumerate(self.variables):
            upper = len(v.bits) > 1 and float(torch.rand((), generator=draw)) < float(self.share(i).detach())
            found[v.name] = v.bits[self.lower(i) + upper]
        return found


class Cost:
    """Mean costs under the places' probabilities. Matrix units multiply as the rule says."""

    def __init__(self, prices: Prices, places: Places):
        self.places, index = places, {v.name: i for i, v in enumerate(places.variables)}
        merged: dict[tuple[int, ...], Tensor] = {}
        for term in prices.terms:
            sizes = [len(prices.space.by_name[name].bits) for name in term.depends]
            table = torch.zeros([*sizes, len(COSTS)])
            for (bits, style), cost in term.table.items():
                if style == RULE:
                    table[tuple(prices.space.by_name[n].bits.index(b) for n, b in zip(term.depends, bits, strict=True))] = torch.as_tensor(cost).float()
            key = tuple(index[name] for name in term.depends)
            merged[key] = merged.get(key, 0) + table
        self.tables = merged

    def __call__(self) -> Tensor:
        """[figures of COSTS], differentiable in the places."""
        shares = [self.places.probabilities(i) for i in range(len(self.places.variables))]
        total = torch.zeros(len(COSTS))
        for key, table in self.tables.items():
            for i in key:
                table = torch.tensordot(shares[i], table, dims=([0], [0]))
            total = total + table
        return total


class Learner:
    """Learns the places while the model is fine-tuned. rounded, prices: of one space, prices filled."""

    def __init__(self, task: Task, rounded: Rounded, prices: Prices, limits: Limits):
        self.task, self.rounded, self.limits = task, rounded, limits
        self.places = Places(rounded.space.variables)
        self.cost = Cost(prices, self.places)
        self.choice: dict[str, int] = rounded.space.top
        self._hooks = []
        for operator in rounded.network.operators():
            mine = [i for i, v in enumerate(self.places.variables) if operator.tensor in v.tensors and len(v.bits) > 1]
            if mine:
                self._hooks.append(operator.register_forward_hook(self._hook(mine)))

    def run(self, progress: Progress = lambda fraction, text: None) -> dict[str, float]:
        """Learn for the task's steps; each variable's place."""
        training = self.task.training
        draw = torch.Generator().manual_seed(training.seed)
        torch.manual_seed(training.seed)
        model = self.rounded.model
        weights = optimizer_of(model, training)
        places = torch.optim.Adam([self.places.at], lr=RATE)
        try:
            start = self.task.start
            for step, batch in zip(range(self.task.steps), batches(start.train, start.tokenizer.pad_id, training), strict=False):
                self.choice = self.places.drawn(draw)
                self.rounded.choose(self.choice)
                model.train()
                loss, penalty = loss_of(model, start.model, batch, training), self.penalty()
                weights.zero_grad()
                places.zero_grad()
                (loss + penalty).backward()
                weights.step()
                places.step()
                self.places.clip()
                progress(step / self.task.steps, f"learning bits: loss {float(loss.detach()):.3f}, beyond the budget {float(penalty.detach()) / PENALTY:.1%}")
        finally:
            for hook in self._hooks:
                hook.remove()
        return {v.name: float(self.places.at.detach()[i]) for i, v in enumerate(self.places.variables)}

    def penalty(self) -> Tensor:
        """PENALTY times the share by which the mean costs are beyond the budget, summed over all that it limits."""
        costs = self.cost()
        return PENALTY * sum((torch.relu(costs[COSTS.index(name)] / most - 1) for name, most in self.limits.items() if most), torch.zeros(()))

    def _hook(self, mine: list[int]) -> Callable:
        def hook(operator: Operator, inputs: tuple, output: Tensor) -> Tensor:
            for i in mine:
                variable, low = self.places.variables[i], self.places.lower(i)
                is_upper = self.choice[variable.name] == variable.bits[low + 1]
                other = self._other(operator, inputs, {variable.name: variable.bits[low if is_upper else low + 1]})
                apart = (output.detach() - other) if is_upper else (other - output.detach())
                share = self.places.share(i)
                output = output + (share - share.detach()) * apart
            return output

        return hook

    @torch.no_grad()
    def _other(self, operator: Operator, inputs: tuple, change: dict[str, int]) -> Tensor:
        """What the operator would give at other bits."""
        self._configure(operator, self.choice | change)
        draw = torch.get_rng_state()
        found = type(operator).forward(operator, *inputs)
        torch.set_rng_state(draw)
        self._configure(operator, self.choice)
        return found

    def _configure(self, operator: Operator, choice: dict[str, int]) -> None:
        operator.configure(Bits(self.rounded.space.quantization(choice), self.rounded.max_tokens))
        if isinstance(operator, Linear):
            self.rounded.fit(operator)
        self.rounded.scale(operator.tensor, operator.grid)
        for grid, least in operator.least_exponents():
            if grid is operator.grid and grid.e < least:
                grid.set_exponent(least)


def distances(places: dict[str, float], variables: tuple[Variable, ...]) -> dict[str, dict[int, float]]:
    """By variable and bits: the squared distance from its place, as the programme takes a sensitivity."""
    return {v.name: {bits: (places[v.name] - index) ** 2 for index, bits in enumerate(v.bits)} for v in variables}
