# SPDX-License-Identifier: Apache-2.0
"""Memories outside of block RAM: what they take of UltraRAM and of LUT RAM, and which are moved there."""

from dataclasses import replace

import pytest
from encoders import random_encoder

from bitloom.hw.board import Board
from bitloom.hw.cost.memories import DISTRIBUTED, ULTRA, Memory, map_memory
from bitloom.hw.cost.resources import MODULES, Estimator, estimate
from bitloom.hw.emit import emit
from bitloom.hw.instance import Instance
from bitloom.hw.parts import fifo, unfold
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.fit import Fitter
from bitloom.hw.plan.folding import Folding, FoldingError
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.hw.plan.table import plan
from bitloom.hw.synth import synthesize
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.untrained import untrained_graph
from bitloom.qat.networks import ModelConfig
from bitloom.sim.runner import cache_dir

KV260 = Board.load("kv260")


@pytest.fixture(scope="module")
def graph():
    return random_encoder(11, layers=1, hidden=32, heads=2, intermediate=64, max_tokens=400, weight_bits=(4,), act_bits=(8,))


def board(blocks: int, ultra: int) -> Board:
    """A KV260 with so many block RAMs and UltraRAMs."""
    counts = zip(KV260.resources.block_ram, (blocks, ultra), strict=True)
    rams = tuple(ram.model_copy(update={"count": count}) for ram, count in counts if count)
    return KV260.model_copy(update={"external_memory": None, "resources": KV260.resources.model_copy(update={"block_ram": rams})})


@pytest.mark.parametrize(
    ("width", "depth", "ultra"),
    [(72, 4096, 1), (72, 4097, 2), (73, 4096, 2), (1, 4096, 1), (8, 49152, 12), (256, 6144, 8), (128, 12288, 6), (144, 12288, 6), (9, 1, 1)],
)
def test_an_ultraram_is_4096_words_of_72_bits(width, depth, ultra):
    """UG573: one shape for all, so words beside each other, 72 bits a block, and rows of 4096."""
    mapped = map_memory(Memory("m", width, depth, style=ULTRA), KV260)
    assert (mapped.ultra, mapped.blocks, mapped.lut_ram) == (ultra, 0, 0)


@pytest.mark.parametrize(("width", "depth", "tables"), [(7, 64, 8), (8, 64, 16), (14, 32, 16), (256, 64, 296), (7, 65, 23), (7, 256, 39), (7, 257, 54)])
def test_lut_ram_of_six_input_tables(width, depth, tables):
    """RAM64M8: 64 words of 7 bits in eight tables; a table a bit chooses between four rows: none of one, one of up to four, two of up to seven."""
    assert map_memory(Memory("m", width, depth, style=DISTRIBUTED), KV260).tables == tables


@pytest.mark.parametrize(
    ("module", "params", "blocks", "ultra"),
    [
        # 9 bits with `last`: 8 chunks of 4096 side by side in a word; 2048 to a block RAM, a last one of a word in LUT RAM
        ("fifo", {"WIDTH": 8, "DEPTH": 32768}, 16, 1),
        ("fifo", {"WIDTH": 8, "DEPTH": 32769}, 16, 2),
        # 17 bits are two bytes: 4 chunks side by side; 33 bits four: 2; 80 bits nine: 1, of two blocks
        ("fifo", {"WIDTH": 16, "DEPTH": 16384}, 16, 1),
        ("fifo", {"WIDTH": 32, "DEPTH": 16384}, 32, 2),
        ("fifo", {"WIDTH": 79, "DEPTH": 8192}, 48, 4),
        # keys of 12 heads of 64, 128 tokens twice, 256 bits a word: 6144 words; of block RAMs 29 of 9 bits wide, 3 of 2048 words deep
        ("scores", {"HEADS": 12, "DIM": 64, "MAX_TOKENS": 128, "SIDE": 1, "QUERIES": 1, "SIMD": 32, "LANES": 1, "Q_W": 8, "K_W": 8}, 87, 8),
        # two blocks of 32 tokens of 768 bytes: 8 bytes a word, 6144 words
        ("unfold", {"C": 768, "TOKENS": 32, "LANES": 1, "W": 8, "FOLD": 8}, 24, 2),
        # 20 beats of a token: 4 side by side, 160 words of 16 beats' bytes
        ("unfold", {"C": 20, "TOKENS": 16, "LANES": 1, "W": 8, "FOLD": 4}, 1, 1),
    ],
)
def test_modules_in_ultraram(module, params, blocks, ultra):
    """By hand; the query banks of `scores` stay where they are."""
    costs = Estimator(KV260)
    extra = {"OUT_W": 20, "BACK": 127, "AHEAD": 127, "MUL_STYLE": "lut"} if module == "scores" else {}
    plain, moved = (costs.cost(Instance(module=module, params=params | extra | style)) for style in ({}, {"RAM_STYLE": ULTRA}))
    banks = moved.block_ram
    assert (plain.block_ram - banks, moved.ultra_ram, plain.ultra_ram) == (blocks, ultra, 0) and (banks == 0 or module == "scores")


def test_columns_that_are_written_alone_take_whole_bytes():
    """Blocks of a matrix unit: 16 columns of 8 bits take 144 bits of a word, two UltraRAMs wide; the tiles stay or go to LUT RAM."""
    params = {"K": 3072, "C": 768, "PE": 24, "SIMD": 16, "LANES_IN": 1, "LANES_OUT": 1, "IN_W": 8, "IN_SIGNED": 1, "WEIGHT_W": 4, "OUT_W": 21}
    params |= {"TOKENS": 32, "DATA_W": 256, "MUL_STYLE": "two"}
    moved = [m for m in MODULES["linear_tiles"].memories(params | {"RAM_STYLE": ULTRA}) if m.name == "block"]
    assert [(m.width, m.depth) for m in moved] == [(144, 12288)]
    tiles = Estimator(KV260).cost(Instance(module="linear_tiles", params=params | {"TILE_STYLE": DISTRIBUTED}))
    plain = Estimator(KV260).cost(Instance(module="linear_tiles", params=params))
    assert plain.block_ram - tiles.block_ram == 6 * 8  # six columns of 256 x 384, 36 bits a block
    assert tiles.lut - plain.lut >= 6 * (6 * 37 * 8 + 2 * 256)  # six rows of 64 words; the registers behind them are in block RAM no more
    assert tiles.ff > plain.ff


def test_memories_move_where_block_ram_runs_out(graph, tmp_path):
    folding = solve(graph, HardwareConfig(target_cycles=700_000))
    free = Fitter(graph, board(288, 64)).styled(folding)
    assert not free[0].styles and free[1].total.ultra_ram == 0  # nothing moves where there is room
    need = free[1].total.block_ram
    small = board(need - 9, 4)
    fitted = solve(graph, HardwareConfig(target_cycles=700_000), small)
    costs = estimate(Design(graph, fitted), small).total
    assert fitted.styles and costs.block_ram <= need - 9 and 0 < costs.ultra_ram <= 4
    assert Fitter(graph, small).used(estimate(Design(graph, fitted), small))["URAM288"].available == 4
    with pytest.raises(FoldingError, match="RAMB18 of "):
        solve(graph, HardwareConfig(target_cycles=700_000), board(need - 9, 0))
    fitted.save(tmp_path / "folding.json")
    assert Folding.load(tmp_path / "folding.json") == fitted
    emit(Design(graph, fitted), tmp_path)
    lines = [line for line in (tmp_path / "encoder.sv").read_text().splitlines() if "RAM_STYLE" in line]
    assert len(lines) == len(fitted.styles) and all(any(f") {name} (" in line for line in lines) for name in fitted.styles)


def test_the_largest_savings_move_first(graph):
    """As few UltraRAMs as it takes; the first one saves as many block RAMs as any could."""
    folding = solve(graph, HardwareConfig(target_cycles=700_000))
    need = Fitter(graph, board(288, 64)).styled(folding)[1].total.block_ram
    small = board(need - 1, 64)
    styled, costs = Fitter(graph, small).styled(folding)
    ((name, style),) = styled.styles.items()
    made = {name: made for _, name, made in Design(graph, styled).instances}
    of = Estimator(small)

    def worth(one: Instance) -> float:
        now, then = of.cost(one), of.cost(replace(one, params=one.params | {"RAM_STYLE": ULTRA}))
        return (now.block_ram - then.block_ram) / max(then.ultra_ram, 1)

    assert style == {"RAM_STYLE": ULTRA} and costs.total.block_ram <= need - 1
    assert worth(made[name]) == max(worth(one) for one in made.values() if "RAM_STYLE" in MODULES[one.module].styles)


@pytest.mark.slow
def test_a_design_is_synthesized_as_planned(graph, tmp_path):
    """Yosys may put more into UltraRAM by itself; what is asked for, it does."""
    folding = solve(graph, HardwareConfig(target_cycles=700_000))
    need = Fitter(graph, board(288, 64)).styled(folding)[1].total.block_ram
    small = board(need - 9, 4)
    folding = solve(graph, HardwareConfig(target_cycles=700_000), small)
    emit(Design(graph, folding), tmp_path)
    report = synthesize(tmp_path, small, cache_dir() / "synth-tests" / "ultraram", top="harness", place=False)
    assert report.resources["URAM288"].used >= estimate(Design(graph, folding), small).total.ultra_ram > 0


@pytest.mark.slow
def test_bert_base_fits_a_kv260():
    """Twelve layers of 768, 128 tokens, W4A8: one layer in turn, weights from the board's memory, multipliers at least 90 % busy; not without UltraRAM."""
    model = ModelConfig(layers=12, hidden=768, heads=12, intermediate=3072, max_tokens=128)
    bert = untrained_graph(model, QuantConfig(weights=4, activations=8), labels=2, vocabulary=1000)
    fits, lacks = plan(bert, [KV260, board(288, 0).model_copy(update={"external_memory": KV260.external_memory})], lengths=[128]).boards
    assert fits.folding.memory and fits.folding.layers == 1 and all(use.used <= use.available for use in fits.used.values())
    assert fits.useful >= 0.9 and fits.used["URAM288"].used > 0 and lacks.folding is None and "RAMB18 of 288" in lacks.problem


def test_instances_without_memories_of_their_own_have_no_style():
    assert not MODULES["linear"].styles and fifo.MODULE.styles == unfold.MODULE.styles == {"RAM_STYLE": ULTRA}
