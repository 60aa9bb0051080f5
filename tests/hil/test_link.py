# SPDX-License-Identifier: Apache-2.0
"""The host against a board model on a pseudo-terminal: whatever happens on the line, every sentence is answered, right, and once."""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hil_cases import CYCLES_A_TOKEN, QUICK, make_case

from bitloom.sim.hil.board_model import Wire
from bitloom.sim.hil.errors import PortError, SessionTakenError, SilentError, TargetError, WrongBitstreamError
from bitloom.sim.hil.frames import HELLO, HostFrame, encode
from bitloom.sim.hil.noise import FAULTS, Noise
from bitloom.sim.hil.serial_target import SerialTarget
from bitloom.sim.hil.target import Traffic


@pytest.fixture(scope="module")
def case():
    return make_case(60)


@pytest.fixture(scope="module")
def many():
    return make_case(10_000)


@pytest.fixture
def connect():
    """connect(case, serve) -> (open target, wire)."""
    made = []

    def make(case, serve, settings=QUICK):
        wire = Wire(serve)
        target = SerialTarget(case.design, wire.path, settings=settings)
        made.append((target, wire))
        target.open()
        return target, wire

    yield make
    for target, wire in made:
        target.close()
        wire.unplug()


def test_clean_line(case, connect):
    target, _ = connect(case, case.model().feed)
    assert target.identify() == case.graph.hash[:16]
    seen = []
    answers = target.run(case.sentences, progress=seen.append)
    case.assert_answered(answers)
    assert [a.latency for a in answers] == [CYCLES_A_TOKEN * n for n in case.lengths]
    assert (np.diff([a.end for a in answers]) == CYCLES_A_TOKEN * np.array(case.lengths[1:])).all()
    assert seen[-1] == 60 and seen == sorted(set(seen))
    traffic = target.traffic
    assert traffic.frames_resent == traffic.frames_damaged == traffic.resets == traffic.rewinds == 0
    assert traffic.bytes_sent > sum(s.size for s in case.sentences) * 10 / 8  # packed: 10 bits an element


def test_bursts_and_batches_in_one_session(case, connect):
    model = case.model()
    target, _ = connect(case, model.feed)
    for burst in (True, False, True):
        case.assert_answered(target.run(case.sentences, burst=burst))
    assert model.resets == 0 and target.traffic.frames_resent == 0


@pytest.mark.parametrize("shape", [dict(head="token", labels=3), dict(hidden=16, heads=1)])
def test_other_shapes(shape, connect):
    case = make_case(40, 2, **shape)
    target, _ = connect(case, case.model(depth=128, beat_bits=20).feed)  # two lanes
    case.assert_answered(target.run(case.sentences))


def test_ten_thousand_sentences_on_a_disturbed_line(many, connect):
    """1 % of the frames of either direction: flipped, dropped, duplicated, inserted bytes, frames cut short and repeated."""
    down, up = Noise(0.01, 1), Noise(0.01, 2)
    model = many.model()
    target, _ = connect(many, lambda data: up(model.feed(down(data))))
    many.computed.clear()
    many.assert_answered(target.run(many.sentences))
    assert all(noise.done[kind] >= 3 for noise in (down, up) for kind in FAULTS)
    assert abs(sum(down.done.values()) - down.frames / 100) < down.frames / 200
    assert len(many.computed) == 10_000  # go-back-N gave the board nothing twice
    assert target.traffic.frames_resent > 0 < target.traffic.frames_damaged  # how many depends on when: one rewind may mend several faults


@pytest.mark.parametrize("kind", FAULTS)
def test_every_kind_of_fault_alone(kind, case, connect):
    down, up = Noise(0.2, 1, (kind,)), Noise(0.2, 2, (kind,))
    model = case.model()
    target, _ = connect(case, lambda data: up(model.feed(down(data))), replace(QUICK, patience=40))
    case.assert_answered(target.run(case.sentences))
    assert down.done[kind] and up.done[kind]


def test_reset_in_mid_sentence(case, connect):
    """The host sees that its session is gone, begins another, sends what is unanswered, and each sentence is answered once."""
    model, state = case.model(), SimpleNamespace(bytes=0, resets=[300, 1500, 4000])

    def serve(data):
        state.bytes += len(data)
        if state.resets and state.bytes > state.resets[0]:
            state.resets.pop(0)
            model.feed(data[: len(data) // 2])
            model.reset()
            data = data[len(data) // 2 :]
        return model.feed(data)

    target, _ = connect(case, serve, replace(QUICK, payload_bytes=16, window_bytes=64))
    answers = target.run(case.sentences)
    case.assert_answered(answers)
    assert model.resets == target.traffic.resets == 3
    assert sorted({a.epoch for a in answers}) == [a for a in range(4) if a in {b.epoch for b in answers}] and answers[-1].epoch == 3


def test_a_board_that_resets_for_ever(case, connect):
    """As with a weak supply: each sentence that comes makes it reset."""
    model = case.model()

    def serve(data):
        if len(data) > 40:
            model.reset()
        return model.feed(data)

    target, _ = connect(case, serve)
    with pytest.raises(SilentError, match=r"the board was reset 7 times in one batch, must stay up; check its supply"):
        target.run(case.sentences)


def test_a_slow_reader(case, connect):
    """The host does not read for a while; the terminal overflows and what it has no room for is lost."""
    many = make_case(3000)
    target, _ = connect(many, many.model(depth=1 << 14).feed, replace(QUICK, window_bytes=1 << 16))
    naps = iter([0.4, 0.4, 0.4])
    answers = target.run(many.sentences, progress=lambda _: time.sleep(next(naps, 0)))
    many.assert_answered(answers)


def test_a_late_board(connect):
    """Answers that come after the time-out are taken once, though they were asked for again."""
    case = make_case(12)
    model, late = case.model(), []

    def serve(data):
        late.append((time.monotonic() + 0.12, model.feed(data)))
        out = b""
        while late and late[0][0] < time.monotonic():
            out += late.pop(0)[1]
        return out

    target, _ = connect(case, serve)
    case.assert_answered(target.run(case.sentences))
    assert target.traffic.rewinds > 0


def test_truncated_answers(case, connect):
    """Every long frame of the board is cut short: the host does not take a part for the whole."""
    model, state = case.model(), SimpleNamespace(pieces=0)

    def serve(data):
        state.pieces += len(data) > 0
        if state.pieces < 2:
            return model.feed(data)  # the hello
        return b"".join((frame[:20] if len(frame) > 26 else frame) + b"\x7e" for frame in model.feed(data).split(b"\x7e")[:-1])

    target, _ = connect(case, serve)
    with pytest.raises(
        SilentError,
        match=r"serial:/dev/pts/\d+: got 0 of 60 answers, \d+ damaged frames, then no news for 1 s, must go on since the board still talks; the line",
    ):
        target.run(case.sentences)


def test_an_encoder_that_hangs(case, connect):
    """The board takes all and talks, but no answer comes."""
    model = case.model()
    model._answer = lambda sentence: setattr(model, "_read", model._written)
    target, _ = connect(case, model.feed)
    with pytest.raises(SilentError, match=r"got 0 of 60 answers, then no news for 1 s, must go on since the board still talks; the encoder hangs: verify"):
        target.run(case.sentences)


def test_a_board_that_falls_silent(case, connect):
    model, state = case.model(), SimpleNamespace(frames=0)

    def serve(data):
        state.frames += len(data) > 0
        return model.feed(data) if state.frames < 8 else b""

    target, _ = connect(case, serve, replace(QUICK, window_bytes=100))
    with pytest.raises(SilentError, match=r"got \d+ of 60 answers, then no frame for 6 questions of 0.05 s, must answer; check that the board is on"):
        target.run(case.sentences)


def test_an_unplugged_port(case, connect):
    model = case.model()
    target, wire = connect(case, model.feed)
    with pytest.raises(PortError, match=r"/dev/pts/\d+: the port went away \(.*\), must stay until the end; plug the board in and run this again"):
        target.run(case.sentences * 20, progress=lambda n: n > 5 and wire.unplug())


def test_the_port_is_busy(case, connect):
    target, wire = connect(case, case.model().feed)
    second = SerialTarget(case.design, wire.path, settings=QUICK)
    with pytest.raises(PortError, match=r"/dev/pts/\d+: the port is busy, must be used by one program; end the other one"):
        second.open()
    second.close()
    case.assert_answered(target.run(case.sentences))  # and the first has noticed nothing


def test_a_second_client_that_does_not_lock(case, connect):
    """Its hello ends the first one's session, which the first is told."""
    model, state = case.model(), SimpleNamespace(pieces=0)

    def serve(data):
        state.pieces += len(data) > 0
        if state.pieces == 3:
            model.feed(encode(HostFrame(HELLO, model.session ^ 1 or 2).body()))
        return model.feed(data)

    target, _ = connect(case, serve, replace(QUICK, window_bytes=100))
    with pytest.raises(SessionTakenError, match=r"got session [0-9a-f]{4}, must be [0-9a-f]{4}; another program began to use the board"):
        target.run(case.sentences)


def test_silence_and_noise_at_the_port(case):
    for said, text in (
        (b"", "got no answer to a hello, then no frame"),
        (b"\x7eboot: ok\x7e", "damaged frames, then no frame for 6 questions of 0.05 s, must answer; check the baud rate"),
    ):
        with Wire(lambda data, said=said: said if data else b"") as wire:
            target = SerialTarget(case.design, wire.path, settings=QUICK)
            with pytest.raises(SilentError, match=text):
                target.open()


def test_an_echo_is_no_board(case):
    """A port whose two pins are joined."""
    with Wire(lambda data: data) as wire, pytest.raises(SilentError, match="got no answer to a hello"):
        SerialTarget(case.design, wire.path, settings=QUICK).open()


def test_a_wrong_bitstream_names_both(case, connect):
    model = case.model(identity="00000000deadbeef")
    target, _ = connect(case, model.feed)
    sent = target.traffic.bytes_sent
    with pytest.raises(WrongBitstreamError, match=rf"got a bitstream of graph 00000000deadbeef, must be {case.graph.hash[:16]}; load the bitstream"):
        target.run(case.sentences)
    assert target.traffic.bytes_sent == sent  # nothing was sent to it


def test_another_version_of_the_protocol(case, connect):
    model = case.model()
    model.info = replace(model.info, version=9)
    with pytest.raises(WrongBitstreamError, match="got protocol version 9, must be 1; build the bitstream again"):
        connect(case, model.feed)


@pytest.mark.parametrize(("depth", "beat_bits"), [(32, 10), (64, 12)])
def test_a_board_of_another_shape(depth, beat_bits, case, connect):
    target, _ = connect(case, case.model(depth=depth, beat_bits=beat_bits).feed)
    with pytest.raises(TargetError, match=rf"got beats of {beat_bits} bits and room for {depth}, must be lanes of 10 bits"):
        target.run(case.sentences)


def test_no_such_port(case, tmp_path):
    with pytest.raises(PortError, match=r"/dev/ttyUSB99: no such port, must be one of .*; plug the board in"):
        SerialTarget(case.design, "/dev/ttyUSB99").open()
    (tmp_path / "file").write_text("")
    with pytest.raises(PortError, match="not a serial port that can be opened"):
        SerialTarget(case.design, str(tmp_path / "file")).open()


def test_a_closed_target_says_so(case):
    target = SerialTarget(case.design, "/dev/null")
    target.close()
    assert target.traffic == Traffic()
    with pytest.raises(TargetError, match="got a target that is not open, must be opened first"):
        target.run(case.sentences)


@pytest.mark.parametrize("bad", [np.zeros((0, 8), dtype=int), np.zeros((9, 8), dtype=int), np.zeros((2, 7), dtype=int), np.full((1, 8), 512), np.zeros((1, 8))])
def test_bad_sentences(bad, case, connect):
    target, _ = connect(case, case.model().feed)
    with pytest.raises(TargetError, match=r"hil: sentence 1: got .*, must be .*; give the codes of the graph's entry tensor"):
        target.run([case.sentences[0], bad])
