# SPDX-License-Identifier: Apache-2.0
"""Runs inside the simulator: the IP of hw/vivado between AXI masters of cocotbext-axi. What to do and what came of it: ip.json, result.json."""

import json
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

WAIT = 200_000  # cycles for one sentence's answer
WRITES = 16  # at once
DRAIN = 10_000  # cycles: the first token's answer leaves while later tokens are still inside


async def registers(axi: AxiLiteMaster) -> list[int]:
    """The first 32 words, 6 entries of the log, and the word in front of it and behind it."""
    words = [*range(32), *range(128, 140), 127, 256]
    return [int.from_bytes((await axi.read(4 * word, 4)).data, "little") for word in words]


class WriteChannels:
    """Counts what moves on a write's three channels, and the answers that come before their address and data."""

    def __init__(self, dut):
        self.dut, self.moved, self.early = dut, {"aw": 0, "w": 0, "b": 0}, 0

    def moves(self, channel: str) -> bool:
        return all(int(getattr(self.dut, f"s_axi_{channel}{part}").value) for part in ("valid", "ready"))

    async def watch(self) -> None:
        while True:
            await RisingEdge(self.dut.aclk)
            self.early += self.moves("b") and self.moved["b"] >= min(self.moved["aw"], self.moved["w"])
            self.moved = {channel: count + self.moves(channel) for channel, count in self.moved.items()}


@cocotb.test()
async def play(dut):
    job = json.loads(Path("ip.json").read_text())
    rng = random.Random(job["seed"])
    cocotb.start_soon(Clock(dut.aclk, 2, "ns").start())
    dut.aresetn.value = 0
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, dut.aresetn, reset_active_level=False, byte_size=8)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, dut.aresetn, reset_active_level=False, byte_size=8)
    axi = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn, reset_active_level=False)
    await ClockCycles(dut.aclk, 16)
    dut.aresetn.value = 1
    if job["stalls"]:
        for part in (source, sink, axi.write_if.aw_channel, axi.write_if.w_channel, axi.write_if.b_channel, axi.read_if.ar_channel, axi.read_if.r_channel):
            part.set_pause_generator(iter(lambda: rng.random() < 0.5, None))
    channels = WriteChannels(dut)
    watching = cocotb.start_soon(channels.watch())
    result = {"before": await registers(axi), "frames": [], "after": []}
    writes = [cocotb.start_soon(axi.write(0x10, b"\xff\xff\xff\xff")) for _ in range(WRITES)]
    answers = [int((await with_timeout(write, WAIT, "ns")).resp) for write in writes]
    await ClockCycles(dut.aclk, 16)
    watching.cancel()
    result["writes"] = {"answers": answers, "early": channels.early, **channels.moved}
    for packet in job["packets"]:
        await source.send(AxiStreamFrame(bytes.fromhex(packet)))
        frame = await with_timeout(sink.recv(), 2 * WAIT, "ns")
        result["frames"].append(bytes(frame.tdata).hex())
        result["after"].append(await registers(axi))
        await ClockCycles(dut.aclk, DRAIN)
    Path("result.json").write_text(json.dumps(result))
