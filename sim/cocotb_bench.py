# SPDX-License-Identifier: Apache-2.0
"""The cocotb test that runs inside the simulator. The bench feeds and records by itself: no Python per cycle."""

import os

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge


@cocotb.test()
async def run_to_done(dut):
    """Check the identity word if one is expected, then wait until the bench says that it is done; weights that it works with are those that are expected."""
    if expected := os.environ.get("BITLOOM_IDENTITY"):
        await ReadOnly()
        got = f"{int(dut.identity.value):016x}"
        assert got == expected, f"identity: got {got}, must be {expected}; the design was built from another graph"
    await RisingEdge(dut.done)
    if (expected := os.environ.get("BITLOOM_WEIGHTS")) and dut.weights_ready.value:
        got = f"{int(dut.weights_hash.value):016x}"
        assert got == expected, f"weights: got {got}, must be {expected}; the hardware has read another image"
