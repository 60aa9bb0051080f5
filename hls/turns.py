# SPDX-License-Identifier: Apache-2.0
"""Layers that are used in turn, as one layer of hls4ml: a function of C++ for one turn, and a loop around it.

A sentence goes through the layers' hardware once a turn; between turns it waits in a FIFO that holds all of it, and the next sentence behind it. Each unit gets
the memories of its turn. With off-ramps the loop ends at the one at which the sentence leaves: the turns behind are not computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from hls4ml.model.types import TensorVariable

from bitloom.hls.dataflow import Call, Region, layer_entry, most_beats, shared_constants
from bitloom.hls.layers import PLUMBING, TURNS, cpp_name
from bitloom.hw.instance import Codes
from bitloom.hw.ops import OPS, gate_of
from bitloom.hw.plan.design import LOOP, Design
from bitloom.hw.plan.fifos import MIN_DEPTH
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.streams import Stream

TEXT = """{includes}

{types}
{configs}
// One turn: a sentence through the layers' hardware
inline void one_turn({turn_arguments}) {{
#pragma HLS DATAFLOW
{body}}}

inline void layers_in_turn({arguments}) {{
{declarations}    bitloom::move<{beats}>(in, going);
    for (unsigned turn = 0; turn < {turns}; turn++) {{
{before}        one_turn({passed});
{behind}    }}
{last}}}
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class InTurn:
    """The layers of a rolled design (hw/plan/rolled.py), between two variables of its dataflow.

    sources  by tensor: what the first layer reads, and the borders of pairs where keys depend on them; target: what leaves, the last layer's output or the
             answer of an off-ramp
    """

    design: Design
    sources: dict[str, TensorVariable]
    target: TensorVariable

    def as_layer(self) -> dict:
        """Its entry of hls4ml's layer list."""
        return layer_entry(TURNS, LOOP, self.sources, {leaving(self.design): self.target}, self._memories, self)

    def call_cpp(self) -> str:
        return f"layers_in_turn({', '.join([*(v.name for v in self.sources.values()), self.target.name, *self._memories])});"

    @property
    def _memories(self) -> dict[str, Codes]:
        return {name: codes for call in self._calls for name, codes in call.named_memories.items()}

    @property
    def _source(self) -> TensorVariable:
        return self.sources[self.design.graph.around[0]]

    @property
    def _border(self) -> TensorVariable | None:
        return self.sources.get(self.design.graph.aside)

    @cached_property
    def _region(self) -> Region:
        """The units of one turn."""
        region, tail = Region(self.design), self.design.graph.around[1]
        for tensor, variable in self.sources.items():
            region.fork(tensor, variable)
        for tensor in self.design.graph.served:
            leaves = tensor == tail and not self.design.loop.logits  # its readers are behind the layers
            region.make(tensor, variable := self.target if leaves else region.variable(tensor))
            if not leaves:
                region.fork(tensor, variable)
        return region

    @cached_property
    def _off_ramps(self) -> Call | None:
        """What says whether a sentence leaves; None: all do, behind the last turn."""
        loop, graph = self.design.loop, self.design.graph
        if not loop.logits:
            return None
        gate = gate_of(graph.source)
        layer, logits = OPS[gate.op].hls(graph.source, gate, None), dict([self._region.taken[loop.logits]])
        constants = shared_constants(loop.logits.stream, graph.max_tokens) | layer.constants
        return Call(stem=gate.op, name=gate.name, inputs=logits, outputs={gate.name: self.target}, constants=constants, memories=layer.memories)

    @property
    def _calls(self) -> list[Call]:
        return [*self._region.calls, *([self._off_ramps] if self._off_ramps else [])]

    @property
    def _given(self) -> list[TensorVariable]:
        """What a turn gives: the layers' output, and an off-ramp's logits."""
        loop = self.design.loop
        return [self._region.taken[port][1] for port in (loop.returning, loop.logits)] if loop.logits else [self.target]

    def config_cpp(self) -> str:
        """The functions, with all that they need."""
        graph, given, ramps, border = self.design.graph, self._given, self._off_ramps, self._border
        arrays = {name: f"const {name}_t {name}[{len(codes.data)}]" for name, codes in self._memories.items()}
        inside = [name for name in arrays if not (ramps and name in ramps.named_memories)]
        streams = [f"hls::stream<{v.type.name}> &{v.name}" for v in (*self.sources.values(), *given)]
        taken = [f"hls::stream<{v.type.name}> &{name}" for v, name in ((self._source, "in"), (border, "borders"), (self.target, "out")) if v]
        behind, last = self._behind()
        return TEXT.format(
            includes="\n".join(f'#include "nnet_utils/{name}.h"' for name in sorted({PLUMBING.get(call.stem, call.stem) for call in self._calls})),
            types="".join(self._types(given)),
            configs="\n".join(call.config_cpp() for call in self._calls),
            turn_arguments=", ".join([*streams, "const unsigned turn", *(arrays[name] for name in inside)]),
            body="".join(self._body(given)),
            arguments=", ".join([*taken, *arrays.values()]),
            declarations="".join(self._declarations(given)),
            beats=self._beats,
            turns=graph.count,
            before="        bitloom::tell(border, everything[turn], told);\n" if border else "",
            passed=", ".join(["going", *(["told"] if border else []), "back", *(["logits"] if ramps else []), "turn", *inside]),
            behind=behind,
            last=last,
        )

    @property
    def _beats(self) -> int:
        return most_beats(self.design.loop.entry, self.design.graph.max_tokens)

    def _declarations(self, given: Sequence[TensorVariable]) -> Iterator[str]:
        """Of the loop: FIFOs that hold a sentence, what its off-ramps said, where its second half begins."""
        yield _fifo(self._source.type.name, "going", self._beats)
        yield _fifo(given[0].type.name, "back", self._beats)
        if ramps := self._off_ramps:
            yield _fifo(given[1].type.name, "logits", most_beats(self.design.loop.logits.stream, self.design.graph.max_tokens))
            yield f"    bitloom::off_ramp<config_{cpp_name(ramps.name)}> before;\n"
        if border := self._border:
            yield _fifo(border.type.name, "told", MIN_DEPTH)
            yield f"    static const bool everything[] = {{{', '.join(str(int(own)) for own in self.design.graph.everything)}}};\n"
            yield f"    const {border.type.name} border = borders.read();\n"

    def _behind(self) -> tuple[str, str]:
        """What follows a turn, and the last one."""
        again = f"bitloom::move<{self._beats}>(back, going);\n"
        if not (ramps := self._off_ramps):
            return f"        if (turn < {self.design.graph.count - 1})\n            {again}", f"    bitloom::move<{self._beats}>(back, out);\n"
        (logits,) = ramps.inputs.values()
        arguments = ", ".join(["logits", "out", "before", "turn", *ramps.named_memories])
        call = f"bitloom::{ramps.stem}<{logits.type.name}, {self.target.type.name}, config_{cpp_name(ramps.name)}>({arguments})"
        return f"        if ({call}) {{ // {ramps.name}\n            bitloom::drop<{self._beats}>(back);\n            break;\n        }}\n        {again}", ""

    def _types(self, given: Sequence[TensorVariable]) -> Iterator[str]:
        """Definitions of those that the dataflow around does not define."""
        made = [v for call in self._region.calls for v in call.outputs.values()]
        around = {v.type.name for v in (*self.sources.values(), self.target)}
        yield from {v.type.name: v.type.definition_cpp() for v in [*made, *given] if v.type.name not in around}.values()

    def _body(self, given: Sequence[TensorVariable]) -> Iterator[str]:
        """FIFOs and calls of a turn; behind each operator a tap, for C simulation alone."""
        for call in self._region.calls:
            yield from (_fifo(v.type.name, v.name, v.pragma[1]) for v in call.outputs.values() if v not in given)
            for name, codes in call.named_memories.items():
                if _mixed(codes):
                    yield f"    static const unsigned {name}_bank[] = {{{', '.join(map(str, codes.of))}}};\n"
        for call in self._region.calls:
            yield f"\n    {call.call_cpp({name: _bank(name, codes) for name, codes in call.named_memories.items()})} // {call.name}\n"
            if call.name in self.design.graph.served:
                (variable,) = call.outputs.values()
                yield f'#ifndef __SYNTHESIS__\n    nnet::save_turn({variable.name}, "{call.name}", turn);\n#endif\n'


def loop_inputs(design: Design) -> list[Stream]:
    """What a rolled design's layers take from outside: the first one's input, then the borders of pairs; [] of any other."""
    loop = design.loop
    return [port.stream for port in (loop.new, loop.borders) if port] if loop else []


def leaving(design: Design) -> str:
    """The tensor that leaves a rolled design's layers."""
    return design.graph.outputs[0] if design.loop.logits else design.graph.around[1]


def sentence_alone(design: Design) -> int:
    """Cycles of a sentence of max_tokens in all turns, after which the next one enters: those of the RTL (predicted), and a beat each between the turns.

    A turn ends before the next one begins, which overlap in the RTL: it is a lower bound.
    """
    return predict(design, [design.graph.max_tokens]).latency[0] + (design.graph.count + 1) * most_beats(design.loop.entry, design.graph.max_tokens)


def _fifo(kind: str, name: str, depth: int) -> str:
    return f'    hls::stream<{kind}> {name}("{name}");\n#pragma HLS STREAM variable={name} depth={depth}\n'


def _mixed(codes: Codes) -> bool:
    """Some turns share a bank, others do not."""
    return max(codes.of) > 0 and codes.of != tuple(range(len(codes.of)))


def _bank(name: str, codes: Codes) -> str:
    """What a turn reads."""
    if max(codes.of) == 0:
        return name
    return f"{name} + {f'{name}_bank[turn]' if _mixed(codes) else 'turn'} * {codes.words}"
