# SPDX-License-Identifier: Apache-2.0
"""linear_tiles: a `linear` unit whose weights come tile by tile from external memory, each for a block of tokens (hw/rtl/linear_tiles.sv)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitloom.hw.cost.memories import DISTRIBUTED, Memory, index_bits
from bitloom.hw.graph import Graph, Node
from bitloom.hw.hexfile import Hex, fields
from bitloom.hw.instance import Fold, Module, Params
from bitloom.hw.parts import blocks, mvau, schedule, tiles, weights
from bitloom.hw.parts.banks import Banks


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """Blocks of tokens are double-buffered, or not (fold.places), computed tile by tile; the numbers are those of hw/rtl/linear_tiles.sv and tiles.sv."""
    channels, inputs = mvau.widths(graph, node, fold)
    turns, banks_of = mvau.slots(graph, node, fold), weights.tile_banks(graph, node)
    parts_in, folds = inputs // fold.folded if fold.folded else 0, channels // fold.pe
    stored = np.concatenate([turns[turn] for turn in banks_of.first])
    table = tiles.entries(stored, fold.products * weights.element_bits(graph, node, fold), fold.data_bits).reshape(-1, folds, 2)[list(banks_of.of)]
    fetch = tiles.Tiles(ins[0], fold.base, table, fold.data_bits, bool(fold.words))
    blocks_in, sentence = Banks(ins[0], fold.places), 0
    yield ins[0].beside(fetch.ask())
    yield ins[0].beside(_compute(graph, node, fold, blocks_in, fetch, turns, out))
    while True:
        token = yield ins[0].get()
        yield from blocks_in.open()
        turn, taken = ins[0].turn(sentence) if len(turns) > 1 else 0, 0
        fetch.blocks.tell(blocks_in.starts(token) + 1, turn)
        while True:
            yield from blocks_in.take(token)
            taken += 1
            if taken == (parts_in or fold.block) or token.end and not parts_in:
                break
            token = yield ins[0].get()
        blocks_in.close(turn, token.beats * fold.lanes_in // fold.folded if parts_in else taken, token.end)
        sentence += token.end


def _compute(graph: Graph, node: Node, fold: Fold, blocks_in: Banks, fetch: tiles.Tiles, turns: Sequence[np.ndarray], out):
    """Blocks that are whole, tile by tile. turns: steps of each one's tiles."""
    beats, latency, done = fold.pe // fold.lanes_out, mvau.latency(graph, node, fold), -1
    while True:
        full, turn, count, end = yield blocks_in.whole.get()
        last_tile = len(turns[turn]) - 1
        for tile, steps in enumerate(turns[turn].tolist()):
            (come,) = yield fetch.come.get()
            start, slot = max(full, done + 1, come), max(steps, beats)
            first = start + steps - 1 + latency
            last = first + (count - 1) * slot + beats - 1
            _, moved = yield out.put(first, last, count * beats, end and tile == last_tile, beats)
            done = start + count * slot - 1 + moved - last
            fetch.dropped.tell(done + 1)
        blocks_in.done(done)


def params(graph: Graph, node: Node, fold: Fold) -> Params:
    """Its own, beside those of hw/rtl/linear.sv."""
    own: Params = {"TOKENS": fold.block, "FOLD": fold.folded, "DATA_W": fold.data_bits, "BASE": fold.base} | blocks.places(fold.places)
    return own | ({} if fold.words else weights.tile_banks(graph, node).params())


def table(graph: Graph, node: Node, fold: Fold) -> Params:
    """Where tiles of different numbers of words lie in external memory."""
    turns, width = mvau.slots(graph, node, fold), fold.products * weights.element_bits(graph, node, fold)
    first, of = weights.tile_banks(graph, node)
    sizes = np.concatenate([turns[turn] for turn in first])
    entries, most = tiles.entries(sizes, width, fold.data_bits), int(sizes.max())
    offset_bits = index_bits(int(entries[-1, 1]) + 1)
    entries = entries.reshape(len(first), -1, 2)[list(of)].reshape(-1, 2)
    widths = offset_bits, tiles.beats(width, most, fold.data_bits).bit_length()
    return {"MOST": most, "OFFSET_W": offset_bits, "TABLE_FILE": Hex.pack(fields(entries[:, ::-1].tolist(), widths), 1)}


def memories(p: Params) -> list[Memory]:
    """Blocks of tokens, two tiles, and the biases."""
    inputs, words, turns = mvau.inputs_of(p), p.get("WORDS", 0), p.get("TURNS", 1)
    steps, columns, constants = p["K"] // inputs, inputs // p["LANES_IN"], p.get("CONSTANTS", turns)
    width, most = p["PE"] * p["SIMD"] * mvau.element_bits(p), p.get("MOST", steps)
    table = p.get("OFFSET_W", 0) + tiles.beats(width, most, p["DATA_W"]).bit_length()
    return [
        *blocks.memories(p, p["LANES_IN"] * p["IN_W"], columns, p.get("PLACES", 2) * p["TOKENS"] * steps),
        *tiles.memories(width, most, p["DATA_W"], p.get("TILE_STYLE", "")),
        Memory("bias", p["LANES_OUT"] * p["OUT_W"], constants * p["C"] // p["LANES_OUT"], rom=True),
        *([*schedule.memories(p["ENTRIES"], steps // p["GRAIN"], turns), Memory("table", table, turns * p["C"] // p["PE"], rom=True)] if words else []),
        *mvau.book_memories(p),
    ]


MODULE = Module(
    name="linear_tiles",
    turned=True,
    terms=mvau.terms,
    memories=memories,
    products=mvau.products,
    styles=blocks.STYLES | {"TILE_STYLE": DISTRIBUTED},
)
