# SPDX-License-Identifier: Apache-2.0
"""Runs inside the simulator: the IP of hw/vivado between AXI masters of cocotbext-axi. What to do and what came of it: ip.json, result.json."""

import json
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiReadBus, AxiSlaveRead, AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

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


async def read(axi: AxiLiteMaster, address: int) -> int:
    return int.from_bytes((await axi.read(address, 4)).data, "little")


class Memory:
    """What an AXI4 read slave of cocotbext-axi reads; it answers SLVERR where a read raises."""

    def __init__(self):
        self.data, self.faulty = bytearray(1 << 20), range(0)

    async def read(self, address: int, length: int) -> bytes:
        if address in self.faulty:
            raise ValueError(f"no memory at {address:#x}")
        return bytes(self.data[address : address + length])


async def held(dut, axi: AxiLiteMaster) -> dict:
    """What the encoder does before it is let go: it reads nothing and takes no beat."""
    counts = {"reads": 0, "taken": 0}

    async def watch() -> None:
        while True:
            await RisingEdge(dut.aclk)
            counts["reads"] += int(dut.m_axi_arvalid.value)
            counts["taken"] += int(dut.s_axis_tready.value)

    watching = cocotb.start_soon(watch())
    await ClockCycles(dut.aclk, 200)
    watching.cancel()
    return {"state": await read(axi, 0x2C), "control": await read(axi, 0x28), **counts, "bits": await read(axi, 0x3C)}


async def told(axi: AxiLiteMaster) -> dict:
    graph = f"{await read(axi, 0x38):08x}{await read(axi, 0x34):08x}"
    return {"base": await read(axi, 0x24), "state": await read(axi, 0x2C), "address": await read(axi, 0x30), "hash": graph}


async def load(dut, axi: AxiLiteMaster, memory: Memory, image: dict) -> dict:
    """Let the encoder go with an image, where its "faulty" bytes cannot be read."""
    base, data = image["base"], bytes.fromhex(image["data"])
    await axi.write(0x28, bytes(4))
    memory.data[base : base + len(data)] = data
    begin, end = image.get("faulty", (0, 0))
    memory.faulty = range(base + begin, base + end)
    await axi.write(0x24, (base | 0xABC).to_bytes(4, "little"))  # the lowest 12 bits are none
    await axi.write(0x24, b"\xff")  # not a whole word: dropped
    await axi.write(0x28, (1).to_bytes(4, "little"))
    await ClockCycles(dut.aclk, 3000)
    return await told(axi)


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
    if "images" in job:
        memory = Memory()
        AxiSlaveRead(AxiReadBus.from_prefix(dut, "m_axi"), dut.aclk, dut.aresetn, target=memory, reset_active_level=False)
        result |= {"held": await held(dut, axi), "images": []}
    for image in job.get("images", [None]):
        if image:
            result["images"].append(await load(dut, axi, memory, image))
        for packet in image.get("packets", []) if image else job["packets"]:
            await source.send(AxiStreamFrame(bytes.fromhex(packet)))
            frame = await with_timeout(sink.recv(), 2 * WAIT, "ns")
            result["frames"].append(bytes(frame.tdata).hex())
            result["after"].append(await registers(axi))
            await ClockCycles(dut.aclk, DRAIN)
        if image:
            result["images"][-1]["end"] = await told(axi)
    Path("result.json").write_text(json.dumps(result))
