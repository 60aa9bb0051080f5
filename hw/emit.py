# SPDX-License-Identifier: Apache-2.0
"""Writes the hardware of a folded graph: encoder.sv (instances only), memory files, the RTL library's files, streams.json.

Every tensor is a named wire bundle `<tensor>_{valid,ready,data,last}` at its producer's output; in front of each operator stands a FIFO
(hw/fifos.py), behind a tensor with several readers a fork.
"""
from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from hw.fifos import depths
from hw.folding import Folding
from hw.graph import Graph, Node
from hw.hexfile import Hex
from hw.ops import OPS

RTL = Path(__file__).parent / "rtl"
PORTS = {"add": ("a", "b"), "scores": ("q", "k"), "context": ("p", "v")}
TOP = "encoder"


def wire(tensor: str) -> str:
    """The Verilog name of a tensor's stream."""
    return tensor.replace(".", "_")


@dataclass(frozen=True)
class Stream:
    """A wire bundle: the payload is `width` bits."""

    name: str
    width: int

    def declare(self) -> str:
        n = self.name
        return f"  logic {n}_valid, {n}_ready, {n}_last;\n  logic [{self.width - 1}:0] {n}_data;\n"

    def ports(self, prefix: str) -> list[str]:
        return [f".{prefix}_{signal}({self.name}_{signal})" for signal in ("valid", "ready", "data", "last")]


class Emitter:
    """Collects the text of encoder.sv and the memory files."""

    def __init__(self, graph: Graph, folding: Folding):
        self.graph, self.folding = graph, folding
        self.fifos = depths(graph, folding)
        self.declarations: list[str] = []
        self.instances: list[str] = []
        self.memories: dict[str, Hex] = {}
        self.modules = {"fifo"}

    def stream(self, name: str, tensor: str) -> Stream:
        stream = Stream(name, self.graph.tensor(tensor).bits * self.folding.lanes[tensor])
        self.declarations.append(stream.declare())
        return stream

    def instance(self, module: str, name: str, params: dict[str, int | str], ports: list[str]) -> None:
        self.modules.add(module)
        values = ", ".join(f'.{k}("{v}")' if isinstance(v, str) else f".{k}({_literal(v)})" for k, v in params.items())
        self.instances.append(f"  {module} #({values}) {name} (.clk, .rst, {', '.join(ports)});\n")

    def node(self, node: Node) -> None:
        """The operator's instance and a FIFO in front of each of its inputs."""
        made = OPS[node.op].rtl(self.graph, node, self.folding.folds[node.name])
        params = {}
        for key, value in made.params.items():
            if isinstance(value, Hex):
                file = f"{node.name}.{key.removesuffix('_FILE').lower()}.hex"
                self.memories[file] = value
                value = file
            params[key] = value
        ports = []
        for port, (prefix, tensor) in enumerate(zip(PORTS.get(node.op, ("s",)), node.inputs)):
            buffered = self.stream(f"{wire(node.name)}__{prefix}", tensor)
            params_fifo = {"WIDTH": buffered.width, "DEPTH": self.fifos[node.name, port]}
            source = Stream(self._branch(tensor, node, port), buffered.width)
            self.instance("fifo", f"fifo_{buffered.name}", params_fifo, [*source.ports("s"), *buffered.ports("m")])
            ports += buffered.ports(prefix)
        self.instance(made.module, f"u_{wire(node.name)}", params, [*ports, *self.stream(wire(node.name), node.name).ports("m")])

    def _branch(self, tensor: str, node: Node, port: int) -> str:
        """The name of the stream that this reader takes: the tensor itself, or a fork's branch."""
        return f"{wire(tensor)}__to_{wire(node.name)}_{port}" if self._fans_out(tensor) else wire(tensor)

    def _fans_out(self, tensor: str) -> bool:
        return sum(n.inputs.count(tensor) for n in self.graph.nodes) + (tensor in self.graph.outputs) > 1

    def fork(self, tensor: str) -> None:
        """A fork behind a tensor with several readers; branch i in the packed ports' bit (or word) i."""
        branches = [self.stream(self._branch(tensor, n, port), tensor)
                    for n in self.graph.readers(tensor) for port, name in enumerate(n.inputs) if name == tensor]
        source = Stream(wire(tensor), branches[0].width)
        packed = [f".m_{signal}({{{', '.join(f'{b.name}_{signal}' for b in reversed(branches))}}})" for signal in ("valid", "ready", "data", "last")]
        self.instance("stream_fork", f"fork_{source.name}", {"N": len(branches), "WIDTH": source.width}, [*source.ports("s"), *packed])


def _literal(value: int) -> str:
    """Verilog integer parameters are 32 bits; wider ones are written as sized constants."""
    return str(value) if -(1 << 31) <= value < 1 << 31 else f"{value.bit_length() + 1}'d{value}"


def io_bits(bits: int) -> int:
    """AXI4-Stream elements are whole bytes."""
    return -(-bits // 8) * 8


def encoder_sv(graph: Graph, folding: Folding) -> Emitter:
    """All instances of the encoder, ready to be written."""
    emitter = Emitter(graph, folding)
    for node in graph.nodes:
        if node.op == "embed":
            emitter.stream(wire(node.name), node.name)
        else:
            emitter.node(node)
        if emitter._fans_out(node.name):
            emitter.fork(node.name)
    return emitter


def _top(graph: Graph, folding: Folding, emitter: Emitter) -> str:
    first = graph.tensor(next(n.name for n in graph.nodes if n.op == "embed"))
    last, lanes = graph.tensor(graph.outputs[0]), folding.lanes[first.name]
    slot, out_slot = io_bits(first.bits), io_bits(last.bits)
    unpack = ", ".join(f"s_axis_tdata[{i * slot} +: {first.bits}]" for i in reversed(range(lanes)))
    pad = out_slot - last.bits
    out = f"{{{{{pad}{{{wire(last.name)}_data[{last.bits - 1}]}}}}, {wire(last.name)}_data}}" if pad else f"{wire(last.name)}_data"
    unused = f"  wire logic unused = &{{1'b0, s_axis_tdata}};\n" if slot != first.bits else ""
    return (f"// SPDX-License-Identifier: Apache-2.0\n// {TOP}: {graph.name}, graph {graph.hash}\n"
            f"// Generated by bitloom: instances only, the logic is in the modules of the RTL library. Streams: docs/architecture.md.\n"
            f"module {TOP} (\n  input  wire logic clk,\n  input  wire logic rst,\n"
            f"  input  wire logic [{lanes * slot - 1}:0] s_axis_tdata,\n  input  wire logic s_axis_tvalid,\n  output logic s_axis_tready,\n"
            f"  input  wire logic s_axis_tlast,\n  output logic [{out_slot - 1}:0] m_axis_tdata,\n  output logic m_axis_tvalid,\n"
            f"  input  wire logic m_axis_tready,\n  output logic m_axis_tlast,\n  output logic [63:0] identity\n);\n"
            f"  assign identity = 64'h{graph.hash[:16]};\n\n{''.join(emitter.declarations)}\n"
            f"  assign {wire(first.name)}_data = {{{unpack}}};\n  assign {wire(first.name)}_valid = s_axis_tvalid;\n"
            f"  assign {wire(first.name)}_last = s_axis_tlast;\n  assign s_axis_tready = {wire(first.name)}_ready;\n{unused}\n"
            f"{''.join(emitter.instances)}\n"
            f"  fifo #(.WIDTH({out_slot}), .DEPTH(2)) fifo_output (.clk, .rst, .s_valid({wire(last.name)}_valid), .s_ready({wire(last.name)}_ready),\n"
            f"    .s_data({out}), .s_last({wire(last.name)}_last), .m_valid(m_axis_tvalid), .m_ready(m_axis_tready),\n"
            f"    .m_data(m_axis_tdata), .m_last(m_axis_tlast));\nendmodule\n")


def streams(graph: Graph, folding: Folding) -> list[dict]:
    """What a bench needs to tap each stream: tensor, wire prefix, lanes, bits, signed, kind, channels."""
    return [{"tensor": t.name, "wire": wire(t.name), "lanes": folding.lanes[t.name], "bits": t.bits, "signed": t.signed, "kind": t.kind,
             "channels": t.channels} for t in (graph.tensor(n.name) for n in graph.nodes)]


def emit(graph: Graph, folding: Folding, folder: Path) -> None:
    """Write encoder.sv, rtl/*.sv, *.hex, folding.json and streams.json into an existing folder."""
    emitter = encoder_sv(graph, folding)
    (folder / f"{TOP}.sv").write_text(_top(graph, folding, emitter))
    for file, memory in emitter.memories.items():
        memory.write(folder / file)
    (folder / "rtl").mkdir(exist_ok=True)
    for source in sorted(RTL.glob("*.sv")):
        shutil.copy(source, folder / "rtl" / source.name)
    folding.save(folder / "folding.json")
    (folder / "streams.json").write_text(json.dumps(streams(graph, folding), indent=1) + "\n")
