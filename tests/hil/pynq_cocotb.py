# SPDX-License-Identifier: Apache-2.0
"""Runs inside the simulator: the IP of hw/vivado, driven by what comes through the pipe `commands`. Time stands still while nothing comes."""

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiReadBus, AxiSlaveRead, AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

WAIT_NS = 2_000_000  # for one packet's answers
DRAIN = 5_000  # cycles behind them: later tokens of a sentence are still inside


class Memory:
    """The board's memory from an address on, as the file has it now; what raises is answered with SLVERR."""

    def __init__(self, path: Path, begin: int):
        self.file, self.begin, self.faulty = path.open("rb", buffering=0), begin, range(0)

    async def read(self, address: int, length: int) -> bytes:
        if address in self.faulty:
            raise ValueError(f"no memory at {address:#x}")
        self.file.seek(address - self.begin)
        return self.file.read(length).ljust(length, b"\0")


@cocotb.test()
async def serve(dut):
    cocotb.start_soon(Clock(dut.aclk, 2, "ns").start())
    dut.aresetn.value = 0
    reset = {"clock": dut.aclk, "reset": dut.aresetn, "reset_active_level": False}
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), byte_size=8, **reset)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), byte_size=8, **reset)
    axi = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), **reset)
    memory = Memory(Path("memory"), int(os.environ["MEMORY_BEGIN"]))
    AxiSlaveRead(AxiReadBus.from_prefix(dut, "m_axi"), target=memory, **reset)
    with open("commands") as commands, open("replies", "w") as replies:
        while True:
            kind, *values = json.loads(commands.readline())
            reply = None
            if kind == "reset":
                dut.aresetn.value = 0
                await ClockCycles(dut.aclk, 16)
                dut.aresetn.value = 1
                await ClockCycles(dut.aclk, 16)
            elif kind == "read":
                reply = int.from_bytes((await axi.read(values[0], 4)).data, "little")
            elif kind == "write":
                await axi.write(values[0], values[1].to_bytes(4, "little"))
            elif kind == "faulty":
                memory.faulty = range(*values)
            elif kind == "move":
                await source.send(AxiStreamFrame(bytes.fromhex(values[0])))
                frame = await with_timeout(sink.recv(), WAIT_NS, "ns")
                reply = bytes(frame.tdata).hex()
                await ClockCycles(dut.aclk, DRAIN)
            replies.write(json.dumps(reply) + "\n")
            replies.flush()
            if kind == "end":
                return
