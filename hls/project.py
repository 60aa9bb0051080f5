# SPDX-License-Identifier: Apache-2.0
"""A design as an hls4ml model: `to_hls4ml(design, board, folder).write()` is an HLS project of the whole encoder.

Streaming (io_stream): the top has two AXI4-Stream ports, `s_axis` (the tensor that the host sends, as in the RTL's encoder.sv) and `m_axis` (the
logits), both with TLAST; every operator is a dataflow process, every tensor with several readers a fork, FIFO depths are the RTL's (hw/plan/fifos.py says
why they cannot deadlock). One array (io_parallel): single operators on tokens, without sentences.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import hls4ml
import numpy as np
from hls4ml.model.graph import ModelGraph

from bitloom.hls import layers
from bitloom.hls.errors import HlsError
from bitloom.hls.layers import ArrayVariable, HLSCodeType, StreamVariable, class_name, code_type, cpp_name
from bitloom.hw.board import Board
from bitloom.hw.ops import OPS
from bitloom.hw.plan.design import SINK, SOURCE, Design
from bitloom.hw.plan.fifos import MIN_DEPTH
from bitloom.hw.plan.streams import Stream
from bitloom.hw.plan.units import Port, Unit

SUPPORTED = "1.3."  # hls4ml versions whose extension API this was tested with
PROJECT = "encoder"
MOST_BRANCHES = 4  # of hls/nnet/fork.h
PARALLEL = tuple(name for name, op in OPS.items() if op.hls_array)  # operators that work on one array of tokens too


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
    builder = {"io_stream": _stream_layers, "io_parallel": _array_layers}.get(io_type)
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
    if design.loop and design.loop.logits:
        raise HlsError("hls4ml: got a network with early exits, must be one whose sentences pass all layers; use the rtl backend, or remove early_exit")
    if design.loop or design.fetch:
        raise HlsError(
            f"hls4ml: got layers in hardware: {design.folding.how}; must be all, with their weights on the chip; remove hardware.layers and hardware.memory, "
            "or use the rtl backend"
        )
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


def shape(stream: Stream, max_tokens: int) -> list[int]:
    """The array of one sentence in full length: what its beats carry."""
    if stream.kind == "row":
        return [max_tokens, stream.heads, max_tokens]
    return [max_tokens, stream.layout.width] if stream.kind == "token" else [stream.layout.width]


def most_beats(stream: Stream, max_tokens: int) -> int:
    """Beats of a sentence in full length."""
    return math.prod(shape(stream, max_tokens)) // stream.lanes


def shared_constants(x: Stream, max_tokens: int) -> dict[str, int]:
    """The CONFIG that all headers share, from an operator's first input.

    max_tokens  rows at most (1 where that is one vector a sentence); max_beats: beats at most
    channels    elements of a token; heads: of a row stream, those side by side as one; 0 for any other
    """
    return {
        "max_tokens": 1 if x.kind == "sentence" else max_tokens,
        "max_beats": most_beats(x, max_tokens),
        "channels": x.layout.width,
        "heads": x.heads // x.lanes if x.heads else 0,
    }


def reuse_factor(unit: Unit) -> int:
    """hls4ml's measure of folding: how often each multiplier is used for one token (for attention: for one sentence of max_tokens)."""
    tokens = 1 if unit.op.hls_array else unit.graph.max_tokens
    return max(1, unit.macs(tokens) // (unit.multipliers or 1))


def beat_type(stream: Stream) -> str:
    """The template of hls/nnet/beat.h."""
    return "row_beat" if stream.kind == "row" else "beat"


def _stream_variable(stream: Stream, max_tokens: int, name: str, depth: int) -> StreamVariable:
    code = code_type(stream.bits, stream.signed)
    kind = HLSCodeType(f"{cpp_name(stream.tensor)}_t", f"bitloom::{beat_type(stream)}<{code}, {stream.lanes}>", stream.bits, stream.signed)
    return StreamVariable(cpp_name(name), shape(stream, max_tokens), kind, depth)


def _port_variable(stream: Stream, max_tokens: int, name: str) -> StreamVariable:
    """An AXI4-Stream port for a tensor; the first one's type brings the headers along."""
    text = f"hls::axis<nnet::array<{code_type(stream.io_bits, stream.signed)}, {stream.lanes}>, 0, 0, 0>"
    before = '#include "nnet_utils/csim.h"\n' if name == SOURCE else ""
    return StreamVariable(name, shape(stream, max_tokens), HLSCodeType(f"{name}_t", text, stream.io_bits, stream.signed, before), MIN_DEPTH)


def _stream_layers(design: Design) -> Iterator[dict]:
    top, (exit,) = design.graph.max_tokens, design.exits
    yield {"class_name": class_name("entry"), "name": SOURCE, "inputs": [], "made_variables": [_port_variable(design.entry, top, SOURCE)]}
    taken: dict[Port, str] = {}  # the variable that a port reads
    for tensor, stream in design.streams.items():
        readers = design.readers[tensor]
        variable = _stream_variable(stream, top, tensor, readers[0].depth if len(readers) == 1 else MIN_DEPTH)
        if stream is design.entry:
            yield _plumbing("from_axis", tensor, [SOURCE], [variable], most_beats(stream, top))
        else:
            unit = design.unit(tensor)
            yield _operator(unit, [taken[port] for port in unit.ports], variable)
        branches = {port: f"{tensor}.to.{port.unit or port.prefix}.{port.index}" if len(readers) > 1 else tensor for port in readers}
        taken |= branches
        if len(readers) > 1:
            yield from _forks(stream, top, {name: port.depth for port, name in branches.items()})
    yield _plumbing("to_axis", SINK, [taken[exit]], [_port_variable(exit.stream, top, SINK)], most_beats(exit.stream, top))


def _forks(stream: Stream, max_tokens: int, depths: dict[str, int]) -> Iterator[dict]:
    """Branches, name -> FIFO depth, of one fork, or of several where there are more than one has: its last branch is then forked again."""
    source, name, rest = stream.tensor, f"{stream.tensor}.fork", list(depths.items())
    while rest:
        split = len(rest) if len(rest) <= MOST_BRANCHES else MOST_BRANCHES - 1
        own, rest = rest[:split], rest[split:]
        own += [(f"{name}.more", MIN_DEPTH)] * bool(rest)
        variables = [_stream_variable(stream, max_tokens, branch, depth) for branch, depth in own]
        yield _plumbing("fork", name, [source], variables, most_beats(stream, max_tokens), [branch for branch, _ in own])
        source, name = f"{name}.more", f"{name}.next"


def _plumbing(stem: str, name: str, inputs: list[str], variables: list[StreamVariable], beats: int, outputs: Sequence[str] | None = None) -> dict:
    return {
        "class_name": class_name(stem),
        "name": name,
        "inputs": inputs,
        "outputs": list(outputs or [name]),
        "made_variables": variables,
        "constants": {"max_beats": beats},
    }


def _operator(unit: Unit, inputs: list[str], variable: StreamVariable | ArrayVariable) -> dict:
    layer = unit.op.hls(unit.graph, unit.node, unit.fold)
    return {
        "class_name": class_name(unit.op.name),
        "name": unit.name,
        "inputs": inputs,
        "outputs": [unit.name],
        "made_variables": [variable],
        "constants": shared_constants(unit.ports[0].stream, unit.graph.max_tokens) | layer.constants,
        "memories": layer.memories,
    }


def _array_layers(design: Design) -> Iterator[dict]:
    """io_parallel: arrays of max_tokens tokens, the channels side by side."""
    top = design.graph.max_tokens
    for stream in design.streams.values():
        if not stream.layout.plain:
            raise HlsError(
                f"hls4ml: {stream.tensor}: got {stream.channels} channels in {stream.layout.width} elements with io_parallel, must be as many; use io_stream"
            )

    def variable(stream: Stream) -> ArrayVariable:
        kind = HLSCodeType(f"{cpp_name(stream.tensor)}_t", code_type(stream.bits, stream.signed), stream.bits, stream.signed)
        return ArrayVariable(cpp_name(stream.tensor), shape(stream, top), kind)

    yield {"class_name": class_name("entry"), "name": design.entry.tensor, "inputs": [], "made_variables": [variable(design.entry)]}
    for unit in design.units:
        if not unit.op.hls_array:
            raise HlsError(
                f"hls4ml: got {unit.op.name} {unit.name} with io_parallel, must be one of {', '.join(PARALLEL)}, which work token by token; use io_stream"
            )
        layer = _operator(unit, list(unit.node.inputs), variable(unit.out))
        layer["constants"]["n_elements"] = math.prod(shape(unit.ports[0].stream, top))
        yield layer


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
    codes = out.place(tensors[out.tensor])
    outputs, rows = (np.split(codes, ends), design.graph.max_tokens) if out.kind == "token" else (list(codes[:, None]), 1)
    for file, arrays, most in (("tb_input_features.dat", inputs, design.graph.max_tokens), ("tb_output_predictions.dat", outputs, rows)):
        np.savetxt(folder / "tb_data" / file, pad(arrays, most).reshape(len(lengths), -1), fmt="%g")
