# SPDX-License-Identifier: Apache-2.0
"""The one record of an operator: every fact that another room needs to know of it, and so the only place to look it up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bitloom.hw.instance import Module

ALIKE, TOLD = "alike", "told"


def no_macs(graph, node, tokens: int, border: int | None = None) -> int:
    """Of operators without a multiplier array."""
    return 0


def holds_one(graph, node, fold, port: int) -> int:
    """Of pipelines: their registers hold less than a token."""
    return 1


def no_uniform(graph, node) -> bool:
    """Of operators whose thresholds lie anywhere."""
    return False


@dataclass(frozen=True, kw_only=True)
class Finn:
    """An operator in FINN's graph (hls/finn).

    nodes    nodes(b, graph, node): makes the tensor of the node's name, in FINN's own nodes (hls/finn/model.py: Builder)
    values   values(b, graph, node, inputs): the same on real values, in torch (hls/finn/quant_export.py: FinnEncoder)
    quant    there, a Quant node stands behind it
    exact    FINN computes it in integers: it must equal the golden; else in float32
    bias     the parameter that FINN's accumulators leave out, "" if none; what is behind them adds it
    reach    reach(graph, node): the largest magnitude of the accumulators without that bias, int64 [C]; None: what the tensor holds
    heads    FINN's tensor is [1, heads, T, C / heads], not [1, T, C]
    uniform  uniform(graph, node): the thresholds that make its output are evenly spaced, so that FINN takes more bits
    """

    nodes: Callable[..., Any]
    values: Callable[..., Any]
    quant: bool = False
    exact: bool = True
    bias: str = ""
    reach: Callable[..., Any] | None = None
    heads: bool = False
    uniform: Callable[..., bool] = no_uniform


@dataclass(frozen=True, kw_only=True)
class Operator:
    """What an operator is. `graph, node` stand for the graph and the node in it, `fold` for its share of the hardware (hw/instance.py: Fold).

    name      as in Node.op, and the stem of its files: hw/ops/<name>.py, hw/rtl/<name>.sv, hls/nnet/<name>.h, tests/ops/test_<name>.py
    params    names of its integer parameters; attrs: of its attributes
    check     check(graph, node): raises GraphError unless shapes, widths and bounds are legal
    run       run(graph, node, inputs, lengths): the golden function on a ragged batch (hw/golden.py says how arrays are laid out)
    onnx      onnx(b, graph, node, inputs): the same in standard ONNX operators (hw/onnx_export.py)
    packs     how packs of sentences pass it (hw/pack.py): ALIKE, as one sentence would; TOLD, its last input says where sentences begin; "": not
    host      computed by the host in front of the hardware: all fields below are left out
    gate      gate(graph, node, values) -> int64 [S]: it chooses one of its inputs, one behind each layer: the one at which each sentence leaves, from
              the golden codes. It is no unit, but part of what sends sentences round in a rolled encoder (hw/rtl/loop.sv); of the fields of the
              hardware it has `hls` alone, which ends the turns in HLS (hls/turns.py)
    observed  integer.onnx gives its output out, as a place between layers
    ports     prefixes of its input streams in the RTL, in the order of the node's inputs; inputs beyond them are of golden and ONNX alone, a port beyond
              the inputs is tied
    elementwise  input and output streams carry the same elements beat by beat: they have one layout and one number of lanes
    spaces    elements of a token that must lie side by side in its streams: spaces(graph, node) -> {tensor: blocks}, e.g. heads; these tensors'
              streams have one layout and one number of lanes
    same_layout  input and output tokens have one layout, whatever their lanes (elementwise operators: and the same lanes)
    times     times(graph, node): each element of its input gives so many, side by side in the beat of the output that its beat becomes
    joins     its output's tokens are those of its inputs one behind the other, in the same lanes
    wants_zeros  wants_zeros(graph, node): its result is right only if filled places of its inputs (hw/instance.py: Layout) carry zeros
    gives_zeros  gives_zeros(graph, node, zeros): filled places of its output carry zeros; `zeros`: those of its inputs do
    macs      macs(graph, node, tokens, border): multiply-accumulates for one sentence of that many tokens; border: of a pair (hw/keys.py), None: not known
    foldings  foldings(graph, node, fold): legal Folds of a matrix operator, `fold` with its streams' lanes and layouts; None: no matrix operator
    multiplies  multiplies(graph, node) -> Operands: what its rows share, and by what they multiply it (hw/cost/multipliers.py)
    made      made(graph, node, fold, tokens): of these as many as its hardware makes, in the mean of its turns; None: all
    contents  contents(graph, node): what its foldings depend on besides shapes and attributes, hashable; None: nothing
    stored    stored(graph, node, fold): bits of its weight memories; None: all foldings have as many
    interval  interval(graph, node, fold, tokens): cycles a sentence takes a matrix operator in steady state
    timing    timing(graph, node, fold, ins, out): generator of the timing model (hw/plan/timing.py)
    holds     holds(graph, node, fold, port): tokens that may be inside between an input and the output (hw/plan/fifos.py)
    rtl       rtl(graph, node, fold) -> Instance: module, parameters, memory files (hw/instance.py)
    aside     its output, one number a sentence, tells units how to work: it is no operand, and shares neither lanes nor layout with one
    any_order it works on each beat by itself, so it also takes folded streams (hw/rtl/blocks.sv) and gives them
    tiled     the module that takes its weights from external memory; None: it has none
    slots     slots(graph, node, fold): words of each of its tiles there, int64 [tiles] of each turn
    weights   weights(graph, node, fold): what they hold, turn after turn: of each tile int64 [words, elements of a word]
    element_bits  element_bits(graph, node, fold): of such an element
    looked_up looked_up(graph, node, inputs, lengths) -> {parameter of the instance: entries of its memory that these codes read, int64}; None:
              a token reads every word of all its memories
    module    what that module of hw/rtl takes of an FPGA (hw/instance.py: Module)
    hls       hls(graph, node, fold) -> HlsLayer: constants and memories of hls/nnet/<name>.h (hw/instance.py)
    hls_turns that header also serves several nodes in turn: each turn has memories of its own for what differs
    finn      its form in FINN's graph; None: FINN has none
    hls_array the header also works on one array of tokens (hls4ml's io_parallel)
    """

    name: str
    params: tuple[str, ...] = ()
    attrs: tuple[str, ...] = ()
    check: Callable[..., None]
    run: Callable[..., Any]
    onnx: Callable[..., str]
    packs: str = ""
    host: bool = False
    gate: Callable[..., Any] | None = None
    observed: bool = False
    ports: tuple[str, ...] = ("s",)
    elementwise: bool = False
    spaces: Callable[..., dict[str, int]] | None = None
    same_layout: bool = False
    times: Callable[..., int] | None = None
    joins: bool = False
    wants_zeros: Callable[..., bool] = lambda graph, node: True
    gives_zeros: Callable[..., bool] = lambda graph, node, zeros: zeros
    macs: Callable[..., int] = no_macs
    foldings: Callable[..., list] | None = None
    multiplies: Callable[..., Any] | None = None
    made: Callable[..., int] | None = None
    contents: Callable[..., Any] | None = None
    stored: Callable[..., int] | None = None
    interval: Callable[..., int] | None = None
    timing: Callable[..., Any] | None = None
    holds: Callable[..., int] = holds_one
    rtl: Callable[..., Any] | None = None
    aside: bool = False
    any_order: bool = False
    tiled: Module | None = None
    slots: Callable[..., Any] | None = None
    weights: Callable[..., Any] | None = None
    element_bits: Callable[..., int] | None = None
    looked_up: Callable[..., dict] | None = None
    module: Module | None = None
    hls: Callable[..., Any] | None = None
    hls_turns: bool = False
    hls_array: bool = False
    finn: Finn | None = None

    def takes(self, node) -> list[tuple[str, str]]:
        """(prefix of its port, tensor) of each input that a unit of that node takes."""
        return list(zip(self.ports, node.inputs, strict=False))

    @property
    def matrix(self) -> bool:
        """It has multiplier arrays, spread by PE x SIMD."""
        return self.foldings is not None

    def work(self, graph, node, fold, tokens: int, border: int | None = None) -> int:
        """Multiply-accumulates that its hardware makes for one sentence of that many tokens, in the mean of its turns. border: see hw/keys.py."""
        return self.made(graph, node, fold, tokens) if self.made else self.macs(graph, node, tokens, border)
