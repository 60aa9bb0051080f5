# SPDX-License-Identifier: Apache-2.0
"""off_ramps: the answer of the first off-ramp at which a sentence leaves, one behind each layer.

Rules of DeeBERT (Xin et al. 2020, arXiv:2004.12993: leave where the off-ramp is sure) and PABEE (Zhou et al. 2020, arXiv:2006.04152: leave where several in a
row agree), on integers. How sure an off-ramp is, is the margin between its two largest logits; of two labels it falls and rises with DeeBERT's entropy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require
from bitloom.hw.instance import Codes, Fold, HlsLayer
from bitloom.hw.ops.common import require_range
from bitloom.hw.ops.record import Operator

PARAMS = ("threshold",)
ATTRS = ("patience",)


def off_ramps(logits: Sequence[np.ndarray], threshold: np.ndarray, patience: int) -> tuple[np.ndarray, np.ndarray]:
    """A sentence leaves at the first off-ramp i of L with i = L - 1, or margin_i >= threshold[i] and run_i >= patience.

    logits     L arrays int64 [S, C], C >= 2, all of one grid
    threshold  int64 [L - 1], 0 (any margin) .. 2**bits (none)
    patience   off-ramps in a row, 1 .. L, that must have the same best label
    returns    the logits of that off-ramp, int64 [S, C]; its number i, int64 [S]

    best_i: the first of the labels with the largest logit; margin_i: that logit less the largest of the other labels;
    run_i = run_(i-1) + 1 where best_i = best_(i-1), else 1.
    """
    taken = np.full(len(logits[0]), -1, dtype=np.int64)
    before, run = np.full(len(taken), -1, dtype=np.int64), np.zeros(len(taken), dtype=np.int64)
    for index, codes in enumerate(logits):
        best, ordered = codes.argmax(axis=1), np.sort(codes, axis=1)
        run = np.where(best == before, run + 1, 1)
        leaves = (index == len(logits) - 1) | ((ordered[:, -1] - ordered[:, -2] >= threshold[min(index, len(threshold) - 1)]) & (run >= patience))
        taken = np.where((taken < 0) & leaves, index, taken)
        before = best
    return np.stack(logits)[taken, np.arange(len(taken))], taken


def taken(graph: Graph, node: Node, values: dict[str, np.ndarray]) -> np.ndarray:
    """The off-ramp at which each sentence leaves, int64 [S], from the golden codes of its inputs."""
    return off_ramps([values[name] for name in node.inputs], graph.param(node, "threshold"), int(node.attrs["patience"]))[1]


def check(graph: Graph, node: Node) -> None:
    out, threshold, patience = graph.tensor(node.name), graph.param(node, "threshold"), node.attrs["patience"]
    require(len(node.inputs) >= 2, graph, node, f"got {len(node.inputs)} off-ramps, must be at least 2")
    for name in node.inputs:
        x = graph.tensor(name)
        same = (x.shape, x.bits, x.signed, x.scale) == (out.shape, out.bits, out.signed, out.scale)
        require(same, graph, node, f"{name} got {x.shape}, {x.bits} bits, scale {x.scale}, must be {out.shape}, {out.bits}, {out.scale} as all off-ramps")
    require(out.kind == "sentence" and out.channels >= 2 and out.signed, graph, node, f"shape got {out.shape}, must be (1, C), C at least 2, signed")
    require(threshold.shape == (len(node.inputs) - 1,), graph, node, f"threshold got shape {threshold.shape}, must be one of each off-ramp but the last")
    require_range(threshold, 0, 1 << out.bits, graph, node, "threshold")
    require(1 <= patience <= len(node.inputs), graph, node, f"patience got {patience}, must be 1 .. {len(node.inputs)}")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    return off_ramps(inputs, graph.param(node, "threshold"), int(node.attrs["patience"]))[0]


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    """From the last off-ramp to the first: the answer of this one where it is left, else of those behind it."""
    x, before, run, leaves = graph.tensor(node.name), None, None, []
    for name, least in zip(inputs, graph.param(node, "threshold").tolist(), strict=False):
        best = b.op("ArgMax", name, axis=1, keepdims=1)
        others = b.op("Where", b.op("Equal", b.ints(range(x.channels)), best), b.scalar(x.low), name)
        margin = b.op("Sub", *(b.op("ReduceMax", codes, b.ints([1]), keepdims=1) for codes in (name, others)))
        sure = b.op("GreaterOrEqual", margin, b.scalar(least))
        one = b.scalar(1)
        run = one if before is None else b.op("Where", b.op("Equal", best, before), b.op("Add", run, one), one)
        before = best
        leaves.append(b.op("And", sure, b.op("GreaterOrEqual", run, b.scalar(int(node.attrs["patience"])))))
    answer = inputs[-1]
    for index in reversed(range(len(leaves))):
        answer = b.op("Where", leaves[index], inputs[index], answer, name=None if index else node.name)
    return answer


def append(b: GraphBuilder, name: str, logits: Sequence[Tensor], threshold: np.ndarray, patience: int) -> Tensor:
    """The node that answers."""
    x = logits[-1]
    out = Tensor(name=name, shape=x.shape, bits=x.bits, signed=x.signed, scale=x.scale)
    return b.add("off_ramps", out, [t.name for t in logits], {"patience": int(patience)}, threshold=threshold)


def hls(graph: Graph, node: Node, fold: Fold | None) -> HlsLayer:
    """Of what ends a sentence's turns (hls/turns.py)."""
    x, threshold = graph.tensor(node.name), graph.param(node, "threshold")
    constants = {"labels": x.channels, "turns": len(node.inputs), "patience": int(node.attrs["patience"])}
    return HlsLayer(constants=constants, memories={"threshold": Codes(data=threshold, bits=x.bits + 1, signed=False)})


OP = Operator(name="off_ramps", params=PARAMS, attrs=ATTRS, check=check, run=run, onnx=onnx, gate=taken, hls=hls)
