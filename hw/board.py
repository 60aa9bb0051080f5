# SPDX-License-Identifier: Apache-2.0
"""Boards as data: the schema of `boards/*.yaml`, and the way to load one. The fields are described in docs/boards.md."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from bitloom.hw import yaml_file
from bitloom.hw.cost.memories import ULTRA_BITS, ULTRA_WORDS
from bitloom.hw.errors import BitloomError
from bitloom.hw.settings import Frozen, did_you_mean, rule

# The same place in a checkout and in an installation, even in an editable one that is older than the folder.
FOLDER = Path(__file__).resolve().parents[1] / "boards"
FLOWS = {
    "ecp5": "open_ecp5",
    "gw2a": "open_gowin",
    "ice40up": "open_ice40",
    "artix-7": "vivado",
    "zynq-7000": "vivado",
    "zynq-ultrascale+": "vivado",
    "virtex-ultrascale+": "vivado",
    "versal": "vivado",
}
FIGURES = (
    "part", "resources.lut", "resources.lut_inputs", "resources.ff", "resources.lut_ram", "resources.dsp", "resources.block_ram",
    "clocks", "pins", "transport", "external_memory",
)  # fmt: skip

Count = Annotated[int, Field(strict=True, ge=1)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(min_length=1)]


class BoardError(BitloomError):
    """An unknown board, or a board file that breaks the schema; one line per mistake, each with file and field."""


class Pin(Frozen):
    """One pin of the FPGA package, as the tool flow names it. `active_low`: pressed or lit is 0. `slew`: how steep its edges are, as an output."""

    pin: Text
    io_standard: Text
    active_low: Flag = False
    pull: Literal["none", "up", "down"] = "none"
    slew: Literal["slow", "fast"] = "slow"


class Pins(Frozen):
    """What a top with a UART needs, seen from the FPGA: it receives on `uart_rx`. None: the board has no such pin."""

    uart_rx: Pin
    uart_tx: Pin
    reset: Pin | None
    led: Pin | None


class Clock(Frozen):
    """A clock that the fabric gets. `pin` is None where a processing system or a shell makes it."""

    name: Text
    mhz: float = Field(gt=0, strict=True, allow_inf_nan=False)
    pin: Pin | None


class Dsp(Frozen):
    """Hard multipliers. `operand_bits`: widths of the two signed operands of one of them."""

    kind: Text
    count: Annotated[int, Field(strict=True, ge=0)]
    operand_bits: tuple[Count, Count]


class BlockRam(Frozen):
    """One kind of memory block. `shapes`: every (depth in words, width in bits) that one block can take.

    initialised  whether the bitstream can set the contents: without it a block cannot be a ROM of weights
    """

    kind: Text
    bits: Count
    count: Count
    initialised: Flag
    shapes: Annotated[tuple[tuple[Count, Count], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _shapes_fit(self) -> BlockRam:
        for depth, width in self.shapes:
            if depth * width > self.bits:
                raise ValueError(f"shapes: got {depth} x {width}, must be at most the {self.bits} bits of one block; mend the shape or bits")
        return self


class Resources(Frozen):
    """What the whole FPGA has. `lut_ram`: whether LUTs can be memory. `block_ram`: the kinds, each with its own count."""

    lut: Count
    lut_inputs: Literal[4, 6]
    ff: Count
    lut_ram: Flag
    dsp: Dsp
    block_ram: Annotated[tuple[BlockRam, ...], Field(min_length=1)]

    @property
    def ultra_ram(self) -> BlockRam | None:
        """AMD's UltraRAM; None: there is none."""
        return next((ram for ram in self.block_ram[1:] if ram.kind == "URAM288" and (ULTRA_WORDS, ULTRA_BITS) in ram.shapes), None)


class Transport(Frozen):
    """How a host reaches the encoder. `baud`: bits a second of the UART, which only a UART has."""

    kind: Literal["uart", "pynq", "dma", "pcie"]
    interface: Text
    baud: Count | None = None


# Family -> ports of its processing system through which weights can come: those to its memory, but for the first, which carries sentences.
PROCESSOR_PORTS = {
    "zynq-7000": ("S_AXI_HP1", "S_AXI_HP2", "S_AXI_HP3"),
    "zynq-ultrascale+": ("S_AXI_HP1_FPD", "S_AXI_HP2_FPD", "S_AXI_HP3_FPD", "S_AXI_HPC0_FPD", "S_AXI_HPC1_FPD"),
}


class ProcessorPort(Frozen):
    """A port of a processing system: its name there, data bits, and the MHz that it is run at, at most."""

    name: Literal[tuple(sorted({name for names in PROCESSOR_PORTS.values() for name in names}))]
    data_bits: Literal[32, 64, 128]
    mhz: Count


class MemoryPort(Frozen):
    """How the fabric reads external memory: `beats` beats of `data_bits` in `cycles` cycles of the design's clock at most, behind `latency` of them.

    processor  through which port of a processing system the beats come, in parts where it is narrower; None: through none
    """

    data_bits: Literal[64, 128, 256, 512]
    cycles: Count
    beats: Count
    latency: Count
    processor: ProcessorPort | None = None


class SdramPins(Frozen):
    """Where a 16-bit SDR SDRAM of 2**13 rows and 2**9 columns lies: names of FPGA pins, bit 0 first where there are several."""

    io_standard: Text
    clk: Text
    cke: Text
    cs_n: Text
    ras_n: Text
    cas_n: Text
    we_n: Text
    ba: Annotated[tuple[Text, ...], Field(min_length=2, max_length=2)]
    a: Annotated[tuple[Text, ...], Field(min_length=13, max_length=13)]
    dqm: Annotated[tuple[Text, ...], Field(min_length=2, max_length=2)]
    dq: Annotated[tuple[Text, ...], Field(min_length=16, max_length=16)]

    def by_port(self) -> dict[str, Pin]:
        """The pin of each bit of the ports sdram_* of a board's top."""
        names = {f"sdram_{key}": value for key, value in self.model_dump(exclude={"io_standard"}).items()}
        bits = {f"{port}[{i}]": name for port, value in names.items() if not isinstance(value, str) for i, name in enumerate(value)}
        bits |= {port: name for port, name in names.items() if isinstance(name, str)}
        return {port: Pin(pin=name, io_standard=self.io_standard, slew="fast") for port, name in bits.items()}


class ExternalMemory(Frozen):
    """Memory beside the FPGA. `mbytes` in 2**20 bytes, `bus_bits` data bits of all its chips together.

    port  where weights can be fetched from it; None: nothing here connects it
    pins  of an SDRAM that the board's top connects (hw/rtl/board/sdram.sv); None: it connects none
    """

    kind: Text
    mbytes: Count
    bus_bits: Count
    port: MemoryPort | None = None
    pins: SdramPins | None = None


class Board(Frozen):
    """A board: the budget of the folding solver, and all that a tool flow must know. `name` is the file's name.

    part       vendor's part number; None where unknown: who needs it complains
    clocks     the first is the design's
    tool_args  per tool, the command line arguments that select the device; open flows only
    sources    figure (a field, or a field of resources) -> document
    """

    name: str
    title: Text
    vendor: Text
    part: Text | None
    family: Literal[tuple(FLOWS)]
    flow: Literal[tuple(sorted(set(FLOWS.values())))]
    resources: Resources
    clocks: Annotated[tuple[Clock, ...], Field(min_length=1)]
    pins: Pins | None
    transport: Transport
    external_memory: ExternalMemory | None
    tool_args: dict[str, tuple[str, ...]] = {}
    sources: dict[str, Text]

    @property
    def vitis_hls(self) -> bool:
        """Whether Vivado and Vitis HLS take the family; else an open flow does, down to a bitstream."""
        return self.flow == "vivado"

    @classmethod
    def load(cls, name_or_path: str | Path) -> Board:
        """A board of `boards/` by name, or any board file by path (a Path, or a text with a '/' or ending in .yaml).

        Raises BoardError: unknown name, unreadable file, a figure missing, unknown, impossible or without source.
        """
        text = str(name_or_path)
        if isinstance(name_or_path, Path) or "/" in text or text.endswith((".yaml", ".yml")):
            return _read(Path(name_or_path))
        known = _files()
        if text not in known:
            raise BoardError(f"board: no board '{text}'; {did_you_mean(text, known)}")
        return _read(known[text])

    @model_validator(mode="after")
    def _flow_fits(self) -> Board:
        if self.flow != (flow := FLOWS[self.family]):
            raise ValueError(f"flow: got '{self.flow}', must be '{flow}' for the family {self.family}; change flow or family")
        if self.vitis_hls and self.tool_args:
            raise ValueError(f"tool_args: got {sorted(self.tool_args)}, must be left out for Vivado, which takes the part; remove it")
        if not self.vitis_hls and "nextpnr" not in self.tool_args:
            raise ValueError("tool_args: got no 'nextpnr', must be given for an open flow; add the arguments that select device and package")
        return self

    @model_validator(mode="after")
    def _uart_is_whole(self) -> Board:
        uart = self.transport.kind == "uart"
        if uart != (self.transport.baud is not None):
            got, do = ("nothing", "add") if uart else (self.transport.baud, "remove")
            raise ValueError(f"transport.baud: got {got}, must be given for a UART and for nothing else; {do} it")
        if uart and self.pins is None:
            raise ValueError("pins: got nothing, must be given for a UART; add uart_rx, uart_tx, reset and led")
        if uart and self.clocks[0].pin is None:
            raise ValueError("clocks.0.pin: got nothing, must be given for a UART, which has no processing system; add the pin")
        return self

    @model_validator(mode="after")
    def _processor_port_is_the_familys(self) -> Board:
        port = self.external_memory and self.external_memory.port and self.external_memory.port.processor
        if not port:
            return self
        names = PROCESSOR_PORTS.get(self.family, ())
        if port.name not in names:
            rule = f"one of {', '.join(names)}" if names else f"left out: the family {self.family} has no such processing system here"
            raise ValueError(f"external_memory.port.processor.name: got {port.name}, must be {rule}; change it")
        if self.family == "zynq-7000" and port.data_bits > 64:
            raise ValueError(f"external_memory.port.processor.data_bits: got {port.data_bits}, must be 32 or 64 for {self.family}; change it")
        return self

    @model_validator(mode="after")
    def _sources_are_whole(self) -> Board:
        keys = ("resources", *FIGURES)
        for key in self.sources:
            if key not in keys:
                raise ValueError(f"sources: no figure '{key}'; {did_you_mean(key, keys)}")
        for figure in FIGURES:
            top = figure.partition(".")[0]
            if getattr(self, top) is not None and not {figure, top} & set(self.sources):
                raise ValueError(f"sources.{figure}: got nothing, must be the document that gives the figure; add '{figure}:'")
        return self


def boards() -> dict[str, Board]:
    """All boards of `boards/` by name, sorted; read once a process."""
    return dict(_shipped())


@cache
def _shipped() -> dict[str, Board]:
    return {name: _read(path) for name, path in _files().items()}


def _files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def _read(path: Path) -> Board:
    try:
        data, _ = yaml_file.parse(yaml_file.read(path, "board file"), str(path), "a mapping of fields; mend it")
    except yaml_file.YamlError as error:
        raise BoardError(str(error)) from error
    if not isinstance(data, dict):
        got = "an empty file" if data is None else type(data).__name__
        raise BoardError(f"{path}: got {got}, must be a mapping of fields; see docs/boards.md")
    if "name" in data:
        raise BoardError(f"{path}: name: got {data['name']!r}, must be left out: the file's name is the board's; remove it")
    try:
        return Board.model_validate({**data, "name": path.stem})
    except ValidationError as errors:
        places = [e["loc"] for e in errors.errors()]
        # A list with a wrong item is also reported as a list with too few items: only the innermost place is told.
        told = [e for e in errors.errors() if not any(len(p) > len(e["loc"]) and p[: len(e["loc"])] == e["loc"] for p in places)]
        raise BoardError("\n".join(f"{path}: {_explain(e)}" for e in told)) from errors


def _explain(error: dict[str, Any]) -> str:
    """One of pydantic's errors in house style."""
    loc, message = error["loc"], error["msg"]
    where = ".".join(map(str, loc))
    if error["type"] == "value_error":  # ours: already in house style
        return f"{where}{'.' if where else ''}{message.removeprefix('Value error, ')}"
    if error["type"] == "missing":
        return f"{where}: got nothing, must be given; add '{loc[-1]}:', see docs/boards.md"
    if error["type"] == "extra_forbidden":
        section = ".".join(map(str, loc[:-1]))
        return f"{section}{': ' if section else ''}no key '{loc[-1]}'; {did_you_mean(str(loc[-1]), _fields(loc[:-1]))}"
    return f"{where}: got {error['input']!r}, must be {rule(message)}; change it"


def _fields(loc: Iterable[str | int]) -> list[str]:
    """The keys that the schema has at a place in the file."""
    model: Any = Board
    for key in loc:
        if isinstance(key, str):
            model = _model_in(model.model_fields[key].annotation)
    return [name for name in model.model_fields if name != "name" or model is not Board]


def _model_in(annotation: Any) -> Any:
    """The schema class inside an annotation such as `X | None` or `tuple[X, ...]`; None if there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)
