# SPDX-License-Identifier: Apache-2.0
"""The Verilog that Vitis HLS made of an encoder, under the bench of the own RTL: same source, sink, stream rules and cycle count.

The adapter is one instance: `hls_encoder` has the ports of encoder.sv and connects them to the generated module's. There are no taps, since
the names inside are the HLS tool's own: compare what leaves with `bitloom.sim.verify.compare(..., taps=False)`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bitloom.hw.plan.design import SINK, SOURCE, Design
from bitloom.hw.plan.streams import Stream
from bitloom.sim.encoder import EncoderRun, Options, check_sentences, simulate
from bitloom.sim.encoder_bench import bench_text, longest_pause, wave_options
from bitloom.sim.errors import BuildError
from bitloom.sim.runner import BENCH_FILES, Model, encoder_effort

TOP = "encoder"  # the function that is synthesized: hls/project.py
ADAPTER = "hls_encoder"
CONTROL = {"ap_clk": "clk", "ap_rst_n": "!rst"}
SIDEBAND = {"TKEEP": "'1", "TSTRB": "'1", "TUSER": "'0", "TID": "'0", "TDEST": "'0"}  # may be there: full words, one stream
RESET_CYCLES = 16  # the tool resets its control registers only, so there is no reset in mid-run; AXI4-Stream parts want it that long
LANGUAGE = ("+1364-2005ext+v",)  # .v is Verilog: a C++ variable may be called `bit`


@dataclass(frozen=True)
class Port:
    """A port of the generated module; width in bits."""

    direction: str
    width: int


def run_rtl(verilog: Path, plan: Design, sentences: Sequence[np.ndarray], options: Options = Options()) -> EncoderRun:
    """Simulate the Verilog in a folder (Vitis HLS: solution1/syn/verilog) on sentences, back to back.

    plan       that the project was made of
    sentences  codes of its entry tensor, int64 [T, C] each
    returns    outputs, cycles; no streams inside
    What a hang gives is `bitloom.sim.encoder.run_encoder`'s.
    Raises BuildError: no such module, other ports than the project's, build failure. SimulationError: bad arguments, a simulation that died.
    """
    verilog = Path(verilog)
    infos = [plan.entry, plan.outputs[0]]
    check_sentences(sentences, infos[0])
    pause = options.timeout_cycles or longest_pause(plan.folding)
    options = replace(options, taps=False, identity=plan.identity, resets=0, reset_cycles=RESET_CYCLES, timeout_cycles=pause)
    bench = model(verilog, infos, identity=plan.identity, waves=options.waves)
    return simulate(bench, infos, sentences, options, memories=sorted(verilog.glob("*.dat")))


def model(verilog: Path, infos: Sequence[Stream], *, identity: str, waves: Path | None = None) -> Model:
    """The bench around the generated module.

    Raises BuildError: no Verilog there, or ports that are not the project's.
    """
    ports = read_ports(verilog / f"{TOP}.v")
    check_ports(verilog / f"{TOP}.v", ports, infos[0], infos[-1])
    adapter = adapter_text(ports, infos[0], infos[-1], identity)
    return Model(
        sources=(*BENCH_FILES, *sorted([*verilog.glob("*.v"), *verilog.glob("*.sv")])),
        generated={f"{ADAPTER}.sv": adapter, "bench.sv": bench_text(infos, taps=False, top=ADAPTER)},
        options=(*LANGUAGE, *wave_options(waves)),
        effort=encoder_effort(),
    )


def read_ports(path: Path) -> dict[str, Port]:
    """Name -> port of the module `encoder` in a file of the HLS tool, whose declarations stand in or behind the port list.

    Raises BuildError: no such file or module, or a port without declaration.
    """
    try:
        text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", path.read_text(), flags=re.S)
    except OSError as error:
        raise BuildError(f"HLS RTL: got no {path}, must be the Verilog of Vitis HLS; run `bitloom synth RUN --backend hls4ml`") from error
    module = re.search(rf"\bmodule\s+{TOP}\s*\((.*?)\)\s*;(.*?)\bendmodule\b", text, flags=re.S)
    if module is None:
        raise BuildError(f"HLS RTL: got {path} without a module `{TOP}`, must have one; synthesize the project again")
    declared = re.findall(r"\b(input|output)\b\s*(?:wire\b|reg\b)?\s*(?:\[\s*(\d+)\s*:\s*0\s*\])?\s*(\w+)", module[0])
    ports = {name: Port(direction, int(high or 0) + 1) for direction, high, name in declared}
    listed = [item.split()[-1] for item in module[1].split(",") if item.split()]
    if missing := [name for name in listed if name not in ports]:
        raise BuildError(f"HLS RTL: {path}: got port {missing[0]} without a plain declaration, must be input or output with a constant width")
    return {name: ports[name] for name in listed}


def expected_ports(first: Stream, last: Stream) -> dict[str, Port]:
    """What every project's top has: clock, reset and the two streams."""
    ports = {name: Port("input", 1) for name in CONTROL}
    for prefix, info, forward, back in ((SOURCE, first, "input", "output"), (SINK, last, "output", "input")):
        ports |= {f"{prefix}_TDATA": Port(forward, info.io_width), f"{prefix}_TVALID": Port(forward, 1)}
        ports |= {f"{prefix}_TREADY": Port(back, 1), f"{prefix}_TLAST": Port(forward, 1)}
    return ports


def check_ports(path: Path, ports: dict[str, Port], first: Stream, last: Stream) -> None:
    """Raise BuildError unless the module is what the project describes."""
    want = expected_ports(first, last)
    for name, port in want.items():
        if ports.get(name) != port:
            got = f"{ports[name].direction} of {ports[name].width} bits" if name in ports else "none"
            raise BuildError(
                f"HLS RTL: {path}: port {name}: got {got}, must be {port.direction} of {port.width} bits; "
                "synthesize the project that belongs to this graph and folding"
            )
    sideband = {f"{prefix}_{part}" for prefix in (SOURCE, SINK) for part in SIDEBAND}
    if extra := [name for name in ports if name not in want and name not in sideband]:
        raise BuildError(
            f"HLS RTL: {path}: got port {extra[0]}, must be clock, reset and the streams only (ap_ctrl_none); synthesize the project as it was written"
        )


def adapter_text(ports: dict[str, Port], first: Stream, last: Stream, identity: str) -> str:
    """The module with encoder.sv's ports. Sideband inputs are tied, sideband outputs stay open."""
    streams = [f"{name}_t{part}" for name in (SOURCE, SINK) for part in ("data", "valid", "ready", "last")]
    wires = {name.upper(): name for name in streams}
    connections = []
    for name, port in ports.items():
        value = CONTROL.get(name) or wires.get(name.upper()) or (SIDEBAND[name.rpartition("_")[2]] if port.direction == "input" else "")
        connections.append(f".{name}({value})")
    body = ",\n    ".join(connections)
    return f"""\
// Generated: connects the module of Vitis HLS like encoder.sv.
module {ADAPTER} (
  input  wire logic clk,
  input  wire logic rst,
  input  wire logic [{first.io_width - 1}:0] s_axis_tdata,
  input  wire logic s_axis_tvalid,
  output logic s_axis_tready,
  input  wire logic s_axis_tlast,
  output logic [{last.io_width - 1}:0] m_axis_tdata,
  output logic m_axis_tvalid,
  input  wire logic m_axis_tready,
  output logic m_axis_tlast,
  output logic [63:0] identity
);
  assign identity = 64'h{identity};  // of the graph that it is compared with: the generated module has no such word
  {TOP} dut (
    {body});
endmodule
"""
