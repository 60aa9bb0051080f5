# SPDX-License-Identifier: Apache-2.0
"""Clusters of numbers: k-means in one dimension, at its optimum (package kmeans1d), and which of a few values is nearest."""

from __future__ import annotations

import kmeans1d
import numpy as np
import torch
from torch import Tensor

EXACT = 1 << 14  # numbers up to which the optimum is exact; of more, it would take seconds a layer


def kmeans(numbers: Tensor, clusters: int) -> Tensor:
    """The means, ascending, float64 [clusters], of the clusters of least squared error.

    numbers   [N]; of more than EXACT, the means of groups of N / EXACT neighbours are clustered, and what comes out is moved to the optimum of all
              numbers next to it (Lloyd)
    clusters  k <= N; where there are fewer different numbers, the last mean is given several times
    """
    ordered = np.sort(numbers.detach().double().cpu().numpy())
    starts = np.unique(np.linspace(0, len(ordered), min(EXACT, len(ordered)), endpoint=False).astype(np.int64))
    borders = np.append(starts, len(ordered))
    groups = _means(ordered, borders)
    few = min(clusters, len(np.unique(groups)))
    means = np.sort(kmeans1d.cluster(groups, few).centroids)
    while len(starts) < len(ordered):
        moved = np.searchsorted(ordered, (means[1:] + means[:-1]) / 2)
        borders, before = np.concatenate([[0], moved, [len(ordered)]]), borders
        means = _means(ordered, borders)
        if np.array_equal(borders, before):
            break
    return torch.as_tensor(np.append(means, means[[-1] * (clusters - few)]), device=numbers.device)


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
