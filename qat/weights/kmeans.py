# SPDX-License-Identifier: Apache-2.0
"""Clusters of numbers: k-means in one dimension, at its optimum, and which of a few values is nearest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

EXACT = 1 << 14  # numbers up to which the optimum is exact; of more, neighbours are put together


def kmeans1d(numbers: Tensor, clusters: int) -> Tensor:
    """The means, ascending, float64 [clusters], of the clusters of least squared error.

    numbers   [N]; of more than EXACT, groups of N / EXACT neighbours stay together, so that cluster borders lie between groups, and the means
              are then moved to the optimum of all numbers next to that (Lloyd)
    clusters  k <= N; where there are fewer different numbers, means are given several times

    Method: sorted numbers make clusters that are intervals; D[j][i], the least error of the first i in j clusters, is min over m of
    D[j-1][m] + error(m .. i). Its best m grows with i, so that a row takes N log N steps (Grønlund et al. 2017).
    """
    ordered = np.sort(numbers.detach().double().cpu().numpy())
    starts = np.unique(np.linspace(0, len(ordered), min(EXACT, len(ordered)), endpoint=False).astype(np.int64))
    counts = np.diff(np.append(starts, len(ordered))).astype(float)
    shift = float(ordered.mean())
    sums = np.add.reduceat(ordered - shift, starts)
    squares = np.add.reduceat((ordered - shift) ** 2, starts)
    edges = _edges(*(np.concatenate([[0.0], np.cumsum(x)]) for x in (counts, sums, squares)), clusters)
    borders = np.append(starts, len(ordered))[edges]
    means = _means(ordered, borders)
    while len(starts) < len(ordered):
        moved = np.searchsorted(ordered, (means[1:] + means[:-1]) / 2)
        borders, before = np.concatenate([[0], moved, [len(ordered)]]), borders
        means = _means(ordered, borders)
        if np.array_equal(borders, before):
            break
    return torch.as_tensor(means, device=numbers.device)


def _edges(n: np.ndarray, s: np.ndarray, q: np.ndarray, clusters: int) -> np.ndarray:
    """Where the best clusters begin and end, int64 [clusters + 1], from sums of counts, values and squares up to each place."""
    count = len(n) - 1

    def error(m: np.ndarray, i: np.ndarray) -> np.ndarray:
        return q[i] - q[m] - (s[i] - s[m]) ** 2 / np.maximum(n[i] - n[m], 1.0)

    every = np.arange(count + 1)
    best = error(np.zeros_like(every), every)
    choices = []
    for j in range(1, clusters):
        chosen, before = np.zeros(count + 1, dtype=np.int64), best
        best = np.zeros(count + 1)
        low, high = np.array([min(j, count)]), np.array([count])  # places whose best m is looked for, halves by halves
        least, most = np.array([min(j, count)]), np.array([count])  # between which it lies
        while len(low):
            middle = (low + high) // 2
            widths = np.minimum(most, middle) - least + 1
            begin = np.concatenate([[0], np.cumsum(widths)[:-1]])
            m = np.repeat(least - begin, widths) + np.arange(widths.sum())
            errors = before[m] + error(m, np.repeat(middle, widths))
            smallest = np.minimum.reduceat(errors, begin)
            first = np.flatnonzero(errors == np.repeat(smallest, widths))
            at = m[first[np.searchsorted(first, begin)]]
            chosen[middle], best[middle] = at, smallest
            left, right = low < middle, middle < high
            low, high = np.concatenate([low[left], middle[right] + 1]), np.concatenate([middle[left] - 1, high[right]])
            least, most = np.concatenate([least[left], at[right]]), np.concatenate([at[left], most[right]])
            order = np.argsort(low)
            low, high, least, most = (x[order] for x in (low, high, least, most))
        choices.append(chosen)
    edges = [count]
    for chosen in reversed(choices):
        edges.append(int(chosen[edges[-1]]))
    return np.array([0, *reversed(edges)])


def _means(ordered: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Of each cluster; of an empty one the number at its border."""
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    sizes = np.diff(borders)
    return np.where(sizes > 0, np.diff(sums[borders]) / np.maximum(sizes, 1), ordered[np.minimum(borders[:-1], len(ordered) - 1)])


def two_means(rows: Tensor) -> Tensor:
    """The means of the two clusters of least squared error of each row: [C, K] -> [C, 2], ascending."""
    ordered = rows.double().sort(1).values
    size = ordered.shape[1]
    if size == 1:
        return ordered.repeat(1, 2)
    below = ordered.cumsum(1)
    count = torch.arange(1, size, device=rows.device, dtype=torch.float64)
    lower, upper = below[:, :-1] / count, (below[:, -1:] - below[:, :-1]) / (size - count)
    split = (lower.square() * count + upper.square() * (size - count)).argmax(1, keepdim=True)  # the most that means can explain
    return torch.cat([lower.gather(1, split), upper.gather(1, split)], 1)


def nearest(numbers: Tensor, values: Tensor) -> Tensor:
    """Which value is nearest, the larger one of two that are equally near; int64 [C, K].

    numbers  [C, K]; values [1, n] for all rows, or [C, n] for each; in any order
    """
    ordered, order = values.sort(1)
    middles = (ordered[:, 1:] + ordered[:, :-1]) / 2
    if values.shape[1] == 2:
        return ((numbers >= middles) != (order[:, :1] == 1)).long()
    if len(values) == 1:
        return order[0][torch.bucketize(numbers, middles[0], right=True)]
    return order.gather(1, torch.searchsorted(middles, numbers.contiguous(), right=True))
