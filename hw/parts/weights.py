# SPDX-License-Identifier: Apache-2.0
"""weights: what the weight memory of a `linear` unit holds, or its tiles in external memory: values, or indices in a codebook, of each turn."""

from __future__ import annotations

import numpy as np

from bitloom.hw.graph import Graph, Node
from bitloom.hw.instance import Fold
from bitloom.hw.parts import pick, schedule, shared
from bitloom.hw.parts.shared import Banks

CODEBOOK = "codebook"  # the parameter of layers whose weights take few values


def codebook(graph: Graph, node: Node) -> np.ndarray | None:
    """The values that the weights take, int64 [1, 2**index_bits], or [C, 2] where each channel has two of its own; sorted. None: any of their bits."""
    return graph.params.get(f"{node.name}.{CODEBOOK}")


def element_bits(graph: Graph, node: Node, fold: Fold) -> int:
    """Of the weight memory, or the tiles: a weight or its index, and its place in its group."""
    return graph.stored_bits(node) + pick.index_bits(fold.group)


def placed(graph: Graph, node: Node, fold: Fold) -> list[np.ndarray]:
    """Of each turn, as the streams' layouts place them: int64 [width of the output, width of the input]."""
    weights = [g.param(n, "weight") for g, n in graph.turns(node)]
    return [fold.out_of(weight.shape[0]).place(fold.into(weight.shape[1]).place(weight), axis=0) for weight in weights]


def elements(graph: Graph, node: Node, fold: Fold) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each turn, what the memory has for all channels, int64 [C, elements of a channel], and which of these weights are not zero."""
    found, channels = [], graph.tensor(node.name).channels
    for weight, book in zip(placed(graph, node, fold), books(graph, node), strict=True):
        codes, full = weight, weight != 0
        if node.attrs["weight_bits"] == 1:
            codes = weight > 0
        if book is not None:  # a filled place without a 0 in the codebook takes any index
            own = fold.out_of(channels).place(book, axis=0) if len(book) > 1 else book
            codes = weight > own[:, :1] if own.shape[1] == 2 else np.searchsorted(own[0], weight).clip(max=own.shape[1] - 1)
        codes = codes.astype(np.int64)
        if fold.keep:
            codes = pick.elements(codes, full, fold.keep, fold.group, graph.stored_bits(node))
            full = pick.chosen(full, full, fold.keep, fold.group)
        found.append((codes, full))
    return found


def kept(graph: Graph, node: Node, fold: Fold) -> list[np.ndarray]:
    """The tiles that the unit computes, of each turn: bool [folds, steps]."""
    found = []
    for codes, full in elements(graph, node, fold):
        every = np.ones((len(codes) // fold.pe, codes.shape[1] // fold.simd), dtype=bool)
        found.append(schedule.each_tile(schedule.stays(full, fold), fold) if fold.words else every)
    return found


def takes_two(graph: Graph, node: Node) -> bool:
    """Its weights take two values: their inputs are added, not multiplied."""
    return graph.index_bits(node) == 1


def banks(graph: Graph, node: Node, fold: Fold) -> Banks:
    """Of its weight memory: turns of the same weights share one; not where zero tiles are left out, or tiles come from external memory."""
    turns = graph.turns(node)
    return tile_banks(graph, node) if graph.shared and not fold.words and not fold.block else Banks.own(len(turns))


def tile_banks(graph: Graph, node: Node) -> Banks:
    """Of its tiles in external memory: turns of the same weights share them."""
    turns = graph.turns(node)
    key = ("banks of weights", *(n.name for _, n in turns))
    if key not in graph.source.found:
        held = [[g.param(n, "weight"), *([book] if book is not None else [])] for (g, n), book in zip(turns, books(graph, node), strict=True)]
        graph.source.found[key] = shared.alike(held)
    return graph.source.found[key]


def of_banks(tiles_: list[np.ndarray], banks_: Banks) -> list[np.ndarray]:
    """Of tiles, turn after turn, those of each bank once."""
    folds = len(tiles_) // len(banks_.of)
    return [tile for turn in banks_.first for tile in tiles_[turn * folds :][:folds]]


def bias_banks(graph: Graph, node: Node, fold: Fold, biases: list[np.ndarray]) -> Banks:
    """Of its biases, given those of each turn; two values that each channel has of its own are read at the same place, and tiles have other buses."""
    if fold.block or takes_two(graph, node):
        return Banks.own(len(biases))
    return shared.banks(graph, [[own] for own in biases])


def words(graph: Graph, node: Node, fold: Fold) -> np.ndarray:
    """The weight memory, int64 [words of all banks, PE * SIMD]: a word a cycle. One-bit weights: 0 is -1, 1 is +1; with a codebook: indices."""
    return np.concatenate(of_banks(tiles(graph, node, fold), banks(graph, node, fold)))


def tiles(graph: Graph, node: Node, fold: Fold) -> list[np.ndarray]:
    """The same by fold, turn after turn: int64 [words, PE * SIMD] of each."""
    found = []
    for (codes, _), stay in zip(elements(graph, node, fold), kept(graph, node, fold), strict=True):
        split = codes.reshape(len(stay), fold.pe, stay.shape[1], fold.simd).transpose(0, 2, 1, 3)
        found += [tile[own].reshape(-1, fold.pe * fold.simd) for tile, own in zip(split, stay, strict=True)]
    return found


def books(graph: Graph, node: Node) -> list[np.ndarray | None]:
    """The codebook of each turn, int64 [1 or C, 2**index_bits], shorter ones filled up by their last value; None where the unit holds values."""
    turns, index = graph.turns(node), graph.index_bits(node)
    if not index:
        return [None] * len(turns)
    own = [codebook(g, n) for g, n in turns]
    return [np.pad(book, ((0, 0), (0, (1 << index) - book.shape[1])), mode="edge") for book in own]


def each(found: list[np.ndarray]) -> bool:
    """In some turn each channel has a codebook of its own."""
    return any(len(book) > 1 for book in found)


def book_words(graph: Graph, node: Node, fold: Fold) -> np.ndarray:
    """The codebooks' memory: a word a turn; of two values {low, step}, where channels have their own a word for each beat of them."""
    own = books(graph, node)
    if not takes_two(graph, node):
        return np.concatenate(own)
    channels = graph.tensor(node.name).channels
    if each(own):
        own = [fold.out_of(channels).place(np.broadcast_to(book, (channels, 2)), axis=0) for book in own]
    pairs = np.concatenate([np.stack([book[:, 0], book[:, 1] - book[:, 0]], axis=1) for book in own])
    return pairs.reshape(-1, 2 * fold.lanes_out) if each(own) else pairs
