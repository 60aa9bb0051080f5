# SPDX-License-Identifier: Apache-2.0
"""Streams of a design: what goes over which wires in which order, and streams.json, which tells benches and hosts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bitloom.hw.instance import Layout
from bitloom.hw.keys import PACK, SEGMENT, Border, Keys, Packs
from bitloom.hw.ops import border as marks
from bitloom.hw.tokens import Tokens

Borders = Sequence[Border] | np.ndarray | None


def each_border(lengths: Sequence[int] | np.ndarray, borders: Borders) -> list[Border]:
    """Of each sentence; None where they are not known."""
    return [None] * len(lengths) if borders is None else [border if border is None or isinstance(border, tuple) else int(border) for border in borders]


def borders_in(streams: Iterable[Stream], sentences: Sequence[np.ndarray]) -> np.ndarray | None:
    """Tokens of the first sentence of each pair, as the marks in the entry's codes say; None where no keys depend on it."""
    if not any(s.keys == SEGMENT for s in streams):
        return None
    return marks.border(np.concatenate(sentences), np.array([len(s) for s in sentences]))[:, 0]


def wire(tensor: str) -> str:
    """The Verilog name of a tensor's stream."""
    return tensor.replace(".", "_")


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A tensor on its way: the wires <wire>_{valid,ready,data,last}; an element is a code of `bits`, a beat `lanes` elements, lane 0 lowest.

    kind    `token`, `row` or `sentence` (docs/architecture.md)
    layout  of a token's channels in its beats
    heads   rows a token, of a row stream; 0 of others
    queries tokens side by side, of a row stream: its lanes are those of lanes / queries heads for each of them
    keys    those that a query sees, of a row stream, as its tensor's shape has them (hw/keys.py)
    port    the encoder's AXI4-Stream port that carries it, "" for a stream inside
    fold, block  of a folded stream (hw/rtl/blocks.sv): elements of a part, tokens of a block; 0: tokens are in order
    turns   of a stream that sentences pass several times, in a rolled encoder: the tensors of the whole graph that it carries, by turn
    pack    of the entry: tokens of a pack of sentences, at most, that the host sends (hw/pack.py); 0: it sends each alone. All streams carry packs then, and a
            token stream with keys `pack` a token for each of a pack's sentences
    tokens  how many of a sentence's it carries, as its tensor's shape has them (hw/tokens.py): in all turns, or in each

    The `lengths` of its methods are those that it carries.
    """

    tensor: str
    wire: str
    lanes: int
    bits: int
    signed: bool
    kind: str
    layout: Layout
    heads: int = 0
    queries: int = 1
    keys: str = "T"
    port: str = ""
    turns: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ("T",)
    fold: int = 0
    block: int = 0
    pack: int = 0

    @property
    def width(self) -> int:
        """Bits of a beat."""
        return self.lanes * self.bits

    @property
    def beats(self) -> int:
        """Of a token or a vector; of one element of the rows that go side by side."""
        return 1 if self.kind == "row" else self.layout.width // self.lanes

    @property
    def channels(self) -> int:
        """Of a token; 1 of a row stream."""
        return self.layout.channels

    @property
    def io_bits(self) -> int:
        """Bits of an element at the encoder's AXI4-Stream ports: whole bytes."""
        return io_bits(self.bits)

    @property
    def io_width(self) -> int:
        """Bits of a beat at the encoder's ports."""
        return self.lanes * self.io_bits

    def place(self, codes: np.ndarray) -> np.ndarray:
        """Codes of tokens [..., channels] -> what their beats carry [..., beats * lanes], zeros where the layout fills up."""
        return self.layout.place(codes)

    def take(self, elements: np.ndarray) -> np.ndarray:
        """The reverse, without the filled places."""
        return self.layout.take(elements)

    def carries(self, lengths: np.ndarray, turn: int = -1) -> np.ndarray:
        """How many tokens of sentences of these lengths it carries, in a turn (that in which they leave)."""
        return Tokens.parse(self.tokens[turn if len(self.tokens) > 1 else 0]).of(np.asarray(lengths))

    def sizes(self, lengths: np.ndarray, packs: Packs | None) -> np.ndarray:
        """Tokens of sentences of these lengths, or, where they come in packs, what stands for them of each pack: int64."""
        if packs is None:
            return np.asarray(lengths)
        return np.array([len(own) if self.kind == "token" and self.keys == PACK else sum(own) for own in packs], dtype=np.int64)

    def order(self, lengths: np.ndarray, borders: Borders = None) -> np.ndarray | None:
        """For each value in the order in which the stream carries them, its index in the golden tensor, flat; None: all of them, in order.

        lengths  tokens of each sentence
        borders  of those that are pairs, tokens of the first of the two (hw/keys.py); None: not known, as none of the keys depend on it
        """
        if self.kind == "row":
            if self.lanes == 1 and Keys.parse(self.keys).all:
                return None
            places = self._rows(lengths, borders)
            return places[places >= 0]
        if self.fold:
            values = self._folded(lengths)
            return values[values >= 0]
        if self.layout.side == 1:
            return None
        channels = self.place(np.arange(self.channels))[self.filled_by_channels]
        tokens = int(lengths.sum()) if self.kind == "token" else len(lengths)
        return (np.arange(tokens)[:, None] * self.channels + channels).reshape(-1)

    def row_lengths(self, lengths: np.ndarray, borders: Borders = None) -> np.ndarray:
        """Of a row stream: elements of each of its rows, those side by side as one, int64 [rows]."""
        keys, groups = Keys.parse(self.keys), self.heads * self.queries // self.lanes
        each = zip(lengths, each_border(lengths, borders), strict=True)
        return np.concatenate([np.repeat(keys.spans(int(n), border)[:: self.queries], groups) for n, border in each])

    def _rows(self, lengths: np.ndarray, borders: Borders) -> np.ndarray:
        """Of a row stream, for each element: its index in the golden tensor, flat; -1 in the lanes of tokens that a sentence's last group lacks."""
        keys, side = Keys.parse(self.keys), self.lanes // self.queries
        sizes = lengths * self.heads * lengths
        found = [np.zeros(0, dtype=np.int64)]
        for start, size, n, border in zip(np.cumsum(sizes) - sizes, sizes, lengths, each_border(lengths, borders), strict=True):
            places = (start + np.arange(size)).reshape(n, -1, side, n)
            places = np.pad(places, ((0, -n % self.queries), (0, 0), (0, 0), (0, 0)), constant_values=-1)
            places = places.reshape(-1, self.queries, self.heads // side, side, n).transpose(0, 2, 4, 1, 3)
            seen = keys.seen(n, border)[:: self.queries]  # [group, 1, key]: all, where several go side by side
            found.append(places[np.broadcast_to(seen[..., None, None], places.shape)])
        return np.concatenate(found)

    def _folded(self, lengths: np.ndarray) -> np.ndarray:
        """Of a folded stream, for each element: its index in the golden tensor, flat; -1 in filled places."""
        elements = np.where(self.filled_by_channels, self.place(np.arange(self.channels)), -1).reshape(-1, self.fold)
        found, start = [], 0
        for length in lengths if self.kind == "token" else np.ones(len(lengths), dtype=np.int64):
            for first in range(0, length, self.block):
                tokens = start + first + np.arange(min(self.block, length - first))
                places = np.broadcast_to(elements[:, None, :], (len(elements), len(tokens), self.fold))
                found.append(np.where(places < 0, -1, places + (tokens * self.channels)[None, :, None]).reshape(-1))
            start += length
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def holds_channel(self, lengths: np.ndarray, borders: Borders = None) -> np.ndarray:
        """bool, for each element of the stream: it is no filled place, and of no token that is not there."""
        if self.fold:
            return self._folded(lengths) >= 0
        if self.kind == "row":
            return self._rows(lengths, borders) >= 0
        return np.tile(self.filled_by_channels, int(lengths.sum()) if self.kind == "token" else len(lengths))

    @property
    def filled(self) -> bool:
        """Some elements may hold nothing."""
        return self.layout.filled or self.queries > 1

    @property
    def filled_by_channels(self) -> np.ndarray:
        """bool [elements of a token]: which of them hold a channel."""
        return self.place(np.ones(self.channels, dtype=bool))

    def as_dict(self) -> dict:
        """The entry of streams.json. elements: of a token in its stream, in `blocks` of `space` each, more than `channels` where it is filled up."""
        layout = {
            "channels": self.layout.channels,
            "blocks": self.layout.blocks,
            "space": self.layout.space,
            "side": self.layout.side,
            "elements": self.layout.width,
        }
        own = {key: getattr(self, key) for key in ("tensor", "wire", "lanes", "bits", "signed", "kind", "heads", "keys", "port")}
        more = {key: value for key in ("turns", "fold", "block", "pack") if (value := getattr(self, key))}
        more |= {"tokens": self.tokens} if self.tokens != ("T",) else {}
        more |= {"queries": self.queries} if self.queries > 1 else {}
        return own | layout | more

    @classmethod
    def from_dict(cls, entry: dict) -> Stream:
        """An entry of streams.json. Raises KeyError, TypeError: it is none."""
        own = {key: entry[key] for key in ("tensor", "wire", "lanes", "bits", "signed", "kind", "heads", "keys", "port")}
        more = {"turns": tuple(entry.get("turns", ())), "fold": entry.get("fold", 0), "block": entry.get("block", 0), "queries": entry.get("queries", 1)}
        more |= {"pack": entry.get("pack", 0)}
        more["tokens"] = tuple(entry.get("tokens", ("T",)))
        return cls(**own, **more, layout=Layout(**{key: entry[key] for key in ("channels", "blocks", "space", "side")}))


def read_streams(folder: Path) -> list[Stream]:
    """streams.json of a build folder: the input first, the first output last.

    Raises OSError, ValueError, KeyError, TypeError: there is none, or it is another one.
    """
    return [Stream.from_dict(entry) for entry in json.loads((Path(folder) / "streams.json").read_text())]


class Fifo(NamedTuple):
    """In front of a reader of a stream: it takes beats of the bundle `source`, gives them to `wire`, and holds `depth`."""

    wire: str
    source: str
    depth: int


def read_fifos(folder: Path) -> list[Fifo]:
    """All FIFOs of a build folder, as streams.json has them beside the streams that they take. Raises as `read_streams`."""
    entries = json.loads((Path(folder) / "streams.json").read_text())
    return [Fifo(**fifo) for entry in entries for fifo in entry.get("fifos", ())]


def io_bits(bits: int) -> int:
    """AXI4-Stream elements are whole bytes."""
    return -(-bits // 8) * 8
