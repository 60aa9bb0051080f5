# SPDX-License-Identifier: Apache-2.0
"""requant: rescale, round half up and saturate accumulators to an activation's width."""

from __future__ import annotations

import numpy as np
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor
from bitloom.hw.hexfile import Hex
from bitloom.hw.instance import Codes, Fold, HlsLayer, Instance
from bitloom.hw.ops.common import clip, largest, pipeline, require, require_range, round_shift
from bitloom.hw.ops.record import Operator

PARAMS = ("mult",)
ATTRS = ("shift",)
MULT_MAX = (1 << 16) - 1


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
    require(0 <= shift <= 47, graph, node, f"shift got {shift}, must be 0 .. 47")
    bound = largest(acc) * int(mult.max()) + (1 << shift)
    require(bound < 1 << 62, graph, node, f"acc * mult reaches {bound}, must stay below 2**62")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    out = graph.tensor(node.name)
    return requant(inputs[0], graph.param(node, "mult"), node.attrs["shift"], out.bits, out.signed)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    mult = b.constant(f"{node.name}.mult", graph.param(node, "mult"))
    return b.clip(b.round_shift(b.op("Mul", inputs[0], mult), node.attrs["shift"]), graph.tensor(node.name), name=node.name)


def _constant(graph: Graph, node: Node) -> int | None:
    """The one multiplier of the tensor; None where each channel has its own."""
    mult = graph.param(node, "mult")
    return int(mult[0]) if mult.shape == (1,) else None


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    yield from pipeline(ins, out, 2 if _constant(graph, node) == 1 else 6)


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    acc, y, mult = graph.tensor(node.inputs[0]), graph.tensor(node.name), graph.param(node, "mult")
    layout, constant, width = fold.into(acc.channels), _constant(graph, node), int(mult.max()).bit_length()
    params = {
        "C": layout.width,
        "LANES": fold.lanes_in,
        "IN_W": acc.bits,
        "OUT_W": y.bits,
        "OUT_SIGNED": int(y.signed),
        "MULT_W": width,
        "SHIFT": node.attrs["shift"],
    }
    if constant is None:
        params |= {"PER_CHANNEL": 1, "MULT_FILE": Hex.pack(layout.place(mult).reshape(-1, fold.lanes_in), width)}
    else:
        params |= {"PER_CHANNEL": 0, "MULT": constant}
    return Instance(module="requant", params=params)


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    mult, layout = graph.param(node, "mult"), fold.into(graph.tensor(node.name).channels)
    placed = layout.place(mult) if _constant(graph, node) is None else mult
    return HlsLayer(constants={"shift": node.attrs["shift"]}, memories={"mult": Codes(data=placed, bits=int(mult.max()).bit_length(), signed=False)})


def gives_zeros(graph: Graph, node: Node, zeros: bool) -> bool:
    """A filled place has a multiplier of its own, 0, where each channel has one."""
    return zeros or _constant(graph, node) is None


def append(b: GraphBuilder, name: str, acc: Tensor, mult: np.ndarray, shift: int, *, bits: int, signed: bool = True, scale: float = 1.0) -> Tensor:
    """The node that rescales `acc` by mult / 2**shift, one factor a channel or one for all."""
    out = Tensor(name=name, shape=acc.shape, bits=bits, signed=signed, scale=scale)
    return b.add("requant", out, (acc.name,), {"shift": shift}, mult=mult)


OP = Operator(
    name="requant",
    params=PARAMS,
    attrs=ATTRS,
    check=check,
    run=run,
    onnx=onnx,
    elementwise=True,
    wants_zeros=lambda graph, node: False,
    gives_zeros=gives_zeros,
    hls_array=True,
    timing=timing,
    rtl=rtl,
    hls=hls,
)
