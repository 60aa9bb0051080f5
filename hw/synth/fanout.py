# SPDX-License-Identifier: Apache-2.0
"""Enables of many ECP5 flip-flops, each made again for a part of them: a lookup table that thousands wait for stands near few of them.

A pipeline that stalls as a whole has one enable: a lookup table of two registers. In the netlist that Yosys wrote, the table is copied for each `MOST`
cells, neighbours by name, so that what is far from the registers is one wire to each copy, and what is behind a copy is near it. Cells compute what
they did. Yosys would merge such copies if the RTL had them.
"""

from __future__ import annotations

import copy
import re
from collections import Counter

MOST = 128  # cells for one lookup table


def spread(module: dict, most: int = MOST) -> int:
    """Copy the lookup tables of enables in one module of a netlist, flattened, changed in place; returns how many copies there are."""
    cells, made = module["cells"], 0
    tables = {cell["connections"]["Z"][0]: name for name, cell in cells.items() if cell["type"] == "LUT4"}
    enables = Counter(cell["connections"].get("CE", [None])[0] for cell in cells.values() if cell["type"] == "TRELLIS_FF")
    readers: dict[int, list[str]] = {enable: [] for enable, count in enables.items() if enable in tables and count > most}
    free = 0
    for name, cell in cells.items():
        found = {bit for bits in cell["connections"].values() for bit in bits if isinstance(bit, int)}
        free = max(free, 1 + max(found, default=0))
        for enable in found & readers.keys():
            if name != tables[enable]:
                readers[enable].append(name)
    for enable, names in sorted(readers.items()):
        names.sort(key=_place)
        parts = -(-len(names) // most)
        for part in range(1, parts):
            copied = copy.deepcopy(cells[tables[enable]])
            copied["connections"]["Z"] = [free]
            cells[f"{tables[enable]}$copy{part}"] = copied
            for name in names[part * len(names) // parts : (part + 1) * len(names) // parts]:
                wires = cells[name]["connections"]
                for port, bits in wires.items():
                    wires[port] = [free if bit == enable else bit for bit in bits]
            free, made = free + 1, made + 1
    return made


def _place(name: str) -> list[str | int]:
    """Names in the order of their numbers, so that neighbours of an array stand side by side."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
