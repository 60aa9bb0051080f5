# SPDX-License-Identifier: Apache-2.0
"""linear_tiles: a `linear` unit whose weights come tile by tile from external memory, each for a block of tokens (hw/rtl/linear_tiles.sv)."""

from __future__ import annotations

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
    beats, turns, banks_of = fold.pe // fold.lanes_out, mvau.slots(graph, node, fold), weights.tile_banks(graph, node)
    parts_in, folds = inputs // fold.folded if fold.folded else 0, channels // fold.pe
    stored = np.concatenate([turns[turn] for turn in banks_of.first])
    table = tiles.entries(stored, fold.products * weights.element_bits(graph, node, fold), fold.data_bits).reshape(-1, folds, 2)[list(banks_of.of)]
    fetch = tiles.Tiles(ins[0].memory, fold.base, table, fold.data_bits, bool(fold.words))
    buffer, done, sentence = Banks(fold.places), -1, 0
    while True:
        token = yield ins[0].get()
        buffer.open()
        begun, taken, count = None, 0, 0
        while True:
            last = yield from buffer.take(ins[0], token)
            begun = buffer.began + 1 if begun is None else begun
            taken += 1
            if taken == (parts_in or fold.block) or token.end and not parts_in:
                break
            token = yield ins[0].get()
        count = token.beats * fold.lanes_in // fold.folded if parts_in else taken
        full, turn = last + 1, ins[0].turn(sentence) if len(turns) > 1 else 0
        for tile, steps in enumerate(turns[turn].tolist()):
            start, slot = max(full, done + 1, fetch.next(turn, tile, begun)), max(steps, beats)
            first = start + steps - 1 + mvau.latency(graph, node, fold)
            end = first + (count - 1) * slot + beats - 1
            _, moved = yield out.put(first, end, count * beats, token.end and tile == folds - 1)
            done = start + count * slot - 1 + moved - end
            fetch.drop(done)
        buffer.done(done)
        sentence += token.end


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
