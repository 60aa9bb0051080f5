# SPDX-License-Identifier: Apache-2.0
"""Enables of many flip-flops, made again for parts of them in ECP5 netlists."""

from collections import Counter

from bitloom.hw.synth.fanout import spread

READY, VALID, ENABLE, OTHER = 2, 3, 4, 5


def cell(kind: str, output: str, **wires: int) -> dict:
    directions = {port: "output" if port == output else "input" for port in wires}
    return {"type": kind, "parameters": {"INIT": "1110"}, "port_directions": directions, "connections": {port: [bit] for port, bit in wires.items()}}


def netlist(flops: int) -> dict:
    """So many flip-flops behind one enable, each with a table in front that looks at it too, and a block RAM; the enable of few others."""
    cells = {"enable": cell("LUT4", "Z", A=READY, B=VALID, Z=ENABLE), "other": cell("LUT4", "Z", A=READY, Z=OTHER)}
    for i in range(flops):
        cells[f"row_q[{i}]"] = cell("TRELLIS_FF", "Q", CE=ENABLE, DI=2000 + i, Q=1000 + i)
        cells[f"held[{i}]"] = cell("LUT4", "Z", A=ENABLE, B=1000 + i, Z=2000 + i)
    cells["few_q"] = cell("TRELLIS_FF", "Q", CE=OTHER, DI=6, Q=7)
    cells["ram"] = cell("DP16KD", "DOA0", CEA=ENABLE, OCEA=ENABLE, DOA0=8)
    return {"cells": cells}


def readers(module: dict, bit: int) -> list[str]:
    return [
        name for name, c in module["cells"].items() if any(c["port_directions"][port] == "input" and bit in bits for port, bits in c["connections"].items())
    ]


def test_every_reader_of_an_enable_keeps_its_function():
    module, before = netlist(300), netlist(300)
    assert spread(module, 100) == 6  # 601 readers
    tables = {c["connections"]["Z"][0]: name for name, c in module["cells"].items() if name.startswith("enable")}
    assert len(tables) == 7 and max(tables) > max(bit for c in before["cells"].values() for (bit,) in c["connections"].values())
    for name in tables.values():
        assert module["cells"][name] | {"connections": {}} == before["cells"]["enable"] | {"connections": {}}
        assert [module["cells"][name]["connections"][port] for port in "AB"] == [[READY], [VALID]]
    counts = Counter({bit: len(readers(module, bit)) for bit in tables})
    assert max(counts.values()) <= 100 and counts.total() == 601
    for name, c in before["cells"].items():  # all else is as it was
        for port, (bit,) in c["connections"].items():
            now = module["cells"][name]["connections"][port][0]
            assert now in tables if bit == ENABLE else now == bit, (name, port)
    near = readers(module, ENABLE)
    assert {f"row_q[{i}]" for i in range(300)}.isdisjoint(near) or {f"held[{i}]" for i in range(300)}.isdisjoint(near)  # neighbours by name


def test_enables_of_few_stay():
    module = netlist(100)
    assert spread(module, 100) == 0 and module == netlist(100)
