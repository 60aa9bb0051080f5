# SPDX-License-Identifier: Apache-2.0
"""A classifier's logits in the order of the data set's labels: by name, never by place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from bitloom.qat.quantizers import QuantError


@torch.no_grad()
def order_by_name(logits: nn.Module, theirs: Sequence[str], ours: Sequence[str], where: str) -> list[str]:
    """Put the rows of a checkpoint's last layer into the order of the data set's labels; what was done is told.

    logits  the layer: weight [labels, inputs], bias [labels]
    theirs  the checkpoint's names of its rows; `LABEL_0` or `0` say nothing
    ours    the data set's, in the order that its class indices have; numbers from 0 stand for the checkpoint's rows
    Raises QuantError: other names.
    """
    key = lambda name: str(name).strip().casefold()  # noqa: E731
    rows, wanted = [key(name) for name in theirs], [key(name) for name in ours]
    if rows == wanted:
        return []
    numbers = [str(i) for i in range(len(ours))]
    if rows in (numbers, [f"label_{i}" for i in numbers]):
        return [f"checkpoint {where}: its labels have no names: logits 0 to {len(ours) - 1} are taken as {', '.join(ours)}"]
    if sorted(wanted) == sorted(numbers):
        order, rows = [int(name) for name in wanted], numbers
        told = f"checkpoint {where}: the data set's labels are numbers: {', '.join(f'{i} is {theirs[i]}' for i in range(len(ours)))}"
    elif sorted(rows) == sorted(wanted):
        order = [rows.index(name) for name in wanted]
        told = f"checkpoint {where}: its labels, {', '.join(theirs)}, are put into the data set's order, {', '.join(ours)}"
    else:
        raise QuantError(
            f"checkpoint: {where}: got labels {', '.join(theirs)}, must be the data set's ({', '.join(ours)}), in any order; correct id2label in its "
            "config.json or the data's labels, or remove the classifier's weights to train a new one"
        )
    logits.weight.copy_(logits.weight[order])
    if logits.bias is not None:
        logits.bias.copy_(logits.bias[order])
    return [told]
