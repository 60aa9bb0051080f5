# SPDX-License-Identifier: Apache-2.0
"""table: any function of one code of up to 10 bits: GELU, tanh, ReLU."""

from __future__ import annotations

import math

import numpy as np

from bitloom.hw.cost.memories import Memory
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.hexfile import Hex
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.common import pipeline, require_bits, require_range, turn_params
from bitloom.hw.ops.record import ALIKE, Finn, Operator
from bitloom.hw.parts import shared

PARAMS = ("table",)
ATTRS = ()


def _gelu_tanh(v: float) -> float:
    """GELU by its tanh form (Hendrycks and Gimpel 2016), which some checkpoints were trained with."""
    return v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))


def _silu(v: float) -> float:
    """v * sigmoid(v), by tanh so that nothing overflows."""
    return v / 2 * (1 + math.tanh(v / 2))


FUNCTIONS = {
    "gelu": lambda v: v / 2 * (1 + math.erf(v / math.sqrt(2))),
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": lambda v: max(v, 0.0),
    "sigmoid": lambda v: (1 + math.tanh(v / 2)) / 2,  # by tanh so that nothing overflows
    "silu": _silu,
    "swish": _silu,
    "tanh": math.tanh,
}


def table(x, entries, x_min):
    """y = entries[x - x_min].

    x        int64, any shape, of a tensor whose smallest code is x_min
    entries  int64 [2**bits]; index 0 belongs to the smallest code
    returns  int64 of x's shape
    """
    return entries[x - x_min]


def entries(function: str, x: Tensor, y: Tensor) -> np.ndarray:
    """The table of one of FUNCTIONS: clip(floor(f(x s_x) / s_y + 1/2)), int64 [2**bits]."""
    f = FUNCTIONS[function]
    values = [math.floor(f(code * x.scale) / y.scale + 0.5) for code in range(x.low, x.high + 1)]
    return np.clip(np.array(values, dtype=np.int64), y.low, y.high)


def check(graph: Graph, node: Node) -> None:
    x, out, values = graph.tensor(node.inputs[0]), graph.tensor(node.name), graph.param(node, "table")
    require_bits(x, 1, 10, graph, node)
    require_bits(out, 1, 16, graph, node)
    require(x.shape == out.shape, graph, node, f"output got shape {out.shape}, must be the input's {x.shape}")
    require(values.shape == (1 << x.bits,), graph, node, f"table got shape {values.shape}, must be ({1 << x.bits},)")
    require_range(values, out.low, out.high, graph, node, "table")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    return table(inputs[0], graph.param(node, "table"), graph.tensor(node.inputs[0]).low)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    values = b.constant(f"{node.name}.table", graph.param(node, "table"))
    index = b.op("Sub", inputs[0], b.scalar(graph.tensor(node.inputs[0]).low))
    return b.op("Gather", values, index, name=node.name)


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    yield from pipeline(ins, out, 1)


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    x, y, tables = graph.tensor(node.inputs[0]), graph.tensor(node.name), _entries(graph, node)
    banks = shared.banks(graph, [[table] for table in tables])
    return Instance(
        module="table_op",
        params={
            "LANES": fold.lanes_in,
            "IN_W": x.bits,
            "IN_SIGNED": int(x.signed),
            "OUT_W": y.bits,
            "TABLE_FILE": Hex.pack(np.concatenate([tables[turn] for turn in banks.first]).reshape(-1, 1), y.bits),
        }
        | turn_params(graph, node, fold)
        | banks.params(),
    )


def _entries(graph: Graph, node: Node) -> list[np.ndarray]:
    """The table of each turn; a turn's inputs of fewer bits than the stream has lie where their codes do, and what cannot come is as its nearest code."""
    x, found = graph.tensor(node.inputs[0]), []
    for g, n in graph.turns(node):
        own = g.tensor(n.inputs[0])
        found.append(g.param(n, "table")[np.clip(np.arange(x.low, x.high + 1), own.low, own.high) - own.low])
    return found


def looked_up(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> dict[str, np.ndarray]:
    return {"TABLE_FILE": inputs[0] - graph.tensor(node.inputs[0]).low}


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    y = graph.tensor(node.name)
    return HlsLayer(memories={"table": shared.codes(_entries(graph, node), y.bits, y.signed)})


def gives_zeros(graph: Graph, node: Node, zeros: bool) -> bool:
    return zeros and all(int(g.param(n, "table")[-g.tensor(n.inputs[0]).low]) == 0 for g, n in graph.turns(node))


def append(b: GraphBuilder, name: str, x: Tensor, function: str | np.ndarray, *, bits: int, signed: bool = True, scale: float = 1.0) -> Tensor:
    """The node of one of FUNCTIONS, or of a table of codes [2**bits of x]."""
    out = Tensor(name=name, shape=x.shape, bits=bits, signed=signed, scale=scale)
    return b.add("table", out, (x.name,), table=entries(function, x, out) if isinstance(function, str) else function)


def memories(p: Params) -> list[Memory]:
    return [Memory("table", p["OUT_W"], shared.count(p) << p["IN_W"], rom=True)] * p["LANES"]


def terms(p: Params) -> Terms:
    return {"in_bits": p["LANES"] * p["IN_W"], "out_bits": p["LANES"] * p["OUT_W"]}


MODULE = Module(name="table_op", turned=True, terms=terms, memories=memories)


def function_of(entries_: np.ndarray, x: Tensor, y: Tensor) -> str | None:
    """Which of FUNCTIONS a table is of; None: of none of them."""
    return next((name for name in FUNCTIONS if np.array_equal(entries(name, x, y), entries_)), None)


def finn(b, graph: Graph, node: Node) -> None:
    b.lookup(node.inputs[0], graph.param(node, "table"), node)


def finn_values(b, graph: Graph, node: Node, inputs: list):
    return b.activation(node, function_of(graph.param(node, "table"), graph.tensor(node.inputs[0]), graph.tensor(node.name)))(inputs[0])


OP = Operator(
    name="table",
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
    looked_up=looked_up,
    module=MODULE,
    hls=hls,
    hls_turns=True,
    finn=Finn(nodes=finn, values=finn_values, quant=True),
)
