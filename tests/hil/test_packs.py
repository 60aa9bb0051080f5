# SPDX-License-Identifier: Apache-2.0
"""Sentences in packs on boards: packed by the host, answered one by one, in order, with the predicted cycles."""

import numpy as np
import pytest
from hil_cases import make_case

from bitloom.boards.pynq_driver.layout import Stream
from bitloom.hw import pack
from bitloom.hw.build import build
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.sim.hil.errors import TargetError
from bitloom.sim.hil.report import hil
from bitloom.sim.hil.simulated import SimulatedTarget
from bitloom.sim.hil.target import Answer, Shape

SMALL = dict(hidden=24, heads=1, max_tokens=6, labels=3)


def case_of(head: str, sentences: int = 20):
    return make_case(sentences, 3, HardwareConfig(target_cycles=100, pack=True), head=head, **SMALL)


@pytest.mark.slow  # in the plain run packs go to the model of a board, and single sentences to a simulated one
def test_a_simulated_board(tmp_path):
    case = case_of("sequence", 30)
    build(case.graph, case.hardware, tmp_path)
    target, packs, told = SimulatedTarget(case.design, tmp_path, divider=4), pack.packs_of(case.lengths, 6), []
    report = hil(case.design, target, case.sentences, case.want, progress=told.append)
    assert report.ok and report.mismatches == 0, report.first
    assert report.sentences == 30 > len(packs) and report.values_compared == 3 * (30 + 30)
    assert report.latency.count == 30 and report.latency.worst == 0 and report.latency.measured > 0
    assert told == sorted(told) and told[-1] == 30 and {*told} <= {*pack.firsts(packs)}


@pytest.mark.parametrize("head", ["sequence", "token"])
def test_answers_of_a_pack_are_those_of_its_sentences(head):
    case = case_of(head)
    shape, packs = Shape.of(case.design), pack.packs_of(case.lengths, 6)
    sent = shape.elements(case.sentences)
    assert [len(codes) for codes in sent] == [sum(own) for own in packs] and len(packs) < 20 and shape.kind == {"sequence": "pack", "token": "token"}[head]
    driver = Stream(lanes=1, bits=11, signed=True, channels=shape.entry.width, kind=shape.kind, element_bytes=2, beat_bytes=2)
    assert [shape.rows(codes) for codes in sent] == [driver.rows(codes) for codes in sent] == [sum(own) if head == "token" else len(own) for own in packs]
    starts = pack.firsts(packs)
    answers = [Answer(codes=np.concatenate(case.want[a:b]), start=a, end=b) for a, b in zip(starts, starts[1:], strict=False)]
    found = shape.apart(case.sentences, answers)
    case.assert_answered(found)
    assert [(a.start, a.end) for a in found] == [(a.start, a.end) for a, own in zip(answers, packs, strict=True) for _ in own]


def test_codes_that_leave_no_room_for_a_mark_are_refused():
    case = case_of("sequence", 2)
    shape = Shape.of(case.design)
    with pytest.raises(TargetError, match=rf"got int64 codes .* must be integers {-(1 << shape.bits - 2)} .. {(1 << shape.bits - 2) - 1}"):
        shape.elements([case.sentences[0], case.sentences[1] * 0 + (1 << shape.bits - 2)])
