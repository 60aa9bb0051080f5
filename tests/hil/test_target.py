# SPDX-License-Identifier: Apache-2.0
"""Targets by name, and the report's own reckoning."""

from dataclasses import replace

import numpy as np
import pytest
from hil_cases import make_case

from bitloom.hw.build import build
from bitloom.hw.instance import Layout
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.sim.hil.errors import TargetError, WrongBitstreamError
from bitloom.sim.hil.report import hil, intervals, latencies, periods
from bitloom.sim.hil.serial_target import SerialTarget
from bitloom.sim.hil.simulated import SimulatedTarget
from bitloom.sim.hil.target import Answer, Shape, Traffic
from bitloom.sim.hil.targets import open_target


@pytest.fixture(scope="module")
def case():
    return make_case(40)


@pytest.fixture(scope="module")
def built(case, tmp_path_factory):
    """(folder, folding)"""
    folder = tmp_path_factory.mktemp("build")
    return folder, build(case.graph, case.hardware, folder)


class StandIn:
    """A target whose answers come at the predicted cycles; `change` spoils one of them."""

    name, traffic = "stand-in", Traffic()

    def __init__(self, case, folding, change=None, identity=None):
        self.case, self.folding, self.change, self.calls = case, folding, change, []
        self.identity = identity or Shape.of(case.design).identity

    def open(self):
        self.calls.append("open")

    def identify(self):
        return self.identity

    def run(self, batch, *, burst=False, progress=None):
        self.calls.append("burst" if burst else "run")
        starts = [0] * len(batch) if burst else [100_000 * i for i in range(len(batch))]
        guess = predict(Design(self.case.graph, self.folding), [len(s) for s in batch], starts)
        answers = [Answer(codes=w, start=s, end=e) for w, s, e in zip(self.case.want, guess.in_first, guess.out_last, strict=False)]
        return [self.change(a) if self.change and i == 3 else a for i, a in enumerate(answers)]

    def close(self):
        self.calls.append("close")


def test_names_of_targets(case, tmp_path):
    serial = open_target("serial:/dev/ttyUSB7", case.design, baud=115200)
    assert isinstance(serial, SerialTarget) and (serial.path, serial.baud) == ("/dev/ttyUSB7", 115200)
    simulated = open_target("sim", case.design, tmp_path, divider=16)
    assert isinstance(simulated, SimulatedTarget) and simulated.divider == 16
    assert open_target("pynq://192.168.2.99", case.design).name.startswith("pynq://192.168.2.99:")
    with pytest.raises(TargetError, match="got 'sim:loaded' for an encoder with its weights on the chip, must have them in external memory; take sim"):
        open_target("sim:loaded", case.design, tmp_path)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("serail:/dev/ttyUSB0", r"got 'serail:/dev/ttyUSB0', must be one of sim, serial:PORT, pynq://HOST; did you mean 'serial:/dev/ttyUSB0'\?"),
        ("/dev/ttyUSB0", "must be one of sim, serial:PORT, pynq://HOST"),
        ("serial", "must be one of sim, serial:PORT"),
        ("serial:", "got 'serial:', must name a port; for example serial:/dev/ttyUSB0"),
        ("sim:", "must be one of sim, serial:PORT"),
        ("sim:full", "must be one of sim, serial:PORT"),
        ("sim", "--target sim: got no build folder, must have the built encoder; run `bitloom build` first"),
        ("pynq:host", "got 'pynq:host', must be pynq://HOST or pynq://HOST:PORT"),
        ("", "must be one of sim, serial:PORT"),
    ],
)
def test_bad_names_of_targets(spec, text, case):
    with pytest.raises(TargetError, match=text):
        open_target(spec, case.design)


def test_a_report(case, built):
    folder, folding = built
    target = StandIn(case, folding)
    report = hil(case.design, target, case.sentences, case.want)
    assert report.ok and report.mismatches == 0 and report.first == "" and report.sentences == 40
    assert report.values_compared == 2 * 40 + 2 * 32 and report.outputs.tolist() == np.concatenate(case.want).reshape(-1).tolist()
    assert report.latency.measured == report.latency.predicted and report.latency.count == 40
    assert report.interval.measured == report.interval.predicted > 0 and report.interval.count == 31
    assert target.calls == ["open", "run", "burst", "close"] and report.as_dict()["ok"] is True


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a: Answer(codes=a.codes + [[0, 1]], start=a.start, end=a.end), "sentence 3: got "),
        (lambda a: Answer(codes=a.codes[:, :1], start=a.start, end=a.end), "sentence 3: got "),
        (lambda a: Answer(codes=a.codes, start=a.start, end=a.end + a.latency // 50 + 1), ""),
    ],
)
def test_what_fails_a_report(change, text, case, built):
    folder, folding = built
    report = hil(case.design, StandIn(case, folding, change), case.sentences, case.want)
    assert not report.ok and not report.as_dict()["ok"]
    assert report.first.startswith(text) and report.mismatches == (2 if text else 0)
    assert text or not report.latency.ok


def test_a_report_refuses_another_bitstream(case, built):
    target = StandIn(case, built[1], identity="0123456789abcdef")
    with pytest.raises(WrongBitstreamError, match=f"stand-in: got a bitstream of graph 0123456789abcdef, must be {case.graph.hash[:16]}"):
        hil(case.design, target, case.sentences, case.want)
    assert target.calls == ["open", "close"]


def test_a_report_of_nothing(case, built):
    with pytest.raises(TargetError, match="got 0 sentences and 0 golden answers, must be as many and at least 1"):
        hil(case.design, StandIn(case, built[1]), [], [])


def test_busy_periods_end_with_the_sentence_and_with_the_epoch():
    spans = [(0, 10, 0), (5, 20, 0), (21, 30, 0), (1, 9, 1), (8, 12, 1)]
    answers = [Answer(codes=np.zeros((1, 1)), start=s, end=e, epoch=p) for s, e, p in spans]
    assert periods(answers) == [range(0, 2), range(2, 3), range(3, 5)]
    assert periods(answers, busy=True) == [range(0, 20), range(21, 30), range(1, 12)]


def test_intervals_need_neighbours(case, built):
    alone = [Answer(codes=case.want[0], start=0, end=500)]
    assert intervals(case.design, [3], alone) is None
    assert latencies(case.design, [3], alone).count == 1


def test_what_a_board_is_sent():
    """Channels with the zeros of the entry's layout between; answers come back without."""
    shape = Shape(identity="0", bits=4, signed=True, entry=Layout(channels=4, blocks=2, space=3), out_bits=8, output=Layout(channels=1), token_head=False)
    (placed,) = shape.elements([np.array([[1, 2, 3, 4]])])
    assert placed.tolist() == [[1, 2, 0, 3, 4, 0]]
    with pytest.raises(TargetError, match=r"hil: sentence 0: got shape \(1, 6\), must be \[T, 4\]"):
        shape.elements([placed])


def test_several_outputs_are_refused(case):
    design = Design(replace(case.graph, outputs=("logits", "embeddings.norm")), case.design.folding)
    with pytest.raises(TargetError, match=r"hil: got 2 outputs \(logits, embeddings.norm\), must be one"):
        open_target("serial:/dev/ttyUSB0", design)
