# SPDX-License-Identifier: Apache-2.0
"""The encoder's IP with its weights in the board's memory: as a model of its registers and of what it reads, and as its own RTL in a simulator."""

import json
import os
import select
import socket
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
from ip_bench import prepare
from pynq_cases import Encoder
from pynq_stand_in import Fabric, Pynq, golden_answers

from bitloom.boards.pynq_driver import registers as reg
from bitloom.boards.pynq_driver import wire
from bitloom.hw import image
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import MemoryConfig
from bitloom.sim.hil.targets import open_target

MEMORY = MemoryConfig(data_bits=64, block=8, outstanding=4)
ASKED = 2  # times that the host asks before the weights are there
SLVERR, NO_IMAGE = 2, 8


class StreamedFabric(Fabric):
    """hw/vivado/rtl/encoder_registers.sv with hw/rtl/image_loader.sv behind them, the golden model of the image's graph behind those.

    Of the board: graphs (identity -> graph, of any image); faulty: bytes of the image that the memory answers with SLVERR.
    """

    def __init__(self, board, identity):
        super().__init__(board, identity)
        self.design = Design(board.graph, board.folding)
        self.beat = self.design.folding.memory.data_bits // 8
        self.base, self.run, self.error, self.asked, self.graph = 0, 0, (0, 0), 0, ""

    def registers(self):
        if self.run:
            self.asked += 1
        ready = self.graph and self.asked > ASKED
        code, address = self.error
        graph = int(self.graph or "0", 16)
        return {
            reg.WEIGHTS_BASE: self.base,
            reg.CONTROL: self.run,
            reg.MEMORY_STATE: bool(ready) | bool(code) << 1 | code << 4,
            reg.MEMORY_ERROR_ADDRESS: address if code else 0xDEADBEEF,
            reg.WEIGHTS_LOW: graph & 0xFFFFFFFF,
            reg.WEIGHTS_HIGH: graph >> 32,
            reg.MEMORY_BITS: 8 * self.beat,
        }

    def write(self, address, value):
        """encoder_0.write"""
        if address == reg.WEIGHTS_BASE:
            assert not self.run, "the base changes only while the encoder is held"
            self.base = value & ~0xFFF
        elif address == reg.CONTROL:
            self.run, self.error, self.asked, self.graph = value & 1, (0, 0), 0, ""
            self.done, self.now, self.log = 0, 0, {}
            if self.run:
                self.begin()

    def begin(self):
        """Reads header and parameters."""
        data = self.fetch([])
        want = image.make(self.design)
        checked = [slice(0, 16), slice(64, 96)]  # magic, version, beat; shapes
        if any(data[part] != want[part] for part in checked):
            self.error = (NO_IMAGE, self.base)
        if not self.error[0]:
            self.graph = data[image.GRAPH][:8].hex()

    def fetch(self, lengths):
        """The image in memory, and what the memory says to the beats that are read of it for sentences of these lengths."""
        reads, begin = image.reads(self.design, lengths), self.base - self.board.BEGIN
        wrong = [beat for beat in np.flatnonzero(reads) if self.beat * beat in self.board.faulty]
        if wrong and not self.error[0]:
            burst = self.design.folding.memory.burst
            self.error = (SLVERR, self.base + int(wrong[0]) // burst * burst * self.beat)
        return bytes(self.board.memory[begin : begin + len(reads) * self.beat])

    def moved(self):
        if self.run and self.graph:
            super().moved()

    def answers(self, sentences, lengths):
        self.fetch(lengths)
        codes = golden_answers(self.board.graphs[self.graph], sentences, lengths)
        return [code * 0 for code in codes] if self.error[0] else codes


class RtlFabric(Fabric):
    """The IP's RTL in the simulator of the board, which a bitstream resets."""

    def __init__(self, board, identity):
        super().__init__(board, identity)
        self.simulation = board.simulation
        self.simulation.ask("reset")

    def read(self, address):
        return self.simulation.ask("read", address)

    def write(self, address, value):
        self.simulation.ask("write", address, value)

    def moved(self):
        send, recv = self.sendchannel, self.recvchannel
        if send.first or recv.first or send.idle or recv.idle:
            return
        answer = bytes.fromhex(self.simulation.ask("move", bytes(send.buffer.memory[: send.size]).hex()))
        assert len(answer) <= recv.size, "the packet is longer than the transfer: AXI DMA would stop with an error"
        recv.buffer.memory[: len(answer)] = np.frombuffer(answer, dtype=np.uint8)
        recv.transferred = len(answer)
        send.idle = recv.idle = True


class Simulation:
    """tests/hil/pynq_cocotb.py with the IP of a project, a process; `memory` is the board's, in a file that both have mapped."""

    SIZE = 1 << 20

    def __init__(self, project: Path, folder: Path, begin: int):
        folder.mkdir()
        self.memory = np.memmap(folder / "memory", dtype=np.uint8, mode="w+", shape=(self.SIZE,))
        self.log = folder / "sim.log"
        for name in ("commands", "replies"):
            os.mkfifo(folder / name)
        command, env = prepare(project, folder, Path(__file__).with_name("pynq_cocotb.py"))
        with self.log.open("w") as out:
            self.process = subprocess.Popen(command, cwd=folder, env=env | {"MEMORY_BEGIN": str(begin)}, stdout=out, stderr=subprocess.STDOUT)
        # Open for both ways, so that a simulator that died leaves nobody waiting
        self._commands, self._replies = (os.open(folder / name, os.O_RDWR) for name in ("commands", "replies"))

    def ask(self, *command):
        os.write(self._commands, json.dumps(command).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._replies], [], [], 0.5)
            assert ready or self.process.poll() is None, f"the simulation died: {self.log.read_text()[-2000:]}"
            line += os.read(self._replies, 1 << 16) if ready else b""
        return json.loads(line)

    def end(self):
        if self.process.poll() is None:
            self.ask("end")
        self.process.wait(20)
        os.close(self._commands)
        os.close(self._replies)


class Other:
    """The same shapes and constants as an encoder's, other weights in the memory."""

    def __init__(self, encoder: Encoder, folder: Path):
        units = {f"{unit.name}.weight" for unit in encoder.design.fetching}
        params = {key: value[:, ::-1].copy() if key in units else value for key, value in encoder.graph.params.items()}
        self.graph = replace(encoder.graph, params=params)
        self.design, self.path = Design(self.graph, encoder.folding), folder / image.FILE
        self.path.write_bytes(image.make(self.design))
        self.answers = golden_answers(self.graph, encoder.sentences, [len(s) for s in encoder.sentences])
        assert not all(np.array_equal(*pair) for pair in zip(self.answers, encoder.answers, strict=True))


def board(encoder: Encoder, other: Other | None = None, **options) -> Pynq:
    """The stand-in, before a model of the IP."""
    pynq = Pynq(encoder.graph, encoder.folding, encoder.ip, fabric=StreamedFabric, **options)
    graphs = [encoder.graph, *([other.graph] if other else [])]
    pynq.graphs, pynq.faulty = {graph.hash[:16]: graph for graph in graphs}, range(0)
    return pynq


def opened(running, design: Design):
    target = open_target(running.spec, design)
    target.open()
    return target


def check(encoder: Encoder, other: Other | None, running, count: int = 3) -> None:
    """A host that comes now gets this one's answers."""
    this = other or encoder
    target = opened(running, this.design)
    assert target.identify() == this.graph.hash[:16]
    for got, want in zip(target.run(encoder.sentences[:count], burst=True), this.answers, strict=False):
        assert np.array_equal(got.codes, want)
    target.close()


def path_of(encoder: Encoder) -> Path:
    return encoder.build / image.FILE


def begun(sock: socket.socket, other: Other) -> bytes:
    """The server has taken the header; what follows it."""
    data = other.path.read_bytes()
    wire.send_frame(sock, wire.IMAGE, data[:4096], 5)
    assert wire.read_frame(sock, {wire.GO: 4}, 5) == (wire.GO, struct.pack("<I", wire.PART_BYTES))
    return data[4096:]
