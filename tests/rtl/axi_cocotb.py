# SPDX-License-Identifier: Apache-2.0
"""Runs inside the simulator: axi_fetch (as `bench`) on the memory of cocotbext-axi. What to do and what came of it: job.json, result.json."""

import json
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge
from cocotbext.axi import AxiRamRead, AxiReadBus


async def ask(dut, client: int, requests: list, ports: dict) -> None:
    """Post a client's requests one behind the other; clients share packed ports, whose values `ports` holds."""
    for address, beats in requests:
        ports["valid"] |= 1 << client
        for name, bits, value in (("addr", 32, address), ("beats", 16, beats)):
            ports[name] = ports[name] & ~((1 << bits) - 1 << bits * client) | value << bits * client
        while True:
            for name, value in ports.items():
                getattr(dut, f"req_{name}").value = value
            await ReadOnly()
            taken = int(dut.req_ready.value) >> client & 1
            await RisingEdge(dut.clk)
            if taken:
                break
        ports["valid"] &= ~(1 << client)
        dut.req_valid.value = ports["valid"]


@cocotb.test()
async def play(dut):
    job = json.loads(Path("job.json").read_text())
    rng = random.Random(job["seed"])
    cocotb.start_soon(Clock(dut.clk, 2, "ns").start())
    dut.rst.value, dut.axi_rst.value, dut.req_valid.value = 1, 1, 0
    ram = AxiRamRead(AxiReadBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=len(job["image"]) // 2)
    ram.write(0, bytes.fromhex(job["image"]))
    if job["stalls"]:
        for channel in (ram.ar_channel, ram.r_channel):
            channel.set_pause_generator(iter(lambda: rng.random() < 0.5, None))
    await ClockCycles(dut.clk, 3)
    dut.rst.value, dut.axi_rst.value = 0, 0
    await RisingEdge(dut.clk)
    ports = {"valid": 0, "addr": 0, "beats": 0}
    for client, requests in enumerate(job["requests"]):
        cocotb.start_soon(ask(dut, client, requests, ports))
    got, idle = [[] for _ in job["requests"]], 0
    while idle < 2000:
        await ReadOnly()
        valid, idle = int(dut.m_valid.value), idle + 1
        if valid:
            got[valid.bit_length() - 1].append(f"{int(dut.m_data.value):0{int(job['beat'] * 2)}x}{int(dut.m_last.value)}")
            idle = 0
        await RisingEdge(dut.clk)
    Path("result.json").write_text(json.dumps({"got": got, "error": int(dut.error.value)}))
