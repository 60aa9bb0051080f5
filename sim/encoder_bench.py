# SPDX-License-Identifier: Apache-2.0
"""The bench around a generated encoder: its streams, its text and what of it a simulation is built from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bitloom.hw import image
from bitloom.hw.emit import axi_ports
from bitloom.hw.plan.design import SOURCE
from bitloom.hw.plan.folding import Folding, Memory
from bitloom.hw.plan.streams import Fifo, Stream, read_fifos, read_streams
from bitloom.sim.bench import Bench
from bitloom.sim.errors import SimulationError
from bitloom.sim.memory import WEIGHTS
from bitloom.sim.runner import BENCH_FILES, MEMORY_FILES, Model, encoder_effort, needed

SHORTEST_PAUSE = 200_000  # cycles


def sinks(infos: Sequence[Stream]) -> list[Stream]:
    """The streams that leave, in the order of streams.json: `m_axis` last."""
    return [s for s in infos if s.port and s.port != SOURCE]


def load_streams(build_dir: Path) -> list[Stream]:
    """streams.json in its order: the input tensor first, the output tensor last.

    Raises SimulationError: missing or malformed.
    """
    path = Path(build_dir) / "streams.json"
    try:
        return read_streams(build_dir)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SimulationError(f"{path}: not a list of streams ({error}); run `bitloom build` again") from error


def promised_identity(build_dir: Path) -> str:
    """The identity word that encoder.sv assigns, 16 hex digits."""
    path = Path(build_dir) / "encoder.sv"
    found = re.search(r"identity = 64'h([0-9a-f]{16});", path.read_text())
    if found is None:
        raise SimulationError(f"{path}: no identity word, must assign one; run `bitloom build` again")
    return found[1]


def read_folding(build_dir: Path) -> Folding:
    """How a built encoder is folded.

    Raises SimulationError: missing or malformed.
    """
    path = Path(build_dir) / "folding.json"
    try:
        return Folding.load(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SimulationError(f"{path}: not a folding ({error}); run `bitloom build` again") from error


def longest_pause(folding: Folding) -> int:
    """Cycles without a beat anywhere, after which an encoder counts as hung: a recurrent unit is silent while it computes all sentences that it holds."""
    return max(SHORTEST_PAUSE, 2 * folding.interval * max(fold.in_flight for fold in folding.folds.values()))


def encoder_model(build_dir: Path, infos: Sequence[Stream], *, taps: bool, waves: Path | None = None, clock: bool = True) -> Model:
    """The bench around encoder.sv."""
    encoder = build_dir / "encoder.sv"
    weights = weights_of(build_dir)
    memory = MEMORY_FILES if weights else ()
    sources = (*BENCH_FILES, *memory, *needed(sorted((build_dir / "rtl").glob("*.sv")), encoder.read_text()), encoder)
    return Model(
        sources=sources,
        generated={"bench.sv": bench_text(infos, fifos=read_fifos(build_dir) if taps else (), taps=taps, clock=clock, weights=weights)},
        options=wave_options(waves),
        effort=encoder_effort(),
    )


def weights_of(build_dir: Path) -> tuple[int, int] | None:
    """Bits of a beat and bytes of the weights in external memory; None: they are on the chip."""
    path = Path(build_dir) / image.FILE
    return (read_memory(build_dir).data_bits, path.stat().st_size) if path.is_file() else None


def read_memory(build_dir: Path) -> Memory:
    """The external memory that a built design counts on.

    Raises SimulationError: it says of none.
    """
    memory = read_folding(build_dir).memory
    if memory is None:
        raise SimulationError(f"{build_dir}: got {image.FILE}, but folding.json without a memory, must have both or none; run `bitloom build` again")
    return memory


def bench_text(
    infos: Sequence[Stream],
    *,
    fifos: Sequence[Fifo] = (),
    taps: bool,
    clock: bool = True,
    top: str = "encoder",
    weights: tuple[int, int] | None = None,
) -> str:
    """The generated module around the module `top`. Taps, and the counters of what FIFOs hold, reach its wires by hierarchical names."""
    bench = Bench(ports=["output logic [63:0] identity"])
    first, last = infos[0], sinks(infos)
    bench.source(SOURCE, first.io_width)
    for stream in last:
        bench.sink(stream.port, stream.io_width)
    bundles = ", ".join(f".{s.port}_t{part}({s.port}_{part})" for s in (first, *last) for part in ("valid", "ready", "data", "last"))
    if weights:
        bundles += ", " + _weights(bench, *weights)
    bench.body.append(f"  {top} dut (.clk, .rst, .identity, {bundles});")
    for info in infos if taps else ():
        bench.tap(info.wire, f"dut.{info.wire}", info.width)
    ports = {s.port for s in last}
    for fifo in fifos:
        bench.fill(fifo.wire, f"dut.{fifo.source}", fifo.wire if fifo.wire in ports else f"dut.{fifo.wire}")
    return bench.text(clock=clock)


def _weights(bench: Bench, data_bits: int, size: int) -> str:
    """External memory with the weights' image beside the encoder, in a bench; the encoder's connections to it."""
    ports = axi_ports(data_bits)
    wires = "".join(f"  logic{f' [{bits - 1}:0]' if bits > 1 else ''} {WEIGHTS}_{name};\n" for _, bits, name in ports)
    read = {"arcache", "arprot"}  # of no use to the memory
    memory = ", ".join(f".s_axi_{name}({WEIGHTS}_{name})" for _, _, name in ports if name not in read)
    bench.body.append(
        f"{wires}  logic {WEIGHTS}_error, {WEIGHTS}_fault;\n  logic [3:0] {WEIGHTS}_code;\n  logic [31:0] {WEIGHTS}_address;\n"
        f'  bench_memory #(.NAME("{WEIGHTS}"), .IMAGE("{image.FILE}"), .DATA_W({data_bits}), .BYTES({size})) {WEIGHTS} (.clk, .rst, .cycle, '
        f".error({WEIGHTS}_error), .error_code({WEIGHTS}_code), .error_address({WEIGHTS}_address), .fault({WEIGHTS}_fault), {memory});"
    )
    bench.faults.append(f"{WEIGHTS}_fault")
    own = [f".m_axi_{name}({WEIGHTS}_{name})" for _, _, name in ports]
    own += [".axi_rst(rst)", ".weights_base(32'd0)", f".memory_error({WEIGHTS}_error)", f".memory_error_code({WEIGHTS}_code)"]
    bench.ports += ["output logic weights_ready", "output logic [63:0] weights_hash"]
    return ", ".join([*own, f".memory_error_address({WEIGHTS}_address)", ".weights_ready", ".weights_hash"])


def wave_options(waves: Path | None) -> tuple[str, ...]:
    """Verilator's options for a waveform of that name."""
    if waves is None:
        return ()
    suffix = Path(waves).suffix
    if suffix not in (".vcd", ".fst"):
        raise SimulationError(f"waves: got {Path(waves).name}, must end in .vcd or .fst")
    if suffix == ".fst" and not Path("/usr/include/lz4.h").exists():
        raise SimulationError(f"waves: got {Path(waves).name}, but lz4.h is not there; name a .vcd or apt install liblz4-dev zlib1g-dev")
    return ("--trace-vcd",) if suffix == ".vcd" else ("--trace-fst",)
