# SPDX-License-Identifier: Apache-2.0
"""The integer graph for one sentence length as QONNX in FINN's dialect: integer MatMul, MultiThreshold, and float32 where FINN has nothing else.

Every tensor that the golden model has keeps its name and holds its codes (as float32 numbers, QONNX's container). What stays float: softmax, and
the normalised value of a LayerNorm with gamma and beta. What stays on the host: the embedding sums in front, and behind the last matrix unit its
bias and 16-bit requantization (`finish`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import onnx
from bitloom.hls.finn import scaling
from bitloom.hls.finn import thresholds as th
from bitloom.hls.finn.errors import FinnError
from bitloom.hw.golden import evaluate
from bitloom.hw.graph import Graph, Node, Tensor, signed_bits
from bitloom.hw.ops.common import largest
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 20, 9
MAX_BITS = 8  # codes that FINN's matrix units and thresholds take
MAX_UNIFORM_BITS = 10  # of residual sums and scores, whose thresholds are evenly spaced: FINN makes a shift of them
QUANT_DOMAIN = "qonnx.custom_op.general"
Style = Literal["requant", "thresholds"]


def datatype(tensor: Tensor) -> str:
    """QONNX's name of a tensor's type."""
    return f"{'' if tensor.signed else 'U'}INT{tensor.bits}"


def last_acc(graph: Graph) -> Node:
    """The matrix unit whose accumulators leave FINN's graph: what requantizes them is the host's."""
    tail = graph.node(graph.outputs[0])
    source = graph.node(tail.inputs[0]) if tail.op == "requant" else tail
    if source.op != "linear":
        raise FinnError(f"finn: got an output made by '{tail.op}', must be a linear layer and its requantization; use another backend")
    return source


def finish(graph: Graph, acc: np.ndarray) -> np.ndarray:
    """The host's last step: bias and requantization of the accumulators [rows, labels], int64 -> the output's codes."""
    node = last_acc(graph)
    values = {node.name: acc + graph.param(node, "bias")}
    tail = graph.node(graph.outputs[0])
    if tail.name == node.name:
        return values[node.name]
    part = Graph(name=graph.name, nodes=(tail,), tensors=graph.tensors, params=graph.params, inputs=(node.name,), outputs=graph.outputs)
    return evaluate(part, values, np.array([len(acc)]))[tail.name]


def check(graph: Graph, tokens: int) -> None:
    """Raises FinnError: a length that the graph does not have, or codes wider than FINN takes."""
    if not 1 <= tokens <= graph.max_tokens:
        raise FinnError(f"finn: got {tokens} tokens, must be 1 .. {graph.max_tokens} (the graph's max_tokens); choose a length within")
    for node in graph.nodes:
        out = graph.tensor(node.name)
        if node.op in ("linear", "scores", "context"):
            reach = largest(out) if node.op != "linear" else _reach(graph, node).max()
            if reach >= th.EXACT_FLOAT32:
                raise FinnError(
                    f"finn: {node.name}: got accumulators up to {reach}, must stay below 2**24 (FINN's Python execution carries them "
                    "in float32); use fewer bits or inputs, or the rtl backend"
                )
        elif node.op != "embed" and node.name not in graph.outputs:
            uniform = node.op == "add" or (node.op == "requant" and graph.param(node, "mult").size == 1)
            most = MAX_UNIFORM_BITS if uniform else MAX_BITS
            if out.bits > most:
                raise FinnError(
                    f"finn: {node.name}: got activations of {out.bits} bits, must be at most {most} for FINN's thresholds; lower its "
                    "bits in the recipe (quantization.overrides), or use the rtl or hls4ml backend"
                )


def _reach(graph: Graph, node: Node) -> np.ndarray:
    """Largest accumulator without bias per channel, int64 [C]."""
    return np.abs(graph.param(node, "weight")).sum(axis=1) * largest(graph.tensor(node.inputs[0]))


class Builder:
    """Collects ONNX nodes, constants and QONNX datatypes of one graph for sentences of `tokens` tokens. style: as in `build`."""

    def __init__(self, graph: Graph, tokens: int, style: Style):
        self.graph, self.tokens, self.style = graph, tokens, style
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.types: dict[str, str] = {}

    def op(self, op_type: str, inputs: list[str], output: str, dtype: str = "FLOAT32", **attributes) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=f"{op_type}_{output}", **attributes))
        self.types[output] = dtype
        return output

    def constant(self, name: str, value: np.ndarray, dtype: str = "FLOAT32") -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
        self.types[name] = dtype
        return name

    def ints(self, name: str, value: list[int] | int) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=np.int64), name))
        return name

    def threshold(self, x: str, thresholds: np.ndarray, output: str, low: int, dtype: str) -> str:
        """output = low + number of thresholds <= x, thresholds [channels or 1, levels]."""
        kind = "FLOAT32" if thresholds.dtype.kind == "f" else f"INT{signed_bits(int(np.abs(thresholds).max()))}"
        name = self.constant(f"{output}.thresholds", thresholds, kind)
        return self.op("MultiThreshold", [x, name], output, dtype, domain=QUANT_DOMAIN, out_dtype=dtype, out_scale=1.0, out_bias=float(low))

    def value(self, op_type: str, x: str, operand: np.ndarray | float, output: str) -> str:
        """x (+ or *) a float constant."""
        return self.op(op_type, [x, self.constant(f"{output}.operand", operand)], output)

    def emit(self, node: Node) -> None:
        METHODS[node.op](self, node)

    # one method per operator of the graph; each makes the tensor of the node's name

    def linear(self, node: Node) -> None:
        bits, weight = node.attrs["weight_bits"], self.graph.param(node, "weight")
        kind = "BIPOLAR" if bits == 1 else f"INT{bits}"
        name = self.constant(f"{node.name}.weight", weight.T, kind)
        self.op("MatMul", [node.inputs[0], name], node.name, "INT32")

    def requant(self, node: Node) -> None:
        source, mult = self.graph.node(node.inputs[0]), self.graph.param(node, "mult")
        bias, reach = 0, largest(self.graph.tensor(source.name))
        if source.op == "linear":
            bias, reach = self.graph.param(source, "bias"), _reach(self.graph, source)
        if source.op != "context":
            self.rescale(source.name, mult, node.attrs["shift"], bias, reach, node, node.name)
            return
        heads = self.rescale(source.name, mult, node.attrs["shift"], bias, reach, node, f"{node.name}.heads")
        out = self.graph.tensor(node.name)
        rows = self.op("Transpose", [heads], f"{node.name}.tokens", datatype(out), perm=[0, 2, 1, 3])
        shape = self.ints(f"{node.name}.shape", [1, self.tokens, out.channels])
        self.op("Reshape", [rows, shape], node.name, datatype(out))

    def rescale(self, x: str, mult: np.ndarray, shift: int, bias: np.ndarray | int, reach: np.ndarray | int, node: Node, output: str) -> str:
        """clip(((x + bias)*mult + half) >> shift), as a Requant where one is exact and wanted (or 2**bits thresholds are too many), else as thresholds."""
        out = self.graph.tensor(node.name)
        wanted = self.style == "requant" or out.bits > MAX_BITS
        constants = scaling.of_requant(mult, shift, out.low, out.high, bias, reach) if wanted else None
        if constants is None:
            limits = th.reachable(th.of_requant(mult, shift, out.low, out.high, bias), -np.asarray(reach), reach)
            return self.threshold(x, limits, output, out.low, datatype(out))
        scaled = self.value("Mul", x, constants[0], f"{output}.scaled")
        shifted = self.value("Add", scaled, constants[1], f"{output}.shifted")
        parts = [self.constant(f"{output}.{key}", value) for key, value in (("lsb", 1.0), ("zero", 0.0), ("bits", out.bits))]
        return self.op("Quant", [shifted, *parts], output, datatype(out), domain=QUANT_DOMAIN, signed=int(out.signed), narrow=0, rounding_mode="ROUND")

    def heads(self, x: str, node: Node, perm: list[int]) -> str:
        """[1, T, H] -> [1, T, heads, d], transposed by perm. FINN's FIFOs in front of a product of activations need the rank of 4."""
        tensor, heads = self.graph.tensor(x), node.attrs["heads"]
        shape = self.ints(f"{x}.shape", [1, self.tokens, heads, tensor.channels // heads])
        rows = self.op("Reshape", [x, shape], f"{x}.rows", datatype(tensor))
        return self.op("Transpose", [rows], f"{x}.heads", datatype(tensor), perm=perm)

    def scores(self, node: Node) -> None:
        query, key = (self.heads(x, node, perm) for x, perm in zip(node.inputs, ([0, 2, 1, 3], [0, 2, 3, 1]), strict=True))
        self.op("MatMul", [query, key], node.name, "INT32")

    def context(self, node: Node) -> None:
        self.op("MatMul", [node.inputs[0], self.heads(node.inputs[1], node, [0, 2, 1, 3])], node.name, "INT32")

    def softmax(self, node: Node) -> None:
        x, out = self.graph.tensor(node.inputs[0]), self.graph.tensor(node.name)
        logits = self.value("Mul", x.name, x.scale, f"{node.name}.logits")
        real = self.op("Softmax", [logits], f"{node.name}.real", axis=-1)
        self.threshold(real, th.of_rounding(out.scale, out.low, out.high), node.name, out.low, datatype(out))

    def layernorm(self, node: Node) -> None:
        """float32: (x - mean) / sqrt(var + eps), times gamma, plus beta, in units of the output's LSB; one rounding at the end."""
        x, out, attrs = self.graph.tensor(node.inputs[0]), self.graph.tensor(node.name), node.attrs
        unit = min(x.scale, 0.5)  # a LayerNorm does not see it, but an integer would make FINN's multiplication an integer one
        real = self.value("Mul", x.name, unit, f"{node.name}.real")
        ones, zeros = np.ones(x.channels), np.zeros(x.channels)
        affine = [self.constant(f"{node.name}.{key}", value) for key, value in (("one", ones), ("zero", zeros))]
        epsilon = attrs["eps"] * (unit / x.channels) ** 2
        normal = self.op("LayerNormalization", [real, *affine], f"{node.name}.normal", axis=-1, epsilon=epsilon)
        lsb = 2.0 ** -attrs["shift"]
        scaled = self.value("Mul", normal, self.graph.param(node, "gamma") * lsb * (1 << attrs["frac_bits"]), f"{node.name}.scaled")
        shifted = self.value("Add", scaled, self.graph.param(node, "beta") * lsb, f"{node.name}.shifted")
        self.threshold(shifted, th.of_rounding(1.0, out.low, out.high), node.name, out.low, datatype(out))

    def add(self, node: Node) -> None:
        terms, reach = [], 0
        for x, key in zip(node.inputs, ("a", "b"), strict=True):
            mult, tensor = node.attrs[f"mult_{key}"], self.graph.tensor(x)
            reach += mult * largest(tensor)
            if mult > 1:
                factor = self.constant(f"{node.name}.{key}.mult", np.array([mult]), f"UINT{mult.bit_length()}")
                x = self.op("Mul", [x, factor], f"{node.name}.{key}", "INT32")
            terms.append(x)
        total = self.op("Add", terms, f"{node.name}.total", "INT32")
        self.rescale(total, np.ones(1, dtype=np.int64), node.attrs["shift"], 0, reach, node, node.name)

    def table(self, node: Node) -> None:
        """Thresholds of a table that never falls; else the difference of two such (GELU falls below -0.75)."""
        x, out, entries = self.graph.tensor(node.inputs[0]), self.graph.tensor(node.name), self.graph.param(node, "table")
        if (np.diff(entries) >= 0).all():
            self.threshold(x.name, th.of_table(entries, x.low, out.low, out.high), node.name, out.low, datatype(out))
            return
        parts = []
        for key, part in zip(("rising", "falling"), th.split(entries), strict=True):
            bits = max(1, int(part[-1]).bit_length())
            limits = th.of_table(part, x.low, 0, (1 << bits) - 1)
            parts.append(self.threshold(x.name, limits, f"{node.name}.{key}", 0, f"UINT{bits}"))
        wide = self.op("Sub", parts, f"{node.name}.wide", "INT32")
        codes = np.arange(out.low + 1, out.high + 1)[None] - int(entries[0])
        self.threshold(wide, codes, node.name, out.low, datatype(out))

    def first_token(self, node: Node) -> None:
        self.op("Gather", [node.inputs[0], self.ints(f"{node.name}.index", 0)], node.name, datatype(self.graph.tensor(node.name)), axis=1)


METHODS: dict[str, Callable[[Builder, Node], None]] = {
    "linear": Builder.linear, "requant": Builder.requant, "scores": Builder.scores, "softmax": Builder.softmax, "context": Builder.context,
    "add": Builder.add, "layernorm": Builder.layernorm, "table": Builder.table, "first_token": Builder.first_token,
}  # fmt: skip


def build(graph: Graph, tokens: int, style: Style = "thresholds") -> onnx.ModelProto:
    """The QONNX model for sentences of `tokens` tokens: input the entry's codes [1, T, H], output the last matrix unit's accumulators without bias.

    style  what rescales accumulators: "thresholds" (equal to the golden in every execution), or "requant" (a multiplier a lane instead of 2**bits - 1
           words a channel; equal in the RTL's arithmetic, see bitloom.hls.finn.scaling)
    Raises FinnError: codes wider than FINN takes, or an operator that it has no nodes for.
    """
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    check(graph, tokens)
    builder, end = Builder(graph, tokens, style), last_acc(graph)
    for node in graph.nodes:
        if node.op != "embed" and (node is end or node.name not in graph.outputs):
            builder.emit(node)
    entry = graph.tensor(graph.entry)
    rows = tokens if graph.tensor(end.name).kind == "token" else None
    shape = [1, tokens, graph.tensor(end.name).channels] if rows else [1, graph.tensor(end.name).channels]
    info = helper.make_tensor_value_info
    proto = helper.make_graph(
        builder.nodes,
        graph.name,
        [info(entry.name, TensorProto.FLOAT, [1, tokens, entry.channels])],
        [info(end.name, TensorProto.FLOAT, shape)],
        builder.constants,
    )
    domains = [helper.make_opsetid("", OPSET), helper.make_opsetid(QUANT_DOMAIN, 1)]
    made = ModelWrapper(helper.make_model(proto, opset_imports=domains, ir_version=IR_VERSION, producer_name="bitloom"))
    made = made.transform(InferShapes())
    for name, kind in (builder.types | {entry.name: datatype(entry)}).items():
        made.set_tensor_datatype(name, DataType[kind])
    made.set_metadata_prop("graph_hash", graph.hash)
    made.set_metadata_prop("tokens", str(tokens))
    return made.model
