# SPDX-License-Identifier: Apache-2.0
"""What a data set's two splits say of each other: classes that only one of them has, scores that cannot be. Told before the training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bitloom.qat.data import Dataset, Examples

SHOWN = 5  # names in a message


def remarks(dataset: Dataset) -> list[str]:
    """One line for each thing that the scores will not tell, or that training cannot learn."""
    if dataset.task == "regression" and (value := _constant(dataset.dev.labels)) is not None:
        return [f"data: all {len(dataset.dev):,} development rows have the number {value:g}: {dataset.metric} is not defined on them"]
    if not dataset.label_names:
        return []
    train, dev = (_counts(split) for split in (dataset.train, dataset.dev))
    told, names = [], dict(enumerate(dataset.label_names))
    if untaught := [name for i, name in names.items() if dev[i] and not train[i]]:
        rows = sum(dev[i] for i in names if dev[i] and not train[i])
        told.append(f"data: no training row has the label {_some(untaught)}, and {rows:,} development rows do: it cannot be learned")
    if unused := [name for i, name in names.items() if not dev[i] and not train[i]]:
        told.append(f"data: no row has the label {_some(unused)}: its logit is never right")
    if len(dev) == 1 and dev.total() > 1:
        told.append(f"data: all {dev.total():,} development rows have the label '{names[next(iter(dev))]}': scores on them say little")
    elif untested := [name for i, name in names.items() if train[i] and not dev[i]]:
        told.append(f"data: no development row has the label {_some(untested)}: no score tells how well it is learned")
    return told


def undefined(dataset: Dataset, model: str) -> str:
    """Why the metric of that model's answers has no value."""
    counts = _counts(dataset.dev) if dataset.label_names else Counter(dataset.dev.labels)
    if dataset.metric == "f1" and len(dataset.label_names) == 2:
        reason = f"no development row has the label '{dataset.label_names[1]}'"
    elif len(counts) == 1:
        reason = "all development rows have the same label"
    else:
        reason = "its answer to all development rows is the same"
    return f"{dataset.metric} of the {model} model is not defined: {reason}"


def _constant(values: Sequence[float]) -> float | None:
    return values[0] if len({*values}) == 1 and len(values) > 1 else None


def _counts(split: Examples) -> Counter[int]:
    """Rows of each class; of a token classification its words."""
    return Counter(label for labels in split.labels for label in (labels if isinstance(labels, list) else [labels]))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more
