# SPDX-License-Identifier: Apache-2.0
"""linear: acc = W x + b, exact, as an MVAU folded by PE x SIMD."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.cost.multipliers import Operands, style_params
from bitloom.hw.divisors import divisors
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require, signed_bits
from bitloom.hw.hexfile import Hex, fields
from bitloom.hw.instance import Codes, Fold, HlsLayer, Instance, Module, Params
from bitloom.hw.ops.common import exact_matmul, largest, require_bits, require_holds, require_range, turn_params
from bitloom.hw.ops.record import ALIKE, Finn, Operator
from bitloom.hw.parts import banks, linear_tiles, mvau, pick, schedule, shared, weights
from bitloom.hw.parts.banks import Banks

PARAMS = ("weight", "bias")
ATTRS = ("weight_bits",)
INDEX, INDEX_MAX = "index_bits", 4  # the attribute of layers with a codebook
BLOCK_RAM_WORDS = 64  # from this depth on, HLS is told to take block RAM for the weights


def linear(x, weight, bias, x_max):
    """acc = W x + b.

    x        int64 [N, K], |x| <= x_max, one LSB = s_x
    weight   int64 [C, K], one LSB = s_w[c]; bias int64 [C], one LSB = s_w[c] s_x
    returns  int64 [N, C], one LSB = s_w[c] s_x
    """
    bound = int(np.abs(weight).sum(axis=1).max()) * x_max
    return exact_matmul(x, weight.T, bound) + bias


def bound(weight: np.ndarray, bias: np.ndarray, x_max: int) -> int:
    """The largest magnitude that any output or partial sum can reach."""
    return int((np.abs(weight).sum(axis=1) * x_max + np.abs(bias)).max())


def weight_range(bits: int) -> tuple[int, int]:
    """The codes that a weight of that many bits may have (the full range; narrow is a subset)."""
    return (-1, 1) if bits == 1 else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def check(graph: Graph, node: Node) -> None:
    x, out, bits = graph.tensor(node.inputs[0]), graph.tensor(node.name), node.attrs["weight_bits"]
    weight, bias = graph.param(node, "weight"), graph.param(node, "bias")
    require(1 <= bits <= 8, graph, node, f"weight_bits got {bits}, must be 1 .. 8")
    require_bits(x, 1, 16, graph, node)
    require(weight.shape == (out.channels, x.channels), graph, node, f"weight got shape {weight.shape}, must be ({out.channels}, {x.channels})")
    require(bias.shape == (out.channels,), graph, node, f"bias got shape {bias.shape}, must be ({out.channels},)")
    require_range(weight, *weight_range(bits), graph, node, "weight")
    require(bits > 1 or bool((weight != 0).all()), graph, node, "weight got a 0, must be -1 or +1 where weight_bits is 1")
    _check_codebook(graph, node, weight)
    require_holds(bound(weight, bias, largest(x)), graph, node)


def _check_codebook(graph: Graph, node: Node, weight: np.ndarray) -> None:
    book, index, bits = weights.codebook(graph, node), node.attrs.get(INDEX), node.attrs["weight_bits"]
    if book is None and index is None:
        return
    require(book is not None, graph, node, f"{INDEX} got {index} without a {weights.CODEBOOK}, must have both or neither")
    require(index is not None and 1 <= index <= INDEX_MAX, graph, node, f"{INDEX} got {index}, must be 1 .. {INDEX_MAX} where there is a {weights.CODEBOOK}")
    require(bits > 1, graph, node, f"weight_bits got 1, must be 2 .. 8 where there is a {weights.CODEBOOK}")
    shapes = [(1, 1 << index)] + ([(len(weight), 2)] if index == 1 else [])
    require(book.shape in shapes, graph, node, f"{weights.CODEBOOK} got shape {book.shape}, must be {' or '.join(map(str, shapes))}")
    require_range(book, *weight_range(bits), graph, node, weights.CODEBOOK)
    unsorted = np.flatnonzero((np.diff(book) < 0).any(axis=1))
    require(not unsorted.size, graph, node, f"{weights.CODEBOOK} got {book[unsorted[:1]].tolist()}, must be sorted")
    known = np.isin(weight, book) if len(book) == 1 else (weight[..., None] == book[:, None]).any(axis=2)
    strange = np.argwhere(~known)
    if len(strange):
        channel, place = strange[0]
        got, own = f"{weight[channel, place]} at channel {channel}, input {place}", book[channel % len(book)].tolist()
        require(False, graph, node, f"weight got {got} ({len(strange)} of {weight.size}), must be in its {weights.CODEBOOK} {own}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    return linear(inputs[0], graph.param(node, "weight"), graph.param(node, "bias"), largest(graph.tensor(node.inputs[0])))


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    weight = graph.param(node, "weight").T
    acc = b.matmul_integer(inputs[0], graph.tensor(node.inputs[0]), weight, graph.tensor(node.name).bits)
    return b.op("Add", acc, b.constant(f"{node.name}.bias", graph.param(node, "bias")), name=node.name)


def macs(graph: Graph, node: Node, tokens: int, border: int | None = None) -> int:
    rows = tokens if graph.tensor(node.name).kind == "token" else 1
    return rows * int(graph.param(node, "weight").size)


def foldings(graph: Graph, node: Node, fold: Fold) -> list[Fold]:
    """Every legal PE x SIMD: SIMD | K, PE | C, whole beats on both streams; for each PE up to the SIMD that waits for the input stream."""
    channels, inputs = mvau.widths(graph, node, fold)
    simds, pace = divisors(inputs, fold.lanes_in), inputs // fold.lanes_in  # cycles in which a token comes
    found = []
    for pe in divisors(channels, fold.lanes_out):
        enough = next((simd for simd in simds if channels // pe * (inputs // simd) <= pace), simds[-1])
        found += [replace(fold, pe=pe, simd=simd) for simd in simds if simd <= enough]
    return found + _sparse(graph, node, fold, pace)


def _sparse(graph: Graph, node: Node, fold: Fold, pace: int) -> list[Fold]:
    """Those that leave zero weights out, with no more bits of memory; SIMD up to the one that waits for the input."""
    pattern = contents(graph, node)
    if pattern is None:
        return []
    into, out_of = fold.into(graph.tensor(node.inputs[0]).channels), fold.out_of(graph.tensor(node.name).channels)
    bits, found = graph.stored_bits(node), []
    for keep, group in ((0, 1), *schedule.patterns(pattern, into)):
        if keep and keep * (bits + pick.index_bits(group)) > group * bits:
            continue
        for pe in divisors(out_of.width, fold.lanes_out):
            for inputs in divisors(into.width, math.lcm(fold.lanes_in, group)):
                picked = replace(fold, pe=pe, simd=inputs // group * keep or inputs, keep=keep, group=group)
                short = schedule.leave_out(picked, pattern, into, out_of, bits + pick.index_bits(group))
                made = [*([picked] if keep else []), *short]
                found += made
                if made and interval(graph, node, made[-1], 1) <= pace:
                    break
    return found


def left_out(graph: Graph, node: Node, fold: Fold) -> Fold:
    """The fold with its zero tiles left out, whatever that saves."""
    fold = replace(fold, words=(0,))
    return replace(fold, words=tuple(int(stay.sum()) for stay in weights.kept(graph, node, fold)))


def contents(graph: Graph, node: Node) -> schedule.Pattern | None:
    """Which of its weights are zero; None where too few are to leave any out, or the unit sums all inputs besides (two_values.sv)."""
    found = [g.param(n, "weight") for g, n in graph.turns(node)]
    return schedule.Pattern.of(found) if any(map(schedule.is_sparse, found)) and not weights.takes_two(graph, node) else None


def interval(graph: Graph, node: Node, fold: Fold, tokens: int) -> int:
    """Cycles a sentence of that many tokens takes in steady state (numbers as in hw/rtl/linear.sv); of several turns the mean, rounded up."""
    channels, inputs = mvau.widths(graph, node, fold)
    rows = tokens if graph.tensor(node.name).kind == "token" else 1
    every = channels // fold.pe * max(inputs // fold.inputs, fold.pe // fold.lanes_out)
    turns = [max(inputs // fold.lanes_in, words) for words in fold.words or (every,)]
    return -(-rows * sum(turns) // len(turns))


def stored(graph: Graph, node: Node, fold: Fold) -> int:
    """Bits of weights and schedule, of all turns."""
    channels, inputs = mvau.widths(graph, node, fold)
    steps, width = inputs // fold.inputs, fold.products * weights.element_bits(graph, node, fold)
    if not fold.words:
        return len(weights.banks(graph, node, fold).first) * channels // fold.pe * steps * width
    return sum(fold.words) * width + sum(fold.words) // (fold.grain * fold.repeat) * schedule.word_bits(steps // fold.grain)


def made(graph: Graph, node: Node, fold: Fold, tokens: int) -> int:
    """All, but for the zero weights that are left out."""
    if not fold.words:
        return macs(graph, node, tokens) * (fold.keep or fold.group) // fold.group
    rows = tokens if graph.tensor(node.name).kind == "token" else 1
    return rows * fold.products * sum(fold.words) // len(fold.words)


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """Tokens are double-buffered, computed fold by fold; the numbers are those of hw/rtl/linear.sv."""
    if fold.block:
        yield from linear_tiles.timing(graph, node, fold, ins, out)
    channels, beats = mvau.widths(graph, node, fold)[0], fold.pe // fold.lanes_out
    turns = _turn_cycles(graph, node, fold)
    buffer, done, sentence = Banks(ins[0]), -1, 0
    yield ins[0].beside(buffer.each())
    while True:
        whole, _, end = yield buffer.whole.get()
        start = max(whole, done + 1)
        to_first, to_last, cycles = turns[ins[0].turn(sentence) if len(turns) > 1 else 0]
        first = start + to_first - 1 + mvau.latency(graph, node, fold)
        last = first + to_last - to_first + beats - 1
        _, moved = yield out.put(first, last, channels // fold.lanes_out, end, beats)
        done = start + cycles - 1 + moved - last  # a stalled output stalls the multipliers
        buffer.done(done)
        sentence += end


def _turn_cycles(graph: Graph, node: Node, fold: Fold) -> list[tuple[int, int, int]]:
    """Of a token, in each turn (one for all where all are alike): cycles until the last step of its first fold, of its last fold, and in all."""
    channels, inputs = mvau.widths(graph, node, fold)
    steps, folds = inputs // fold.inputs, channels // fold.pe
    if not fold.words:
        slot = max(steps, fold.pe // fold.lanes_out)
        return [(steps, steps + (folds - 1) * slot, folds * slot)]
    return [(int(own[0]), int(own.sum()), int(own.sum())) for own in mvau.slots(graph, node, fold)]


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    x, acc, bits = graph.tensor(node.inputs[0]), graph.tensor(node.name), node.attrs["weight_bits"]
    channels, inputs = mvau.widths(graph, node, fold)
    turns = [fold.out_of(acc.channels).place(g.param(n, "bias")) for g, n in graph.turns(node)]
    biases = weights.bias_banks(graph, node, fold, turns)
    bias = np.concatenate([turns[turn] for turn in biases.first])
    own: Params = {"WEIGHT_FILE": Hex.pack(lambda: weights.words(graph, node, fold), weights.element_bits(graph, node, fold))}
    own |= weights.banks(graph, node, fold).params()
    if fold.block:
        own = linear_tiles.params(graph, node, fold)
    if index := graph.index_bits(node):
        own |= {"INDEX_W": index, "CODEBOOK_FILE": Hex.pack(weights.book_words(graph, node, fold), bits)}
        own |= {"EACH": int(weights.each(weights.books(graph, node)))} if index == 1 else {}
    return Instance(
        module="linear_tiles" if fold.block else "linear",
        params={
            "K": inputs,
            "C": channels,
            "PE": fold.pe,
            "SIMD": fold.simd,
            "LANES_IN": fold.lanes_in,
            "LANES_OUT": fold.lanes_out,
            "IN_W": x.bits,
            "IN_SIGNED": int(x.signed),
            "WEIGHT_W": bits,
            "OUT_W": acc.bits,
            **({"MUL_STYLE": "and"} if weights.takes_two(graph, node) else style_params(fold, multiplies(graph, node))),
            "BIAS_FILE": Hex.pack(bias.reshape(-1, fold.lanes_out), acc.bits),
        }
        | own
        | _schedule(graph, node, fold)
        | turn_params(graph, node, fold)
        | biases.params("BIAS_"),
    )


def _schedule(graph: Graph, node: Node, fold: Fold) -> Params:
    """Parameters of a unit that leaves zero weights out; {} of any other."""
    made: Params = {"KEEP": fold.keep, "GROUP": fold.group} if fold.keep else {}
    if not fold.words:
        return made
    turns = [schedule.entries(schedule.stays(full, fold)) for _, full in weights.elements(graph, node, fold)]
    begins = np.cumsum([[0, 0], *([len(entries), words] for entries, words in zip(turns, fold.words, strict=True))], axis=0)
    depths, steps = [int(depth) for depth in begins[-1]], mvau.widths(graph, node, fold)[1] // fold.inputs
    made |= {"WORDS": depths[1], "ENTRIES": depths[0], "GRAIN": fold.grain, "REPEAT": fold.repeat}
    made |= {"SCHEDULE_FILE": Hex.pack(np.concatenate(turns), schedule.word_bits(steps // fold.grain))}
    if len(turns) > 1:
        count = 1 if fold.block else 2  # external memory has a table of its own
        made["START_FILE"] = Hex.pack(fields(begins[:-1, :count].tolist(), [index_bits(depth) for depth in depths[:count]]), 1)
    return made | (linear_tiles.table(graph, node, fold) if fold.block else {})


def multiplies(graph: Graph, node: Node) -> Operands:
    x = graph.tensor(node.inputs[0])
    return Operands(x.bits, x.signed, node.attrs["weight_bits"], graph.narrow(node))


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    acc, bits, books = graph.tensor(node.name), node.attrs["weight_bits"], weights.books(graph, node)
    channels, inputs = mvau.widths(graph, node, fold)
    fold = replace(fold, simd=fold.inputs, keep=0, group=1, words=())  # the header takes every weight
    words, turns = weights.words(graph, node, fold), graph.turns(node)
    constants: dict[str, int | bool] = {
        "in_features": inputs,
        "out_features": channels,
        "pe": fold.pe,
        "simd": fold.simd,
        "block_ram": len(words) >= BLOCK_RAM_WORDS,
    }
    memories = {
        "weight": Codes(data=words.ravel(), bits=graph.stored_bits(node), signed=bits > 1 and books[0] is None, of=weights.banks(graph, node, fold).of),
        "bias": shared.codes([fold.out_of(acc.channels).place(g.param(n, "bias")) for g, n in turns], acc.bits),
    }
    if books[0] is not None:
        two = weights.takes_two(graph, node)
        constants |= {"index_bits": graph.index_bits(node), "two": two, "each": weights.each(books)}
        own = np.split(weights.book_words(graph, node, fold).ravel(), len(turns))
        memories[weights.CODEBOOK] = shared.codes(own, bits + two)  # a step has a bit more than a value
    return HlsLayer(constants=constants, memories=memories)


def wants_zeros(graph: Graph, node: Node) -> bool:
    """A weight of one bit is never zero, nor one whose codebook has none."""
    return not _zero(graph, node)


def gives_zeros(graph: Graph, node: Node, zeros: bool) -> bool:
    """A filled channel that has a codebook of its own has one of zeros."""
    return _zero(graph, node) or weights.takes_two(graph, node) and weights.each(weights.books(graph, node))


def _zero(graph: Graph, node: Node) -> bool:
    """Weights in filled places can be zero, in all turns."""
    return node.attrs["weight_bits"] > 1 and all(book is None or bool((book == 0).any(axis=1).all()) for book in weights.books(graph, node))


def holds(graph: Graph, node: Node, fold: Fold, port: int) -> int:
    """Two input buffers, and the token that is given out."""
    return 3


def append(b: GraphBuilder, name: str, x: Tensor, weight: np.ndarray, bias: np.ndarray, weight_bits: int, book: np.ndarray | None = None) -> Tensor:
    """The node of these codes; its accumulator is as wide as they need.

    book  [1, 2**index_bits] where the weights take its values alone
    """
    bits = signed_bits(bound(weight, bias, largest(x)))
    out = Tensor(name=name, shape=(x.shape[0], len(weight)), bits=bits, signed=True)
    attrs, coded = {"weight_bits": weight_bits}, {}
    if book is not None:
        attrs[INDEX], coded = int(np.shape(book)[1]).bit_length() - 1, {weights.CODEBOOK: book}
    return b.add("linear", out, (x.name,), attrs, weight=weight, bias=bias, **coded)


def memories(p: Params) -> list[Memory]:
    inputs, folds = mvau.inputs_of(p), p["C"] // p["PE"]
    steps, turns, words = p["K"] // inputs, p.get("TURNS", 1), p.get("WORDS", 0)
    stored, biases = shared.count(p), shared.count(p, "BIAS_")
    return [
        banks.memory("token", p["IN_W"], inputs, steps),
        Memory("weight", p["PE"] * p["SIMD"] * mvau.element_bits(p), words or stored * folds * steps, rom=True),
        Memory("bias", p["LANES_OUT"] * p["OUT_W"], biases * p["C"] // p["LANES_OUT"], rom=True),
        *(schedule.memories(p["ENTRIES"], steps // p["GRAIN"], turns, words) if words else []),
        *mvau.book_memories(p),
    ]


MODULE = Module(name="linear", turned=True, terms=mvau.terms, memories=memories, products=mvau.products)


def finn(b, graph: Graph, node: Node) -> None:
    """A product without its bias, which is added by the thresholds behind it, or by the host."""
    bits = node.attrs["weight_bits"]
    weight = b.constant(f"{node.name}.weight", graph.param(node, "weight").T, "BIPOLAR" if bits == 1 else f"INT{bits}")
    b.op("MatMul", [node.inputs[0], weight], node.name, "INT32")


def finn_values(b, graph: Graph, node: Node, inputs: list):
    return b.layer(node)(inputs[0])


def finn_reach(graph: Graph, node: Node) -> np.ndarray:
    return np.abs(graph.param(node, "weight")).sum(axis=1) * largest(graph.tensor(node.inputs[0]))


OP = Operator(
    name="linear",
    params=PARAMS,
    attrs=ATTRS,
    packs=ALIKE,
    check=check,
    run=run,
    onnx=onnx,
    macs=macs,
    multiplies=multiplies,
    foldings=foldings,
    made=made,
    contents=contents,
    stored=stored,
    interval=interval,
    holds=holds,
    wants_zeros=wants_zeros,
    gives_zeros=gives_zeros,
    hls_array=True,
    timing=timing,
    rtl=rtl,
    module=MODULE,
    tiled=linear_tiles.MODULE,
    slots=mvau.slots,
    weights=weights.tiles,
    element_bits=weights.element_bits,
    hls=hls,
    hls_turns=True,
    finn=Finn(nodes=finn, values=finn_values, bias="bias", reach=finn_reach),
)
