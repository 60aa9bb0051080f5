# SPDX-License-Identifier: Apache-2.0
"""How much memory an encoder needs, known before any of it is taken."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from bitloom.hw.errors import BitloomError
from bitloom.qat.net.shape import EncoderShape

FROZEN, TRAINED = 20, 12  # bytes a parameter, see `need`
CONTROL_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class ModelSizeError(BitloomError):
    """A model that does not fit this machine."""


def layer_parameters(shape: EncoderShape) -> int:
    """Weights and biases of all layers."""
    count = 0
    for layer in shape.layers:
        ranks = dict(layer.ranks)
        for name, (inputs, outputs) in layer.matrices(shape.hidden).items():
            count += (inputs + outputs + 1) * ranks[name] if name in ranks else inputs * outputs
            count += outputs
        count += 4 * shape.hidden  # two LayerNorms
    return count


def parameters(shape: EncoderShape) -> int:
    """All of them, the tables and the head too."""
    hidden, width = shape.hidden, shape.embedding or shape.hidden
    tables = (shape.vocabulary + shape.positions + shape.segments + 2) * width + (0 if width == hidden else (width + 1) * hidden)
    pooler = (hidden + 1) * hidden if shape.head == "sequence" and shape.pooler else 0
    heads = len(shape.layers) if shape.exits else 1
    return tables + layer_parameters(shape) + pooler + heads * (hidden + 1) * shape.labels


def need(shape: EncoderShape, batch: int = 0) -> int:
    """Bytes that a training with batches of so many sentences takes at least; 0: no training, the graph alone.

    A parameter takes 20: the float model, the quantized one, its gradient and Adam's two moments, 4 each; or for the graph its float32, float64 and
    int64. In training one of the layers takes 12 more, for its code, its ratio to the scale and their product. What a layer keeps for the gradient of
    a batch of B sentences of T tokens, measured: 4 B (T (28 H + 3 I) + 3 h T**2), h heads, H hidden, I intermediate.
    """
    kept, tokens = 0, shape.max_tokens
    for layer in shape.layers if batch else ():
        kept += 4 * batch * (tokens * (28 * shape.hidden + 3 * layer.intermediate) + 3 * layer.heads * tokens**2)
    return FROZEN * parameters(shape) + kept + (TRAINED * layer_parameters(shape) if batch else 0)


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


def require(shape: EncoderShape, batch: int = 0, device: torch.device | None = None) -> None:
    """Raise ModelSizeError where `need` is more than the machine has."""
    wanted, there = need(shape, batch), machine(device)
    if wanted > there:
        what = f"a training in batches of {batch}" if batch else "the integer graph"
        smaller = "model.layers, hidden, intermediate or training.batch_size" if batch else "model.layers, hidden or intermediate"
        raise ModelSizeError(
            f"model: got an encoder of {parameters(shape):,} parameters, for which {what} takes at least {_gib(wanted)}, "
            f"must fit the {_gib(there)} of this machine; lower {smaller}, or take a larger machine"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
