# SPDX-License-Identifier: Apache-2.0
"""Flip-flops behind ECP5's hard blocks, taken into these; that the result computes the same is shown by tests/sim/test_netlist.py."""

import json

import pytest

from bitloom.hw.synth.registers import absorb

CLOCK, ENABLE, RESET = 2, 3, 4


def flop(d: int, q: int, enable: int | None = None, reset: int | str = "0", clock: int = CLOCK) -> dict:
    wires = {"CLK": [clock], "DI": [d], "Q": [q], "LSR": [reset]} | ({"CE": [enable]} if enable else {})
    return {
        "type": "TRELLIS_FF",
        "parameters": {"CLKMUX": "CLK", "CEMUX": "CE" if enable else "1 "},
        "port_directions": {port: "output" if port == "Q" else "input" for port in wires},
        "connections": wires,
    }


def block(kind: str, outputs: dict[str, int], wires: dict | None = None, **parameters: str) -> dict:
    wires = {port: [bit] for port, bit in ((wires or {}) | outputs).items()}
    directions = {port: "output" if port in outputs else "input" for port in wires}
    return {"type": kind, "parameters": parameters, "port_directions": directions, "connections": wires}


def multiplier() -> dict:
    return block("MULT18X18D", {"P0": 10, "P1": 11, "P2": 12}, {"A0": 5, "B0": 6})  # P2 goes nowhere


def memory(width: int = 18, regmode: str = "NOREG") -> dict:
    widths = {f"DATA_WIDTH_{side}": f"{width:032b}" for side in "AB"}
    return block("DP16KD", {"DOA0": 10, "DOA1": 11}, {"CLKA": CLOCK, "CLKB": CLOCK, "OCEA": "1"}, REGMODE_A=regmode, REGMODE_B="NOREG", **widths)


def absorbed(tmp_path, cells: dict, ports: tuple[int, ...] = ()) -> tuple[dict[str, int], dict]:
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps({"modules": {"top": {"ports": {"out": {"direction": "output", "bits": list(ports)}}, "cells": cells}}}))
    counts = absorb(path, "top")
    return counts, json.loads(path.read_text())["modules"]["top"]["cells"]


def test_the_register_behind_a_multiplier_becomes_its_own(tmp_path):
    counts, cells = absorbed(tmp_path, {"m": multiplier(), "f0": flop(10, 20), "f1": flop(11, 21)})
    assert counts == {"MULT18X18D": 1}
    assert cells["m"]["parameters"]["REG_OUTPUT_CLK"] == "CLK0"
    wires = cells["m"]["connections"]
    assert (wires["P0"], wires["P1"], wires["CLK0"], wires["CE0"], wires["RST0"]) == ([20], [21], [CLOCK], ["1"], ["0"])


@pytest.mark.parametrize(
    ("flops", "ports"),
    [
        ({"f0": flop(10, 20, enable=ENABLE), "f1": flop(11, 21, enable=ENABLE)}, ()),  # neighbours share enables
        ({"f0": flop(10, 20), "f1": flop(11, 21, reset=RESET)}, ()),
        ({"f0": flop(10, 20), "f1": flop(11, 21, clock=7)}, ()),
        ({"f0": flop(10, 20), "f1": flop(11, 21), "f2": flop(11, 22)}, ()),  # two readers
        ({"f0": flop(10, 20), "f1": flop(11, 21)}, (10,)),  # the product itself is needed
    ],
)
def test_other_registers_behind_a_multiplier_stay(tmp_path, flops, ports):
    before = {"m": multiplier()} | flops
    counts, cells = absorbed(tmp_path, before, ports)
    assert counts == {"MULT18X18D": 1, "TRELLIS_FF": len(flops)} and cells == before


def test_the_register_behind_a_block_ram_becomes_its_own_with_its_enable(tmp_path):
    counts, cells = absorbed(tmp_path, {"m": memory(), "f0": flop(10, 20, ENABLE), "f1": flop(11, 21, ENABLE)})
    assert counts == {"DP16KD": 1}
    assert (cells["m"]["parameters"]["REGMODE_A"], cells["m"]["parameters"]["REGMODE_B"]) == ("OUTREG", "NOREG")
    assert (cells["m"]["connections"]["OCEA"], cells["m"]["connections"]["DOA0"]) == ([ENABLE], [20])


@pytest.mark.parametrize(
    ("ram", "enables"),
    [(memory(), (ENABLE, None)), (memory(36), (ENABLE, ENABLE)), (memory(regmode="OUTREG"), (ENABLE, ENABLE))],
)
def test_other_registers_behind_a_block_ram_stay(tmp_path, ram, enables):
    before = {"m": ram, "f0": flop(10, 20, enables[0]), "f1": flop(11, 21, enables[1])}
    counts, cells = absorbed(tmp_path, before)
    assert counts["TRELLIS_FF"] == 2 and cells == before
