# SPDX-License-Identifier: Apache-2.0
"""What a cell is as data: nodes in a row, and between each two of them one operation on token streams.

Chen et al. 2020, "AdaBERT: Task-Adaptive BERT Compression with Differentiable Neural Architecture Search" (arXiv:2001.04246). A cell is written as a
triangle: row j has an operation from each earlier node, the cell's input (0) first, so `[[conv3], [skip, dilated5]]` has two nodes behind its input: the
first is conv3 of the input, the second, which is the cell's output, the sum of the input and dilated5 of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bitloom.hw.settings import ConfigError, did_you_mean

MAX_NODES = 8
Cell = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Operation:
    """kernel tokens, `dilation` apart; of skip and none one."""

    kind: Literal["convolution", "max", "mean", "skip", "none"]
    kernel: int = 1
    dilation: int = 1


NONE = "none"
OPERATIONS = {
    "conv3": Operation("convolution", 3),
    "conv5": Operation("convolution", 5),
    "conv7": Operation("convolution", 7),
    "dilated3": Operation("convolution", 3, 2),
    "dilated5": Operation("convolution", 5, 2),
    "dilated7": Operation("convolution", 7, 2),
    "max3": Operation("max", 3),
    "mean3": Operation("mean", 3),
    "skip": Operation("skip"),
    NONE: Operation("none"),
}


def check_operations(key: str, names: Any) -> None:
    """Refuse names that are no operations."""
    for name in names:
        if name not in OPERATIONS:
            raise ConfigError(f"{key}: got {str(name)[:60]!r}, must be an operation; {did_you_mean(str(name), OPERATIONS)}")


def check_cell(key: str, cell: Any) -> None:
    """Refuse what is no cell, or one whose output reads nothing of its input."""
    if not isinstance(cell, list | tuple) or not 1 <= len(cell) <= MAX_NODES or not all(isinstance(row, list | tuple) for row in cell):
        raise ConfigError(f"{key}: got {str(cell)[:60]!r}, must be a list of 1 to {MAX_NODES} lists of operations; write e.g. [[conv3], [skip, conv3]]")
    for node, row in enumerate(cell):
        if len(row) != node + 1:
            raise ConfigError(
                f"{key}: got {len(row)} operations of node {node + 1}, must be {node + 1}: one from each earlier node, the cell's input first; "
                f"write '{NONE}' where there is no edge"
            )
        check_operations(key, row)
    if not edges(cell):
        raise ConfigError(f"{key}: got a cell whose last node reads nothing of its input, must be reached by edges that are not '{NONE}'; change one")


def edges(cell: Sequence[Sequence[str]]) -> dict[int, dict[int, str]]:
    """{node: {earlier node: operation}} of the nodes that the last one needs and that the input (0) reaches; {} where nothing reaches the last."""
    made = {0: {}}
    for node, row in enumerate(cell, start=1):
        own = {source: name for source, name in enumerate(row) if name != NONE and source in made}
        if own:
            made[node] = own
    needed, last = set(), len(cell)
    left = [last] if last in made else []
    while left:
        if (node := left.pop()) not in needed:
            needed.add(node)
            left += made[node]
    return {node: made[node] for node in sorted(needed - {0})}


def tidy(cell: Sequence[Sequence[str]]) -> Cell:
    """The same cell, with `none` for each edge that does nothing."""
    kept = edges(cell)
    return tuple(tuple(kept.get(node, {}).get(source, NONE) for source in range(node)) for node in range(1, len(cell) + 1))


def draw_cell(rng: np.random.Generator, nodes: int, operations: Sequence[str]) -> Cell:
    """A random cell whose output reads its input: each edge's operation is as probable as any other."""
    while True:
        cell = tidy([[str(name) for name in rng.choice(operations, node)] for node in range(1, nodes + 1)])
        if edges(cell):
            return cell


def told(cell: Sequence[Sequence[str]]) -> str:
    """In a line: what each node is the sum of."""
    names = {0: "input"}
    return "; ".join(f"{node} = " + " + ".join(f"{name}({names.get(source, source)})" for source, name in own.items()) for node, own in edges(cell).items())
