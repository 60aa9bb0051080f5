# SPDX-License-Identifier: Apache-2.0
"""The stand-in encoder of chain.sv: its build folder, graph and golden tensors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from bitloom.hw.graph import Graph, Node, Tensor
from bitloom.hw.hexfile import Hex
from bitloom.hw.instance import Layout
from bitloom.hw.plan.streams import Stream

HERE = Path(__file__).parent / "sim"
RTL = HERE.parents[1] / "hw" / "rtl"
FAULTS = {"none": 0, "value": 1, "lost": 2, "extra": 3, "last": 4, "unstable": 5, "dropped": 6, "hang": 7, "kept": 8, "endless": 9}


def tensors() -> dict[str, Tensor]:
    entries = (("embeddings.sum", 4, 10), ("double", 4, 11), ("logits", 2, 12))
    return {name: Tensor(name=name, shape=("T", channels), bits=bits, signed=True) for name, channels, bits in entries}


def graph() -> Graph:
    nodes = (
        Node(name="embeddings.sum", op="embed", inputs=("input_ids",)),
        Node(name="double", op="add", inputs=("embeddings.sum",)),
        Node(name="logits", op="linear", inputs=("double",)),
    )
    return Graph(name="chain", nodes=nodes, tensors=tensors(), params={}, inputs=("input_ids",), outputs=("logits",))


def write_build(folder: Path, fault: str = "none", beat: int = 0) -> Path:
    """A build folder as the generator lays it out; the hardware makes one mistake, or none."""
    (folder / "rtl").mkdir(parents=True, exist_ok=True)
    for source in (RTL / "fifo.sv", RTL / "stream_fork.sv", HERE / "faulty.sv"):
        shutil.copy(source, folder / "rtl")
    shutil.copy(HERE / "chain.sv", folder / "encoder.sv")
    Hex.pack([[FAULTS[fault]], [beat]], 16).write(folder / "fault.hex")
    lanes = {"embeddings.sum": 2, "double": 2, "logits": 1}
    ports = {"embeddings.sum": "s_axis", "logits": "m_axis"}
    streams = [
        Stream(
            tensor=t.name,
            wire=t.name.replace(".", "_"),
            lanes=lanes[t.name],
            bits=t.bits,
            signed=True,
            kind=t.kind,
            layout=Layout(channels=t.channels),
            port=ports.get(t.name, ""),
        ).as_dict()
        for t in tensors().values()
    ]
    (folder / "streams.json").write_text(json.dumps(streams))
    return folder


def sentences(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-512, 512, size=(n, 4)) for n in lengths]


def golden(embedded: list[np.ndarray]) -> dict[str, np.ndarray]:
    x = np.concatenate(embedded)
    return {"embeddings.sum": x, "double": 2 * x, "logits": (2 * x).reshape(len(x), 2, 2).sum(axis=2)}
