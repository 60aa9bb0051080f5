# SPDX-License-Identifier: Apache-2.0
"""A design's units as layers of hls4ml: what its `ModelGraph.from_layer_list` takes, with their C++ text.

Every operator is one call of its header; a tensor with several readers is a fork; FIFO depths are the RTL's (hw/plan/fifos.py says why they cannot deadlock).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from hls4ml.model.types import TensorVariable

from bitloom.hls.errors import HlsError
from bitloom.hls.layers import ArrayVariable, HLSCodeType, StreamVariable, call_cpp, class_name, code_type, config_cpp, cpp_name, memory_name
from bitloom.hw.instance import Codes
from bitloom.hw.ops import OPS
from bitloom.hw.plan.design import SOURCE, Design
from bitloom.hw.plan.fifos import MIN_DEPTH
from bitloom.hw.plan.streams import Stream
from bitloom.hw.plan.units import Port, Unit

MOST_BRANCHES = 4  # of hls/nnet/fork.h
PARALLEL = tuple(name for name, op in OPS.items() if op.hls_array)  # operators that work on one array of tokens too
# The encoder runs as long as data comes: no start and done handshake around the streams.
FREE_RUNNING = "#pragma HLS INTERFACE ap_ctrl_none port=return\n    "


def shape(stream: Stream, max_tokens: int) -> list[int]:
    """The array of one sentence in full length: what its beats carry."""
    if stream.kind == "row":
        return [max_tokens, stream.heads, max_tokens]
    return [max_tokens, stream.layout.width] if stream.kind == "token" else [stream.layout.width]


def most_beats(stream: Stream, max_tokens: int) -> int:
    """Beats of a sentence in full length."""
    return math.prod(shape(stream, max_tokens)) // stream.lanes


def shared_constants(x: Stream, max_tokens: int) -> dict[str, int]:
    """The CONFIG that all headers share, from an operator's first input.

    max_tokens  rows at most (1 where that is one vector a sentence); max_beats: beats at most
    channels    elements of a token; heads: of a row stream, those side by side as one; 0 for any other
    """
    return {
        "max_tokens": 1 if x.kind == "sentence" else max_tokens,
        "max_beats": most_beats(x, max_tokens),
        "channels": x.layout.width,
        "heads": x.heads // x.lanes if x.heads else 0,
    }


def reuse_factor(unit: Unit) -> int:
    """hls4ml's measure of folding: how often each multiplier is used for one token (for attention: for one sentence of max_tokens)."""
    tokens = 1 if unit.op.hls_array else unit.graph.max_tokens
    return max(1, unit.macs(tokens) // (unit.multipliers or 1))


def beat_type(stream: Stream) -> str:
    """The template of hls/nnet/beat.h."""
    return "row_beat" if stream.kind == "row" else "beat"


def stream_variable(stream: Stream, max_tokens: int, name: str, depth: int) -> StreamVariable:
    code = code_type(stream.bits, stream.signed)
    kind = HLSCodeType(f"{cpp_name(stream.tensor)}_t", f"bitloom::{beat_type(stream)}<{code}, {stream.lanes}>", stream.bits, stream.signed)
    return StreamVariable(cpp_name(name), shape(stream, max_tokens), kind, depth)


def port_variable(stream: Stream, max_tokens: int, name: str) -> StreamVariable:
    """An AXI4-Stream port for a tensor; the first one's type brings the headers along."""
    text = f"hls::axis<nnet::array<{code_type(stream.io_bits, stream.signed)}, {stream.lanes}>, 0, 0, 0>"
    before = '#include "nnet_utils/csim.h"\n' if name == SOURCE else ""
    return StreamVariable(name, shape(stream, max_tokens), HLSCodeType(f"{name}_t", text, stream.io_bits, stream.signed, before), MIN_DEPTH)


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """One call of a header of hls/nnet.

    stem      of the function and, but for plumbing (hls/layers.py), of its header
    name      of the layer: the tensor that it makes, or what moves it
    inputs    the variables that it reads, outputs: those that it writes, by hls4ml's names
    memories  of its CONFIG, by name
    """

    stem: str
    name: str
    inputs: dict[str, TensorVariable]
    outputs: dict[str, TensorVariable]
    constants: dict[str, int | bool] = field(default_factory=dict)
    memories: dict[str, Codes] = field(default_factory=dict)

    def config_cpp(self) -> str:
        return config_cpp(self.name, self.constants, self.memories)

    def call_cpp(self, memories: Mapping[str, str] | None = None) -> str:
        """memories: C++ expression by variable, where it is not the variable itself"""
        free = FREE_RUNNING if self.stem == "from_axis" else ""
        arguments = [(memories or {}).get(name, name) for name in self.named_memories]
        return free + call_cpp(self.stem, self.name, list(self.inputs.values()), list(self.outputs.values()), arguments)

    @property
    def named_memories(self) -> dict[str, Codes]:
        """By the name of the C++ variable."""
        return {memory_name(self.name, key): codes for key, codes in self.memories.items()}

    def as_layer(self) -> dict:
        """Its entry of hls4ml's layer list."""
        return layer_entry(self.stem, self.name, self.inputs, self.outputs, self.named_memories, self)


def layer_entry(
    stem: str, name: str, inputs: Mapping[str, TensorVariable], outputs: Mapping[str, TensorVariable], memories: Mapping[str, Codes], text: object
) -> dict:
    """Of hls4ml's layer list; the attributes are those of hls/layers.py: Operator."""
    return {
        "class_name": class_name(stem),
        "name": name,
        "inputs": list(inputs),
        "outputs": list(outputs),
        "made_variables": list(outputs.values()),
        "memories": dict(memories),
        "text": text,
    }


class Region:
    """Units that are called one after the other, with the forks between them.

    calls  in order
    taken  the variable that a port reads, by its name in hls4ml
    """

    def __init__(self, design: Design):
        self.design = design
        self.calls: list[Call] = []
        self.taken: dict[Port, tuple[str, TensorVariable]] = {}

    def make(self, tensor: str, variable: TensorVariable) -> None:
        """The unit that gives a tensor."""
        unit = self.design.unit(tensor)
        self.calls.append(operator(unit, dict(self.taken[port] for port in unit.ports), variable))

    def variable(self, tensor: str) -> StreamVariable:
        """Of a tensor: the FIFO in front of its only reader, or of the fork."""
        readers = self.design.readers[tensor]
        return stream_variable(self.design.streams[tensor], self.most_tokens, tensor, readers[0].depth if len(readers) == 1 else MIN_DEPTH)

    def fork(self, tensor: str, variable: StreamVariable) -> None:
        """Give a variable to all readers of its tensor."""
        stream, readers = self.design.streams[tensor], self.design.readers[tensor]
        if len(readers) == 1:
            self.taken[readers[0]] = tensor, variable
            return
        branches = {port: f"{tensor}.to.{port.unit or port.prefix}.{port.index}" for port in readers}
        made = {name: stream_variable(stream, self.most_tokens, name, port.depth) for port, name in branches.items()}
        self.taken |= {port: (name, made[name]) for port, name in branches.items()}
        source, name, rest = {tensor: variable}, f"{tensor}.fork", list(made.items())
        while rest:  # of more branches than one fork has the last is forked again
            split = len(rest) if len(rest) <= MOST_BRANCHES else MOST_BRANCHES - 1
            own, rest = dict(rest[:split]), rest[split:]
            more = {f"{name}.more": stream_variable(stream, self.most_tokens, f"{name}.more", MIN_DEPTH)} if rest else {}
            self.move("fork", name, source, own | more, stream)
            source, name = more, f"{name}.next"

    def move(self, stem: str, name: str, inputs: dict[str, TensorVariable], outputs: dict[str, TensorVariable], stream: Stream) -> None:
        """Plumbing (hls/layers.py) of a stream."""
        self.calls.append(Call(stem=stem, name=name, inputs=inputs, outputs=outputs, constants={"max_beats": most_beats(stream, self.most_tokens)}))

    @property
    def most_tokens(self) -> int:
        return self.design.graph.max_tokens


def operator(unit: Unit, inputs: dict[str, TensorVariable], variable: TensorVariable) -> Call:
    layer = unit.op.hls(unit.graph, unit.node, unit.fold)
    return Call(
        stem=unit.op.name,
        name=unit.name,
        inputs=inputs,
        outputs={unit.name: variable},
        constants=shared_constants(unit.ports[0].stream, unit.graph.max_tokens) | layer.constants,
        memories=layer.memories,
    )


def entry_layer(name: str, variable: TensorVariable) -> dict:
    """The encoder's input."""
    return {"class_name": class_name("entry"), "name": name, "inputs": [], "made_variables": [variable]}


def array_layers(design: Design) -> Iterator[dict]:
    """io_parallel: arrays of max_tokens tokens, the channels side by side."""
    top = design.graph.max_tokens
    for stream in design.streams.values():
        if not stream.layout.plain:
            raise HlsError(
                f"hls4ml: {stream.tensor}: got {stream.channels} channels in {stream.layout.width} elements with io_parallel, must be as many; use io_stream"
            )

    def variable(stream: Stream) -> ArrayVariable:
        kind = HLSCodeType(f"{cpp_name(stream.tensor)}_t", code_type(stream.bits, stream.signed), stream.bits, stream.signed)
        return ArrayVariable(cpp_name(stream.tensor), shape(stream, top), kind)

    made = {tensor: variable(stream) for tensor, stream in design.streams.items()}
    yield entry_layer(design.entry.tensor, made[design.entry.tensor])
    for unit in design.units:
        if not unit.op.hls_array:
            raise HlsError(
                f"hls4ml: got {unit.op.name} {unit.name} with io_parallel, must be one of {', '.join(PARALLEL)}, which work token by token; use io_stream"
            )
        call = operator(unit, {name: made[name] for name in unit.node.inputs}, made[unit.name])
        yield replace(call, constants=call.constants | {"n_elements": math.prod(shape(unit.ports[0].stream, top))}).as_layer()
