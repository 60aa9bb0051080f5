# SPDX-License-Identifier: Apache-2.0
"""image_loader: reads the image's header after reset, and loads the memories on the chip from it (hw/rtl/image_loader.sv)."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from bitloom.hw.cost.memories import Memory
from bitloom.hw.instance import Instance, Module, Params, Terms
from bitloom.hw.parts.axi_fetch import ExternalMemory

HEADER_BITS = 768  # of the header, that are looked at
CHUNK = 16  # beats of the parameters that are asked for at once
BEHIND = 6  # cycles from the last word until the encoder takes beats


def instance(*, data_bits: int, version: int = 0, shapes: str = "", begin: int = 0, chunks: int = 1, turn_chunks: int = 0) -> Instance:
    """shapes: SHA-256 that the image's header must have, in hex; begin: where its parameters begin, in bytes; chunks: how many of them there are for all
    turns; turn_chunks: for each turn, behind them.
    """
    digest = int.from_bytes(bytes.fromhex(shapes), "little")
    params = {"DATA_W": data_bits, "ADDR_W": 32, "VERSION": version, "SHAPES": digest, "PARAMS": begin, "CHUNKS": chunks}
    params |= {"TURN_CHUNKS": turn_chunks} if turn_chunks else {}
    return Instance(module=MODULE.name, params=params)


def beats(data_bits: int) -> int:
    """Beats of the header that are read."""
    return -(-HEADER_BITS // data_bits)


def load_cycles(data_bits: int, chunks: int, memory: ExternalMemory) -> int:
    """Cycles from reset until the encoder takes beats, where nothing is in the way of the requests."""
    period = Fraction(memory.cycles, memory.beats)
    asks = 7 + memory.latency + ceil((beats(data_bits) - 1) * period)
    return asks + chunks * (chunk_cycles(data_bits, memory) + 1) + BEHIND - 1


def chunk_cycles(data_bits: int, memory: ExternalMemory) -> int:
    """Cycles from that in which a chunk is asked for until its last word is sent, where nothing is in the way."""
    sent = 0
    for beat in range(CHUNK):
        sent = max(sent, 5 + memory.latency + ceil(beat * Fraction(memory.cycles, memory.beats))) + data_bits // 32
    return sent


class TurnLoads:
    """Its timing when it loads the memories of turns.

    client   of external memory (hw/plan/predict.py: Client)
    begin    address of turn 0's chunks, of which each turn has `chunks`
    """

    def __init__(self, client, begin: int, chunks: int, data_bits: int, memory: ExternalMemory):
        self._client, self._begin, self._chunks, self._bits = client, begin, chunks, data_bits
        each = data_bits // 32
        self._behind = max(each, CHUNK * each - ceil((CHUNK - 1) * Fraction(memory.cycles, memory.beats)))  # from a chunk's last beat to its last word

    def load(self, turn: int, cycle: int):
        """The cycle in which a turn's memories are said to be loaded that are asked for in `cycle` (`yield from`)."""
        asked, size = cycle + 1, CHUNK * self._bits // 8
        for chunk in range(turn * self._chunks, (turn + 1) * self._chunks):
            self._client.ask(asked, self._begin + chunk * size, CHUNK)
            (come,) = yield self._client.come.get()
            asked = come + self._behind
        return asked - 1 + BEHIND


def terms(p: Params) -> Terms:
    return {"compared_bits": p["DATA_W"], "hash_bits": 64, "count_bits": 48, "word_bits": 33}


def memories(p: Params) -> list[Memory]:
    """That of its FIFO."""
    return [Memory("chunk", p["DATA_W"] + 1, CHUNK, checked=False)]


MODULE = Module(name="image_loader", terms=terms, memories=memories)
