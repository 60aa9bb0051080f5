# SPDX-License-Identifier: Apache-2.0
"""FINN's graph in Python execution against the golden model: node by node on golden inputs, and whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bitloom.hls.finn.errors import FinnError
from bitloom.hls.finn.model import by_heads, finish, left_out
from bitloom.hw import golden
from bitloom.hw.graph import Graph, Node
from bitloom.hw.ops import OPS

DSP58 = 3  # the widest of FINN's DSP versions; constants differ between them in width only, not in what they stand for


@dataclass
class TensorReport:
    """One golden tensor in FINN's graph, over all sentences.

    exact    FINN computes it in integers: `alone` must be 0
    alone    codes that differ where the node gets golden inputs; chained: where it gets what FINN computed before it
    worst_*  the largest difference in codes (LSB)
    """

    tensor: str
    op: str
    exact: bool
    values: int = 0
    alone: int = 0
    worst_alone: int = 0
    chained: int = 0
    worst_chained: int = 0


@dataclass
class Report:
    """What was compared. labels_differ: sentences whose largest logit is another one than the golden's."""

    tensors: list[TensorReport]
    sentences: int = 0
    labels_differ: int = 0
    outputs: list[np.ndarray] = field(default_factory=list)

    @property
    def broken(self) -> list[TensorReport]:
        """Integer nodes that differ on golden inputs: none, or the lowering is wrong."""
        return [t for t in self.tensors if t.exact and t.alone]


class Runner:
    """A QONNX or FINN hardware graph for sentences of one length: of `bitloom.hls.finn.model.build`, `bitloom.hls.finn.quant_export.export`
    or `Lowered.hardware`.

    A FINN graph has to be run within `bitloom.hls.finn.tool.session`.
    Raises FinnError: the model was made from another graph.
    """

    def __init__(self, graph: Graph, model: Any):
        from qonnx.core.modelwrapper import ModelWrapper

        self.graph = graph
        self.model = ModelWrapper(str(model) if isinstance(model, Path) else model)
        found = self.model.get_metadata_prop("graph_hash")
        if found != graph.hash:
            raise FinnError(f"finn: got a model of graph {str(found)[:16]}, must be of {graph.hash[:16]}; build again")
        self.tokens = int(self.model.get_metadata_prop("tokens"))
        self.scaled = self.model.get_metadata_prop("form") == "values"  # real values, not codes: the form with Quant nodes
        self.nodes = {n.name: n for n in graph.nodes if not OPS[n.op].host and n.name not in graph.outputs}

    def run(self, want: dict[str, np.ndarray], *, alone: bool) -> dict[str, np.ndarray]:
        """One sentence: codes of every golden tensor that the model has, laid out as the golden's, int64; accumulators with their bias.

        want   the golden's tensors of that sentence
        alone  each node gets the golden's inputs; else only the first does, and each next one what came before
        """
        from qonnx.core.onnx_exec import execute_node
        from qonnx.util.basic import get_preferred_qonnx_opset

        graph, got = self.model.graph, {}
        context, opsets = self.model.make_empty_exec_context(), self.model.get_opset_imports()
        lsb = self.graph.tensor(self.graph.entry).scale if self.scaled else 1.0
        context[graph.input[0].name] = (want[self.graph.entry][None] * lsb).astype(np.float32)
        for step in graph.node:
            name = step.output[0]
            if step.op_type == "Requant":
                context[name] = self._requant(step, context[step.input[0]])
            else:
                execute_node(step, context, graph, opsets.get(step.domain, get_preferred_qonnx_opset()))
            if name in self.nodes:
                got[name] = self._codes(self.nodes[name], context[name])
                if alone:
                    context[name] = self._values(self.nodes[name], want[name], context[name].shape)
        got[self.graph.outputs[0]] = self._finish(context[graph.output[0].name])
        return got

    def _finish(self, value: np.ndarray) -> np.ndarray:
        """The host's last step on what leaves the graph."""
        out = self.graph.tensor(self.graph.outputs[0])
        rows = value.astype(np.float64).reshape(-1, out.channels)
        if self.scaled:
            return np.clip(np.floor(rows / out.scale + 0.5), out.low, out.high).astype(np.int64)
        return finish(self.graph, np.floor(rows + 0.5).astype(np.int64))

    def _requant(self, step: Any, x: np.ndarray) -> np.ndarray:
        """FINN's Requant with the fixed-point constants that go into its RTL; its own Python execution rounds products to float32."""
        from qonnx.custom_op.registry import getCustomOp

        unit = getCustomOp(step)
        constants = unit.decompose_params(self.model, DSP58)
        scale, bias, shift = (np.array(constants[key], dtype=object).T.reshape(-1).astype(np.int64) for key in ("scale", "bias", "shift"))
        out = unit.get_output_datatype()
        codes = (x.astype(np.int64) * scale + bias) >> shift
        return np.clip(codes, out.min(), out.max()).astype(np.float32)

    def _codes(self, node: Node, value: np.ndarray) -> np.ndarray:
        lsb = self.graph.tensor(node.name).scale if self.scaled else 1.0
        codes = np.floor(value.astype(np.float64) / lsb + 0.5).astype(np.int64)
        codes = codes + left_out(self.graph, node.name)
        if by_heads(self.graph, node.name):
            codes = codes.reshape(value.shape[-3:]).transpose(1, 0, 2)  # heads and tokens
        return codes.reshape(-1) if self.graph.tensor(node.name).kind == "row" else codes.reshape(-1, self.graph.tensor(node.name).channels)

    def _values(self, node: Node, codes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """`_codes` backwards."""
        codes = codes - left_out(self.graph, node.name)
        if by_heads(self.graph, node.name):
            heads, tokens, last = shape[-3:]
            return np.ascontiguousarray(codes.reshape(tokens, heads, last).transpose(1, 0, 2)).reshape(shape).astype(np.float32)
        return codes.reshape(shape).astype(np.float32)


def compare(graph: Graph, model: Any, ids: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None, *, nodes: bool = True) -> Report:
    """Run sentences of the model's length both ways and count what differs.

    nodes  also each node alone on golden inputs (not for the form with Quant nodes, which computes in real values)
    Raises FinnError: no sentence, or one of another length.
    """
    runner = Runner(graph, model)
    if wrong := [len(s) for s in ids if len(s) != runner.tokens]:
        raise FinnError(f"finn: got a sentence of {wrong[0]} tokens, must be {runner.tokens}, the length this graph was built for; build another")
    if not len(ids):
        raise FinnError("finn: got 0 sentences to compare, must be at least one; a comparison of nothing proves nothing")
    nodes = nodes and not runner.scaled
    rows = {n.name: TensorReport(n.name, n.op, OPS[n.op].finn.exact) for n in graph.nodes if OPS[n.op].finn}
    report = Report([])
    for number, sentence in enumerate(ids):
        want = golden.run(graph, [sentence], None if segments is None else [segments[number]])
        chained = runner.run(want, alone=False)
        for name, codes in chained.items():
            count, worst = _differ(codes, want[name])
            row = rows[name]
            row.values, row.chained, row.worst_chained = row.values + codes.size, row.chained + count, max(row.worst_chained, worst)
        if nodes:
            for name, codes in runner.run(want, alone=True).items():
                count, worst = _differ(codes, want[name])
                rows[name].alone, rows[name].worst_alone = rows[name].alone + count, max(rows[name].worst_alone, worst)
        output = chained[graph.outputs[0]]
        report.outputs.append(output)
        report.sentences += 1
        report.labels_differ += int((output.argmax(axis=1) != want[graph.outputs[0]].argmax(axis=1)).any())
    report.tensors = [row for row in rows.values() if row.values]
    return report


def _differ(got: np.ndarray, want: np.ndarray) -> tuple[int, int]:
    if got.shape != want.shape:
        raise FinnError(f"finn: got a tensor of shape {got.shape}, must be {want.shape}; the lowering lost values, report it")
    difference = np.abs(got - want)
    return int((difference > 0).sum()), int(difference.max(initial=0))
