# SPDX-License-Identifier: Apache-2.0
"""The simulated board: `uart_top` with its UART under Verilator, on a pseudo-terminal that the host opens as any port."""

from __future__ import annotations

import os
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitloom.hw import process
from bitloom.hw.image import FILE
from bitloom.hw.plan.design import Design
from bitloom.hw.uart import BOARD_RTL, SHAPE_FILE, read_memory, shape_package
from bitloom.sim.encoder import link_memories
from bitloom.sim.errors import SimulationError
from bitloom.sim.hil.errors import PortError, SilentError
from bitloom.sim.hil.link import LinkSettings
from bitloom.sim.hil.serial_target import SerialTarget
from bitloom.sim.hil.target import Answer, Progress
from bitloom.sim.plusargs import arguments
from bitloom.sim.runner import FAST, HDL, SIMULATORS, Model, compile_model, needed

DIVIDER = 8  # cycles of a bit: a line so fast that the encoder is what the simulation spends its time on
BAUD = 1_000_000
IDLE_CYCLES = 2_000_000  # a quiet line: longer than a sentence takes
OFF_SECONDS = 20.0
GONE_SECONDS = 2.0  # from its port's end to its own
MAIN = HDL / "board_main.cpp"

BENCH = """\
// SPDX-License-Identifier: Apache-2.0
module bench (input wire clk, input wire rst, input wire uart_rx, output wire uart_tx, output wire led);
  logic cke, cs_n, ras_n, cas_n, we_n, oe_down, oe_up;
  logic [1:0] ba, dqm;
  logic [12:0] a;
  logic [15:0] dq_down, dq_up;
  uart_top #(.CLOCK_HZ({clock}), .BAUD({baud})) board (.clk(clk), .rst(rst), .uart_rx(uart_rx), .uart_tx(uart_tx), .led(led), .sdram_cke(cke),
    .sdram_cs_n(cs_n), .sdram_ras_n(ras_n), .sdram_cas_n(cas_n), .sdram_we_n(we_n), .sdram_ba(ba), .sdram_a(a), .sdram_dqm(dqm), .sdram_dq_o(dq_down),
    .sdram_dq_oe(oe_down), .sdram_dq_i(dq_up));
{chip}endmodule
"""
CHIP = """\
  sdram_chip #(.CLOCK_MHZ({mhz})) chip (.clk(!clk), .cke, .cs_n, .ras_n, .cas_n, .we_n, .ba, .a, .dqm, .dq_i(dq_down), .dq_oe_i(oe_down), .dq_o(dq_up),
    .dq_oe_o(oe_up));
  initial if ($test$plusargs("chip_image")) force board.g_load.u_load.whole = 1'b1;
"""


@dataclass(frozen=True, kw_only=True)
class BoardRun:
    """What a simulated board did: clock cycles, bytes that the host was too slow to read, seconds that it was on."""

    cycles: int
    dropped: int
    seconds: float


class SimulatedBoard:
    """A process that runs the board; `path` is its port.

    build_dir  the built encoder
    divider    clock cycles of a bit on the line, at least 4
    chip       times of its SDRAM that are not the usual ones (sim/hdl/sdram_chip.sv)
    image      what its SDRAM holds from the beginning, as if it had been loaded in an earlier session; None: nothing
    Raises SimulationError: the build fails.
    """

    def __init__(
        self, build_dir: Path, *, divider: int = DIVIDER, idle_cycles: int = IDLE_CYCLES, chip: dict[str, int] | None = None, image: Path | None = None
    ):
        executable = compile_board(build_dir, divider)
        self._on = ExitStack()
        work = self._on.enter_context(process.scratch("board"))
        link_memories(sorted(Path(build_dir).glob("*.hex")), work)
        if image is not None:
            (work / FILE).symlink_to(Path(image).absolute())
            chip = (chip or {}) | {"chip_image": 1}
        master, slave = os.openpty()
        self._on.callback(os.close, slave)
        tty.setraw(slave)  # and held open, so that the port survives its users
        self.path = os.ttyname(slave)
        command = [str(executable), *arguments({"fd": master, "divider": divider, "idle": idle_cycles} | (chip or {}))]
        self._began = time.monotonic()
        streams = {"pass_fds": (master,), "stdin": process.PIPE, "stdout": process.PIPE, "text": True}
        self._process = self._on.enter_context(process.running(command, cwd=work, **streams))
        os.close(master)

    def press_reset(self) -> None:
        """The reset button."""
        self._process.stdin.write("r")
        self._process.stdin.flush()

    def unplug(self) -> None:
        """Pull the plug: the port goes away under its user."""
        self._on.close()

    def died(self, seconds: float = 0.0) -> bool:
        """Whether it is gone, or is so within some seconds: its port goes first."""
        try:
            self._process.wait(seconds)
        except process.TimeoutExpired:
            return False
        return True

    def off(self) -> BoardRun:
        """Turn it off. Raises SimulationError: it had died, which the chip at its pins ends it with where a time of its is broken."""
        said = ""
        try:
            said, _ = self._process.communicate(timeout=OFF_SECONDS)
            cycles, dropped = map(int, said.split())
        except (process.TimeoutExpired, ValueError, OSError) as error:
            why = "".join(f"; {line.strip()}" for line in said.splitlines() if SIMULATORS[0] in line)
            raise SimulationError(f"simulated board: died with exit code {self._process.poll()}, must run until it is turned off{why}") from error
        finally:
            self._on.close()
        return BoardRun(cycles=cycles, dropped=dropped, seconds=time.monotonic() - self._began)


def compile_board(build_dir: Path, divider: int = DIVIDER) -> Path:
    """The executable of the board top around a built encoder; compiled unless the cache has it. Raises BuildError."""
    build_dir = Path(build_dir)
    encoder = build_dir / "encoder.sv"
    library = [*sorted((build_dir / "rtl").glob("*.sv")), *sorted(BOARD_RTL.glob("*.sv")), HDL / "sdram_chip.sv"]
    with process.scratch("shape") as folder:
        shape, text = folder / SHAPE_FILE, shape_package(build_dir)
        shape.write_text(text)
        chip = CHIP.format(mhz=divider * BAUD // 1_000_000) if read_memory(build_dir) else ""
        bench = BENCH.format(clock=divider * BAUD, baud=BAUD, chip=chip)
        sources = (shape, *needed(library, bench + text + encoder.read_text()), encoder)
        generated = {"bench.sv": bench, MAIN.name: MAIN.read_text()}  # so that the cache sees a change of either
        return compile_model(Model(sources=sources, generated=generated, effort=FAST), "board", [])


class SimulatedTarget(SerialTarget):
    """`--target sim`: a simulated board that is turned on with `open` and off with `close`.

    result  after close: what the board did
    """

    def __init__(
        self,
        design: Design,
        build_dir: Path,
        *,
        divider: int = DIVIDER,
        settings: LinkSettings | None = None,
        chip: dict[str, int] | None = None,
        image: Path | None = None,
    ):
        super().__init__(design, "", baud=BAUD, settings=settings or LinkSettings(timeout_s=1.0, stuck_s=600.0))
        self.build_dir, self.divider, self.chip, self.image, self.name = Path(build_dir), divider, chip, image, "sim"
        self.board: SimulatedBoard | None = None
        self.result: BoardRun | None = None

    def open(self) -> None:
        self.board = SimulatedBoard(self.build_dir, divider=self.divider, chip=self.chip, image=self.image)
        self.path = self.board.path
        super().open()

    def load(self, path: Path, progress: Progress | None = None) -> None:
        """`SerialTarget.load`. Raises SimulationError as well: the board died, with what it said."""
        with self._alive():
            super().load(path, progress)

    def run(self, batch: Sequence[np.ndarray], *, burst: bool = False, progress: Progress | None = None) -> list[Answer]:
        """`SerialTarget.run`. Raises SimulationError as well: the board died, with what it said."""
        with self._alive():
            return super().run(batch, burst=burst, progress=progress)

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """A board that is silent because it died says why."""
        try:
            yield
        except (PortError, SilentError):
            if self.board.died(GONE_SECONDS):
                self.close()
            raise

    def close(self) -> None:
        super().close()
        if self.board is not None:
            board, self.board = self.board, None
            self.result = board.off()
