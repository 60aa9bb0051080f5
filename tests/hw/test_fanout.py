# SPDX-License-Identifier: Apache-2.0
"""Flip-flops of many readers, made again for parts of them in ECP5 netlists."""

from collections import Counter
from copy import deepcopy

from bitloom.hw.synth.fanout import spread

RESET, SOURCE, PIN = 2, 3, 4


def cell(kind: str, output: str, **wires: int) -> dict:
    directions = {port: "output" if port == output else "input" for port in wires}
    return {"type": kind, "parameters": {"GSR": "DISABLED"}, "port_directions": directions, "connections": {port: [bit] for port, bit in wires.items()}}


def netlist(flops: int) -> dict:
    """A reset's register, so many flip-flops that it resets, each with a table in front that reads it too, and a register that is a pin as well."""
    cells = {"reset_q": cell("TRELLIS_FF", "Q", DI=SOURCE, Q=RESET), "pin_q": cell("TRELLIS_FF", "Q", DI=RESET, Q=PIN)}
    for i in range(flops):
        cells[f"row_q[{i}]"] = cell("TRELLIS_FF", "Q", LSR=RESET, DI=2000 + i, Q=1000 + i)
        cells[f"held[{i}]"] = cell("LUT4", "Z", A=RESET, B=PIN, Z=2000 + i)
    return {"cells": cells, "ports": {"led": {"direction": "output", "bits": [PIN]}}}


def readers(module: dict, bit: int) -> list[str]:
    return [
        name for name, c in module["cells"].items() if any(c["port_directions"][port] == "input" and bit in bits for port, bits in c["connections"].items())
    ]


def test_every_reader_of_a_register_keeps_its_function():
    module, before = netlist(300), netlist(300)
    assert spread(module, 100) == 6  # 601 readers; what is a pin stays one
    copies = {c["connections"]["Q"][0]: name for name, c in module["cells"].items() if name.startswith("reset_q")}
    assert len(copies) == 7 and len(set(copies) - {RESET}) == 6
    assert not (set(copies) - {RESET}) & {bit for c in before["cells"].values() for bits in c["connections"].values() for bit in bits}
    for name in copies.values():
        own = deepcopy(module["cells"][name])
        own["connections"]["Q"] = [RESET]
        assert own == before["cells"]["reset_q"]
    counts = Counter({bit: len(readers(module, bit)) for bit in copies})
    assert max(counts.values()) <= 100 and counts.total() == 601
    for name, c in before["cells"].items():  # all else is as it was
        for port, (bit,) in c["connections"].items():
            now = module["cells"][name]["connections"][port][0]
            assert now in copies if bit == RESET else now == bit, (name, port)


def test_registers_of_few_readers_stay():
    module = netlist(40)
    assert spread(module, 100) == 0 and module == netlist(40)
