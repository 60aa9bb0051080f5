# SPDX-License-Identifier: Apache-2.0
"""Flip-flops of many readers in ECP5 netlists, each made again for a part of them: a reset, or the enable a product waits for, is then near what it is for.

A copy is in step with what it copies, so nothing that is computed changes, nor a cycle; Yosys would merge such registers if the RTL had them.
"""

from __future__ import annotations

import copy
import re
from collections import defaultdict

MOST = 64  # readers of one flip-flop


def spread(module: dict, most: int = MOST) -> int:
    """Copy flip-flops in one module of a netlist, flattened, changed in place, until none has more than `most` readers; returns how many copies there are."""
    cells, made = module["cells"], 0
    outside = {bit for port in module["ports"].values() for bit in port["bits"]}
    readers: dict[int, set[str]] = defaultdict(set)
    free = 0
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            for bit in bits:
                if isinstance(bit, int):
                    free = max(free, bit + 1)
                    if cell["port_directions"][port] == "input":
                        readers[bit].add(name)
    flops = [name for name, cell in cells.items() if cell["type"] == "TRELLIS_FF" and cell["connections"]["Q"]]
    for flop in flops:
        (output,) = cells[flop]["connections"]["Q"]
        names = sorted(readers[output] - {flop}, key=_place)
        if len(names) <= most or output in outside:
            continue
        parts = -(-len(names) // most)
        for part in range(1, parts):
            cells[f"{flop}$copy{part}"] = copied = copy.deepcopy(cells[flop])
            copied["connections"]["Q"] = [free]
            for name in names[part * len(names) // parts : (part + 1) * len(names) // parts]:
                wires = cells[name]["connections"]
                for port, bits in wires.items():
                    if cells[name]["port_directions"][port] == "input":
                        wires[port] = [free if bit == output else bit for bit in bits]
            free, made = free + 1, made + 1
    return made


def _place(name: str) -> list[str | int]:
    """Names in the order of their numbers, so that neighbours of an array stand side by side."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
