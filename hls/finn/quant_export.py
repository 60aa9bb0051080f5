# SPDX-License-Identifier: Apache-2.0
"""The integer graph as QONNX with Quant nodes, written by Brevitas in the form that FINN's streamlining takes.

For exchange: any QONNX tool reads it. Weights and scales are the integer graph's; the arithmetic is QONNX's, float with rounding half to even, so
codes differ from the golden's here and there. `bitloom.hls.finn.model` makes the same encoder with integer thresholds instead, which differs less.

The form (measured against finn-plus 1.6.1): opset 20 so that GELU is one node, batch 1, a fixed number of tokens, heads of rank 4, one Quant of
at most 8 bits at each layer's output, none on residual sums (FINN's thresholds do not take more than 8 bits) nor on the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import onnx
import torch
from brevitas.export import export_qonnx
from brevitas.inject import ExtendedInjector
from brevitas.inject.enum import FloatToIntImplType
from brevitas.proxy import ActQuantProxyFromInjector, WeightQuantProxyFromInjector
from torch import Tensor, nn
from torch.nn import functional as TF

from bitloom.hls.finn.errors import FinnError
from bitloom.hls.finn.model import check_forms
from bitloom.hw.graph import Graph, Node
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.hw.ops import OPS

OPSET = 20
MAX_BITS = 8
ACTIVATIONS = {"gelu": TF.gelu, "relu": torch.relu, "tanh": torch.tanh}


class _Fixed(nn.Module):
    """Brevitas's tensor_quant with a scale that is known: (value, scale, zero point, bit width)."""

    def __init__(self, scale: Tensor, low: int, high: int, bits: int):
        super().__init__()
        self.low, self.high = low, high
        for key, value in {"scale": scale, "zero_point": torch.tensor(0.0), "bit_width": torch.tensor(float(bits))}.items():
            self.register_buffer(key, value)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        codes = torch.clamp(torch.round(x / self.scale), self.low, self.high)
        return codes * self.scale, self.scale, self.zero_point, self.bit_width


class _Sign(_Fixed):
    """One bit: -scale or +scale."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return torch.where(x >= 0, self.scale, -self.scale), self.scale, self.zero_point, self.bit_width


class _Act(ExtendedInjector):
    proxy_class = ActQuantProxyFromInjector
    float_to_int_impl_type = FloatToIntImplType.ROUND
    narrow_range = False


class _Weight(ExtendedInjector):
    proxy_class = WeightQuantProxyFromInjector
    float_to_int_impl_type = FloatToIntImplType.ROUND
    signed = True


def _quantizer(tensor: GraphTensor) -> qnn.QuantIdentity:
    if tensor.bits > MAX_BITS:
        raise FinnError(f"finn export: {tensor.name}: got {tensor.bits} bits, must be at most {MAX_BITS} for FINN's thresholds; lower them in the "
                         "recipe, or export with bitloom.hls.finn.model")  # fmt: skip
    fixed = _Fixed(torch.tensor(float(tensor.scale)), tensor.low, tensor.high, tensor.bits)
    return qnn.QuantIdentity(act_quant=_Act.let(tensor_quant=fixed, signed=tensor.signed))


def weight_scale(graph: Graph, node: Node) -> np.ndarray:
    """What one LSB of each channel's weights is worth, from the requantization behind: float64 [C]; exact."""
    (reader,) = graph.readers(node.name)
    ratio = graph.param(reader, "mult") / 2.0 ** reader.attrs["shift"]
    return ratio * graph.tensor(reader.name).scale / graph.tensor(node.inputs[0]).scale


def _linear(graph: Graph, node: Node) -> qnn.QuantLinear:
    bits, weight, scale = node.attrs["weight_bits"], graph.param(node, "weight"), weight_scale(graph, node)
    low, narrow = int(weight.min()), int(weight.min()) > -(1 << max(bits, 2) - 1)
    kind = _Sign if bits == 1 else _Fixed
    high = (1 << max(bits, 2) - 1) - 1
    fixed = kind(torch.tensor(scale, dtype=torch.float32)[:, None], -high if narrow else low, high, bits)
    layer = qnn.QuantLinear(weight.shape[1], weight.shape[0], bias=True, weight_quant=_Weight.let(tensor_quant=fixed, narrow_range=narrow))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight * scale[:, None]))
        layer.bias.copy_(torch.tensor(graph.param(node, "bias") * scale * graph.tensor(node.inputs[0]).scale))
    return layer


class FinnEncoder(nn.Module):
    """The graph's nodes as torch and Brevitas modules, from the embedding sums [1, T, H] (real values) to the logits (real values, not rounded).

    Raises FinnError: activations of more than 8 bits, an operator that FINN has no form of, a table of no function that is known.
    """

    def __init__(self, graph: Graph, tokens: int):
        super().__init__()
        self.graph, self.tokens, self.layers, self.quants = graph, tokens, nn.ModuleDict(), nn.ModuleDict()
        for node in graph.nodes:
            if "weight_bits" in node.attrs:
                self.layers[_key(node.name)] = _linear(graph, node)
            elif _quantized(graph, node):
                self.quants[_key(node.name)] = _quantizer(graph.tensor(node.name))

    def forward(self, x: Tensor) -> Tensor:
        values = {self.graph.entry: x}
        for node in self.graph.nodes:
            if not OPS[node.op].host:
                value = OPS[node.op].finn.values(self, self.graph, node, [values[i] for i in node.inputs])
                values[node.name] = self.quants[_key(node.name)](value) if _key(node.name) in self.quants else value
        return values[self.graph.outputs[0]]

    # what operators ask for in hw/ops/<op>.py: finn_values(b, graph, node, inputs)

    def layer(self, node: Node) -> nn.Module:
        """The node's weights and bias as a layer."""
        return self.layers[_key(node.name)]

    def heads(self, x: Tensor, node: Node) -> Tensor:
        """[1, T, C] -> [1, heads, T, C / heads]."""
        return x.reshape(1, self.tokens, node.attrs["heads"], -1).permute(0, 2, 1, 3)

    def layer_norm(self, x: Tensor, gamma: np.ndarray, beta: np.ndarray, eps: float) -> Tensor:
        """gamma, beta float64 [C]."""
        return TF.layer_norm(x, (len(gamma),), torch.tensor(gamma, dtype=torch.float32), torch.tensor(beta, dtype=torch.float32), eps)

    def activation(self, node: Node, function: str | None) -> Callable[[Tensor], Tensor]:
        if function not in ACTIVATIONS:
            raise FinnError(f"finn export: {node.name}: got a table of no known function, must be one of {', '.join(ACTIVATIONS)} for a node in real "
                            "values; export with bitloom.hls.finn.model, which takes any table")  # fmt: skip
        return ACTIVATIONS[function]


def _key(name: str) -> str:
    return name.replace(".", "_")


def export(graph: Graph, tokens: int, path: Path) -> onnx.ModelProto:
    """Write the QONNX file for sentences of `tokens` tokens. Quant nodes' outputs carry the golden tensors' names.

    Raises FinnError: a length that the graph does not have, several outputs, or as FinnEncoder does.
    """
    if not 1 <= tokens <= graph.max_tokens:
        raise FinnError(f"finn export: got {tokens} tokens, must be 1 .. {graph.max_tokens}; choose a length within")
    check_forms(graph)
    model = FinnEncoder(graph, tokens).eval()
    entry = graph.tensor(graph.entry)
    export_qonnx(model, args=torch.zeros(1, tokens, entry.channels), export_path=str(path), opset_version=OPSET,
                 input_names=[entry.name], output_names=[graph.outputs[0]], verbose=False)  # fmt: skip
    proto = onnx.load(str(path))
    _name_tensors(graph, proto)
    for key, value in {"graph_hash": graph.hash, "tokens": str(tokens), "form": "values"}.items():
        proto.graph.metadata_props.add(key=key, value=value)  # the graph's, not the model's: where the qonnx package keeps them
    onnx.save(proto, str(path))
    return proto


def _name_tensors(graph: Graph, proto: onnx.ModelProto) -> None:
    """Give the activations' Quant outputs the golden names. Brevitas's are numbers; the order is that of execution, so the graph's."""
    weights = {initializer.name for initializer in proto.graph.initializer}
    quants = [n for n in proto.graph.node if n.op_type == "Quant" and n.input[0] not in weights]
    names = [n.name for n in graph.nodes if _quantized(graph, n)]
    if len(quants) != len(names):
        raise FinnError(f"finn export: got {len(quants)} Quant nodes of activations, must be {len(names)}; report it with the versions of torch and "
                         "brevitas")  # fmt: skip
    renamed = {node.output[0]: name for node, name in zip(quants, names, strict=True)}
    for node in proto.graph.node:
        for tensors in (node.input, node.output):
            for index, name in enumerate(tensors):
                tensors[index] = renamed.get(name, name)
    for value in proto.graph.value_info:
        value.name = renamed.get(value.name, value.name)


def _quantized(graph: Graph, node: Node) -> bool:
    return bool(OPS[node.op].finn and OPS[node.op].finn.quant) and node.name not in graph.outputs
