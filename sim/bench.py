# SPDX-License-Identifier: Apache-2.0
"""Text of a bench: sources, designs under test, sinks and taps side by side, under one control module."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field


@dataclass
class Bench:
    """Collects instances; `text()` is the module `bench`. A stream is the wires <name>_valid, _ready, _data, _last."""

    body: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    taps: list[str] = field(default_factory=list)  # names, sinks apart
    sinks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # of what is no stream

    def stream(self, name: str, width: int) -> None:
        """Declare the wires of a stream."""
        self.body.append(f"  logic {name}_valid, {name}_ready, {name}_last;\n  logic [{width - 1}:0] {name}_data;")

    def source(self, name: str, width: int) -> None:
        """A stream that plays <name>.in and is recorded in <name>.tap."""
        self.stream(name, width)
        self.body.append(
            f'  bench_source #(.WIDTH({width}), .NAME("{name}"), .SALT({_salt(name)})) source_{name} (.clk, .rst, .stall(stall_in), .seed, {bundle(name)});'
        )
        self.tap(name, name, width)

    def sink(self, name: str, width: int) -> None:
        """A stream that is always taken (but for stalls) and recorded in <name>.tap."""
        self.stream(name, width)
        self.body.append(f"  bench_sink #(.SALT({_salt(name)})) sink_{name} (.clk, .rst, .stall(stall_out), .seed, .ready({name}_ready));")
        self._tap_instance(name, name, width)
        self.sinks.append(name)

    def tap(self, name: str, wires: str, width: int) -> None:
        """Record the stream of the wires (a hierarchical name without _valid ...) in <name>.tap."""
        self._tap_instance(name, wires, width)
        self.taps.append(name)

    def fill(self, name: str, source: str, wires: str) -> None:
        """Count what a FIFO between two streams (hierarchical names as for `tap`) holds, and write the most to <name>.fill."""
        moved = [f"{stream}_valid && {stream}_ready" for stream in (source, wires)]
        self.body.append(f'  bench_fill #(.NAME("{name}")) fill_{name} (.clk, .rst, .push({moved[0]}), .pop({moved[1]}));')

    def _tap_instance(self, name: str, wires: str, width: int) -> None:
        self.body.append(
            f"  logic moved_{name}, fault_{name};\n"
            f'  bench_tap #(.WIDTH({width}), .NAME("{name}")) tap_{name} (.clk, .rst, .cycle, {bundle(wires)}, '
            f".moved(moved_{name}), .fault(fault_{name}));"
        )

    def text(self, *, clock: bool = True) -> str:
        """The module. clock: it makes its own clock; else `clk` is a port, for a main loop in C++."""
        streams = self.sinks + self.taps
        moved = ", ".join(f"moved_{n}" for n in reversed(streams))
        faults = " || ".join([*(f"fault_{n}" for n in streams), *self.faults])
        ports = ",\n  ".join(["output logic done", *([] if clock else ["input wire logic clk"]), *self.ports])
        own = "  logic clk;\n  initial begin\n    clk = 1'b0;\n    forever #1 clk = !clk;\n  end\n" if clock else ""
        body = "\n".join(self.body)
        return (
            f"// Generated; the parts are in sim/hdl.\nmodule bench (\n  {ports}\n);\n"
            f"{own}  logic rst;\n  logic [30:0] cycle;\n  logic [15:0] stall_in, stall_out;\n  logic [31:0] seed;\n"
            f"{body}\n"
            f"  bench_control #(.STREAMS({len(streams)}), .SINKS({len(self.sinks)})) control "
            f"(.clk, .rst, .cycle, .stall_in, .stall_out, "
            f".seed, .moved({{{moved}}}), .fault({faults}), .done);\nendmodule\n"
        )


def bundle(wires: str, prefix: str = "") -> str:
    """Connections of a stream's four ports, e.g. `.s_valid(x_valid), ...` for prefix `s_`."""
    return ", ".join(f".{prefix}{part}({wires}_{part})" for part in ("valid", "ready", "data", "last"))


def literal(value: int | str) -> str:
    """A parameter's value as Verilog: decimal where an `int` holds it, else sized."""
    if isinstance(value, str):
        return f'"{value}"'
    if -(1 << 31) <= value < 1 << 31:
        return str(int(value))
    width = int(value).bit_length() + 1
    return f"{width}'sd{value}" if value > 0 else f"-{width}'sd{-value}"


def _salt(name: str) -> str:
    return f"32'd{zlib.crc32(name.encode())}"
