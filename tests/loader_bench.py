# SPDX-License-Identifier: Apache-2.0
"""image_loader behind axi_fetch on axi_memory: headers that are taken, and what is loaded behind them, and headers that are not."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from axi_bench import RTL

from bitloom.hw import image
from bitloom.hw.hexfile import Hex
from bitloom.hw.parts import image_loader
from bitloom.hw.parts.axi_fetch import ExternalMemory
from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

SHAPES = hashlib.sha256(b"shapes").digest()[:31] + b"\x35"
GRAPH = hashlib.sha256(b"graph").digest()
AT = 4096
MEMORY = ExternalMemory(latency=17, cycles=3, beats=2)
WIDTHS = (64, 128, 256, 512)
PARAMS, CHUNKS = 4096 + 192, 3  # where the parameters begin, which is within a chunk's beats
WRONG = {"magic": 0, "the magic's end": 7, "version": 11, "bytes of a beat": 12, "shapes": 64, "the shapes' end": 95}  # byte of the header that is changed
IGNORED = (16, 27, 28, 96)  # bytes that may be anything


def case(data_bits: int, changed: int | None = None, **more: int) -> UnitCase:
    """An image whose header is good but for a bit of one byte; more: parameters of loader_unit."""
    head = bytearray(image.FIRST.pack(image.MAGIC, image.VERSION, data_bits // 8, 4096, 3, 77, GRAPH, SHAPES).ljust(4096, b"\1"))
    if changed is not None:
        head[changed] ^= 2
    body = bytes(PARAMS - 4096) + loaded(data_bits).astype("<u4").tobytes()
    words = np.frombuffer((bytes(AT) + bytes(head) + body).ljust(8192 + 4096, b"\2"), dtype="<u4").astype(np.int64).reshape(-1, data_bits // 32)
    made = image_loader.instance(data_bits=data_bits, version=image.VERSION, shapes=SHAPES.hex(), begin=PARAMS, chunks=CHUNKS)
    params = made.params | {"AT": AT, "HEX": Hex.pack(words, 32), "BYTES": 8192 + 4096}
    params |= {"LATENCY": MEMORY.latency, "CYCLES": MEMORY.cycles, "BEATS": MEMORY.beats} | more
    bad = changed in WRONG.values() or "ERROR_ADDR" in more
    stimulus = {"s": Stimulus(np.zeros((80, 1), np.int64), np.zeros(80, bool), 8)}
    del params["ADDR_W"]
    more_outputs = (OutSpec("e", 1, 36, False), int(bad)), (OutSpec("l", 1, 32, False), 0 if bad else len(loaded(data_bits)))
    return UnitCase("loader_unit", params, stimulus, OutSpec("m", 2, 32, False), int(not bad), more_outputs)


def loaded(data_bits: int) -> np.ndarray:
    """The words that all memories must be given."""
    return np.random.default_rng(data_bits).integers(0, 1 << 32, CHUNKS * image_loader.CHUNK * data_bits // 32)


def check_headers(files: Sequence[Path] = RTL, widths: Sequence[int] = WIDTHS, **how) -> list[list[int]]:
    """Every header, each at one of the widths: its graph's hash, or its error. Of each width, the cycles after reset in which good ones let the encoder begin.

    widths  those of WIDTHS that are simulated, each with its share of the headers
    """
    cycles = []
    changed = {bits: (*WRONG.values(), *IGNORED)[number :: len(WIDTHS)] for number, bits in enumerate(WIDTHS)}
    cases = [one for bits in widths for one in (case(bits), *(case(bits, byte) for byte in changed[bits]), case(bits, ERROR_ADDR=AT + 64))]
    results = iter(run_units(cases, [*files, Path(__file__).parent / "rtl" / "loader_unit.sv"], drain_cycles=200, **how))
    for bits in widths:
        cycles.append([])
        burst = AT + 64 // (bits // 2) * (bits // 2)  # of 4 beats, with the one that is an error
        wrong = [(8, AT) if byte in WRONG.values() else (0, 0) for byte in changed[bits]]
        for code, address in ((0, 0), *wrong, (2, burst)):
            result = next(results)
            if code:
                assert int(result.more[0].beats[0, 0]) == address << 4 | code, (bits, code)
                continue
            assert np.array_equal(result.more[1].beats[:, 0], loaded(bits)), bits
            assert result.beats.astype(">u4")[0, ::-1].tobytes() == GRAPH[:8], bits
            cycles[-1].append(int(result.cycle[0]) + 1)  # the source's first beat is taken in the second cycle after reset
    return cycles
