# SPDX-License-Identifier: Apache-2.0
"""From a build folder to a bitstream: Yosys, nextpnr and the packer of the board's family."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from bitloom.hw.board import Board
from bitloom.hw.cost.budget import usage
from bitloom.hw.plan.streams import read_streams
from bitloom.hw.synth.families import FAMILIES, count
from bitloom.hw.synth.registers import absorb
from bitloom.hw.synth.report import ClockResult, SynthReport, must_fit
from bitloom.hw.synth.tools import SynthError, find, run
from bitloom.hw.synth.top import Top, board_top, harness
from bitloom.hw.uart import BOARD_RTL, SHAPE_FILE, read_memory, shape_package

OWN_RTL = Path(__file__).parent / "rtl"
NETLIST, PLACED, REPORT = "netlist.json", "placed.json", "synth.json"
# Behind Yosys: place and route, and the bitstream's packer
TOOLS = {"open_ecp5": ("nextpnr-ecp5", "ecppack"), "open_gowin": ("nextpnr-himbaechel-gowin", "gowin_pack"), "open_ice40": ("nextpnr-ice40", "icepack")}
# nextpnr's names of the resources, and how many of ours each takes. Gowin: it counts adders and LUT RAM apart from LUT4, in whose place they are.
PLACED_NAMES = {
    "open_ecp5": {"lut": {"TRELLIS_COMB": 1}, "ff": {"TRELLIS_FF": 1}, "dsp": {"MULT18X18D": 1}, "DP16KD": {"DP16KD": 1}},
    "open_gowin": {"lut": {"LUT4": 1, "ALU": 1, "RAM16SDP4": 4}, "ff": {"DFF": 1}, "BSRAM": {"BSRAM": 1}},
    "open_ice40": {"lut": {"ICESTORM_LC": 1}, "dsp": {"ICESTORM_DSP": 1}, "SB_RAM40_4K": {"ICESTORM_RAM": 1}, "SB_SPRAM256KA": {"ICESTORM_SPRAM": 1}},
}
# sst2-tiny on an 85k: router2 takes 2 minutes instead of more than 10; ripping up what misses the clock spares single ways detours of 8 ns;
# more weight on the critical paths brought 65 to 78 MHz in placement
ECP5_EFFORT = ("--router", "router2", "--tmg-ripup", "--placer-heap-timingweight", "30", "--placer-heap-critexp", "3")
Progress = Callable[[str], None]


def synthesize(
    build_dir: Path,
    board: Board,
    out: Path,
    *,
    top: str = "board",
    clock_mhz: float | None = None,
    place: bool = True,
    seed: int = 1,
    progress: Progress = lambda step: None,
) -> SynthReport:
    """Synthesize a built encoder for a board, down to a bitstream where the board's flow is open.

    build_dir  as `bitloom.hw.build.build` writes it: encoder.sv, rtl/, *.hex, streams.json
    out        folder for netlists, logs and the bitstream; made if it is not there
    top        "board": the UART bridge on the board's pins; "harness": the encoder behind four pins anywhere, to measure it
    clock_mhz  of the design; None: the board's own clock. With place=False it is only written into the report.
    place      place and route; boards of the Vivado flow are synthesized only, and no timing is claimed for them
    seed       of the placer
    progress   called with the name of each step as it begins

    What `out` holds already for the same sources, board, arguments and tools is not made again: its report is read.
    Raises SynthError: a tool is missing or fails (with its log), a bad argument; DoesNotFit: the board is too small; UartError.
    """
    build_dir, out = Path(build_dir), Path(out)
    if top not in ("board", "harness"):
        raise SynthError(f"synth: top: got '{top}', must be 'board' or 'harness'")
    made = _top(build_dir, board, top, clock_mhz)
    place = place and not board.vitis_hls
    tools = {name: find(name).version for name in ("yosys", *(TOOLS[board.flow] if place else ()))}
    _gather(build_dir, out, made, board.family, with_board=top == "board")
    key = _key(out, board, tools, [top, made.clock_mhz, seed if place else None])
    if (known := SynthReport.load(out / REPORT, key)) is not None:
        return known
    (out / REPORT).unlink(missing_ok=True)
    flow = _Flow(board, out, made, progress)
    cells = flow.synthesis()
    resources = usage(board, count(cells, FAMILIES[board.family]))
    must_fit(board, resources)
    clocks, files = {}, {"netlist": out / NETLIST}
    if place:
        placed, clocks = flow.place(seed)
        resources |= placed
        files |= flow.pack()
    report = SynthReport(
        board=board.name,
        part=board.part,
        family=board.family,
        top=top,
        clock_mhz=made.clock_mhz,
        placed=place,
        resources=resources,
        cells=cells,
        clocks=clocks,
        files=files,
        tools=tools,
        seconds=flow.seconds,
    )
    report.save(out / REPORT, key)
    return report


def _top(build_dir: Path, board: Board, top: str, clock_mhz: float | None) -> Top:
    try:
        streams, memory = read_streams(build_dir), read_memory(build_dir)
        bits = [stream.io_width for stream in (streams[0], streams[-1])]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise SynthError(f"synth: {build_dir}: got no readable streams.json ({error}), must be a folder of `bitloom build`; run that first") from error
    if top == "board":
        return board_top(board, clock_mhz, memory=memory is not None)
    return harness(board, *bits, clock_mhz, memory_bits=memory.data_bits if memory else 0)


def _gather(build_dir: Path, out: Path, top: Top, family: str, *, with_board: bool) -> None:
    """Copy all sources into `out`, beside which the tools see nothing; modules that the family has in a form of its own in that."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / "src", ignore_errors=True)
    (out / "src").mkdir()
    folders = [build_dir / "rtl", *([BOARD_RTL] if with_board else [])]
    own = ["reset_sync.sv" if with_board else "harness_memory.sv" if read_memory(build_dir) else "harness.sv"]
    library = [p for folder in (*folders, OWN_RTL / family) for p in sorted(folder.glob("*.sv"))]
    for path in [build_dir / "encoder.sv", *library, *(OWN_RTL / name for name in own)]:
        shutil.copy(path, out / "src" / path.name)
    for path in build_dir.glob("*.hex"):
        shutil.copy(path, out / path.name)
    (out / "src" / f"{top.name}.sv").write_text(top.text)
    if with_board:
        (out / "src" / SHAPE_FILE).write_text(shape_package(build_dir))
    for name, text in top.constraints.items():
        (out / name).write_text(text)


def _key(out: Path, board: Board, tools: dict[str, str], arguments: list) -> str:
    """Of all that decides the result."""
    digest = hashlib.sha256(json.dumps([board.model_dump(mode="json"), tools, arguments]).encode())
    for path in sorted([*(out / "src").iterdir(), *out.glob("*.hex"), *out.glob("board.*")]):
        digest.update(f"{path.name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


class _Flow:
    """The steps of one synthesis, all in one folder."""

    def __init__(self, board: Board, out: Path, top: Top, progress: Progress):
        self.board, self.out, self.top, self.progress = board, out, top, progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str):
        self.progress(name)
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)

    def synthesis(self) -> dict[str, int]:
        """Yosys: cells of the flattened netlist, by type."""
        # Packages first
        sources = " ".join(f"src/{path.name}" for path in sorted((self.out / "src").glob("*.sv"), key=lambda path: (path.name != SHAPE_FILE, path.name)))
        command = FAMILIES[self.board.family].synth.format(top=self.top.name)
        if self.board.resources.ultra_ram:
            command += " -uram"  # else Yosys refuses memories that the RTL asks UltraRAM for
        # A Yosys that dies in the mapper exits with 0 all the same: the figures are written last.
        lines = [f"read_verilog -sv {sources}", command, f"write_json {NETLIST}", "tee -q -o cells.json stat -json"]
        (self.out / "synth.ys").write_text("\n".join(lines) + "\n")
        with self.step("synthesis"):
            run("yosys", ["-q", "synth.ys"], self.out, makes=[NETLIST, "cells.json"])
        if self.board.family == "ecp5":
            return absorb(self.out / NETLIST, self.top.name)
        cells = json.loads((self.out / "cells.json").read_text())["design"]["num_cells_by_type"]
        return {name: int(number) for name, number in cells.items() if name != "$scopeinfo"}

    def place(self, seed: int) -> tuple[dict, dict[str, ClockResult]]:
        """nextpnr: what is used, and each clock's frequency after routing."""
        flow, arguments = self.board.flow, list(self.board.tool_args["nextpnr"])
        arguments += ["--json", NETLIST, "--report", "placed_report.json", "--freq", f"{self.top.clock_mhz:g}", "--seed", str(seed), "--timing-allow-fail"]
        (pins,) = self.top.constraints
        tool = TOOLS[flow][0]
        pinned, made = {
            "open_ecp5": (["--lpf", pins, *ECP5_EFFORT], ["--textcfg", "placed.config"]),
            "open_gowin": (["--vopt", f"cst={pins}"], ["--write", PLACED]),
            "open_ice40": (["--pcf", pins], ["--asc", "placed.asc"]),
        }[flow]
        with self.step("place and route"):
            run(tool, [*arguments, *pinned, *made], self.out, makes=[made[1], "placed_report.json"])
        report = json.loads((self.out / "placed_report.json").read_text())
        clocks = {_clock_name(name): ClockResult(target_mhz=round(c["constraint"], 2), fmax_mhz=round(c["achieved"], 2)) for name, c in report["fmax"].items()}
        if not clocks:
            raise SynthError(f"synth: {tool}: got no clock in its report, must be at least one; log in {self.out / (tool + '.log')}")
        return self._placed(report["utilization"]), clocks

    def _placed(self, used: dict[str, dict[str, int]]) -> dict:
        """What the place and route tool counts, where it counts in the board's units."""
        totals = {key: sum(used.get(name, {}).get("used", 0) * size for name, size in names.items()) for key, names in PLACED_NAMES[self.board.flow].items()}
        have = usage(self.board, {"lut": 0, "ff": 0, "dsp": 0, "block_ram": {}} | totals | {"block_ram": totals})
        return {key: have[key] for key in totals}

    def pack(self) -> dict[str, Path]:
        """The bitstream, and for ECP5 an SVF file for JTAG."""
        packer = TOOLS[self.board.flow][1]
        arguments, makes = {
            "open_ecp5": (
                ["--compress", "--input", "placed.config", "--bit", "bitloom.bit", "--svf", "bitloom.svf"],
                {"bitstream": "bitloom.bit", "svf": "bitloom.svf"},
            ),
            "open_gowin": (["-o", "bitloom.fs", PLACED], {"bitstream": "bitloom.fs"}),
            "open_ice40": (["placed.asc", "bitloom.bin"], {"bitstream": "bitloom.bin"}),
        }[self.board.flow]
        with self.step("bitstream"):
            run(packer, [*self.board.tool_args.get(packer, ()), *arguments], self.out, makes=list(makes.values()))
        return {name: self.out / file for name, file in makes.items()}


def _clock_name(net: str) -> str:
    """The clock's own name in what nextpnr calls its net."""
    return re.sub(r"^\$glbnet\$|\$TRELLIS_IO_IN$|\$SB_IO_IN(_\$glb_clk)?$|_\$glb_clk$", "", net)
