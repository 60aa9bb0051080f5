# SPDX-License-Identifier: Apache-2.0
"""Rows of a data set from the Hugging Face hub, by the `datasets` library, in the shape that `bitloom.qat.files` gives."""

from __future__ import annotations

from collections.abc import Sequence

from bitloom.qat.files import DataError, Row


def read_hub(source: Sequence[str], split: str, columns: dict[str, str], label: str | None) -> tuple[list[Row], list[str] | None]:
    """The rows of one split, and the names of the classes in the set's own order, where it has such.

    source   arguments of `datasets.load_dataset`, e.g. ("nyu-mll/glue", "sst2")
    columns  the hub's column name for each name that the rows get
    label    column whose class index (or one a word) becomes the class's name; None: labels stay as they are
    raises   DataError: not found, no network, no such split or column, a row without a label (hidden ones are -1)
    """
    import datasets  # slow to import, and only needed here

    name = "/".join(source)
    try:
        data = datasets.load_dataset(*source, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).split("\n")[0][:120]
        raise DataError(
            f"data: got no split '{split}' of '{name}' from the Hugging Face hub ({reason}), must be "
            "a data set there and the network up; give a local folder with --data"
        ) from None
    missing = [c for c in columns.values() if c not in data.column_names]
    if missing or (label and label not in data.column_names):
        raise DataError(f"data: got columns {', '.join(data.column_names)} in '{name}', must have '{(missing or [label])[0]}'; set data.text and data.label")
    feature = data.features[label] if label else None
    classes = getattr(getattr(feature, "feature", feature), "names", None)  # of a list, that of its elements
    rows = []
    for number, item in enumerate(data):
        where = f"{name} {split}[{number}]"
        fields = {ours: item[theirs] for ours, theirs in columns.items()}
        if label:
            fields[label] = _named(where, item[label], classes) if classes else item[label]
        rows.append(Row(where, fields))
    return rows, classes and list(classes)


def _named(where: str, value: int | list[int], classes: Sequence[str]) -> str | list[str]:
    if isinstance(value, list):
        return [_named(where, each, classes) for each in value]
    if value is None or not 0 <= value < len(classes):
        raise DataError(
            f"{where}: got label {value}, must be 0 .. {len(classes) - 1} (-1 marks a row without a gold label); leave such rows out, "
            "or name another split with data.train or data.dev"
        )
    return classes[value]
