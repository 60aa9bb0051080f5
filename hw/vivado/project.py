# SPDX-License-Identifier: Apache-2.0
"""Writes a Vivado project as Tcl: the encoder as a packaged IP, and what a board needs around it.

The Tcl in hw/vivado/tcl is copied as it is; the templates hold values and instances only.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bitloom.hw import image
from bitloom.hw.board import Board, ProcessorPort
from bitloom.hw.emit import axi_ports
from bitloom.hw.synth.flow import OWN_RTL
from bitloom.hw.synth.tools import SynthError
from bitloom.hw.synth.top import board_top
from bitloom.hw.uart import BOARD_RTL, SHAPE_FILE, shape_package
from bitloom.hw.vivado.ip import Ip, read_ip

HERE = Path(__file__).parent
PROJECT = "project.json"
SCHEMA = "bitloom.vivado/1"
# How a board's encoder is reached, and so what is built around the IP: a block design, the UART bridge, or nothing.
FLOWS = {"zynq-7000": "zynq", "zynq-ultrascale+": "mpsoc"}
# Patterns of Vivado's board files: where they are installed, their preset of the processing system is applied.
BOARD_FILES = {"pynq_z2": "*:pynq-z2:*", "zcu104": "*:zcu104:*", "zcu102": "*:zcu102:*", "kv260": "*:kv260_som:*"}


def write_project(build_dir: Path, board: Board, out: Path, *, clock_mhz: float | None = None) -> Path:
    """A folder that `vivado -mode batch -source build.tcl`, run in it, turns into reports and, but for the flow out_of_context, a bitstream.

    build_dir  as `bitloom.hw.build.build` writes it
    out        new or empty folder
    clock_mhz  of the encoder; None: the board's own clock

    Returns `out`. Its project.json says what was written: flow, clock, files of the outcome, the IP's streams.
    Raises SynthError: a board of another flow, a bad clock, an incomplete build, a folder that is in use.
    """
    build_dir, out = Path(build_dir), Path(out)
    if board.flow != "vivado" or board.part is None:
        got = f"a board of the flow {board.flow}" if board.part else "a board without part"
        raise SynthError(f"vivado: {board.name}: got {got}, must be one that Vivado takes, with its part; use `bitloom synth` for the open flows")
    clock = board.clocks[0].mhz if clock_mhz is None else float(clock_mhz)
    flow = project_flow(board)
    _check_clock(board, flow, clock)
    ip = read_ip(build_dir)
    weights = _memory_port(board, flow, clock, ip.memory_bits)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SynthError(f"vivado: got {out} with files in it, must be new or empty; give another folder")
    out.mkdir(parents=True, exist_ok=True)
    _copy_sources(build_dir, out)
    if ip.memory_bits:
        shutil.copy(build_dir / image.FILE, out / image.FILE)
    shutil.copytree(HERE / "tcl", out / "tcl")
    shutil.move(out / "tcl" / "build.tcl", out / "build.tcl")
    _render(
        "encoder_ip.v.j2",
        out / "src" / "encoder_ip.v",
        name=_graph_name(build_dir),
        identity=ip.identity,
        in_bits=ip.input.data_bits,
        out_bits=ip.output.data_bits,
        in_bytes=ip.input.beat_bytes,
        out_bytes=ip.output.beat_bytes,
        memory_bits=ip.memory_bits,
        memory_ports=axi_ports(ip.memory_bits) if ip.memory_bits else [],
    )
    if flow == "uart":
        _add_uart_top(build_dir, out, board, clock)
    _write_flow(out, board, flow, clock, weights, ip)
    return out


def project_flow(board: Board) -> str:
    """ "zynq" or "mpsoc" (block design with DMA), "uart" (the bridge on the board's pins) or "out_of_context" (the IP alone: no bitstream)."""
    if board.transport.kind == "pynq" and board.family in FLOWS:
        return FLOWS[board.family]
    return "uart" if board.transport.kind == "uart" else "out_of_context"


def load_project(folder: Path) -> dict:
    """project.json of a folder that `write_project` wrote.

    Raises SynthError: there is none, or it is another's.
    """
    path = Path(folder) / PROJECT
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SynthError(f"vivado: {path}: got no readable project ({error}), must be written by `write_project`; write it again") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        got = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise SynthError(f"vivado: {path}: got schema {got!r}, must be '{SCHEMA}'; write the project again")
    return data


def _check_clock(board: Board, flow: str, clock: float) -> None:
    low, high = (1.0, 1000.0)
    if not low <= clock <= high:
        raise SynthError(f"vivado: clock_mhz: got {clock:g}, must be {low:g} .. {high:g}")
    if flow == "uart" and clock != board.clocks[0].mhz:
        raise SynthError(f"vivado: clock_mhz: got {clock:g}, must be the board's own {board.clocks[0].mhz:g}; there is no PLL in this flow: leave it out")


def _memory_port(board: Board, flow: str, clock: float, bits: int) -> tuple[ProcessorPort, float] | None:
    """The processing system's port for weights of `bits` a beat, and its MHz: one that is narrower than a beat runs faster by as much. None: no weights.

    Raises SynthError: nothing connects the memory, the board does not say through which port, or that is too slow.
    """
    if not bits:
        return None
    got = f"vivado: {board.name}: got weights in external memory, must be on the chip:"
    if flow not in FLOWS.values():
        lacks = "no processing system" if flow == "uart" else f"no block design for {board.family}: a shell or platform is not generated"
        raise SynthError(f"{got} there is {lacks}; take another board")
    memory = board.external_memory
    port = memory.port.processor if memory and memory.port else None
    if port is None:
        raise SynthError(f"{got} the board's file does not say through which port they come; add external_memory.port.processor (name, data_bits, mhz)")
    if (needed := clock * max(1, bits // port.data_bits)) > port.mhz:
        raise SynthError(
            f"vivado: {board.name}: got a memory port of {port.data_bits} bits at {needed:g} MHz for beats of {bits} bits, must be at most {port.mhz:g} MHz; "
            "lower clock_mhz or hardware.memory.data_bits"
        )
    return port, needed


def _graph_name(build_dir: Path) -> str:
    """For a comment: the second line of encoder.sv names the graph."""
    found = re.match(r".*\n// encoder: (.*), graph ", (build_dir / "encoder.sv").read_text())
    return re.sub(r"[^\w .:-]", "_", found[1]) if found else "encoder"


def _copy_sources(build_dir: Path, out: Path) -> None:
    """Sources into src/, memories into mem/. Vivado knows memory files by the ending .mem, and finds them by their bare names (UG901)."""
    for name in ("src", "mem", "constraints"):
        (out / name).mkdir()
    for path in [*sorted((build_dir / "rtl").glob("*.sv")), *sorted((HERE / "rtl").glob("*.sv"))]:
        shutil.copy(path, out / "src" / path.name)
    memories = sorted(build_dir.glob("*.hex"))
    for path in memories:
        shutil.copy(path, out / "mem" / f"{path.stem}.mem")
    text = (build_dir / "encoder.sv").read_text()
    for path in memories:
        if f'"{path.name}"' not in text:
            raise SynthError(f"vivado: {path}: got a memory file that encoder.sv does not name, must be part of it; run `bitloom build` again")
        text = text.replace(f'"{path.name}"', f'"{path.stem}.mem"')
    if loose := re.findall(r'"[^"]*\.hex"', text):
        raise SynthError(f"vivado: {build_dir}: got no file {loose[0]}, must be there for encoder.sv; run `bitloom build` again")
    (out / "src" / "encoder.sv").write_text(text)


def _write_flow(out: Path, board: Board, flow: str, clock: float, weights: tuple[ProcessorPort, float] | None, ip: Ip) -> None:
    port, memory_mhz = weights or (None, 0.0)
    if flow != "uart":
        _render("clock.xdc.j2" if flow == "out_of_context" else "bitstream.xdc.j2", out / "constraints" / f"{flow}.xdc", period_ns=1000 / clock)
    _render(
        "settings.tcl.j2",
        out / "settings.tcl",
        part=board.part,
        board_files=BOARD_FILES.get(board.name, ""),
        flow=flow,
        clock_mhz=clock,
        in_bits=8 * ip.input.beat_bytes,
        out_bits=8 * ip.output.beat_bytes,
        memory_mhz=memory_mhz,
        memory_port=port.name if port else "",
        port_bits=port.data_bits if port else 0,
        top="board_top" if flow == "uart" else "encoder_ip",
    )
    outcome = {"utilization": "reports/utilization.rpt", "timing": "reports/timing.rpt"}
    if flow == "out_of_context":
        outcome |= {"checkpoint": "output/encoder_ip.dcp"}
    else:
        outcome |= {"bitstream": "output/encoder.bit"} | ({} if flow == "uart" else {"hwh": "output/encoder.hwh", "xsa": "output/encoder.xsa"})
    if ip.memory_bits:
        outcome |= {"image": image.FILE}
    data = {
        "schema": SCHEMA,
        "board": board.name,
        "part": board.part,
        "family": board.family,
        "flow": flow,
        "clock_mhz": clock,
        "outcome": outcome,
        "ip": ip.as_dict(),
    }
    (out / PROJECT).write_text(json.dumps(data, indent=1) + "\n")


def _add_uart_top(build_dir: Path, out: Path, board: Board, clock: float) -> None:
    """The UART bridge, the board's top and its pins."""
    for path in [*sorted(BOARD_RTL.glob("*.sv")), OWN_RTL / "reset_sync.sv"]:
        shutil.copy(path, out / "src" / path.name)
    (out / "src" / SHAPE_FILE).write_text(shape_package(build_dir))
    (out / "src" / "board_top.sv").write_text(board_top(board, clock).text)
    pins = {"clk_in": board.clocks[0].pin} | {name: getattr(board.pins, name) for name in ("uart_rx", "uart_tx", "reset", "led")}
    _render("pins.xdc.j2", out / "constraints" / "uart.xdc", period_ns=1000 / clock, pins={name: pin for name, pin in pins.items() if pin})


def _render(template: str, path: Path, **values) -> None:
    environment = Environment(loader=FileSystemLoader(HERE / "templates"), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    environment.filters["tcl"] = tcl_word
    path.write_text(environment.get_template(template).render(values))


def tcl_word(value: object) -> str:
    """A value as one word of Tcl.

    Raises SynthError: it holds braces, a backslash or a line break, which no part and no name has.
    """
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if re.search(r"[{}\\\n]", text):
        raise SynthError(f"vivado: got {text!r}, must be without braces, backslashes and line breaks; mend the board file")
    return f"{{{text}}}"
