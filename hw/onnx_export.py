# SPDX-License-Identifier: Apache-2.0
"""integer.onnx: the integer graph in standard ONNX operators, one sentence at a time, for ONNX Runtime as an outside referee.

Inputs `input_ids`, `token_type_ids` int64 [T]; outputs: the graph's outputs and each layer's, int64 codes. All arithmetic is int64, but for the
products of a weight matrix (MatMulInteger where both sides fit 8 bits) and the square root (float64, exact in its range, see layernorm.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bitloom.hw.errors import BitloomError
from bitloom.hw.graph import Graph, Tensor
from bitloom.hw.keys import Keys
from bitloom.hw.ops import OPS
from bitloom.hw.ops.common import half

OPSET, IR_VERSION = 18, 9


class Builder:
    """Collects ONNX nodes and constants; every value is int64 unless cast. Methods return the name of their result."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix  # of fresh names
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def fresh(self) -> str:
        """A name for the next node's output."""
        return f"{self.prefix}_{len(self.nodes)}"

    def body(self, prefix: str) -> Builder:
        """For the nodes inside of a `scan`: its constants are this one's."""
        inner = Builder(prefix)
        inner.initializers = self.initializers
        return inner

    def scan(self, inner: Builder, states: Sequence[str], x: str, names: Sequence[str], sizes: Sequence[int], out: Sequence[str], backward: int, name: str):
        """`inner` for each row of x [T, C], from the last one on where `backward`: the states behind it, and the rows that it gives, in the order of x's.

        states  at the beginning; names, sizes: of the states and of a row inside; out: the new states and the row that is given, each another tensor
        """
        given = [inner.op("Identity", value) for value in out]
        shapes = [*sizes[:-1], sizes[0]]
        inputs, outputs = (
            [helper.make_tensor_value_info(n, TensorProto.INT64, [size]) for n, size in zip(own, dims, strict=True)]
            for own, dims in ((names, sizes), (given, shapes))
        )
        results = [f"{name}.{index}" for index in range(len(out))]
        graph = helper.make_graph(inner.nodes, name, inputs, outputs)
        self.nodes.append(
            helper.make_node("Scan", [*states, x], results, body=graph, num_scan_inputs=1, scan_input_directions=[backward], scan_output_directions=[backward])
        )
        return results

    def op(self, op_type: str, *inputs: str, name: str | None = None, before: str | None = None, **attributes) -> str:
        """One standard operator; name: of its output (a fresh one if None), before: of one in front of it, of operators with two."""
        name = name or self.fresh()
        self.nodes.append(helper.make_node(op_type, list(inputs), [*([before] if before else []), name], **attributes))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def ints(self, values: Sequence[int]) -> str:
        """A small int64 vector, shared by value."""
        return self.constant("_v" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def scalar(self, value: int) -> str:
        return self.constant(f"_s{value}", np.array(value, dtype=np.int64))

    def cast(self, x: str, to: type) -> str:
        return self.op("Cast", x, to={float: TensorProto.DOUBLE, int: TensorProto.INT64}[to])

    def round_shift(self, x: str, shift: int) -> str:
        """(x + half) >> shift as floor division: ONNX's Div truncates, so the remainder (sign of the divisor) goes first."""
        if shift == 0:
            return x
        x, power = self.op("Add", x, self.scalar(half(shift))), self.scalar(1 << shift)
        return self.op("Div", self.op("Sub", x, self.op("Mod", x, power)), power)

    def clip(self, x: str, tensor: Tensor, name: str) -> str:
        return self.op("Min", self.op("Max", x, self.scalar(tensor.low)), self.scalar(tensor.high), name=name)

    def seen(self, x: str, keys: Keys, border: str | None = None) -> str:
        """bool [T, 1, T]: which keys a query sees; x has T tokens along its first axis; border: int64 [1, 1], of the keys `segment`."""
        tokens = self.op("Gather", self.op("Shape", x), self.scalar(0))
        at = self.op("Range", self.scalar(0), tokens, self.scalar(1))
        if keys.segment:
            first = self.op("Less", at, self.op("Reshape", border, self.ints([1])))
            return self.op("Equal", first, self.op("Unsqueeze", first, self.ints([1, 2])))
        behind = self.op("Sub", at, self.op("Unsqueeze", at, self.ints([1, 2])))
        limits = [("GreaterOrEqual", None if keys.back is None else -keys.back), ("LessOrEqual", keys.ahead)]
        sides = [self.op(test, behind, self.scalar(limit)) for test, limit in limits if limit is not None]
        return sides[0] if len(sides) == 1 else self.op("And", *sides)

    def matmul(self, a: str, a_type: Tensor, b: str, b_type: Tensor, acc_bits: int) -> str:
        """a @ b of two activations; MatMulInteger where both fit 8 bits and the accumulator fits 32."""
        if max(a_type.bits, b_type.bits) <= 8 and acc_bits <= 32:
            return self.cast(self.op("MatMulInteger", self._narrow(a, a_type.signed), self._narrow(b, b_type.signed)), int)
        return self.op("MatMul", a, b)

    def matmul_integer(self, x: str, x_type: Tensor, weight: np.ndarray, acc_bits: int) -> str:
        """x @ weight; weight int64 [K, C], at most 8 bits."""
        if x_type.bits <= 8 and acc_bits <= 32:
            narrow = self.constant(f"_weight{self.fresh()}", weight.astype(np.int8))
            return self.cast(self.op("MatMulInteger", self._narrow(x, x_type.signed), narrow), int)
        return self.op("MatMul", x, self.constant(f"_weight{self.fresh()}", weight))

    def _narrow(self, x: str, signed: bool) -> str:
        return self.op("Cast", x, to=TensorProto.INT8 if signed else TensorProto.UINT8)


def observed(graph: Graph) -> list[str]:
    """The tensors that integer.onnx gives out: the outputs, what stands between layers (`observed` of the record), all off-ramps."""
    ramps = {name for n in graph.nodes if OPS[n.op].gate for name in n.inputs}
    between = [n.name for n in graph.nodes if OPS[n.op].observed or n.name in ramps]
    return [*graph.outputs, *(n for n in between if n not in graph.outputs)]


def _shape(tensor: Tensor) -> list[int | str]:
    """Rows are whole: what is not seen is 0."""
    tokens = str(tensor.shape[0]) if tensor.kind != "sentence" else 1
    return [tokens, tensor.shape[1], tokens] if tensor.kind == "row" else [tokens, tensor.shape[1]]


def to_onnx(graph: Graph) -> onnx.ModelProto:
    """The graph as an ONNX model of standard operators only (opset 18)."""
    b = Builder()
    for node in graph.nodes:
        OPS[node.op].onnx(b, graph, node, list(node.inputs))
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["T"]) for n in graph.inputs]
    outputs = [helper.make_tensor_value_info(n, TensorProto.INT64, _shape(graph.tensor(n))) for n in observed(graph)]
    proto = helper.make_graph(b.nodes, graph.name, inputs, outputs, list(b.initializers.values()))
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="bitloom")
    helper.set_model_props(model, {"graph_hash": graph.hash})
    onnx.checker.check_model(model)
    return model


class OnnxReferee:
    """integer.onnx in ONNX Runtime on the CPU.

    Raises BitloomError: the file's graph hash is not `expect_hash`.
    """

    def __init__(self, model: Path | onnx.ModelProto, expect_hash: str | None = None, threads: int = 0):
        import onnxruntime  # slow to import, needed here only

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        content = str(model) if isinstance(model, Path) else model.SerializeToString()
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        found = self.session.get_modelmeta().custom_metadata_map.get("graph_hash")
        if expect_hash is not None and found != expect_hash:
            raise BitloomError(f"integer.onnx: got graph hash {found}, must be {expect_hash}; run `bitloom export` again")
        self.names = [o.name for o in self.session.get_outputs()]

    def run(self, ids: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> dict[str, np.ndarray]:
        """Codes of the observed tensors for unpadded sentences, laid out as bitloom.hw.golden.run does."""
        segments = [[0] * len(s) for s in ids] if segments is None else segments
        rows = [
            self.session.run(None, {"input_ids": np.asarray(s, np.int64), "token_type_ids": np.asarray(g, np.int64)})
            for s, g in zip(ids, segments, strict=True)
        ]
        return {name: np.concatenate([row[i] for row in rows]) for i, name in enumerate(self.names)}
