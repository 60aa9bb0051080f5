# SPDX-License-Identifier: Apache-2.0
"""requant: rescale, round half up and saturate accumulators to an activation's width."""

from __future__ import annotations

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.cost.multipliers import Product, factor_bits, whole
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.hexfile import Hex, fields
from bitloom.hw.instance import Fold, HlsLayer, Instance, Layout, Module, Params, Terms
from bitloom.hw.ops.common import clip, hls_words, largest, pipeline, require_range, round_shift, rounding, turn_params
from bitloom.hw.ops.record import ALIKE, Finn, Operator
from bitloom.hw.parts import shared

PARAMS = ("mult",)
ATTRS = ("shift",)
MULT_MAX = (1 << 16) - 1
SHIFT_MAX = 47


def requant(acc, mult, shift, bits, signed=True):
    """y = clip((acc*mult + half) >> shift); ties towards +inf.

    acc      int64 [N, C] (or flat rows), one LSB = s_x s_w
    mult     int64 [C] or [1], 1 .. 2**16-1; mult / 2**shift = s_x s_w / s_y
    returns  int64 of acc's shape in the range of `bits`, one LSB = s_y
    """
    return clip(round_shift(acc * mult, shift), bits, signed)


def check(graph: Graph, node: Node) -> None:
    acc, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    mult, shift = graph.param(node, "mult"), node.attrs["shift"]
    require(acc.shape == out.shape, graph, node, f"output got shape {out.shape}, must be the input's {acc.shape}")
    require(mult.shape in ((1,), (out.channels,)), graph, node, f"mult got shape {mult.shape}, must be (1,) or ({out.channels},)")
    require_range(mult, 1, MULT_MAX, graph, node, "mult")
    require(0 <= shift <= SHIFT_MAX, graph, node, f"shift got {shift}, must be 0 .. {SHIFT_MAX}")
    bound = largest(acc) * int(mult.max()) + (1 << shift)
    require(bound < 1 << 62, graph, node, f"acc * mult reaches {bound}, must stay below 2**62")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    out = graph.tensor(node.name)
    return requant(inputs[0], graph.param(node, "mult"), node.attrs["shift"], out.bits, out.signed)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    mult = b.constant(f"{node.name}.mult", graph.param(node, "mult"))
    return b.clip(b.round_shift(b.op("Mul", inputs[0], mult), node.attrs["shift"]), graph.tensor(node.name), name=node.name)


def _constant(graph: Graph, node: Node) -> int | None:
    """The one multiplier of the tensor, in all turns; None where each channel or turn has its own."""
    mults = [g.param(n, "mult") for g, n in graph.turns(node)]
    return int(mults[0][0]) if all(m.shape == (1,) and m[0] == mults[0][0] for m in mults) else None


def _mults(graph: Graph, node: Node, layout: Layout) -> tuple[list[np.ndarray], int]:
    """The memory of multipliers of each turn, and its elements: those of a token's places, or one where no turn has more."""
    mults = [g.param(n, "mult") for g, n in graph.turns(node)]
    if all(m.shape == (1,) for m in mults):
        return mults, 1
    return [layout.place(np.broadcast_to(m, (layout.channels,))) for m in mults], layout.width


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    yield from pipeline(ins, out, 2 if _constant(graph, node) == 1 else 6)


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    acc, y, constant = graph.tensor(node.inputs[0]), graph.tensor(node.name), _constant(graph, node)
    turns, count = _mults(graph, node, fold.into(acc.channels))
    banks = shared.banks(graph, [[own] for own in turns])
    mults = np.concatenate([turns[turn] for turn in banks.first])
    rounds, width, lanes = rounding(graph, node), int(mults.max()).bit_length(), fold.lanes_in
    params = {
        "C": max(count if constant is None else fold.into(acc.channels).width, lanes),
        "LANES": lanes,
        "IN_W": acc.bits,
        "OUT_W": y.bits,
        "OUT_SIGNED": int(y.signed),
        "MULT_W": width,
        "SHIFT": rounds.shift,
    }
    if constant is None:
        words = np.repeat(mults[:, None], lanes, axis=1) if count == 1 else mults.reshape(-1, lanes)
        params |= {"PER_CHANNEL": 1, "MULT_FILE": Hex.pack(words, width)} | banks.params() | ({"FOLD": fold.folded} if fold.folded and count > 1 else {})
    else:
        params |= {"PER_CHANNEL": 0, "MULT": constant}
    if rounds.words:
        params |= {"MORE": rounds.more, "ROUND_FILE": Hex.pack(fields(rounds.words, (y.bits, y.bits, 6)), 1)}
    return Instance(module="requant", params=params | turn_params(graph, node, fold))


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    rounds, (turns, _) = rounding(graph, node), _mults(graph, node, fold.into(graph.tensor(node.name).channels))
    mults = shared.codes(turns, max(int(own.max()) for own in turns).bit_length(), signed=False)
    return HlsLayer(constants={"shift": rounds.shift, "more": rounds.more}, memories={"mult": mults} | hls_words("rounds", rounds.words))


def gives_zeros(graph: Graph, node: Node, zeros: bool) -> bool:
    """A filled place has a multiplier of its own, 0, where each channel has one."""
    return zeros or any(g.param(n, "mult").shape != (1,) for g, n in graph.turns(node))


def append(b: GraphBuilder, name: str, acc: Tensor, mult: np.ndarray, shift: int, *, bits: int, signed: bool = True, scale: float = 1.0) -> Tensor:
    """The node that rescales `acc` by mult / 2**shift, one factor a channel or one for all."""
    out = Tensor(name=name, shape=acc.shape, bits=bits, signed=signed, scale=scale)
    return b.add("requant", out, (acc.name,), {"shift": shift}, mult=mult)


def memories(p: Params) -> list[Memory]:
    turns = p.get("TURNS", 1)
    mults = [Memory("mult", p["LANES"] * p["MULT_W"], shared.count(p) * p["C"] // p["LANES"], rom=True)] if p["PER_CHANNEL"] else []
    return mults + ([Memory("round", 2 * p["OUT_W"] + 6, turns, rom=True)] if "ROUND_FILE" in p else [])


def products(p: Params) -> list[Product]:
    """As hw/rtl/requant.sv cuts its accumulators."""
    lanes, acc = p["LANES"], p["IN_W"]
    m = p["MULT_W"] + 1 if p["PER_CHANNEL"] else factor_bits(p["MULT"])
    return [whole(lanes, min(acc, 18), m)] if acc <= 22 else [whole(lanes, acc - 17, m), whole(lanes, 18, m)]


def terms(p: Params) -> Terms:
    lanes, product = p["LANES"], p["PER_CHANNEL"] or p["MULT"] > 1
    beyond = max(0, p["IN_W"] - 18) if product else 0
    keep = p["IN_W"] + (p["MULT_W"] if product else 0)
    return {
        "in_bits": lanes * p["IN_W"],
        "multiplied_bits": lanes * keep if product else 0,
        "low_bits": lanes * beyond * (p["MULT_W"] + beyond) if beyond <= 4 else 0,
        "sum_bits": lanes * max(1, keep - p["SHIFT"]),
        "shift_bits": lanes * min(p["SHIFT"] + p.get("MORE", 0), keep),
        "out_bits": lanes * p["OUT_W"],
        "count_bits": index_bits(p["C"] // lanes) if p["PER_CHANNEL"] else 0,
    }


MODULE = Module(name="requant", turned=True, terms=terms, memories=memories, products=products)


def finn(b, graph: Graph, node: Node) -> None:
    out, source = graph.tensor(node.name), node.inputs[0]
    heads = b.by_heads(source) and out.kind == "token"
    name = f"{node.name}.heads" if heads else node.name
    b.rescale(source, graph.param(node, "mult"), node.attrs["shift"], node, name, b.bias(source), b.reach(source))
    if heads:
        rows = b.op("Transpose", [name], f"{node.name}.tokens", b.datatype(out), perm=[0, 2, 1, 3])
        b.op("Reshape", [rows, b.ints(f"{node.name}.shape", [1, b.tokens, out.channels])], node.name, b.datatype(out))


def finn_values(b, graph: Graph, node: Node, inputs: list):
    """Scales are in the values: what is left is the rounding of the Quant node behind."""
    return inputs[0]


def finn_uniform(graph: Graph, node: Node) -> bool:
    return _constant(graph, node) is not None


OP = Operator(
    name="requant",
    params=PARAMS,
    attrs=ATTRS,
    packs=ALIKE,
    check=check,
    run=run,
    onnx=onnx,
    elementwise=True,
    any_order=True,
    wants_zeros=lambda graph, node: False,
    gives_zeros=gives_zeros,
    hls_array=True,
    timing=timing,
    rtl=rtl,
    module=MODULE,
    hls=hls,
    hls_turns=True,
    finn=Finn(nodes=finn, values=finn_values, quant=True, uniform=finn_uniform),
)
