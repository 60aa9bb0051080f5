# SPDX-License-Identifier: Apache-2.0
"""QONNX through FINN's own build steps: hardware nodes, folding, specialisation, estimates, HDL; with no Vivado."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx

from bitloom.hls.finn import fifos, tool
from bitloom.hls.finn.errors import FinnError
from bitloom.hls.finn.folding import Goal, write_config
from bitloom.hw.plan.folding import Folding

Step = Callable[[Any, Any], Any]
HARDWARE = "finn.custom_op.fpgadataflow"


@dataclass(frozen=True, kw_only=True)
class FinnNode:
    """One hardware node. cycles a sentence and resources are FINN's estimates; 0 means that FINN has none, not that it is free.

    tensor  its first output; the golden model's name where the graph has such a tensor
    """

    name: str
    op: str
    tensor: str
    pe: int
    simd: int
    cycles: int
    lut: int
    dsp: int
    bram_18k: int
    uram: int


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """What FINN made.

    hardware   ONNX file of the hardware graph before folding (for Python execution)
    folded     of the folded, specialised one; streamed: with width converters and FIFOs, every node's code generated (None without hdl)
    nodes      of `folded`, in topological order
    fifo_kib   memory of all FIFOs, see bitloom.hls.finn.fifos
    interval   cycles between sentences that FINN estimates, latency_cycles of one sentence
    """

    hardware: Path
    folded: Path
    streamed: Path | None
    part: str
    fifo_kib: float
    nodes: tuple[FinnNode, ...]
    interval: int
    latency_cycles: int
    bottleneck: str


def lower(model: onnx.ModelProto | Path, folder: Path, *, part: str, clock_mhz: float, folding: Folding | None = None,
          target_cycles: int | None = None, streamline: bool = False, hdl: bool = True) -> Lowered:  # fmt: skip
    """Take a QONNX model to folded, specialised hardware nodes in `folder`, with FINN's reports in folder/report and HDL in folder/code.

    part        a part number or one of FINN's board names
    folding     bitloom's: PE and SIMD of the matrix units; the other nodes follow their pace. Else target_cycles decides for all
    streamline  the model has Quant nodes and scales (bitloom.hls.finn.quant_export), which FINN's streamlining moves into thresholds first
    Raises FinnError: no or another finn-plus, an unknown part, a node that FINN has no hardware for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tool.session(folder) as finn:
        part = tool.part_of(finn, part)
        config = finn.config.DataflowBuildConfig(
            output_dir=str(folder.absolute()), synth_clk_period_ns=1000.0 / clock_mhz, fpga_part=part, standalone_thresholds=True,
            infer_shuffle_skip_first=False, save_intermediate_models=False, folding_config_file=folder.absolute() / "folding_config.json",
            generate_outputs=[finn.config.DataflowOutputType.ESTIMATE_REPORTS])  # fmt: skip
        wrapped = finn.wrapper.ModelWrapper(str(model) if isinstance(model, Path) else onnx.ModelProto.FromString(model.SerializeToString()))
        wrapped = convert(finn, wrapped, config, streamline)
        wrapped.save(str(folder / "hardware.onnx"))
        wrapped = fold(finn, wrapped, config, Goal(folding=folding, target_cycles=target_cycles))
        wrapped.save(str(folder / "folded.onnx"))
        nodes = nodes_of(finn, wrapped, folder)
        wrapped = run_step(fifo_step(finn, part, folder / "report" / "fifo_sizing.json"), wrapped, config)
        if hdl:
            wrapped = run_step(finn.steps.step_hw_codegen, wrapped, config)
            wrapped.save(str(folder / "streamed.onnx"))
    return summarize(nodes, folder, part, hdl)


def convert(finn: SimpleNamespace, model: Any, config: Any, streamline: bool) -> Any:
    """To hardware nodes, none left unmapped, tensors keeping their names."""
    steps = finn.steps
    front = [steps.step_qonnx_to_finn, steps.step_tidy_up, before_streamlining(finn), steps.step_streamline, after_streamlining(finn)]
    for step in (*(front if streamline else [keeping_names(finn, steps.step_tidy_up)]), steps.step_convert_to_hw):
        model = run_step(step, model, config)
    require_mapped(model)
    return run_step(steps.step_minimize_bit_width_initial, model, config)


def fold(finn: SimpleNamespace, model: Any, config: Any, goal: Goal) -> Any:
    """Specialised for the part and folded, with estimates reported."""
    steps = finn.steps
    require_family(finn, model, config.fpga_part)
    for step in (steps.step_create_dataflow_partition, steps.step_specialize_layers):
        model = run_step(step, model, config)
    write_config(finn, model, goal, config.folding_config_file)
    for step in (steps.step_apply_folding_config, steps.step_minimize_bit_width, steps.step_transpose_decomposition, steps.step_generate_estimate_reports):
        model = run_step(step, model, config)
    return model


def run_step(step: Step, model: Any, config: Any) -> Any:
    """One build step. Raises FinnError with what FINN said, whatever type it raised."""
    try:
        return step(model, config)
    except Exception as error:  # FINN raises its own types, AssertionError and plain Exception alike
        name = getattr(step, "__name__", "step")
        told = " ".join(str(error).split()) or type(error).__name__
        raise FinnError(f"finn: {name}: got '{told}', must pass for this encoder and part; see finn.log in the build folder, or use the rtl backend") from error


def before_streamlining(finn: SimpleNamespace) -> Step:
    """GELU as one node, and gamma and beta out of LayerNorm, while they can still be recognised."""

    def before(model: Any, config: Any) -> Any:
        return model.transform(finn.pwpolyf.InferPWPolyFLayer()).transform(finn.norm.ExtractNormScaleBias())

    return before


def after_streamlining(finn: SimpleNamespace) -> Step:
    """Scales that FINN's streamlining leaves in front of forks and matrix products, into the thresholds behind them."""

    def after(model: Any, config: Any) -> Any:
        moves = (finn.reorder.MoveOpPastFork(["Mul"]), finn.reorder.MoveScalarMulPastMatMul(), finn.reorder.MoveScalarLinearPastInvariants(),
                 finn.absorb.AbsorbMulIntoMultiThreshold(), finn.absorb.AbsorbAddIntoMultiThreshold())  # fmt: skip
        for move in moves * 3:
            model = model.transform(move)
        last = (finn.rounding.RoundAndClipThresholds(), finn.datatypes.InferDataTypes(), finn.general.GiveUniqueNodeNames())
        for transformation in last:
            model = model.transform(transformation)
        return model

    return after


def keeping_names(finn: SimpleNamespace, step: Step) -> Step:
    """The step, then the tensors' old names again: they say which golden tensor a node makes."""

    def kept(model: Any, config: Any) -> Any:
        old = [node.output[0] for node in model.graph.node]
        ends = [value.name for value in (*model.graph.input, *model.graph.output)]
        model = step(model, config)
        new = [node.output[0] for node in model.graph.node]
        if len(new) != len(old):
            raise FinnError(f"finn: {step.__name__}: got {len(new)} nodes of {len(old)}, must leave the integer graph as it is; report it")
        pairs = [*zip(new, old, strict=True), *zip((v.name for v in (*model.graph.input, *model.graph.output)), ends, strict=True)]
        for now, then in pairs:
            if now != then:
                model.rename_tensor(now, then)
        return model

    return kept


def require_mapped(model: Any) -> None:
    """Raises FinnError: a node that no hardware node of FINN's has taken; says which, and its types."""
    for node in model.graph.node:
        if not node.domain.startswith(HARDWARE):
            kinds = ", ".join(f"{i} {model.get_tensor_datatype(i).name}" for i in node.input)
            raise FinnError(
                f"finn: node {node.name} ({node.op_type}, inputs {kinds}): got no hardware node for it, must have one; FINN converts it "
                "from integer inputs and static shapes only, so change that layer, or use the rtl or hls4ml backend"
            )


def require_family(finn: SimpleNamespace, model: Any, part: str) -> None:
    """Raises FinnError: a GELU or tanh in float32 hardware on a part that is not a Versal."""
    smooth = [node.name for node in model.graph.node if node.op_type == "PWPolyF"]
    if smooth and not finn.fpga.is_versal(part):
        raise FinnError(
            f"finn: {smooth[0]}: got part {part}, must be a Versal part for FINN's GELU and tanh (PWPolyF, float32); build from "
            "bitloom.hls.finn.model, which makes thresholds of them on every part, train with ReLU, or use the rtl or hls4ml backend"
        )


def fifo_step(finn: SimpleNamespace, part: str, report: Path) -> Step:
    """`bitloom.hls.finn.fifos.insert` as a build step."""

    def insert_fifos(model: Any, config: Any) -> Any:
        return fifos.insert(finn, model, part, report)

    return insert_fifos


def _read(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / "report" / f"{name}.json").read_text())


def nodes_of(finn: SimpleNamespace, model: Any, folder: Path) -> tuple[FinnNode, ...]:
    """The nodes with FINN's estimates, from its reports."""
    cycles, resources, nodes = _read(folder, "estimate_layer_cycles"), _read(folder, "estimate_layer_resources"), []
    for node in model.graph.node:
        kinds, instance = resources.get(node.name, {}), finn.registry.getCustomOp(node)
        attributes = instance.get_nodeattr_types()
        parallel = {key.lower(): int(instance.get_nodeattr(key)) if key in attributes else 1 for key in ("PE", "SIMD")}
        figures = {key.lower(): round(kinds.get(key, 0)) for key in ("LUT", "DSP", "BRAM_18K", "URAM")}
        nodes.append(FinnNode(name=node.name, op=node.op_type, tensor=node.output[0], cycles=int(cycles.get(node.name, 0)), **parallel, **figures))
    return tuple(nodes)


def summarize(nodes: tuple[FinnNode, ...], folder: Path, part: str, hdl: bool) -> Lowered:
    network = _read(folder, "estimate_network_performance")
    return Lowered(hardware=folder / "hardware.onnx", folded=folder / "folded.onnx", streamed=folder / "streamed.onnx" if hdl else None, part=part,
                   fifo_kib=float(_read(folder, "fifo_sizing")["total_fifo_size_kiB"]), nodes=nodes, interval=int(network["max_cycles"]),
                   latency_cycles=int(network["critical_path_cycles"]), bottleneck=str(network["max_cycles_node_name"]))  # fmt: skip
