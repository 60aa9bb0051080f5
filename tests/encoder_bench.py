# SPDX-License-Identifier: Apache-2.0
"""An encoder's RTL against its golden model, its timing model and ONNX Runtime."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from encoders import random_encoder, random_sentences
from operator_bench import carried

from bitloom.hw import golden
from bitloom.hw.build import build
from bitloom.hw.graph import Graph
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.predict import mean_interval, predict
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.sim.encoder import EncoderRun, Options, run_encoder
from bitloom.sim.verify import VerifyReport, compare

TOLERANCE = 0.01  # of a whole encoder's cycles; single operators are exact


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A built encoder, sentences for it, and what all its tensors must be (bitloom.hw.golden.run's layout)."""

    graph: Graph
    folding: Folding
    folder: Path
    ids: list[list[int]]
    segments: list[list[int]]
    want: dict[str, np.ndarray]

    @property
    def lengths(self) -> list[int]:
        return [len(s) for s in self.ids]

    @property
    def exits(self) -> tuple[int, ...] | None:
        """The off-ramp at which each sentence leaves; None: there are none."""
        return golden.exits(self.graph, self.want)

    def run(self, **settings) -> tuple[EncoderRun, VerifyReport]:
        inputs = np.split(self.want[self.graph.entry], np.cumsum(self.lengths)[:-1])
        got = run_encoder(self.folder, inputs, Options(identity=self.graph.hash[:16], exits=self.exits, **settings))
        return got, compare(self.graph, self.want, got)

    def cycles(self, got: EncoderRun) -> dict[str, tuple[float, float]]:
        """(measured, predicted) of the first sentence's latency, the mix's mean interval and its end."""
        design, borders = Design(self.graph, self.folding), golden.borders(self.graph, self.want)
        guess, last = predict(design, self.lengths, exits=self.exits, borders=borders), got.out_last_cycle
        return {
            "latency": (int(last[0]), guess.out_last[0]),
            "interval": (mean_interval(last, guess.together), guess.interval),
            "end": (int(last[-1]), guess.out_last[-1]),
        }


def make(folder: Path, seed: int, hardware: HardwareConfig, lengths: list[int], shape: dict, outputs: tuple[str, ...] = ()) -> Encoder:
    graph = random_encoder(seed, **shape)
    return make_of(folder, seed, replace(graph, outputs=outputs or graph.outputs), hardware, lengths)


def make_of(folder: Path, seed: int, graph: Graph, hardware: HardwareConfig, lengths: list[int]) -> Encoder:
    """Of any graph."""
    ids, segments = random_sentences(graph, lengths, seed)
    return Encoder(
        graph=graph,
        folding=build(graph, hardware, folder),
        folder=folder,
        ids=ids,
        segments=segments,
        want=golden.run(graph, ids, segments),
    )


def assert_equal(encoder: Encoder, report: VerifyReport) -> None:
    """No mismatch, and nothing left out: all tensors but the host's, and the output once more where it leaves."""
    made = [n.name for n in encoder.graph.nodes if n.op != "embed"]
    borders, lengths = golden.borders(encoder.graph, encoder.want), np.array(encoder.lengths)
    tensors = [encoder.graph.tensor(name) for name in [*made, *encoder.graph.outputs]]
    values = sum(carried(tensor, encoder.want[tensor.name], tensor.tokens.of(lengths), borders) for tensor in tensors)
    assert report.ok and report.mismatches == 0, str(report)
    assert report.values_compared == values > 0


def assert_cycles(encoder: Encoder, got: EncoderRun) -> None:
    for what, (measured, predicted) in encoder.cycles(got).items():
        assert abs(measured - predicted) <= TOLERANCE * measured, f"{what}: {measured} cycles, {predicted} predicted"


def assert_onnx_agrees(encoder: Encoder) -> None:
    referee = OnnxReferee(to_onnx(encoder.graph), encoder.graph.hash).run(encoder.ids, encoder.segments)
    assert len(referee) >= 2
    for name, value in referee.items():
        assert value.size and np.array_equal(value, encoder.want[name]), name


def assert_fills(encoder: Encoder, got: EncoderRun) -> None:
    """Each FIFO's most beats are counted and within its depth; in front of the output they are those of the records on both sides."""
    design = Design(encoder.graph, encoder.folding)
    around = design.loop.ports if design.loop else ()
    depths = {p.wire: p.depth for ports in (*(unit.ports for unit in design.units), design.exits, around) for p in ports}
    assert got.fills.keys() == depths.keys() and all(0 < got.fills[wire] <= depth for wire, depth in depths.items()), got.fills
    output = design.graph.outputs[0]
    cycles = np.arange(got.cycles)
    taken, given = (np.searchsorted(record.cycle, cycles, side="right") for record in (got.streams[output], got.left[output]))
    assert got.fills["m_axis"] == (taken - given).max()


def check_turns(encoder: Encoder, **how) -> None:
    """Every value of every turn, and what leaves; without stalls the cycles."""
    got, report = encoder.run(**how)
    assert report.ok and report.mismatches == 0, str(report)
    graph = Design(encoder.graph, encoder.folding).graph
    tensors, lengths = encoder.graph.tensors, np.array(encoder.lengths)
    values = {name: carried(tensors[name], codes, tensors[name].tokens.of(lengths)) for name, codes in encoder.want.items()}
    again = sum(values[name] for name in graph.carried(graph.head)[1:])  # come out of the layers, and go in again
    made = [n.name for n in encoder.graph.nodes if n.op != "embed"]
    assert report.values_compared == sum(values[name] for name in [*made, *encoder.graph.outputs]) + again
    assert len(got.visits) == len(encoder.lengths) * graph.count
    if not how.get("stall_in"):
        assert_cycles(encoder, got)
        assert_fills(encoder, got)
