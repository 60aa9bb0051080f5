# SPDX-License-Identifier: Apache-2.0
"""Vivado projects of encoders whose weights come from external memory: the port that brings them, the image beside the bitstream."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from encoders import random_encoder
from vivado_stand_in import StandIn, project

from bitloom.hw import image
from bitloom.hw.board import Board, ProcessorPort
from bitloom.hw.build import build
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig
from bitloom.hw.synth import SynthError
from bitloom.hw.vivado import build_project, collect, pack_overlay, write_project
from bitloom.hw.vivado.project import load_project


@pytest.fixture
def tool(tmp_path, monkeypatch) -> StandIn:
    return StandIn(tmp_path / "tool", monkeypatch)


@pytest.fixture(scope="module")
def streamed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("streamed")
    graph = random_encoder(seed=5, layers=1, hidden=24, heads=2, intermediate=20, max_tokens=8, labels=3)
    build(graph, HardwareConfig(multipliers=12, memory=MemoryConfig(data_bits=256, block=8, outstanding=4)), folder)
    return folder


@pytest.mark.parametrize(
    ("board", "clock", "port", "faster"),
    [
        ("pynq_z2", 50, "S_AXI_HP1", "ps/FCLK_CLK1 weights_bus/aclk1"),
        ("kv260", 100, "S_AXI_HP1_FPD", "ps/pl_clk1 weights_bus/aclk1"),
        ("zcu102", 150, "S_AXI_HP1_FPD", "ps/pl_clk1 weights_bus/aclk1"),
    ],
)
def test_weights_come_through_a_port_of_their_own(streamed, tool, tmp_path, board, clock, port, faster):
    """256 bits a beat: the port, 64 or 128 bits wide, has four times or twice the clock."""
    folder, board = project(streamed, board, tmp_path, clock_mhz=clock)
    sites = "| URAM              |    0 |     0 |          0 |        96 |  0.00 |\n| Block RAM Tile    |"
    if any(ram.kind == "URAM288" for ram in board.resources.block_ram):
        tool.report("utilization", "| Block RAM Tile    |", sites)
    build_project(folder, board)
    assert tool.calls("connect_bd_intf_net")[-2:] == [
        "connect_bd_intf_net encoder_0/m_axi weights_bus/S00_AXI",
        f"connect_bd_intf_net weights_bus/M00_AXI ps/{port}",
    ]
    assert f"connect_bd_net {faster}" in tool.calls("connect_bd_net")
    assert any(f"FREQMHZ {clock * (4 if port == 'S_AXI_HP1' else 2)}" in call for call in tool.calls("set_property"))
    assert load_project(folder)["ip"]["memory_bits"] == 256
    packed = pack_overlay(folder, tmp_path / "packed") / "overlay"
    manifest, data = json.loads((packed / "overlay.json").read_text()), (streamed / image.FILE).read_bytes()
    assert (packed / manifest["image"]["file"]).read_bytes() == data and manifest["image"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert (manifest["image_bytes"], manifest["shapes"]) == (len(data), image.read(streamed / image.FILE).shapes)
    assert collect(folder, board).files["image"] == folder / image.FILE


def test_an_image_that_is_not_the_hardwares(streamed, tmp_path):
    copy = shutil.copytree(streamed, tmp_path / "copy")
    data = (copy / image.FILE).read_bytes()
    (copy / image.FILE).write_bytes(image.sealed(data[:64] + b"\7" + data[65:]))
    with pytest.raises(SynthError, match=r"weights.bin: got an image of shapes that encoder.sv does not take, must be its own; run `bitloom build` again"):
        project(copy, "kv260", tmp_path)
    (copy / image.FILE).write_bytes(data[:-1])
    with pytest.raises(SynthError, match=r"vivado: .*weights.bin: got [\d,]+ bytes, must be [\d,]+: the file is cut"):
        project(copy, "kv260", tmp_path)


def test_weights_that_no_port_brings(streamed, tmp_path):
    with pytest.raises(SynthError, match="vivado: kv260: got a memory port of 128 bits at 400 MHz for beats of 256 bits, must be at most 300 MHz; lower clock"):
        project(streamed, "kv260", tmp_path, clock_mhz=200)
    on_chip = "got weights in external memory, must be on the chip: "
    for name, lacks in [
        ("arty_a7_100t", "there is no processing system; take another board"),
        ("alveo_u250", "there is no block design for virtex-ultrascale+: a shell or platform is not generated; take another board"),
        ("vck190", "there is no block design for versal: a shell or platform is not generated; take another board"),
    ]:
        with pytest.raises(SynthError, match=re.escape(f"vivado: {name}: {on_chip}{lacks}")):
            project(streamed, name, tmp_path)
    board = Board.load("kv260")
    for memory in (None, with_port(board, None).external_memory):
        with pytest.raises(
            SynthError, match=r"the board's file does not say through which port they come; add external_memory.port.processor \(name, data_bits"
        ):
            write_project(streamed, board.model_copy(update={"external_memory": memory}), tmp_path / "project")
    assert not (tmp_path / "project").exists()


def with_port(board: Board, processor: ProcessorPort | None) -> Board:
    """The board with its memory at another port of its processing system."""
    memory = board.external_memory
    port = memory.port.model_copy(update={"processor": processor})
    return board.model_copy(update={"external_memory": memory.model_copy(update={"port": port})})


@pytest.mark.parametrize(
    ("board", "name", "bits", "clock", "told"),
    [
        ("pynq_z2", "S_AXI_HP3", 32, "S_AXI_HP3_ACLK", "CONFIG.PCW_USE_S_AXI_HP3 1 CONFIG.PCW_S_AXI_HP3_DATA_WIDTH 32"),
        ("zcu102", "S_AXI_HPC0_FPD", 128, "saxihpc0_fpd_aclk", "CONFIG.PSU__USE__S_AXI_GP0 1 CONFIG.PSU__SAXIGP0__DATA_WIDTH 128"),
        ("zcu102", "S_AXI_HP3_FPD", 64, "saxihp3_fpd_aclk", "CONFIG.PSU__USE__S_AXI_GP5 1 CONFIG.PSU__SAXIGP5__DATA_WIDTH 64"),
    ],
)
def test_other_ports(streamed, tool, tmp_path, board, name, bits, clock, told):
    """The board's file says which port, and all of it follows."""
    board = with_port(Board.load(board), ProcessorPort(name=name, data_bits=bits, mhz=300))
    folder = write_project(streamed, board, tmp_path / "project", clock_mhz=25)
    build_project(folder, board)
    assert tool.calls("connect_bd_intf_net")[-1] == f"connect_bd_intf_net weights_bus/M00_AXI ps/{name}"
    assert f"connect_bd_net {'ps/FCLK_CLK1' if bits == 32 else 'ps/pl_clk1'} ps/{clock}" in tool.calls("connect_bd_net")
    assert any(told in call for call in tool.calls("set_property"))
