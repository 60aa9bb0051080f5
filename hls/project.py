# SPDX-License-Identifier: Apache-2.0
"""A design as an hls4ml model: `to_hls4ml(design, board, folder).write()` is an HLS project of the whole encoder.

Streaming (io_stream): the top has two AXI4-Stream ports, `s_axis` (the tensor that the host sends, as in the RTL's encoder.sv) and `m_axis` (the
logits), both with TLAST; every operator is a dataflow process, every tensor with several readers a fork, FIFO depths are the RTL's (hw/plan/fifos.py says
why they cannot deadlock). One array (io_parallel): single operators on tokens, without sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import hls4ml
import numpy as np
from hls4ml.model.graph import ModelGraph

from bitloom.hls import layers
from bitloom.hls.dataflow import Region, array_layers, entry_layer, port_variable, reuse_factor
from bitloom.hls.errors import HlsError
from bitloom.hls.layers import class_name
from bitloom.hls.turns import InTurn, leaving, loop_inputs
from bitloom.hw.board import Board
from bitloom.hw.ops import OPS
from bitloom.hw.plan.design import SINK, SOURCE, Design

SUPPORTED = "1.3."  # hls4ml versions whose extension API this was tested with
PROJECT = "encoder"


def to_hls4ml(
    design: Design, board: Board | Path | str, folder: Path | str = "hls_project", *, io_type: str = "io_stream", clock_mhz: float = 100.0
) -> ModelGraph:
    """The design as an hls4ml ModelGraph of the Vitis backend: `write`, `compile`, `predict`, `trace` and `build` are hls4ml's own.

    board    whose part number the project is for; a name of boards/, a board file or a Board
    folder   of the project; new, empty or one that bitloom wrote before
    io_type  io_stream (whole encoders), io_parallel (single operators on arrays)
    returns  the model; its inputs hold one sentence each, what the entry's beats carry (`design.entry.place`), [max_tokens, elements], filled with NaN
             behind the sentence's tokens (`pad`); hls4ml gives outputs flat
    Raises HlsError: something that no HLS project can be made of; the message says what.
    """
    part = _part(board)
    _check_version()
    folder = _check_folder(Path(folder))
    builder = {"io_stream": _stream_layers, "io_parallel": array_layers}.get(io_type)
    if builder is None:
        raise HlsError(f"hls4ml: got io_type '{io_type}', must be io_stream or io_parallel; choose one of these")
    if design.graph.packed:
        raise HlsError("hls4ml: got hardware.pack, must be sentences alone; remove it, or use the rtl backend")
    for node in design.graph.nodes:
        if not (op := OPS.get(node.op)) or not op.host and not (op.hls and (layers.HEADERS / f"{node.op}.h").is_file()):
            raise HlsError(
                f"hls4ml: got operator '{node.op}' of {node.name}, must have hls() in hw/ops/{node.op}.py and a header hls/nnet/{node.op}.h; "
                "write them (docs/architecture.md) or use another backend"
            )
    if design.fetch:
        raise HlsError(
            f"hls4ml: got layers in hardware: {design.folding.how}; must be with their weights on the chip; remove hardware.memory, or use the rtl backend"
        )
    if design.loop:
        _check_turns(design, io_type)
    if beside := [stream for stream in design.streams.values() if stream.queries > 1]:
        raise HlsError(
            f"hls4ml: got {beside[0].queries} queries side by side in {beside[0].tensor}, must be one; raise hardware.target_cycles to "
            f"{design.graph.max_tokens**2} or lower hardware.multipliers, or use the rtl backend"
        )
    if len(outputs := design.graph.outputs) != 1:
        raise HlsError(f"hls4ml: got {len(outputs)} outputs ({', '.join(outputs)}), must be one; use the rtl backend")
    layers.register()
    made = list(builder(design))
    names = [layer["name"] for layer in made]
    factors = {unit.name: reuse_factor(unit) for unit in design.units}
    config = {
        "OutputDir": str(folder.resolve()),
        "ProjectName": PROJECT,
        "Backend": layers.BACKEND,
        "IOType": io_type,
        "Part": part,
        "ClockPeriod": 1e3 / clock_mhz,
        "ClockUncertainty": "12.5%",
        "Version": "1.0.0",
        "WriterConfig": {"Namespace": None, "WriteWeightsTxt": True, "WriteTar": False, "TBOutputStream": "both", "WriteEmulationConstants": False},
        "HLSConfig": {
            "Model": {"Precision": "ap_int<8>", "ReuseFactor": 1, "Strategy": "Resource"},
            "LayerName": {name: {"Trace": True, "ReuseFactor": factors.get(name, 1)} for name in names if name in design.streams},
        },
    }
    inputs = [layer["name"] for layer in made if layer["class_name"] == class_name("entry")]
    model = ModelGraph.from_layer_list(config, made, inputs, [names[-1]])
    model.config.trace_output = True  # taps that cost nothing in hardware: they are outside of __SYNTHESIS__
    model.apply_flow(model.config.backend.get_default_flow())
    return model


def _part(board: Board | Path | str) -> str:
    board = board if isinstance(board, Board) else Board.load(board)
    if not board.part:
        raise HlsError(f"hls4ml: got board '{board.name}' without a part number, must have one; add `part:` to its file in boards/")
    if not board.vitis_hls:
        raise HlsError(
            f"hls4ml: got board '{board.name}' with {board.part} of family {board.family}, must be one of AMD's that Vitis HLS takes; "
            "choose such a board (`bitloom boards`), or the RTL backend for this one"
        )
    return board.part


def _check_version() -> None:
    if not hls4ml.__version__.startswith(SUPPORTED):
        raise HlsError(f"hls4ml: got version {hls4ml.__version__}, must be {SUPPORTED}x, whose extension API is used; `pip install 'hls4ml=={SUPPORTED}0'`")


def _check_folder(folder: Path) -> Path:
    if folder.exists() and not folder.is_dir():
        raise HlsError(f"hls4ml: got {folder}, a file, must be a folder; give another one")
    if folder.is_dir() and any(not f.name.startswith(".") for f in folder.iterdir()) and not (folder / f"{PROJECT}_bridge.cpp").exists():
        raise HlsError(f"hls4ml: got {folder} with other files in it, must be empty or a project that bitloom wrote; give another folder")
    return folder


def _check_turns(design: Design, io_type: str) -> None:
    """Raise HlsError where layers cannot be used in turn."""
    if io_type != "io_stream":
        raise HlsError(f"hls4ml: got layers in turn with {io_type}, must be all in hardware; use io_stream, or remove hardware.layers")
    if design.graph.recall:
        raise HlsError("hls4ml: got hardware.recall, must be pairs that come whole; remove it, or use the rtl backend")
    if found := [unit for unit in design.units if unit.turns > 1 and not unit.op.hls_turns]:
        raise HlsError(
            f"hls4ml: got layers in turn with {found[0].op.name} ({found[0].name}), must be operators whose header serves several; "
            "remove hardware.layers, or use the rtl backend"
        )


def _stream_layers(design: Design) -> Iterator[dict]:
    region, (exit,), loop = Region(design), design.exits, design.loop
    source, sink = (port_variable(stream, region.most_tokens, name) for stream, name in ((design.entry, SOURCE), (exit.stream, SINK)))
    in_turn = {*design.graph.served, leaving(design)} if loop else set()
    given = {stream.tensor: region.variable(stream.tensor) for stream in loop_inputs(design)}
    for tensor, stream in design.streams.items():
        if tensor not in in_turn:
            variable = given.get(tensor) or region.variable(tensor)
            if stream is design.entry:
                region.move("from_axis", tensor, {SOURCE: source}, {tensor: variable}, stream)
            else:
                region.make(tensor, variable)
            if tensor not in given:
                region.fork(tensor, variable)
        elif tensor == leaving(design):
            target = region.variable(tensor)
            region.calls.append(InTurn(design=design, sources=given, target=target))
            region.fork(tensor, target)
    region.move("to_axis", SINK, dict([region.taken[exit]]), {SINK: sink}, exit.stream)
    yield entry_layer(SOURCE, source)
    yield from (call.as_layer() for call in region.calls)


def pad(sentences: Sequence[np.ndarray], max_tokens: int) -> np.ndarray:
    """Sentences of different lengths as hls4ml takes them: float64 [S, max_tokens, C], NaN behind each sentence's own tokens.

    sentences  int [T, C] each, 1 <= T <= max_tokens: codes of the entry, as its beats carry them
    Raises HlsError: a sentence that is empty or too long.
    """
    for index, sentence in enumerate(sentences):
        if not 1 <= len(sentence) <= max_tokens:
            raise HlsError(f"hls4ml: got sentence {index} of {len(sentence)} tokens, must be 1 .. {max_tokens}; cut or drop it")
    out = np.full((len(sentences), max_tokens, sentences[0].shape[1]), np.nan)
    for row, sentence in zip(out, sentences, strict=True):
        row[: len(sentence)] = sentence
    return out


def write_testbench(folder: Path, design: Design, tensors: dict[str, np.ndarray], lengths: np.ndarray) -> None:
    """tb_data of a written project: sentences and their golden outputs, for csim and cosim of Vitis HLS (encoder_test.cpp).

    tensors  of the golden model (hw/golden.py), lengths [S] of its sentences
    """
    ends, (out,) = np.cumsum(lengths)[:-1], design.outputs
    inputs = np.split(design.entry.place(tensors[design.entry.tensor]), ends)
    codes = out.place(tensors[out.turns[-1] if out.turns else out.tensor])
    outputs, rows = (np.split(codes, ends), design.graph.max_tokens) if out.kind == "token" else (list(codes[:, None]), 1)
    for file, arrays, most in (("tb_input_features.dat", inputs, design.graph.max_tokens), ("tb_output_predictions.dat", outputs, rows)):
        np.savetxt(folder / "tb_data" / file, pad(arrays, most).reshape(len(lengths), -1), fmt="%g")
