# SPDX-License-Identifier: Apache-2.0
"""What no HLS project can be made of: one clear line each."""

from dataclasses import replace
from pathlib import Path

import hls4ml
import numpy as np
import pytest
from encoders import random_encoder

from bitloom.hls import pad, to_hls4ml
from bitloom.hls.errors import HlsError
from bitloom.hw.board import Board
from bitloom.hw.graph import Graph, Node
from bitloom.hw.ops import OPS
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig, solve

GRAPH = random_encoder(8, layers=1, hidden=8, heads=2, intermediate=12, max_tokens=6)
FOLDING = solve(GRAPH, HardwareConfig(multipliers=20))


def refused(expected: str, folder: Path, graph: Graph = GRAPH, folding: Folding = FOLDING, board: Board | str = "pynq_z2", **settings) -> None:
    with pytest.raises(HlsError) as error:
        to_hls4ml(Design(graph, folding), board, folder, **settings)
    assert str(error.value) == expected


def test_an_operator_without_hls_part(tmp_path, monkeypatch):
    monkeypatch.setitem(OPS, "softmax", replace(OPS["softmax"], hls=None))
    refused("hls4ml: got operator 'softmax' of layer.0.probs, must have hls() in hw/ops/softmax.py and a header hls/nnet/softmax.h; "
            "write them (docs/architecture.md) or use another backend", tmp_path)  # fmt: skip
    other = replace(GRAPH, nodes=(*GRAPH.nodes, Node(name="extra", op="swish", inputs=("logits",))))
    refused("hls4ml: got operator 'swish' of extra, must have hls() in hw/ops/swish.py and a header hls/nnet/swish.h; "
            "write them (docs/architecture.md) or use another backend", tmp_path, replace(other, nodes=other.nodes[-1:]))  # fmt: skip


def test_a_board_without_part_number(tmp_path):
    board = Board.load("pynq_z2").model_copy(update={"part": None})
    refused("hls4ml: got board 'pynq_z2' without a part number, must have one; add `part:` to its file in boards/", tmp_path, board=board)


def test_a_board_that_vitis_hls_does_not_know(tmp_path):
    refused("hls4ml: got board 'ulx3s_85f' with LFE5U-85F-6BG381C of family ecp5, must be one of AMD's that Vitis HLS takes; "
            "choose such a board (`bitloom boards`), or the RTL backend for this one", tmp_path, board="ulx3s_85f")  # fmt: skip


def test_another_version_of_hls4ml(tmp_path, monkeypatch):
    monkeypatch.setattr(hls4ml, "__version__", "1.2.0")
    refused("hls4ml: got version 1.2.0, must be 1.3.x, whose extension API is used; `pip install 'hls4ml==1.3.0'`", tmp_path)


def test_a_folder_that_holds_something_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    refused(f"hls4ml: got {tmp_path} with other files in it, must be empty or a project that bitloom wrote; give another folder", tmp_path)
    refused(f"hls4ml: got {tmp_path / 'thesis.tex'}, a file, must be a folder; give another one", tmp_path / "thesis.tex")
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.tex"]
    for part in ("pynq_z2", "zcu104"):  # one of our own is written anew
        to_hls4ml(Design(GRAPH, FOLDING), part, tmp_path / "project").write()
    assert "xczu7ev" in (tmp_path / "project" / "project.tcl").read_text()


def test_what_arrays_cannot_hold(tmp_path):
    refused("hls4ml: got scores layer.0.scores.acc with io_parallel, must be one of linear, requant, add, table, layernorm, which work token by token; "
            "use io_stream", tmp_path, io_type="io_parallel")  # fmt: skip
    refused("hls4ml: got io_type 'io_serial', must be io_stream or io_parallel; choose one of these", tmp_path, io_type="io_serial")


def test_several_outputs(tmp_path):
    graph = replace(GRAPH, outputs=("logits", "embeddings.norm"))
    refused("hls4ml: got 2 outputs (logits, embeddings.norm), must be one; use the rtl backend", tmp_path, graph)


def test_padding():
    padded = pad([np.array([[1, -2]]), np.array([[3, 4], [5, 6]])], 3)
    assert padded.shape == (2, 3, 2) and np.isnan(padded).sum() == 6
    assert padded[0, 0].tolist() == [1, -2] and padded[1, :2].tolist() == [[3, 4], [5, 6]]
    with pytest.raises(HlsError, match=r"^hls4ml: got sentence 1 of 0 tokens, must be 1 \.\. 3; cut or drop it$"):
        pad([np.zeros((1, 2)), np.zeros((0, 2))], 3)


def test_queries_side_by_side(tmp_path):
    graph = random_encoder(8, layers=1, hidden=32, heads=2, intermediate=64, max_tokens=16)
    refused(
        "hls4ml: got 3 queries side by side in layer.0.scores.acc, must be one; raise hardware.target_cycles to 256 or lower hardware.multipliers, "
        "or use the rtl backend",
        tmp_path,
        graph=graph,
        folding=solve(graph, HardwareConfig(target_cycles=100)),
    )


def test_weights_in_memory(tmp_path):
    graph = random_encoder(8, layers=2, hidden=32, heads=2, intermediate=64, max_tokens=6)
    for config, how in (
        (HardwareConfig(multipliers=60, layers=1, memory=MemoryConfig(block=4)), "1 in turn, weights in memory for 4 tokens"),
        (HardwareConfig(multipliers=60, memory=MemoryConfig(block=4)), "all, weights in memory for 4 tokens"),
    ):
        refused(f"hls4ml: got layers in hardware: {how}; must be with their weights on the chip; remove hardware.memory, or use the rtl backend",
                tmp_path, graph=graph, folding=solve(graph, config))  # fmt: skip


def test_layers_in_turn(tmp_path, monkeypatch):
    graph = random_encoder(8, layers=2, hidden=8, heads=2, intermediate=12, max_tokens=6)
    folding = solve(graph, HardwareConfig(multipliers=20, layers=1))
    refused("hls4ml: got layers in turn with io_parallel, must be all in hardware; use io_stream, or remove hardware.layers",
            tmp_path, graph=graph, folding=folding, io_type="io_parallel")  # fmt: skip
    monkeypatch.setitem(OPS, "softmax", replace(OPS["softmax"], hls_turns=False))
    refused("hls4ml: got layers in turn with softmax (layer.0.probs), must be operators whose header serves several; remove hardware.layers, "
            "or use the rtl backend", tmp_path, graph=graph, folding=folding)  # fmt: skip


def test_first_sentences_that_are_kept(tmp_path):
    graph = random_encoder(8, layers=2, hidden=8, heads=2, intermediate=12, max_tokens=6, keys=("segment", "T"))
    refused("hls4ml: got hardware.recall, must be pairs that come whole; remove it, or use the rtl backend",
            tmp_path, graph=graph, folding=solve(graph, HardwareConfig(multipliers=20, layers=1, recall=True)))  # fmt: skip


def test_packs(tmp_path):
    packed = solve(GRAPH, HardwareConfig(multipliers=20, pack=True))
    refused("hls4ml: got hardware.pack, must be sentences alone; remove it, or use the rtl backend", tmp_path, folding=packed)
