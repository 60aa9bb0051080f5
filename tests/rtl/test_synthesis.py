# SPDX-License-Identifier: Apache-2.0
"""What Yosys makes of the RTL library: multipliers as hw/cost/multipliers.py says, block RAM where memories are deep."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from encoders import random_encoder
from yosys import run_yosys

from bitloom.hw.board import Board
from bitloom.hw.cost.memories import DISTRIBUTED, ULTRA, Memory, map_memory
from bitloom.hw.cost.multipliers import dsps, multiplier_style
from bitloom.hw.cost.resources import MODULES
from bitloom.hw.hexfile import Hex
from bitloom.hw.instance import Fold, Instance
from bitloom.hw.ops import OPS
from bitloom.hw.parts import blocks, ring, tiles

RTL = Path(__file__).parents[2] / "hw" / "rtl"
# Family: how Yosys synthesizes for it, the label behind its multipliers and the one behind its memories, the multipliers' cells and what each
# counts, the block RAMs' cells
FAMILIES = {
    "ecp5": ("synth_ecp5 -noabc9", "map_ram", "map_ffs", {"MULT18X18D": 1}, r"DP16KD"),
    "gw2a": ("synth_gowin -family gw2a -noabc9", "map_ram", "map_ffs", {"MULT9X9": 0.5, "MULT18X18": 1}, r"(S?DP|p?ROM|SP)X?9?B?"),
    "artix-7": ("synth_xilinx -family xc7 -flatten", "coarse", "map_ffram", {"DSP48E1": 1}, r"RAMB(18|36)E1"),
    "virtex-ultrascale+": ("synth_xilinx -family xcup -flatten", "coarse", "map_ffram", {"DSP48E2": 1}, r"RAMB(18|36)E2"),
    "ice40up": ("synth_ice40 -device u -dsp -noabc9", "map_ram", "map_ffs", {"SB_MAC16": 1}, r"SB_RAM40_4K"),
}
QUICK_AND_SLOW = [pytest.param(f, marks=() if f == "ecp5" else pytest.mark.slow) for f in FAMILIES]


def literal(value) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def synthesize(family: str, units: dict[str, Instance], folder: Path, memories: bool = False, more: str = "") -> dict[str, dict[str, int]]:
    """Cells of each unit, by type: {unit: {cell: count}}; as far as its multipliers, or its memories too."""
    command, multipliers, behind, *_ = FAMILIES[family]
    for source in RTL.glob("*.sv"):
        shutil.copy(source, folder)
    script = [f"read_verilog -sv {' '.join(sorted(s.name for s in RTL.glob('*.sv')))}"]
    for name, made in units.items():
        params = {}
        for key, value in made.params.items():
            if isinstance(value, Hex):
                params[key] = f"{name}.{key}.hex"
                value.write(folder / params[key])
            else:
                params[key] = value
        sets = " ".join(f"-set {k} {literal(v)}" for k, v in params.items())
        script += [
            "design -push-copy",
            f"chparam {sets} {made.module}",
            f"{command} {more} -run begin:{behind if memories else multipliers} -top {made.module}",
            f"tee -q -o {name}.json stat -json",
            "design -pop",
        ]
    (folder / "synth.ys").write_text("\n".join(script) + "\n")
    done = run_yosys(folder, "-q", "synth.ys")
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return {name: json.loads((folder / f"{name}.json").read_text())["design"]["num_cells_by_type"] for name in units}


def counted(family: str, cells: dict[str, int]) -> float:
    return sum(cells.get(cell, 0) * each for cell, each in FAMILIES[family][3].items())


def operators(family: str) -> dict[str, Instance]:
    """One of each operator with products, of several shapes; styles as the rule says for the family."""
    graph = random_encoder(3, layers=1, hidden=24, heads=2, intermediate=48, max_tokens=16, residual_bits=(12,))
    uneven = random_encoder(3, layers=1, hidden=20, heads=2, intermediate=48, max_tokens=16, residual_bits=(16,))
    low = random_encoder(5, layers=1, hidden=24, heads=2, intermediate=48, max_tokens=16, weight_bits=(4,), act_bits=(4,))
    low = replace(low, params={key: value.clip(-7) if key.endswith(".weight") else value for key, value in low.params.items()})  # four rows fit 25 bits
    wide = random_encoder(4, layers=1, hidden=32, heads=2, intermediate=64, max_tokens=16, weight_bits=(8,), act_bits=(4,))

    shape = dict(layers=1, hidden=32, heads=2, intermediate=64, max_tokens=16, weight_bits=(8,))
    coded = {"linear_two": (4, 1), "linear_two_each": (1, 1), "linear_codebook": (4, 3)}  # seed, bits of an index

    def made(source, name: str, **fold: int) -> Instance:
        op, node = OPS[source.node(name).op], source.node(name)
        style = multiplier_style(op.multiplies(source, node), family, fold.get("pe", 1)) if op.multiplies else None
        return op.rtl(source, node, Fold(**fold, multiplier=style))

    return {
        "linear": made(graph, "layer.0.query.acc", pe=4, simd=3),
        "linear_odd": made(graph, "layer.0.ffn.up.acc", pe=3, simd=2),
        "linear_low": made(low, "layer.0.query.acc", pe=8, simd=2),
        "linear_alone": made(graph, "pooler.acc"),
        "linear_wide": made(wide, "layer.0.query.acc", pe=2, simd=2),
        "requant": made(graph, "layer.0.query"),
        "scores": made(graph, "layer.0.scores.acc", simd=2),
        "softmax": made(graph, "layer.0.probs"),
        "context": made(graph, "layer.0.context.acc", pe=4),
        "add": made(graph, "layer.0.attention.sum"),
        "layernorm": made(graph, "layer.0.attention.norm"),
        "layernorm_32": made(wide, "layer.0.attention.norm"),
        "layernorm_20": made(uneven, "layer.0.attention.norm"),
        "scores_4": made(wide, "layer.0.scores.acc", simd=4),
        **{
            name: made(random_encoder(seed, **shape, index_bits=(bits,)), "layer.0.ffn.up.acc", pe=4, simd=2, lanes_out=2)
            for name, (seed, bits) in coded.items()
        },
    } | {
        f"requant_{bits}": Instance(module="requant", params={"C": 2, "LANES": 2, "IN_W": bits, "MULT_W": 16, "PER_CHANNEL": 0, "MULT": 54321, "SHIFT": 20})
        for bits in (18, 22, 23)
    }


@pytest.mark.parametrize("family", QUICK_AND_SLOW)
def test_multipliers_are_as_the_mapping_says(family, tmp_path):
    units = operators(family)
    cells = synthesize(family, units, tmp_path)
    got = {name: math.ceil(counted(family, cells[name])) for name in units}
    said = {name: dsps(MODULES[made.module].products(made.params), family) for name, made in units.items()}
    if family == "ice40up":  # its 16 x 16 bits cut wide products, of which Yosys leaves narrow pieces to LUTs
        assert sum(got.values()) > 0 and all(got[name] <= said[name] for name in units), (got, said)
    else:
        assert got == said


def fifo(width: int, depth: int) -> Instance:
    return Instance(module="fifo", params={"WIDTH": width, "DEPTH": depth})


@pytest.mark.parametrize("family", [p for p in QUICK_AND_SLOW if p.values[0] != "virtex-ultrascale+"])
def test_deep_memories_are_block_ram_and_shallow_ones_are_not(family, tmp_path):
    """A FIFO of a sentence and one of two beats; a sentence's keys and a token; a deep weight memory."""
    graph = random_encoder(5, layers=1, hidden=64, heads=1, intermediate=64, max_tokens=16)
    layer, keys = graph.node("layer.0.query.acc"), graph.node("layer.0.scores.acc")
    units = {
        "fifo_deep": fifo(8, 1500),
        "fifo_shallow": fifo(8, 2),
        "keys": OPS["scores"].rtl(graph, keys, Fold()),
        "weights": OPS["linear"].rtl(graph, layer, Fold(pe=2, multiplier="lut")),
    }
    cells = synthesize(family, units, tmp_path, memories=True)
    blocks = {name: sum(n for cell, n in cells[name].items() if re.fullmatch(FAMILIES[family][4], cell)) for name in units}
    assert blocks["fifo_deep"] > 0 and blocks["fifo_shallow"] == 0 and blocks["keys"] > 0 and blocks["weights"] > 0, blocks


@pytest.mark.slow
def test_moved_memories_are_mapped_as_planned(tmp_path):
    """Yosys's UltraRAM and LUT RAM of UltraScale+: as many of each primitive as hw/cost/memories.py says; nothing else is moved."""
    board, ultra = Board.load("kv260"), {"RAM_STYLE": ULTRA}
    units = {
        "fifo": Instance(module="fifo", params={"WIDTH": 8, "DEPTH": 70_000} | ultra),
        "keys": Instance(module="ring", params={"LANES": 1, "WORD": 32, "W": 8, "DEPTH": 3072} | ultra),
        "unfold": Instance(module="unfold", params={"C": 96, "TOKENS": 100, "LANES": 1, "W": 10, "FOLD": 8} | ultra),
        "block": Instance(module="blocks", params={"K": 3072, "TOKENS": 32, "LANES": 1, "WORD": 16, "W": 8, "FOLD": 24} | ultra),
        "tiles": Instance(module="tiles", params={"WIDTH": 256, "STEPS": 32, "DATA_W": 256, "RAM_STYLE": DISTRIBUTED}),
    }
    said = {name: sum(map_memory(m, board).ultra for m in memories_of(made)) for name, made in units.items()}
    cells = synthesize("virtex-ultrascale+", units, tmp_path, memories=True, more="-uram")
    assert {name: cells[name].get("URAM288", 0) for name in units} == said
    assert said == {"fifo": 3, "keys": 8, "unfold": 2, "block": 6, "tiles": 0}
    tables = map_memory(tiles.memories(256, 32, 256, DISTRIBUTED)[0], board).tables
    assert 8 * cells["tiles"]["RAM64M8"] == tables and not any(re.fullmatch("RAMB.*", cell) for name in units for cell in cells[name])


def memories_of(made: Instance) -> list[Memory]:
    """Also of parts that are inside of operators."""
    p = made.params
    if made.module == "ring":
        return [ring.memory(p, "ring", p["W"], p["WORD"], p["DEPTH"])]
    if made.module == "blocks":
        return blocks.memories(p, p["LANES"] * p["W"], p["WORD"] // p["LANES"], 2 * p["TOKENS"] * p["K"] // p["WORD"])
    return tiles.memories(p["WIDTH"], p["STEPS"], p["DATA_W"]) if made.module == "tiles" else MODULES[made.module].memories(p)
