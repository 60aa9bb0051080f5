# SPDX-License-Identifier: Apache-2.0
"""Registers that the hard blocks of an ECP5 have and Yosys leaves unused: behind a multiplier, and behind a block RAM.

Such a register costs no flip-flop, and the way from the block to what reads it has a whole cycle. The flip-flops are taken out of Yosys's JSON netlist:
- MULT18X18D: all of its products' flip-flops, without enable and reset (hw/rtl/product_reg.sv). Enables are no choice there: the two multipliers
  of a slice share their enable inputs, and the placer does not know.
- DP16KD: all flip-flops of a port, with the port's clock, one enable and no reset.
Cells and parameters: Lattice FPGA-TN-02205 (sysDSP), FPGA-TN-02204 (memory).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bitloom.hw.synth.fanout import spread

Bit = int | str  # a net's number, or a constant
BLOCKS = ("MULT18X18D", "DP16KD")


@dataclass(frozen=True)
class Flop:
    """A TRELLIS_FF without reset; `enable`: its net, or '1'."""

    name: str
    clock: Bit
    enable: Bit
    d: Bit
    q: Bit


def absorb(path: Path, top: str) -> dict[str, int]:
    """Take the flip-flops behind multipliers and block RAMs into these, then copy registers of many readers (fanout.py), in a netlist file; its
    cells afterwards, {type: how many}.

    path  as `write_json` writes it, of ECP5 cells, `top` flattened; changed in place
    """
    netlist = json.loads(path.read_text())
    module = netlist["modules"][top]
    absorb_module(module)
    spread(module)
    path.write_text(json.dumps(netlist))
    return dict(Counter(cell["type"] for cell in module["cells"].values() if cell["type"] != "$scopeinfo"))


def absorb_module(module: dict) -> dict[str, int]:
    """The same for one module of a netlist, changed in place; registers now used {type of block: how many}."""
    cells, used = module["cells"], dict.fromkeys(BLOCKS, 0)
    readers: dict[Bit, list[tuple[str, str]]] = defaultdict(list)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] != "output":
                for bit in bits:
                    readers[bit].append((name, port))
    for port in module["ports"].values():
        for bit in port["bits"]:
            readers[bit].append(("", ""))
    flops = {name: flop for name, cell in cells.items() if (flop := _flop(name, cell)) is not None}
    for cell in [c for c in cells.values() if c["type"] in BLOCKS]:
        for outputs, free in _ports(cell):
            found = _behind(cell, outputs, readers, flops)
            if found and (not free or all(flop.enable == "1" for flop in found.values())):
                _take(cell, found, cells, outputs)
                used[cell["type"]] += 1
    return used


def _flop(name: str, cell: dict) -> Flop | None:
    wires = {port: bits[0] for port, bits in cell["connections"].items() if bits}
    if cell["type"] != "TRELLIS_FF" or wires.get("LSR", "0") != "0" or cell["parameters"].get("CLKMUX") != "CLK":
        return None
    mux = cell["parameters"].get("CEMUX", "CE").strip()
    if mux not in ("1", "CE"):
        return None
    return Flop(name=name, clock=wires["CLK"], enable="1" if mux == "1" else wires["CE"], d=wires["DI"], q=wires["Q"])


def _ports(cell: dict) -> Iterator[tuple[str, bool]]:
    """The groups of outputs that have a register each, by prefix; and whether only an enable that is always on will do."""
    if cell["type"] == "MULT18X18D":
        yield "P", True
    else:
        wide = int(cell["parameters"]["DATA_WIDTH_B"], 2) == 36  # a word of port B leaves on both
        if not wide and cell["parameters"]["REGMODE_A"] == "NOREG":
            yield "DOA", False
        if not wide and cell["parameters"]["REGMODE_B"] == "NOREG":
            yield "DOB", False


def _behind(cell: dict, prefix: str, readers: dict[Bit, list[tuple[str, str]]], flops: dict[str, Flop]) -> dict[str, Flop] | None:
    """The flip-flop behind each used output; None if one has another reader, or they differ in clock or enable."""
    found = {}
    for port, bits in cell["connections"].items():
        if not port.startswith(prefix) or not port[len(prefix) :].isdigit() or not bits or not (users := readers[bits[0]]):
            continue
        if len(users) > 1 or users[0][1] != "DI" or users[0][0] not in flops:
            return None
        found[port] = flops[users[0][0]]
    same = {(flop.clock, flop.enable) for flop in found.values()}
    clock = {"P": None, "DOA": "CLKA", "DOB": "CLKB"}[prefix]
    if len(same) != 1 or (clock and cell["connections"][clock][0] != next(iter(same))[0]):
        return None
    return found


def _take(cell: dict, found: dict[str, Flop], cells: dict, prefix: str) -> None:
    """Switch the block's register on, in the place of the flip-flops."""
    some = next(iter(found.values()))
    if prefix == "P":
        cell["parameters"] |= {"REG_OUTPUT_CLK": "CLK0", "REG_OUTPUT_CE": "CE0", "REG_OUTPUT_RST": "RST0"}
        wires = {"CLK0": some.clock, "CE0": "1", "RST0": "0"}
    else:
        side = prefix[-1]
        cell["parameters"][f"REGMODE_{side}"] = "OUTREG"
        wires = {f"OCE{side}": some.enable}
    for port, bit in wires.items():
        cell["connections"][port] = [bit]
        cell["port_directions"][port] = "input"
    for port, flop in found.items():
        cell["connections"][port] = [flop.q]
        del cells[flop.name]
