# SPDX-License-Identifier: Apache-2.0
"""How much memory an encoder needs, known before any of it is taken."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from bitloom.hw.errors import BitloomError
from bitloom.qat.net.shape import NetworkShape

FROZEN, TRAINED = 20, 12  # bytes a parameter, see `need`
CONTROL_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class ModelSizeError(BitloomError):
    """A model that does not fit this machine."""


def need(shape: NetworkShape, batch: int = 0) -> int:
    """Bytes that a training with batches of so many sentences takes at least; 0: no training, the graph alone.

    A parameter takes 20: the float model, the quantized one, its gradient and Adam's two moments, 4 each; or for the graph its float32, float64 and
    int64. In training one of the layers takes 12 more, for its code, its ratio to the scale and their product; and what layers keep for the gradient.
    """
    return FROZEN * shape.parameters() + (shape.kept(batch) + TRAINED * shape.layer_parameters() if batch else 0)


def machine(device: torch.device | None = None) -> int:
    """Bytes of memory that a program can have: of the GPU, or of the machine, less where a control group (a container) has a limit."""
    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in CONTROL_GROUPS:
        try:
            limits.append(int(path.read_text()))
        except (OSError, ValueError):  # no such file; 'max'
            continue
    return min(limits)


def require(shape: NetworkShape, batch: int = 0, device: torch.device | None = None) -> None:
    """Raise ModelSizeError where `need` is more than the machine has."""
    wanted, there = need(shape, batch), machine(device)
    if wanted > there:
        what = f"a training in batches of {batch}" if batch else "the integer graph"
        names = [*shape.smaller.split(", "), *(["training.batch_size"] if batch else [])]
        smaller = f"{', '.join(names[:-1])} or {names[-1]}"
        raise ModelSizeError(
            f"model: got a network of {shape.parameters():,} parameters, for which {what} takes at least {_gib(wanted)}, "
            f"must fit the {_gib(there)} of this machine; lower {smaller}, or take a larger machine"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
