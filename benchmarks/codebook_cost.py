# SPDX-License-Identifier: Apache-2.0
"""What one layer takes of an ECP5, synthesized by Yosys, by how its weights are coded.

python -m benchmarks.codebook_cost [--inputs 128 --outputs 128 --pe 8 --simd 16] [--out DIR]
Random weights; 8-bit activations; codebooks of 8-bit values.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from bitloom.hw.emit import RTL
from bitloom.hw.graph import Graph, GraphBuilder, Tensor
from bitloom.hw.graph_file import check
from bitloom.hw.hexfile import Hex
from bitloom.hw.instance import Fold
from bitloom.hw.ops import OPS, linear
from bitloom.hw.synth.families import FAMILIES, count
from bitloom.hw.synth.registers import absorb_module
from bitloom.hw.synth.tools import run

BITS = 8
# Bits of the weights, of an index (0: no codebook), whether each channel has its own
CODINGS = {"dyadic, 8 bits": (8, 0, 0), "dyadic, 4 bits": (4, 0, 0), "k-means, 4 bits": (8, 4, 0), "k-means, 2 bits": (8, 2, 0), "dyadic, 1 bit": (1, 0, 0),
           "two values": (8, 1, 0), "two values a channel": (8, 1, 1)}  # fmt: skip


def layer(inputs: int, outputs: int, bits: int, index: int, each: int) -> Graph:
    """A graph of one layer with random weights."""
    rng, shape = np.random.default_rng(1), (outputs, inputs)
    low, high = linear.weight_range(bits)
    book = np.sort(rng.integers(low, high + 1, (outputs if each else 1, 1 << index))) if index else None
    if book is None:
        weight = rng.choice([-1, 1], shape) if bits == 1 else rng.integers(low + 1, high + 1, shape)
    else:
        weight = np.take_along_axis(np.broadcast_to(book, (outputs, 1 << index)), rng.integers(0, 1 << index, shape), axis=1)
    b = GraphBuilder(64)
    b.tensors["x"] = x = Tensor(name="x", shape=("T", inputs), bits=BITS, signed=True)
    out = linear.append(b, "y", x, weight, rng.integers(-500, 500, outputs), bits, book)
    return check(Graph(name="layer", nodes=tuple(b.nodes), tensors=b.tensors, params=b.params, inputs=("x",), outputs=(out.name,)))


def synthesized(graph: Graph, fold: Fold, folder: Path) -> dict:
    """lut, ff, dsp and block_ram of its unit."""
    folder.mkdir(parents=True, exist_ok=True)
    (node,) = graph.nodes
    made, family = OPS[node.op].rtl(graph, node, fold), FAMILIES["ecp5"]
    sets = []
    for key, value in made.params.items():
        if isinstance(value, Hex):
            value.write(folder / f"{key}.hex")
            value = f"{key}.hex"
        sets.append(f'-set {key} "{value}"' if isinstance(value, str) else f"-set {key} {value}")
    for source in RTL.glob("*.sv"):
        shutil.copy(source, folder)
    files = " ".join(sorted(source.name for source in RTL.glob("*.sv")))
    lines = [f"read_verilog -sv {files}", f"chparam {' '.join(sets)} {made.module}", family.synth.format(top=made.module), "write_json netlist.json"]
    (folder / "synth.ys").write_text("\n".join(lines) + "\n")
    run("yosys", ["synth.ys"], folder, makes=["netlist.json"])
    modules = json.loads((folder / "netlist.json").read_text())["modules"]
    (module,) = (m for m in modules.values() if int(m["attributes"].get("top", "0"), 2))
    absorb_module(module)
    cells: dict[str, int] = {}
    for cell in module["cells"].values():
        cells[cell["type"]] = cells.get(cell["type"], 0) + 1
    return count(cells, family)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("inputs", 128), ("outputs", 128), ("pe", 8), ("simd", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, default=Path("runs/codebook-cost"))
    a = parser.parse_args()
    print(f"| {a.inputs} x {a.outputs}, PE {a.pe}, SIMD {a.simd} | LUT4 | FF | MULT18X18D | DP16KD |\n| --- | --- | --- | --- | --- |")
    for name, coding in CODINGS.items():
        got = synthesized(layer(a.inputs, a.outputs, *coding), Fold(pe=a.pe, simd=a.simd), a.out / name.replace(" ", "-").replace(",", ""))
        print(f"| {name} | {got['lut']:,} | {got['ff']:,} | {got['dsp']} | {got['block_ram'].get('DP16KD', 0)} |", flush=True)


if __name__ == "__main__":
    main()
