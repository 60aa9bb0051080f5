# SPDX-License-Identifier: Apache-2.0
"""The operators as hls4ml layers: one class, one config template and one function template each, registered by hls4ml's extension API.

What differs between operators comes from `hw/ops/<stem>.py:hls` (constants, memories) and is computed by `hls/nnet/<stem>.h`; here is what they share:
variables that carry the tensors' names and exact widths. Names of C++ things are the tensor's with `_` for `.`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
TURNS = "turns"  # the layers that are used in turn, as one (hls/turns.py)
PLUMBING = {"from_axis": "axis", "to_axis": "axis", "fork": "fork", TURNS: TURNS}  # layers that move beats; stem of their header
SIGNED = ("shift", "more", "recip_bits", "recip_least", "frac_bits")  # constants that are subtracted, or compared with widths


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

    made_variables  one for each output
    memories        name of the C++ variable -> Codes
    text            text.config_cpp(), its CONFIG, and text.call_cpp(): asked when hls4ml has named the types of the encoder's ports
    """

    def initialize(self) -> None:
        for output, variable in zip(self.outputs, self.get_attr("made_variables"), strict=True):
            self.set_attr(output, variable)
        for name, codes in self.get_attr("memories", {}).items():
            self.add_weights_variable(
                name,
                var_name=name,
                type_name=f"{name}_t",
                precision=IntegerPrecisionType(codes.bits, codes.signed),
                data=np.asarray(codes.data, dtype=np.int64),
            )


class Entry(Operator):
    """The encoder's input port."""


def memory_name(tensor: str, name: str) -> str:
    """The C++ variable of an operator's memory."""
    return f"{cpp_name(tensor)}_{name}"


def config_cpp(tensor: str, constants: Mapping[str, int | bool], memories: Mapping[str, Codes]) -> str:
    """The CONFIG of an operator's header; n_<name> are the words that a call reads."""
    lines = [f"struct config_{cpp_name(tensor)} {{"]
    for name, value in constants.items():
        kind = "bool" if isinstance(value, bool) else "int" if name in SIGNED else "unsigned" if value < 1 << 32 else "unsigned long long"
        lines.append(f"    static const {kind} {name} = {str(value).lower()};")
    for name, codes in memories.items():
        lines.append(f"    static const unsigned n_{name} = {codes.words};")
        lines.append(f"    typedef {memory_name(tensor, name)}_t {name}_t;")
    return "\n".join([*lines, "};\n"])


def call_cpp(stem: str, tensor: str, inputs: Sequence[TensorVariable], outputs: Sequence[TensorVariable], memories: Sequence[str] = ()) -> str:
    """The call of an operator's header. memories: C++ expressions"""
    types = [v.type.name for v in [*inputs, outputs[0]]] if stem != "fork" else [inputs[0].type.name]
    arguments = [*(v.name for v in [*inputs, *outputs]), *memories]
    return f"bitloom::{stem}<{', '.join(types)}, config_{cpp_name(tensor)}>({', '.join(arguments)});"


def _register(stem: str, header: str) -> None:
    layer = type(class_name(stem), (Operator,), {"__doc__": f"{stem}: hls/nnet/{header}.h"})

    class Config(LayerConfigTemplate):
        def __init__(self):
            super().__init__(layer)

        def format(self, node):
            return node.get_attr("text").config_cpp()

    class Call(FunctionCallTemplate):
        def __init__(self):
            super().__init__(layer, include_header=[f"nnet_utils/{header}.h"])

        def format(self, node):
            return node.get_attr("text").call_cpp()

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


__all__ = [
    "ArrayVariable",
    "Codes",
    "Entry",
    "HLSCodeType",
    "Operator",
    "StreamVariable",
    "TURNS",
    "call_cpp",
    "class_name",
    "code_type",
    "config_cpp",
    "cpp_name",
    "memory_name",
    "register",
]
