# SPDX-License-Identifier: Apache-2.0
"""An integer graph as an hls4ml model: `to_hls4ml(graph, folding, board, folder).write()` is an HLS project of the whole encoder.

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
from bitloom.hls import layers
from bitloom.hls.errors import HlsError
from bitloom.hls.layers import ArrayVariable, HLSCodeType, StreamVariable, class_name, code_type, cpp_name
from bitloom.hw.board import Board
from bitloom.hw.graph import Graph, Node, Tensor
from bitloom.hw.ops import OPS
from bitloom.hw.plan.design import Design, io_bits
from bitloom.hw.plan.fifos import MIN_DEPTH
from bitloom.hw.plan.folding import Folding
from hls4ml.model.graph import ModelGraph

SUPPORTED = "1.3."  # hls4ml versions whose extension API this was tested with
PROJECT = "encoder"
MOST_BRANCHES = 4  # of hls/nnet/fork.h
PARALLEL = tuple(name for name, op in OPS.items() if op.hls_array)  # operators that work on one array of tokens too


def to_hls4ml(
    graph: Graph, folding: Folding, board: Board | Path | str, folder: Path | str = "hls_project", *, io_type: str = "io_stream", clock_mhz: float = 100.0
) -> ModelGraph:
    """The graph as an hls4ml ModelGraph of the Vitis backend: `write`, `compile`, `predict`, `trace` and `build` are hls4ml's own.

    board    whose part number the project is for; a name of boards/, a board file or a Board
    folder   of the project; new, empty or one that bitloom wrote before
    io_type  io_stream (whole encoders), io_parallel (single operators on arrays)
    returns  the model; its inputs hold one sentence each, [max_tokens, C], filled with NaN behind the sentence's tokens (`pad`); hls4ml gives outputs flat
    Raises HlsError: something that no HLS project can be made of; the message says what.
    """
    part = _part(board)
    _check_version()
    folder = _check_folder(Path(folder))
    builder = {"io_stream": _stream_layers, "io_parallel": _array_layers}.get(io_type)
    if builder is None:
        raise HlsError(f"hls4ml: got io_type '{io_type}', must be io_stream or io_parallel; choose one of these")
    for node in graph.nodes:
        if not (op := OPS.get(node.op)) or not op.host and not (op.hls and (layers.HEADERS / f"{node.op}.h").is_file()):
            raise HlsError(
                f"hls4ml: got operator '{node.op}' of {node.name}, must have hls() in hw/ops/{node.op}.py and a header hls/nnet/{node.op}.h; "
                "write them (docs/architecture.md) or use another backend"
            )
    layers.register()
    made = list(builder(graph, folding))
    names = [layer["name"] for layer in made]
    factors = {node.name: reuse_factor(graph, node, folding) for node in graph.nodes if not OPS[node.op].host}
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
            "LayerName": {name: {"Trace": True, "ReuseFactor": factors.get(name, 1)} for name in names if name in graph.tensors},
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


def shape(graph: Graph, tensor: Tensor) -> list[int]:
    """The array of one sentence in full length."""
    top = graph.max_tokens
    if tensor.kind == "row":
        return [top, int(tensor.shape[1]), top]
    return [top, tensor.channels] if tensor.kind == "token" else [tensor.channels]


def constants(graph: Graph, node: Node, folding: Folding) -> dict[str, int | bool]:
    """The CONFIG that all headers share, and the operator's own.

    max_tokens  rows of its input at most (1 where that is one vector a sentence); max_beats beats of its input at most
    channels    of its input; heads of a row stream, 0 for any other
    """
    x = graph.tensor(node.inputs[0])
    elements = math.prod(shape(graph, x))
    shared = {
        "max_tokens": 1 if x.kind == "sentence" else graph.max_tokens,
        "max_beats": elements // folding.lanes[x.name],
        "channels": x.channels,
        "heads": int(x.shape[1]) if x.kind == "row" else 0,
    }
    return shared | OPS[node.op].hls(graph, node, folding.folds[node.name]).constants


def reuse_factor(graph: Graph, node: Node, folding: Folding) -> int:
    """hls4ml's measure of folding: how often each multiplier is used for one token (for attention: for one sentence of max_tokens)."""
    tokens = 1 if OPS[node.op].hls_array else graph.max_tokens
    return max(1, OPS[node.op].macs(graph, node, tokens) // folding.per_node.get(node.name, 1))


class _Streams:
    """The variables of a streaming project."""

    def __init__(self, graph: Graph, folding: Folding):
        self.graph, self.folding = graph, folding
        self.fifos = {(p.unit, p.index): p.depth for unit in Design(graph, folding).units for p in unit.ports}

    def readers(self, tensor: str) -> list[tuple[Node, int]]:
        return [(node, port) for node in self.graph.readers(tensor) for port, name in enumerate(node.inputs) if name == tensor]

    def variable(self, tensor: str, name: str | None = None, depth: int = MIN_DEPTH) -> StreamVariable:
        t = self.graph.tensor(tensor)
        kind = HLSCodeType(f"{cpp_name(tensor)}_t", f"bitloom::beat<{code_type(t.bits, t.signed)}, {self.folding.lanes[tensor]}>", t.bits, t.signed)
        return StreamVariable(cpp_name(name or tensor), shape(self.graph, t), kind, depth)

    def port(self, name: str, tensor: str) -> StreamVariable:
        """An AXI4-Stream port for a tensor; the first one's type brings the headers along."""
        t = self.graph.tensor(tensor)
        text = f"hls::axis<nnet::array<{code_type(io_bits(t.bits), t.signed)}, {self.folding.lanes[tensor]}>, 0, 0, 0>"
        before = '#include "nnet_utils/csim.h"\n' if name == "s_axis" else ""
        return StreamVariable(name, shape(self.graph, t), HLSCodeType(f"{name}_t", text, io_bits(t.bits), t.signed, before), MIN_DEPTH)

    def depth(self, tensor: str) -> int:
        """Of the FIFO behind a tensor: its reader's, or the least in front of a fork or the output."""
        readers = self.readers(tensor)
        return self.fifos[readers[0][0].name, readers[0][1]] if len(readers) == 1 else MIN_DEPTH


def _branch(tensor: str, node: Node, port: int) -> str:
    return f"{tensor}.to.{node.name}.{port}"


def _stream_layers(graph: Graph, folding: Folding) -> Iterator[dict]:
    streams, source, sink = _Streams(graph, folding), graph.entry, graph.outputs[0]
    entry_beats = math.prod(shape(graph, graph.tensor(source))) // folding.lanes[source]
    exit_beats = math.prod(shape(graph, graph.tensor(sink))) // folding.lanes[sink]
    yield {"class_name": class_name("entry"), "name": "s_axis", "inputs": [], "made_variables": [streams.port("s_axis", source)]}
    yield _plumbing("from_axis", source, ["s_axis"], [streams.variable(source, depth=streams.depth(source))], entry_beats)
    taken = {}  # (node, port) -> the variable that it reads
    for tensor in [source, *(n.name for n in graph.nodes if not OPS[n.op].host)]:
        if tensor != source:
            yield _operator(
                graph,
                graph.node(tensor),
                folding,
                [taken[tensor, port] for port in range(len(graph.node(tensor).inputs))],
                streams.variable(tensor, depth=streams.depth(tensor)),
            )
        readers = streams.readers(tensor)
        if len(readers) == 1:
            taken[readers[0][0].name, readers[0][1]] = tensor
        elif readers:
            if len(readers) > MOST_BRANCHES:
                raise HlsError(f"hls4ml: got {len(readers)} readers of {tensor}, must be at most {MOST_BRANCHES} (hls/nnet/fork.h)")
            branches = {(n.name, port): _branch(tensor, n, port) for n, port in readers}
            taken |= branches
            yield _plumbing(
                "fork",
                f"{tensor}.fork",
                [tensor],
                [streams.variable(tensor, name, streams.fifos[key]) for key, name in branches.items()],
                math.prod(shape(graph, graph.tensor(tensor))) // folding.lanes[tensor],
                list(branches.values()),
            )
    yield _plumbing("to_axis", "m_axis", [sink], [streams.port("m_axis", sink)], exit_beats)


def _plumbing(stem: str, name: str, inputs: list[str], variables: list[StreamVariable], beats: int, outputs: Sequence[str] | None = None) -> dict:
    return {
        "class_name": class_name(stem),
        "name": name,
        "inputs": inputs,
        "outputs": list(outputs or [name]),
        "made_variables": variables,
        "constants": {"max_beats": beats},
    }


def _operator(graph: Graph, node: Node, folding: Folding, inputs: list[str], variable: StreamVariable | ArrayVariable) -> dict:
    return {
        "class_name": class_name(node.op),
        "name": node.name,
        "inputs": inputs,
        "outputs": [node.name],
        "made_variables": [variable],
        "constants": constants(graph, node, folding),
        "memories": OPS[node.op].hls(graph, node, folding.folds[node.name]).memories,
    }


def _array_layers(graph: Graph, folding: Folding) -> Iterator[dict]:
    """io_parallel: arrays of max_tokens tokens."""

    def variable(tensor: str, before: str = "") -> ArrayVariable:
        t = graph.tensor(tensor)
        return ArrayVariable(cpp_name(tensor), shape(graph, t), HLSCodeType(f"{cpp_name(tensor)}_t", code_type(t.bits, t.signed), t.bits, t.signed, before))

    for name in graph.inputs if graph.entry in graph.inputs else (graph.entry,):
        yield {"class_name": class_name("entry"), "name": name, "inputs": [], "made_variables": [variable(name)]}
    for node in graph.nodes:
        if OPS[node.op].host:
            continue
        if node.op not in PARALLEL:
            raise HlsError(
                f"hls4ml: got {node.op} {node.name} with io_parallel, must be one of {', '.join(PARALLEL)}, which work token by token; use io_stream"
            )
        layer = _operator(graph, node, folding, list(node.inputs), variable(node.name))
        layer["constants"]["n_elements"] = math.prod(shape(graph, graph.tensor(node.inputs[0])))
        yield layer


def pad(sentences: Sequence[np.ndarray], max_tokens: int) -> np.ndarray:
    """Sentences of different lengths as hls4ml takes them: float64 [S, max_tokens, C], NaN behind each sentence's own tokens.

    sentences  int [T, C] each, 1 <= T <= max_tokens: codes of the graph's entry tensor
    Raises HlsError: a sentence that is empty or too long.
    """
    for index, sentence in enumerate(sentences):
        if not 1 <= len(sentence) <= max_tokens:
            raise HlsError(f"hls4ml: got sentence {index} of {len(sentence)} tokens, must be 1 .. {max_tokens}; cut or drop it")
    out = np.full((len(sentences), max_tokens, sentences[0].shape[1]), np.nan)
    for row, sentence in zip(out, sentences, strict=True):
        row[: len(sentence)] = sentence
    return out


def write_testbench(folder: Path, graph: Graph, tensors: dict[str, np.ndarray], lengths: np.ndarray) -> None:
    """tb_data of a written project: sentences and their golden outputs, for csim and cosim of Vitis HLS (encoder_test.cpp).

    tensors  of the golden model (hw/golden.py), lengths [S] of its sentences
    """
    source, sink = graph.tensor(graph.entry), graph.tensor(graph.outputs[0])
    ends = np.cumsum(lengths)[:-1]
    inputs = np.split(tensors[source.name], ends)
    outputs = np.split(tensors[sink.name], ends) if sink.kind == "token" else list(tensors[sink.name][:, None])
    for file, rows, tokens in (("tb_input_features.dat", inputs, graph.max_tokens), ("tb_output_predictions.dat", outputs, shape(graph, sink)[0])):
        padded = pad(rows, tokens if sink.kind == "token" or rows is inputs else 1)
        np.savetxt(folder / "tb_data" / file, padded.reshape(len(lengths), -1), fmt="%g")
