# SPDX-License-Identifier: Apache-2.0
"""One operator's RTL against its golden function and its timing model: many cases in one simulation."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bitloom.hw import graph_file
from bitloom.hw.emit import NOT_LOADED, NOT_THERE, TIED
from bitloom.hw.graph import Graph, Node, Tensor
from bitloom.hw.instance import Fold, Layout
from bitloom.hw.keys import Keys
from bitloom.hw.ops import OPS
from bitloom.hw.plan.node_timing import simulate_node
from bitloom.hw.plan.streams import each_border
from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

RTL_FILES = sorted((Path(__file__).parents[1] / "hw" / "rtl").glob("*.sv"))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A graph of one node, how it is folded, and what goes in.

    data     codes of each input, as hw/golden.py lays them out
    lengths  tokens of each sentence
    borders  of those that are pairs, tokens of the first, or of packs, of each of their sentences (hw/keys.py); None: no keys depend on it
    """

    graph: Graph
    fold: Fold
    data: tuple[np.ndarray, ...]
    lengths: np.ndarray
    borders: np.ndarray | list[tuple[int, ...]] | None = None

    @property
    def node(self) -> Node:
        return self.graph.nodes[0]

    @property
    def output(self) -> Tensor:
        return self.graph.tensor(self.node.name)


def make_case(
    op: str,
    inputs: Sequence[Tensor],
    output: Tensor,
    data,
    lengths,
    *,
    fold: Fold,
    attrs=None,
    params=None,
    max_tokens: int = 64,
    borders=None,
) -> Case:
    """A checked case; the output tensor's name is replaced by `y`."""
    node = Node(name="y", op=op, inputs=tuple(t.name for t in inputs), attrs=attrs or {})
    graph = Graph(
        name=f"test of {op}",
        nodes=(node,),
        tensors={t.name: t for t in inputs} | {"y": replace(output, name="y")},
        params={f"y.{k}": np.asarray(v, dtype=np.int64) for k, v in (params or {}).items()},
        inputs=tuple(t.name for t in inputs),
        outputs=("y",),
        max_tokens=max_tokens,
    )
    return Case(
        graph=graph_file.check(graph),
        fold=fold,
        data=tuple(np.asarray(d, dtype=np.int64) for d in data),
        lengths=np.asarray(lengths),
        borders=borders,
    )


def filled(case: Case, **fold) -> Case:
    """The case with another fold: layouts whose blocks are filled up with zeros, lanes, PE and SIMD that go with them."""
    return replace(case, fold=replace(case.fold, **fold))


def beats(
    tensor: Tensor, codes: np.ndarray, lengths: np.ndarray, lanes: int, layout: Layout | None = None, queries: int = 1, borders=None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tensor as beats [n, lanes], their `last` [n], and the index of each token's (row's) last beat.

    queries  tokens side by side in rows; MISSING is in the lanes of those that are not there
    """
    layout = layout or Layout(channels=tensor.channels)
    if tensor.kind == "row":
        heads = int(tensor.shape[1])
        rows = np.split(codes.reshape(-1), np.cumsum([n * heads * n for n in lengths])[:-1])
        each = list(zip(rows, lengths, each_border(lengths, borders), strict=True))
        words = np.concatenate([_row_words(row.reshape(n, heads, n), lanes, queries, tensor.keys, b) for row, n, b in each])
        units = np.concatenate([np.repeat(tensor.keys.spans(n, b)[::queries], heads * queries // lanes) for _, n, b in each])
    else:
        words = layout.place(codes).reshape(-1, lanes)
        units = np.full(len(codes), layout.width // lanes)
    ends = np.cumsum(units) - 1
    last = np.zeros(len(words), dtype=bool)
    if tensor.kind == "sentence" and isinstance(borders, list):  # a vector for each sentence of a pack
        lengths = [len(own) for own in borders]
    by_row = tensor.kind == "row" or len(ends) == len(lengths)
    last[ends if by_row else ends[np.cumsum(lengths) - 1]] = True
    return words, last, ends


MISSING = 1 << 40  # no code
ANY = 1  # what an input has there


def _row_words(rows: np.ndarray, lanes: int, queries: int, keys: Keys, border: int | None) -> np.ndarray:
    """A sentence's rows [T, heads, T] as their stream carries them [beats, lanes]: the keys that a query sees alone."""
    tokens, side = len(rows), lanes // queries
    low, high = keys.bounds(tokens, border)
    found = []
    for first in range(0, tokens, queries):
        group = np.full((queries, *rows.shape[1:]), MISSING)
        group[: tokens - first] = rows[first : first + queries]
        group = group.reshape(queries, -1, side, tokens)[..., low[first] : high[first]]  # [query, heads, head, key]
        found.append(group.transpose(1, 3, 0, 2).reshape(-1, lanes))
    return np.concatenate(found)


def carried(tensor: Tensor, codes: np.ndarray, lengths, borders=None) -> int:
    """Values that a tensor's stream carries: of rows, those of the keys that a query sees."""
    each = zip(lengths, each_border(lengths, borders), strict=True)
    return codes.size if tensor.kind != "row" else int(tensor.shape[1]) * sum(int(tensor.keys.spans(int(n), b).sum()) for n, b in each)


def golden(case: Case) -> np.ndarray:
    return OPS[case.node.op].run(case.graph, case.node, list(case.data), case.lengths)


def _beats_out(case: Case, lanes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    queries = case.fold.queries if case.output.kind == "row" else 1
    return beats(case.output, golden(case), case.output.tokens.of(case.lengths), lanes, case.fold.layout_out, queries, case.borders)


def unit_case(case: Case) -> UnitCase:
    instance = OPS[case.node.op].rtl(case.graph, case.node, case.fold)
    inputs = {}
    op = OPS[case.node.op]
    for (port, name), codes in zip(op.takes(case.node), case.data, strict=False):
        tensor = case.graph.tensor(name)
        row = tensor.kind == "row"
        lanes, layout, queries = (case.fold.side * case.fold.queries, None, case.fold.queries) if row else (case.fold.lanes_in, case.fold.layout_in, 1)
        if tensor.shape == (1, 1):
            lanes, layout = 1, None
        words, last, _ = beats(tensor, codes, tensor.tokens.of(case.lengths), lanes, layout, queries, case.borders)
        inputs[port] = Stimulus(np.where(words == MISSING, ANY, words), last, tensor.bits)
    lanes = case.fold.lanes_out if case.output.kind != "row" else case.fold.side * case.fold.queries
    return UnitCase(
        instance.module,
        instance.params,
        inputs,
        OutSpec("m", lanes, case.output.bits, case.output.signed),
        len(_beats_out(case, lanes)[0]),
        tied=({"bus": TIED, "load": NOT_LOADED} if op.module.turned else {})
        | {f"{prefix}_{signal}": value for prefix in op.ports[len(inputs) :] for signal, value in NOT_THERE.items()},
    )


def _layout(case: Case) -> Layout:
    """Of the output's tokens (of a row's elements)."""
    return case.fold.out_of(case.output.channels)


def check_units(cases: Sequence[Case], *, stall_in: float = 0.0, stall_out: float = 0.0, seed: int = 1, rtl_files: Sequence[Path] = tuple(RTL_FILES)) -> int:
    """Every value, every `last`, and, without stalls, the cycle of each token's last beat; how many values it was."""
    results = run_units([unit_case(c) for c in cases], rtl_files, stall_in=stall_in, stall_out=stall_out, seed=seed)
    compared = 0
    for number, (case, result) in enumerate(zip(cases, results, strict=True)):
        where = f"{case.node.op} case {number}"
        words, last, ends = _beats_out(case, result.beats.shape[1])
        layout = _layout(case)
        if not layout.plain:  # what is in the filled places is the operator's to say
            got, words = (layout.take(m.reshape(-1, layout.width)) for m in (result.beats, words))
            _equal(f"{where}: value [token, channel]", got, words)
            if OPS[case.node.op].gives_zeros(case.graph, case.node, True):
                empty = result.beats.reshape(-1, layout.width)[:, ~layout.place(np.ones(layout.channels, dtype=bool))]
                _equal(f"{where}: filled place [token, place]", empty, np.zeros_like(empty))
        else:
            _equal(f"{where}: value [beat, lane]", np.where(words == MISSING, words, result.beats), words)
        _equal(f"{where}: last [beat]", result.last, last)
        if not stall_in and not stall_out:
            trace = simulate_node(case.graph, case.node, case.fold, case.lengths.tolist(), borders=case.borders)
            _equal(f"{where}: cycle of last beat [token]", result.cycle[ends], np.array(trace.last))
        compared += words.size
    assert compared > 0, "nothing was compared"
    return compared


def _equal(what: str, got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape, f"{what}: got shape {got.shape}, must be {want.shape}"
    wrong = np.argwhere(got != want)
    assert not len(wrong), (
        f"{what}: {len(wrong)} of {got.size} differ, first at {wrong[0].tolist()}: got {got[tuple(wrong[0])]}, must be {want[tuple(wrong[0])]}"
    )


def check_data(cases: Sequence[Case], monkeypatch, saturated: float = 0.5) -> None:
    """The data can show a fault: few outputs are saturated, and a dropped rounding term changes some of each case."""
    for number, case in enumerate(cases):
        module, y = sys.modules[OPS[case.node.op].run.__module__], golden(case)
        share = float(np.mean((y == case.output.low) | (y == case.output.high)))
        assert share <= saturated, f"{case.node.op} case {number}: {share:.0%} of the outputs are saturated, must be at most {saturated:.0%}"
        with monkeypatch.context() as patch:
            patch.setattr(module, "round_shift", lambda x, shift: x >> shift)
            assert (golden(case) != y).any(), f"{case.node.op} case {number}: no output shows the rounding term"


def intervals(case: Case) -> np.ndarray:
    """Cycles between the last beats of successive tokens (rows), by the timing model."""
    return np.diff(simulate_node(case.graph, case.node, case.fold, case.lengths.tolist(), borders=case.borders).last)
