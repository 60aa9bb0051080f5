# SPDX-License-Identifier: Apache-2.0
"""The operators as hls4ml layers: one class, one config template and one function template each, registered by hls4ml's extension API.

What differs between operators comes from `hw/ops/<stem>.py:hls` (constants, memories) and is computed by `hls/nnet/<stem>.h`; here is what they share:
variables that carry the tensors' names and exact widths. Names of C++ things are the tensor's with `_` for `.`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from hls4ml.backends import get_backend
from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
from hls4ml.backends.vivado.vivado_types import VivadoArrayVariableDefinition, VivadoStreamVariableDefinition
from hls4ml.model.layers import Layer, register_layer
from hls4ml.model.types import IntegerPrecisionType, NamedType, TensorVariable

from bitloom.hw.instance import Codes
from bitloom.hw.ops import OPS

HEADERS = Path(__file__).parent / "nnet"
BACKEND = "Vitis"
PLUMBING = {"from_axis": "axis", "to_axis": "axis", "fork": "fork"}  # layers that move beats; stem of their header
# The encoder runs as long as data comes: no start and done handshake around the streams.
FREE_RUNNING = "#pragma HLS INTERFACE ap_ctrl_none port=return\n    "


def cpp_name(name: str) -> str:
    """A tensor's name in C++."""
    return name.replace(".", "_")


def class_name(stem: str) -> str:
    """The hls4ml class of an operator: Linear of hls4ml is another one."""
    return "Bitloom" + "".join(part.capitalize() for part in stem.split("_"))


class HLSCodeType(NamedType):
    """A type that is written as it is (hls4ml leaves types whose class begins with HLS alone).

    text  the C++ type; before  lines in front of its definition
    """

    def __init__(self, name: str, text: str, bits: int, signed: bool, before: str = ""):
        super().__init__(name, IntegerPrecisionType(bits, signed))
        self.text, self.before = text, before

    def definition_cpp(self) -> str:
        return f"{self.before}typedef {self.text} {self.name};\n"


class StreamVariable(TensorVariable, VivadoStreamVariableDefinition):
    """hls::stream of beats; hls4ml's own conversion, which would pack a whole token into one word, leaves it alone."""

    def __init__(self, name: str, shape: list[int], kind: HLSCodeType, depth: int):
        super().__init__(shape, name, kind.name, kind.precision)
        self.type, self.pragma = kind, ("stream", depth)


class ArrayVariable(TensorVariable, VivadoArrayVariableDefinition):
    """A plain array (io_parallel)."""

    def __init__(self, name: str, shape: list[int], kind: HLSCodeType):
        super().__init__(shape, name, kind.name, kind.precision)
        self.type, self.pragma = kind, "partition"


def code_type(bits: int, signed: bool) -> str:
    return f"ap_int<{bits}>" if signed else f"ap_uint<{bits}>"


class Operator(Layer):
    """One call of a header. Attributes from the layer list:

    variables  one for each output
    constants  name -> int or bool, the CONFIG of the header
    memories   name -> Codes
    """

    def initialize(self) -> None:
        for output, variable in zip(self.outputs, self.get_attr("made_variables"), strict=True):
            self.set_attr(output, variable)
        for name, codes in self.get_attr("memories", {}).items():
            self.add_weights_variable(
                name,
                var_name=f"{cpp_name(self.name)}_{name}",
                type_name=f"{cpp_name(self.name)}_{name}_t",
                precision=IntegerPrecisionType(codes.bits, codes.signed),
                data=np.asarray(codes.data, dtype=np.int64),
            )


class Entry(Operator):
    """The encoder's input port."""


def config_cpp(node: Layer) -> str:
    lines = [f"struct config_{cpp_name(node.name)} {{"]
    for name, value in node.get_attr("constants").items():
        kind = "bool" if isinstance(value, bool) else "int" if name == "shift" else "unsigned" if value < 1 << 32 else "unsigned long long"
        lines.append(f"    static const {kind} {name} = {str(value).lower()};")
    for name, weights in node.weights.items():
        lines.append(f"    static const unsigned n_{name} = {weights.data_length};")
        lines.append(f"    typedef {weights.type.name} {name}_t;")
    return "\n".join([*lines, "};\n"])


def _call(node: Layer, function: str) -> str:
    inputs = [node.get_input_variable(name) for name in node.inputs]
    outputs = [node.get_output_variable(name) for name in node.outputs]
    types = [v.type.name for v in [*inputs, outputs[0]]] if function != "fork" else [inputs[0].type.name]
    arguments = [v.name for v in [*inputs, *outputs, *node.weights.values()]]
    free = FREE_RUNNING if function == "from_axis" else ""
    return f"{free}bitloom::{function}<{', '.join(types)}, config_{cpp_name(node.name)}>({', '.join(arguments)});"


def _register(stem: str, header: str) -> None:
    layer = type(class_name(stem), (Operator,), {"__doc__": f"{stem}: hls/nnet/{header}.h"})

    class Config(LayerConfigTemplate):
        def __init__(self):
            super().__init__(layer)

        def format(self, node):
            return config_cpp(node)

    class Call(FunctionCallTemplate):
        def __init__(self):
            super().__init__(layer, include_header=[f"nnet_utils/{header}.h"])

        def format(self, node):
            return _call(node, stem)

    register_layer(layer.__name__, layer)
    get_backend(BACKEND).register_template(Config)
    get_backend(BACKEND).register_template(Call)


@cache
def register() -> None:
    """Make the operators known to hls4ml, once a process."""
    register_layer(class_name("entry"), Entry)
    for stem, op in OPS.items():
        if op.hls:
            _register(stem, stem)
    for stem, header in PLUMBING.items():
        _register(stem, header)
    for source in sorted(HEADERS.glob("*.h")):
        get_backend(BACKEND).register_source(source)


__all__ = ["ArrayVariable", "Codes", "Entry", "HLSCodeType", "Operator", "StreamVariable", "class_name", "code_type", "cpp_name", "register"]
