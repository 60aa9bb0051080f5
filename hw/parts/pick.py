# SPDX-License-Identifier: Apache-2.0
"""pick: rows of weights of which a few of each group of neighbours are not zero (hw/rtl/pick.sv): those alone are in the memory, with their places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GROUPS = (2, 4, 8, 16)  # inputs of a group


def patterns(full: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """(keep, group) that all rows obey, each with a smaller share than those of smaller groups; full: bool [C, K], which weights are not zero."""
    found, share = [], 1.0
    for group in GROUPS:
        if full[0].shape[1] % group:
            break
        keep = max(1, *(int(own.reshape(-1, group).sum(axis=1).max()) for own in full))
        if keep / group < share:
            found.append((keep, group))
            share = keep / group
    return found


def places(full: np.ndarray, keep: int, group: int) -> np.ndarray:
    """Which weights are in the memory, bool [C, K], `keep` of each group: those that are not zero, then the first ones that are."""
    groups = full.reshape(-1, group)
    missing = keep - groups.sum(axis=1, keepdims=True)
    return (groups | (~groups & (np.cumsum(~groups, axis=1) <= missing))).reshape(full.shape)


def index_bits(group: int) -> int:
    return group.bit_length() - 1


def chosen(values: np.ndarray, full: np.ndarray, keep: int, group: int) -> np.ndarray:
    """Those of the weights in the memory, [C, K * keep / group]; values: [C, K]."""
    return values[places(full, keep, group)].reshape(len(values), -1)


def elements(codes: np.ndarray, full: np.ndarray, keep: int, group: int, bits: int) -> np.ndarray:
    """What the memory holds, {place, code}, int64 [C, K * keep / group]; codes: int64 [C, K] of so many bits; full: which weights are not zero."""
    place = np.arange(codes.shape[1]) % group << bits
    return chosen(place | codes & (1 << bits) - 1, full, keep, group)


def choices(products: int, group: int, x_bits: int) -> int:
    """Multiplexer bits in front of the multipliers."""
    return products * (group - 1) * x_bits
