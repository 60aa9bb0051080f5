# SPDX-License-Identifier: Apache-2.0
"""The verdict: every recorded stream of an encoder against the golden tensors, value by value and `last` by `last`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from bitloom.hw import pack
from bitloom.hw.graph import Graph
from bitloom.hw.keys import SEGMENT
from bitloom.hw.ops import OPS
from bitloom.hw.plan.streams import Stream
from bitloom.sim.encoder import EncoderRun, codes
from bitloom.sim.errors import SimulationError


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a tensor differs first.

    what         `value`, or `last`: the values agree but this beat's `last` flag does not
    token, lane  the token (of a row tensor: token i) and the lane of the beat
    channel      of a row tensor: head * T + token j
    got, want    codes (or flags); None where one was lost (got) or is extra (want)
    """

    tensor: str
    what: str
    sentence: int
    token: int
    channel: int
    lane: int
    got: int | None
    want: int | None

    def __str__(self) -> str:
        got = "nothing (lost)" if self.got is None else self.got
        want = "nothing (extra)" if self.want is None else self.want
        return f"{self.tensor}: sentence {self.sentence} token {self.token} channel {self.channel} (lane {self.lane}): {self.what}: got {got}, must be {want}"


@dataclass(frozen=True, kw_only=True)
class TensorReport:
    """One tensor's comparison.

    values       golden values, all of them compared
    mismatches   values that differ, are lost or extra, and `last` flags that do: the sum of
    different, lost, extra, last_errors
    """

    tensor: str
    values: int
    different: int
    lost: int
    extra: int
    last_errors: int
    first: Place | None

    @property
    def mismatches(self) -> int:
        return self.different + self.lost + self.extra + self.last_errors


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """The verdict on a run; `ok` only if every value and `last` agrees and the hardware neither hung nor broke a rule.

    first    the first difference of the first tensor, in topological order, that has one
    problem  EncoderRun.problem
    """

    values_compared: int
    mismatches: int
    first: Place | None
    per_tensor: tuple[TensorReport, ...]
    problem: str

    @property
    def ok(self) -> bool:
        return not (self.mismatches or self.problem)

    def __str__(self) -> str:
        parts = [f"{self.values_compared} values compared, {self.mismatches} mismatches"]
        if self.first:
            parts.append(f"first at {self.first}")
        if self.problem:
            parts.append(self.problem)
        return "; ".join(parts)

    def as_dict(self) -> dict:
        """Plain dictionaries and lists, for verify.json."""
        tensors = [asdict(t) | {"mismatches": t.mismatches} for t in self.per_tensor]
        return asdict(self) | {"ok": self.ok, "per_tensor": tensors}


def compare(graph: Graph, golden: Mapping[str, np.ndarray], run: EncoderRun, *, taps: bool = True) -> VerifyReport:
    """Compare all of a run's streams, and what left the chip, with the golden tensors.

    golden  tensor -> int64: token tensors [sum T, C]; (1, C) tensors [S, C]; row tensors flat, in the order sentence,
            token i, head, token j. Tensors that it lacks are not compared; the host's embedding does not count.
    taps    compare the streams inside too; without, only what left the chip
    Raises SimulationError: nothing to compare, or a golden tensor whose stream was not recorded.
    """
    if run.packs is not None:
        graph, golden = pack.pack(graph), pack.golden(graph, golden, run.packs)
    names = [node.name for node in graph.nodes if taps and not OPS[node.op].host and node.name in golden]
    carried = {tensor: info.tensor for info in run.infos.values() for tensor in info.turns or (info.tensor,)}
    if missing := [name for name in names if carried.get(name) not in run.streams]:
        raise SimulationError(f"verify: no record of tensor '{missing[0]}', must be one of each; run the encoder with taps")
    reports = []
    for name in dict.fromkeys(carried[name] for name in names):
        info, visits, sizes = run.infos[name], run.visits if run.infos[name].turns else (), run.sizes_of(name)
        want = [golden[tensor] if tensor else np.zeros_like(golden[name]) for tensor in info.turns or (name,)]
        found = _in_order(info, want, run, visits)
        reports.append(_report(name, info, found, run.taps[name], run.streams[name].last, *sizes, visits))
    for name, record in run.left.items():  # behind the last tap come a FIFO and the widening to whole bytes
        info = run.infos[name]
        tensor = info.turns[-1] if info.turns else name
        if tensor in golden:
            lengths = info.carries(run.sizes(name))
            reports.append(_report(info.port, info, np.asarray(golden[tensor]).reshape(-1), codes(info, record, lengths), record.last, lengths))
    values = sum(r.values for r in reports)
    if values == 0:
        raise SimulationError("verify: compared 0 values, must be at least 1; a comparison of nothing proves nothing")
    wrong = [r for r in reports if r.different or r.extra or r.last_errors]  # where a run stands still, streams in front of the fault lack values, too
    return VerifyReport(
        values_compared=values,
        mismatches=sum(r.mismatches for r in reports),
        first=next((r.first for r in wrong or reports if r.first), None),
        per_tensor=tuple(reports),
        problem=run.problem,
    )


def _in_order(info: Stream, want: Sequence[np.ndarray], run: EncoderRun, visits: Sequence[tuple[int, int]]) -> np.ndarray:
    """Golden values of a stream, flat: of each visit those of its sentence and turn. want: the golden tensor of each turn."""
    flat, missing = [np.asarray(tensor).reshape(-1) for tensor in want], run.missing(info.tensor)
    if not visits and not missing.any():
        return flat[0]
    tokens = [info.carries(run.sizes(info.tensor), turn) for turn in range(len(flat))]
    starts = [sentence_starts(info, own, len(values)) for own, values in zip(tokens, flat, strict=True)]
    chosen = visits or [(s, 0) for s in range(len(tokens[0]))]
    found = [(flat[turn][starts[turn][s] : starts[turn][s + 1]], int(tokens[turn][s])) for s, turn in chosen]
    return np.concatenate([_sent(info, values, tokens, left) if left else values for (values, tokens), left in zip(found, missing.tolist(), strict=True)])


def _sent(info: Stream, values: np.ndarray, tokens: int, left_out: int) -> np.ndarray:
    """Of a sentence's golden values, those that a stream carries which lacks its first tokens."""
    if info.kind == "token":
        return values[left_out * info.channels :]
    if info.kind == "row":
        return values.reshape(tokens, -1, tokens)[left_out:, :, left_out:].reshape(-1)
    return np.zeros_like(values) if info.keys == SEGMENT else values


def _report(
    name: str,
    info: Stream,
    want: np.ndarray,
    got: np.ndarray,
    last: np.ndarray,
    lengths: np.ndarray,
    borders: np.ndarray | None = None,
    visits: Sequence[tuple[int, int]] = (),
) -> TensorReport:
    """lengths, borders  of what the stream carries, in its order; visits: (sentence, turn) of each; (): the sentences, once each"""
    size, flags, order = len(want), expected_last(len(want), info, lengths, borders), info.order(lengths, borders)
    want = want if order is None else want[order]
    values, beats = _differences(got, want), _differences(last, flags)
    first = None
    if len(values):
        first = _place(name, "value", int(values[0]), got, want, info, lengths, borders, size)
    elif len(beats):
        first = _place(name, "last", int(beats[0]), last, flags, info, lengths, borders, size)
    if first and visits:
        sentence, turn = visits[first.sentence]
        first = replace(first, tensor=info.turns[turn], sentence=sentence)
    lost, extra = max(len(want) - len(got), 0), max(len(got) - len(want), 0)
    return TensorReport(
        tensor=name,
        values=len(want),
        different=len(values) - lost - extra,
        lost=lost,
        extra=extra,
        last_errors=len(beats) - abs(len(flags) - len(last)),
        first=first,
    )


def _differences(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Indices at which the two differ or only one has a value."""
    common = min(len(got), len(want))
    return np.concatenate([np.flatnonzero(got[:common] != want[:common]), np.arange(common, max(len(got), len(want)))])


def _place(
    name: str, what: str, index: int, got: np.ndarray, want: np.ndarray, info: Stream, lengths: np.ndarray, borders: np.ndarray | None, size: int
) -> Place:
    """size: values of the golden tensor."""
    mask, order = info.filled_by_channels, info.order(lengths, borders)
    if info.kind == "row":
        kept = np.flatnonzero(info.holds_channel(lengths, borders))
        value, lane = (int((kept < index * info.lanes).sum()), 0) if what == "last" else (index, int(kept[index]) % info.lanes if index < len(kept) else 0)
    elif what == "last":  # the beat's first value, or the one before it where it holds none
        token, beat = divmod(index, info.beats)
        value, lane = token * info.channels + int(mask[: beat * info.lanes].sum()), 0
    else:
        value, lane = index, int(np.flatnonzero(mask)[index % info.channels]) % info.lanes
    value = value if order is None or value >= len(order) else int(order[value])
    sentence, token, channel = locate(value, info, lengths, size)
    return Place(
        tensor=name,
        what=what,
        sentence=sentence,
        token=token,
        channel=channel,
        lane=lane,
        got=int(got[index]) if index < len(got) else None,
        want=int(want[index]) if index < len(want) else None,
    )


def sentence_starts(info: Stream, lengths: np.ndarray, values: int) -> np.ndarray:
    """Index of each sentence's first value in the golden tensor, and the end: int64 [S+1].

    Row tensors have T * heads * T values a sentence; `values` of all sentences give the heads.
    """
    if info.kind == "sentence":
        sizes = np.full(len(lengths), info.channels)
    elif info.kind == "token":
        sizes = lengths * info.channels
    else:
        sizes = lengths * lengths * (values // max(int((lengths * lengths).sum()), 1))
    return np.concatenate([[0], np.cumsum(sizes)])


def expected_last(values: int, info: Stream, lengths: np.ndarray, borders: np.ndarray | None = None) -> np.ndarray:
    """`last` of each beat by the stream's rule: the end of each row (row streams), or of each sentence. values: of the golden tensor."""
    if info.kind != "row":
        if info.fold:
            return _part_ends(info, lengths)
        flags = np.zeros(values // info.channels * info.beats, dtype=bool)
        flags[sentence_starts(info, lengths, values)[1:] // info.channels * info.beats - 1] = True
        return flags
    ends = np.cumsum(info.row_lengths(lengths, borders))
    flags = np.zeros(int(ends[-1]), dtype=bool)
    flags[ends - 1] = True
    return flags


def _part_ends(info: Stream, lengths: np.ndarray) -> np.ndarray:
    """`last` of each beat of a folded stream: the end of each part of each block."""
    parts, beats = info.layout.width // info.fold, info.fold // info.lanes
    blocks = [min(info.block, n - first) for n in (lengths if info.kind == "token" else np.ones_like(lengths)) for first in range(0, n, info.block)]
    ends = np.cumsum(np.repeat(np.array(blocks) * beats, parts)) - 1
    flags = np.zeros(ends[-1] + 1, dtype=bool)
    flags[ends] = True
    return flags


def locate(index: int, info: Stream, lengths: np.ndarray, values: int) -> tuple[int, int, int]:
    """(sentence, token, channel) of a golden tensor's value; an index past the end belongs to the last sentence."""
    starts = sentence_starts(info, lengths, values)
    sentence = min(int(np.searchsorted(starts, index, side="right")) - 1, len(lengths) - 1)
    within = index - int(starts[sentence])
    tokens = int(lengths[sentence])
    per_token = info.channels if info.kind != "row" else max(int(starts[sentence + 1] - starts[sentence]) // tokens, 1)
    return sentence, within // per_token, within % per_token
