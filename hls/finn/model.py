# SPDX-License-Identifier: Apache-2.0
"""The integer graph for one sentence length as QONNX in FINN's dialect: integer MatMul, MultiThreshold, and float32 where FINN has nothing else.

Every tensor that the golden model has keeps its name and holds its codes (as float32 numbers, QONNX's container). What stays float: softmax, and
the normalised value of a LayerNorm with gamma and beta. What stays on the host: the embedding sums in front, and behind the last matrix unit its
bias and 16-bit requantization (`finish`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bitloom.hls.finn import scaling
from bitloom.hls.finn import thresholds as th
from bitloom.hls.finn.errors import FinnError
from bitloom.hw.golden import evaluate
from bitloom.hw.graph import Graph, Node, Tensor, signed_bits
from bitloom.hw.ops import OPS
from bitloom.hw.ops.common import largest
from bitloom.hw.ops.record import Finn

OPSET, IR_VERSION = 20, 9
MAX_BITS = 8  # codes that FINN's matrix units and thresholds take
MAX_UNIFORM_BITS = 10  # of residual sums and scores, whose thresholds are evenly spaced: FINN makes a shift of them
QUANT_DOMAIN = "qonnx.custom_op.general"
Style = Literal["scaling", "thresholds"]


def datatype(tensor: Tensor) -> str:
    """QONNX's name of a tensor's type."""
    return f"{'' if tensor.signed else 'U'}INT{tensor.bits}"


def finn_of(graph: Graph, tensor: str) -> Finn | None:
    """What the operator that makes a tensor is in FINN's graph; None for the graph's inputs and what the host makes."""
    node = next((n for n in graph.nodes if n.name == tensor), None)
    return OPS[node.op].finn if node else None


def by_heads(graph: Graph, tensor: str) -> bool:
    """FINN's tensor has the heads in front of the tokens: rows, and what comes of them."""
    finn = finn_of(graph, tensor)
    return graph.tensor(tensor).kind == "row" or bool(finn and finn.heads)


def left_out(graph: Graph, tensor: str) -> np.ndarray | int:
    """The bias that FINN's tensor does not have, int64 [C] or 0."""
    finn = finn_of(graph, tensor)
    return graph.params[f"{tensor}.{finn.bias}"] if finn and finn.bias else 0


def reach(graph: Graph, tensor: str) -> np.ndarray | int:
    """The largest magnitude of what FINN's tensor holds, int64 [C] or one for all."""
    finn = finn_of(graph, tensor)
    return finn.reach(graph, graph.node(tensor)) if finn and finn.reach else largest(graph.tensor(tensor))


def check_forms(graph: Graph) -> None:
    """Raises FinnError: an operator that FINN has no nodes for, or not just one output."""
    if len(graph.outputs) != 1:
        raise FinnError(f"finn: got {len(graph.outputs)} outputs ({', '.join(graph.outputs)}), must be one; use the rtl backend")
    for tensor in (graph.tensor(node.name) for node in graph.nodes):
        if tensor.kind == "row" and not tensor.keys.all:
            raise FinnError(f"finn: {tensor.name}: got keys '{tensor.shape[2]}', must be all (attention: full); use the rtl or hls4ml backend")
    for node in graph.nodes:
        if not OPS[node.op].host and OPS[node.op].finn is None:
            raise FinnError(f"finn: {node.name}: got operator '{node.op}', must have a form in FINN's nodes (finn in hw/ops/{node.op}.py); use another backend")


def last_acc(graph: Graph) -> Node:
    """The matrix unit whose accumulators leave FINN's graph: what requantizes them is the host's."""
    tail = graph.node(graph.outputs[0])
    source = tail if OPS[tail.op].matrix else graph.node(tail.inputs[0]) if tail.inputs[0] not in graph.inputs else tail
    if not OPS[source.op].matrix or by_heads(graph, source.name):
        raise FinnError(f"finn: got an output made by '{tail.op}', must be a linear layer and its requantization; use another backend")
    return source


def finish(graph: Graph, acc: np.ndarray) -> np.ndarray:
    """The host's last step: bias and requantization of the accumulators [rows, labels], int64 -> the output's codes."""
    node = last_acc(graph)
    values = {node.name: acc + left_out(graph, node.name)}
    tail = graph.node(graph.outputs[0])
    if tail.name == node.name:
        return values[node.name]
    part = Graph(name=graph.name, nodes=(tail,), tensors=graph.tensors, params=graph.params, inputs=(node.name,), outputs=graph.outputs)
    return evaluate(part, values, np.array([len(acc)]))[tail.name]


def check(graph: Graph, tokens: int) -> None:
    """Raises FinnError: a length that the graph does not have, or codes wider than FINN takes."""
    if not 1 <= tokens <= graph.max_tokens:
        raise FinnError(f"finn: got {tokens} tokens, must be 1 .. {graph.max_tokens} (the graph's max_tokens); choose a length within")
    check_forms(graph)
    for node in graph.nodes:
        out, op = graph.tensor(node.name), OPS[node.op]
        if op.host:
            continue
        if op.matrix:
            most = np.max(reach(graph, node.name))
            if most >= th.EXACT_FLOAT32:
                raise FinnError(
                    f"finn: {node.name}: got accumulators up to {most}, must stay below 2**24 (FINN's Python execution carries them "
                    "in float32); use fewer bits or inputs, or the rtl backend"
                )
        elif node.name not in graph.outputs:
            most = MAX_UNIFORM_BITS if op.finn.uniform(graph, node) else MAX_BITS
            if out.bits > most:
                raise FinnError(
                    f"finn: {node.name}: got activations of {out.bits} bits, must be at most {most} for FINN's thresholds; lower its "
                    "bits in the recipe (quantization.overrides), or use the rtl or hls4ml backend"
                )


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

    # what operators ask for in hw/ops/<op>.py: finn(b, graph, node)

    @staticmethod
    def datatype(tensor: Tensor) -> str:
        return datatype(tensor)

    def by_heads(self, tensor: str) -> bool:
        """FINN's tensor is [1, heads, T, C / heads]."""
        return by_heads(self.graph, tensor)

    def bias(self, tensor: str) -> np.ndarray | int:
        """What FINN's accumulators leave out, int64 [C] or 0."""
        return left_out(self.graph, tensor)

    def reach(self, tensor: str) -> np.ndarray | int:
        """The largest magnitude of what FINN's tensor holds, one for all channels or int64 [C]."""
        return reach(self.graph, tensor)

    def rounded(self, x: str, scale: float, out: Tensor) -> str:
        """The codes of `out` nearest to real values of which one LSB is worth `scale`."""
        return self.threshold(x, th.of_rounding(scale, out.low, out.high), out.name, out.low, datatype(out))

    def rescale(self, x: str, mult: np.ndarray, shift: int, node: Node, output: str, bias: np.ndarray | int = 0, reach: np.ndarray | int = 0) -> str:
        """clip(((x + bias)*mult + half) >> shift), as a Requant where one is exact and wanted (or 2**bits thresholds are too many), else as thresholds."""
        out = self.graph.tensor(node.name)
        wanted = self.style == "scaling" or out.bits > MAX_BITS
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

    def lookup(self, x_name: str, entries: np.ndarray, node: Node) -> None:
        """Thresholds of a table that never falls; else the difference of two such (GELU falls below -0.75)."""
        x, out = self.graph.tensor(x_name), self.graph.tensor(node.name)
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


def build(graph: Graph, tokens: int, style: Style = "thresholds") -> onnx.ModelProto:
    """The QONNX model for sentences of `tokens` tokens: input the entry's codes [1, T, H], output the last matrix unit's accumulators without bias.

    style  what rescales accumulators: "thresholds" (equal to the golden in every execution), or "scaling" (Requant nodes: a multiplier a lane instead of
           2**bits - 1 words a channel; equal in the RTL's arithmetic, see bitloom.hls.finn.scaling)
    Raises FinnError: codes wider than FINN takes, or an operator that it has no nodes for.
    """
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    check(graph, tokens)
    builder, end = Builder(graph, tokens, style), last_acc(graph)
    for node in graph.nodes:
        if not OPS[node.op].host and (node is end or node.name not in graph.outputs):
            OPS[node.op].finn.nodes(builder, graph, node)
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
