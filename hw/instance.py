# SPDX-License-Identifier: Apache-2.0
"""What a folded operator asks of its hardware: a module of the RTL, or a layer of the HLS code; parameters and memories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bitloom.hw.hexfile import Hex

if TYPE_CHECKING:
    from bitloom.hw.cost.memories import Memory
    from bitloom.hw.cost.multipliers import Product

Params = dict[str, "int | str | Hex"]
Terms = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the channels of a token lie in its stream: in `blocks` (heads) of equally many, each filled up with zeros to `space` elements.

    So a stream's lanes need not divide the channels. Nothing but zeros is ever in the filled places: the memories of weights, biases, multipliers,
    gamma and beta hold zeros there. `side` blocks are interleaved, element by element, for heads that are computed side by side.
    """

    channels: int
    blocks: int = 1
    space: int = 0  # elements of a block in the stream; 0: as many as it has channels
    side: int = 1  # divides blocks

    @property
    def width(self) -> int:
        """Elements of a token in the stream."""
        return self.blocks * (self.space or self.channels // self.blocks)

    @property
    def filled(self) -> bool:
        """Some places hold no channel."""
        return self.width != self.channels

    @property
    def plain(self) -> bool:
        """The channels lie side by side."""
        return not self.filled and self.side == 1

    def place(self, values: np.ndarray, axis: int = -1) -> np.ndarray:
        """Channels along `axis` -> elements of the stream, zeros between."""
        if self.plain:
            return values
        values = np.moveaxis(np.asarray(values), axis, -1)
        own = self.channels // self.blocks
        out = np.zeros((*values.shape[:-1], self.blocks, self.width // self.blocks), dtype=values.dtype)
        out[..., :own] = values.reshape(*values.shape[:-1], self.blocks, own)
        out = out.reshape(*values.shape[:-1], self.blocks // self.side, self.side, -1).swapaxes(-1, -2)
        return np.moveaxis(out.reshape(*values.shape[:-1], self.width), -1, axis)

    def take(self, elements: np.ndarray, axis: int = -1) -> np.ndarray:
        """Elements of the stream along `axis` -> channels."""
        if self.plain:
            return elements
        elements = np.moveaxis(np.asarray(elements), axis, -1)
        space = self.width // self.blocks
        split = elements.reshape(*elements.shape[:-1], self.blocks // self.side, space, self.side).swapaxes(-1, -2)
        split = split.reshape(*elements.shape[:-1], self.blocks, space)[..., : self.channels // self.blocks]
        return np.moveaxis(split.reshape(*elements.shape[:-1], self.channels), -1, axis)


@dataclass(frozen=True, kw_only=True)
class Fold:
    """How one operator is spread over time.

    pe, simd            outputs and inputs processed each cycle (matrix operators; of attention, by each of the heads and tokens side by side)
    side                heads side by side, of attention
    queries             tokens side by side, of attention: a beat of the row streams (scores, probabilities) has queries * side elements
    lanes_in, lanes_out elements a beat on its other input and output streams
    layout_in, layout_out   of those streams' tokens; None: the channels side by side
    block               tokens of a block, of a matrix operator whose weights come from external memory (hw/plan/streamed.py); 0: they are on the chip
    places              for blocks, of such an operator and of an `unfold` behind it: 2, or 1, which is written and read in turn
    base, data_bits     where its weights lie there, in bytes, and bits of a beat
    in_flight           sentences that a recurrent operator works on in turn
    folded              elements of a part, of an operator that takes a folded stream (hw/rtl/blocks.sv); 0: it takes tokens in order
    keep, group         of each `group` inputs, so many weights of a row have a multiplier and a place in the memory, the others are zero (hw/parts/pick.py); a
                        step takes simd / keep groups. keep = 0: all have
    words               of the weights of each turn, where a matrix operator leaves zero tiles out (hw/parts/schedule.py), and so cycles of a token; (): none is
    grain, repeat       steps and folds for which a word of that schedule is
    multiplier          how a matrix operator makes its products: a style of hw/cost/multipliers.py; None: by its rule, for any family
    """

    pe: int = 1
    simd: int = 1
    side: int = 1
    queries: int = 1
    lanes_in: int = 1
    lanes_out: int = 1
    keep: int = 0
    group: int = 1
    words: tuple[int, ...] = ()
    grain: int = 1
    repeat: int = 1
    multiplier: str | None = None
    block: int = 0
    places: int = 2
    base: int = 0
    data_bits: int = 0
    in_flight: int = 1
    folded: int = 0
    layout_in: Layout | None = None
    layout_out: Layout | None = None

    @property
    def products(self) -> int:
        """Of a matrix operator, each cycle."""
        return self.pe * self.simd * self.side * self.queries

    @property
    def inputs(self) -> int:
        """Of a matrix operator with weights, that it takes each cycle."""
        return self.simd // self.keep * self.group if self.keep else self.simd

    def into(self, channels: int) -> Layout:
        """Of an input's tokens of that many channels."""
        return self.layout_in or Layout(channels=channels)

    def out_of(self, channels: int) -> Layout:
        """Of the output's tokens of that many channels."""
        return self.layout_out or Layout(channels=channels)


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One instance of a module of hw/rtl; a Hex parameter becomes a memory file whose name the parameter holds."""

    module: str
    params: Params = field(default_factory=dict)


def nothing(params: Params) -> list:
    """Of modules without memories, or without multiplications."""
    return []


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module of hw/rtl, and what an instance of it takes of an FPGA: functions of the instance's parameters.

    name      of the module, and the stem of its file
    terms     terms(params): the sizes that decide its LUT and FF, by name, each a number of bits or cells (hw/cost/resources.py)
    memories  memories(params): its memories
    products  products(params): its multiplications
    turned    it has constants, so it takes the bus of hw/rtl/turns.sv, which says whose
    styles    parameters that move memories elsewhere, with where to (hw/cost/memories.py); `memories` says which and in what shape
    """

    name: str
    terms: Callable[[Params], Terms]
    memories: Callable[[Params], list[Memory]] = nothing
    products: Callable[[Params], list[Product]] = nothing
    turned: bool = False
    styles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Codes:
    """A memory of the HLS code: its words in the order in which the header reads them, bank after bank, and how wide they are.

    of  by turn, of layers that are used in turn: the bank that it reads (hw/parts/shared.py: codes)
    """

    data: np.ndarray
    bits: int
    signed: bool = True
    of: tuple[int, ...] = (0,)

    @property
    def words(self) -> int:
        """Of a bank: what one call of the header reads."""
        return len(self.data) // (max(self.of) + 1)


@dataclass(frozen=True, kw_only=True)
class HlsLayer:
    """One call of the operator's header in hls/nnet: the constants of its CONFIG and its memories.

    interval  cycles between sentences of max_tokens, without its pipelines' depth, where the header takes more than the RTL; 0: it does not
    """

    constants: dict[str, int | bool] = field(default_factory=dict)
    memories: dict[str, Codes] = field(default_factory=dict)
    interval: int = 0
