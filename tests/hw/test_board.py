# SPDX-License-Identifier: Apache-2.0
"""Board files: all load with sources, the table of docs/boards.md is theirs, mistakes are refused with the exact text."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from bitloom.hw.board import FIGURES, FLOWS, FOLDER, Board, BoardError, boards

ROOT = Path(__file__).parents[2]
KNOWN = "alveo_u250, arty_a7_100t, ecpix5_85f, icebreaker, kv260, pynq_z2, tang_nano_20k, ulx3s_85f, vck190, zcu102, zcu104"
ULX3S = yaml.safe_load((FOLDER / "ulx3s_85f.yaml").read_text())
MISSING = object()


def changed(tmp_path, changes, name="mine.yaml"):
    """The ULX3S's file with some fields changed or left out: {"resources.lut": value}."""
    data = copy.deepcopy(ULX3S)
    for key, value in changes.items():
        *path, last = [int(k) if k.isdigit() else k for k in key.split("|")]
        section = data
        for k in path:
            section = section[k]
        if value is MISSING:
            del section[last]
        else:
            section[last] = value
    path = tmp_path / name
    path.write_text(yaml.safe_dump(data))
    return path


def test_all_boards_load_in_order():
    assert ", ".join(boards()) == KNOWN
    assert all(name == board.name == Board.load(name).name for name, board in boards().items())


@pytest.mark.parametrize("name", KNOWN.split(", "))
def test_every_figure_has_a_source(name):
    board = Board.load(name)
    for figure in FIGURES:
        section, _, field = figure.partition(".")
        value = getattr(board, section)
        assert value is None or board.sources.get(figure) or board.sources.get(section), figure
        assert not field or hasattr(value, field)


@pytest.mark.parametrize("name", KNOWN.split(", "))
def test_figures_agree_with_each_other(name):
    board = Board.load(name)
    for ram in board.resources.block_ram:
        assert max(depth * width for depth, width in ram.shapes) == ram.bits, "no shape fills the block"
        assert len(set(ram.shapes)) == len(ram.shapes)
    assert board.vitis_hls == bool(re.match("xc", board.part))
    pins = [p.pin for p in (*[c.pin for c in board.clocks], *(vars(board.pins).values() if board.pins else ())) if p]
    assert len(set(pins)) == len(pins), "two functions on one pin"


def test_the_table_in_the_docs_is_the_data():
    text = (ROOT / "docs/boards.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `") and line.count("|") == 10]
    expected = []
    for name, b in boards().items():
        r = b.resources
        rams = ", ".join(f"{ram.count} {ram.kind}" for ram in r.block_ram)
        expected.append(
            f"| `{name}` | {b.part} | {b.flow} | {r.lut} | {r.ff} | {r.dsp.count} {r.dsp.kind} | {rams} | {b.clocks[0].mhz:g} MHz | {b.transport.kind} |"
        )
    assert rows == expected


def test_the_docs_name_every_field_family_and_flow():
    text = (ROOT / "docs/boards.md").read_text()
    for word in (set(Board.model_fields) - {"name"}) | set(FLOWS) | set(FLOWS.values()):
        assert f"`{word}" in text, word


def test_a_board_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Board.load("kv260").part = "xck24"


def test_a_path_is_a_board_without_part_number(tmp_path):
    path = changed(tmp_path, {"part": None})
    for given in (path, str(path)):
        board = Board.load(given)
        assert board.name == "mine" and board.part is None and board.resources.lut == 83640


@pytest.mark.parametrize(
    "name, hint",
    [("pynqz2", "did you mean 'pynq_z2'? "), ("ULX3S", "did you mean 'ulx3s_85f'? "), ("de10", "")],
)
def test_unknown_board(name, hint):
    with pytest.raises(BoardError) as caught:
        Board.load(name)
    assert str(caught.value) == f"board: no board '{name}'; {hint}Known: {KNOWN}"


@pytest.mark.parametrize(
    ("board", "port", "message"),
    [
        ("pynq_z2", {"name": "S_AXI_HP1_FPD"}, "name: got S_AXI_HP1_FPD, must be one of S_AXI_HP1, S_AXI_HP2, S_AXI_HP3; change it"),
        ("pynq_z2", {"data_bits": 128}, "data_bits: got 128, must be 32 or 64 for zynq-7000; change it"),
        (
            "kv260",
            {"name": "S_AXI_HP2"},
            "name: got S_AXI_HP2, must be one of S_AXI_HP1_FPD, S_AXI_HP2_FPD, S_AXI_HP3_FPD, S_AXI_HPC0_FPD, S_AXI_HPC1_FPD; change",
        ),
    ],
)
def test_a_processing_systems_port_is_its_own(tmp_path, board, port, message):
    data = yaml.safe_load((FOLDER / f"{board}.yaml").read_text())
    data["external_memory"]["port"]["processor"] |= port
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(BoardError, match=re.escape(f"external_memory.port.processor.{message}")):
        Board.load(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"resources|lut": -1}, "resources.lut: got -1, must be at least 1; change it"),
        ({"resources|lut": "83k"}, "resources.lut: got '83k', must be an integer; change it"),
        ({"resources|lut": True}, "resources.lut: got True, must be an integer; change it"),
        ({"resources|lut_ram": "some"}, "resources.lut_ram: got 'some', must be true or false; change it"),
        ({"resources|lut_inputs": 5}, "resources.lut_inputs: got 5, must be 4 or 6; change it"),
        ({"resources|ff": MISSING}, "resources.ff: got nothing, must be given; add 'ff:', see docs/boards.md"),
        ({"resources|dsp": 156}, "resources.dsp: got 156, must be a mapping of keys; change it"),
        ({"resources|luts": 4}, "resources: no key 'luts'; did you mean 'lut'? Known: lut, lut_inputs, ff, lut_ram, dsp, block_ram"),
        ({"hls": True}, "no key 'hls'; Known: title, vendor, part, family, flow, resources, clocks, pins, transport, external_memory, tool_args, sources"),
        ({"resources|block_ram|0|kinds": 1}, "resources.block_ram.0: no key 'kinds'; did you mean 'kind'? Known: kind, bits, count, initialised, shapes"),
        ({"resources|block_ram": []}, "resources.block_ram: got [], must be a list of at least 1 item; change it"),
        (
            {"resources|block_ram|0|bits": 18000},
            "resources.block_ram.0.shapes: got 2048 x 9, must be at most the 18000 bits of one block; mend the shape or bits",
        ),
        ({"clocks|0|mhz": 0}, "clocks.0.mhz: got 0, must be greater than 0; change it"),
        ({"clocks|0|mhz": float("inf")}, "clocks.0.mhz: got inf, must be a finite number; change it"),
        ({"title": ""}, "title: got '', must be a text of at least 1 character; change it"),
        ({"pins|uart_rx|pin": 70}, "pins.uart_rx.pin: got 70, must be a text; change it"),
        (
            {"family": "ecp6"},
            "family: got 'ecp6', must be 'ecp5', 'gw2a', 'ice40up', 'artix-7', 'zynq-7000', 'zynq-ultrascale+', 'virtex-ultrascale+' or 'versal'; change it",
        ),
        ({"flow": "vivado"}, "flow: got 'vivado', must be 'open_ecp5' for the family ecp5; change flow or family"),
        (
            {"external_memory|port|processor": {"name": "S_AXI_HP1", "data_bits": 64, "mhz": 200}},
            "external_memory.port.processor.name: got S_AXI_HP1, must be left out: the family ecp5 has no such processing system here; change it",
        ),
        (
            {"external_memory|port|processor": {"name": "S_AXI_HP0", "data_bits": 64, "mhz": 200}},
            "external_memory.port.processor.name: got 'S_AXI_HP0', must be 'S_AXI_HP1', 'S_AXI_HP1_FPD', 'S_AXI_HP2', 'S_AXI_HP2_FPD', 'S_AXI_HP3', "
            "'S_AXI_HP3_FPD', 'S_AXI_HPC0_FPD' or 'S_AXI_HPC1_FPD'; change it",
        ),
        (
            {"flow": "vivado", "family": "artix-7"},
            "tool_args: got ['nextpnr'], must be left out for Vivado, which takes the part; remove it",
        ),
        ({"tool_args": {}}, "tool_args: got no 'nextpnr', must be given for an open flow; add the arguments that select device and package"),
        ({"pins": None}, "pins: got nothing, must be given for a UART; add uart_rx, uart_tx, reset and led"),
        ({"clocks|0|pin": None}, "clocks.0.pin: got nothing, must be given for a UART, which has no processing system; add the pin"),
        ({"transport|baud": MISSING}, "transport.baud: got nothing, must be given for a UART and for nothing else; add it"),
        ({"transport|kind": "pcie"}, "transport.baud: got 1000000, must be given for a UART and for nothing else; remove it"),
        ({"sources|clocks": MISSING}, "sources.clocks: got nothing, must be the document that gives the figure; add 'clocks:'"),
        ({"sources|resources": MISSING}, "sources.resources.lut: got nothing, must be the document that gives the figure; add 'resources.lut:'"),
        ({"sources|pins": ""}, "sources.pins: got '', must be a text of at least 1 character; change it"),
        (
            {"sources|clock": "a document"},
            "sources: no figure 'clock'; did you mean 'clocks'? Known: resources, part, resources.lut, resources.lut_inputs, resources.ff, "
            "resources.lut_ram, resources.dsp, resources.block_ram, clocks, pins, transport, external_memory",
        ),
        ({"name": "ulx3s"}, "name: got 'ulx3s', must be left out: the file's name is the board's; remove it"),
        (
            {"resources|ff": 0, "clocks|0|mhz": "fast"},
            "resources.ff: got 0, must be at least 1; change it\n{path}: clocks.0.mhz: got 'fast', must be a number; change it",
        ),
    ],
)
def test_a_bad_file_is_refused(tmp_path, changes, message):
    path = changed(tmp_path, changes)
    with pytest.raises(BoardError) as caught:
        Board.load(path)
    assert str(caught.value) == f"{path}: {message.replace('{path}', str(path))}"


@pytest.mark.parametrize(
    "content, message",
    [
        (None, " got no such file or directory, must be a readable board file; check the path"),
        (b"\xff\xfe\xfa", " got not UTF-8 text, must be a readable board file; check the path"),
        (b"", " got an empty file, must be a mapping of fields; see docs/boards.md"),
        (b"- 1\n", " got list, must be a mapping of fields; see docs/boards.md"),
        (b"1: 2\n", "1: got the key '1', must be a text; quote it"),
        (b"- " * 40, "1: got text that is not YAML (more than 16 levels), must be a mapping of fields; mend it"),
    ],
)
def test_a_file_that_is_no_board(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BoardError) as caught:
        Board.load(path)
    assert str(caught.value).splitlines()[-1] == f"{path}:{message}"


def test_text_that_is_not_yaml_names_the_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("title: a\nclocks: [\n")
    with pytest.raises(BoardError, match=r"mine\.yaml:3: got text that is not YAML \(expected the node content.*\), must be a mapping of fields; mend it$"):
        Board.load(path)
