# SPDX-License-Identifier: Apache-2.0
"""unfold: a folded stream to tokens in order (hw/rtl/unfold.sv, blocks.sv)."""

from __future__ import annotations

from bitloom.hw.cost.memories import ULTRA, Memory, beside, index_bits
from bitloom.hw.instance import Instance, Module, Params, Terms
from bitloom.hw.parts import blocks
from bitloom.hw.parts.banks import Banks


def instance(*, elements: int, tokens: int, lanes: int, bits: int, fold: int, places: int = 2) -> Instance:
    """Of a stream of tokens of `elements`, in blocks of `tokens`, of which it has places for so many, in parts of `fold` elements."""
    return Instance(module=MODULE.name, params={"C": elements, "TOKENS": tokens, "LANES": lanes, "W": bits, "FOLD": fold} | blocks.places(places))


def timing(p: Params, taken, out):
    """Its generator of the timing network (hw/plan/timing.py)."""
    buffer = Banks(taken, p.get("PLACES", 2))
    yield taken.beside(_leave(buffer, p["C"] // p["LANES"], out))
    while True:
        yield from buffer.open()
        for _ in range(p["C"] // p["FOLD"]):
            token = yield taken.get()
            yield from buffer.take(token)
        buffer.close(token.beats * p["LANES"] // p["FOLD"], token.end)


def _leave(buffer: Banks, beats: int, out):
    """Blocks that are whole, token by token. beats: of a token."""
    first = 0
    while True:
        whole, count, ends = yield buffer.whole.get()
        first = max(whole, first)
        for index in range(count):
            _, moved = yield out.put(first + 2, first + 2 + beats - 1, beats, ends and index == count - 1)
            first = moved - 2 + 1
        buffer.done(first - 1)


def _pack(p: Params) -> int:
    """Beats in one word: in UltraRAM as many as have room, a power of two that divides a token's."""
    most = beside(p["LANES"] * p["W"]) if p.get("RAM_STYLE") == ULTRA else 1
    return next(pack for pack in (8, 4, 2, 1) if pack <= most and p["C"] // p["LANES"] % pack == 0)


def memories(p: Params) -> list[Memory]:
    return blocks.memories(p, p["LANES"] * p["W"], _pack(p), p.get("PLACES", 2) * p["TOKENS"] * p["C"] // p["LANES"] // _pack(p))


def terms(p: Params) -> Terms:
    choice = {"part_bits": (_pack(p) - 1) * p["LANES"] * p["W"]} if _pack(p) > 1 else {}
    return choice | {"out_bits": p["LANES"] * p["W"], "count_bits": 2 * index_bits(p["TOKENS"] * p["C"] // p["LANES"])}


MODULE = Module(name="unfold", terms=terms, memories=memories, styles=blocks.STYLES)
