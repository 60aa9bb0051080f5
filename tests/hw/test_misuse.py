# SPDX-License-Identifier: Apache-2.0
"""A stream that breaks the input's rule (docs/architecture.md, Top) spoils nothing that comes behind a reset: same values, same cycles as after power-up."""

from pathlib import Path

import numpy as np
import pytest
from encoder_bench import assert_cycles, make

from bitloom.hw.plan.solve import HardwareConfig
from bitloom.sim.encoder import EncoderRun, Options, simulate
from bitloom.sim.encoder_bench import bench_text, load_streams
from bitloom.sim.records import to_words
from bitloom.sim.runner import BENCH_FILES, Model, encoder_effort, needed

TOP = Path(__file__).parent / "misused_encoder.sv"
LENGTHS = [4, 1, 6, 6, 2]  # of the sentences behind the misuse; the longest is max_tokens
SHAPE = dict(layers=1, hidden=8, heads=2, intermediate=12, max_tokens=6)
BEATS = 59  # of the misuse, played in a circle; a prime, so a token breaks off at the end
# Which of them have `last`, for a token of `beats` and sentences of at most `most`.
KINDS = {
    "a sentence without end": lambda beats, most: [],
    "a token too many": lambda beats, most: [beats * (most + 1) - 1],
    "last within a token": lambda beats, most: [beats * 2 + beats // 2 - 1],
    "last in each beat": lambda beats, most: range(BEATS),
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("encoder"), 21, HardwareConfig(multipliers=40), LENGTHS, SHAPE)


@pytest.fixture(scope="module")
def play(encoder, tmp_path_factory):
    """Simulates the encoder's sentences behind a misuse of that kind, or behind as many cycles of silence; with a reset between the two, or without."""
    infos = load_streams(encoder.folder)
    source, text = infos[0], (encoder.folder / "encoder.sv").read_text()
    params = f"#(.WIDTH({source.io_width}), .OUT_W({infos[-1].io_width}), .BEATS({BEATS}), .CYCLES({3 * encoder.folding.interval}))"
    model = Model(
        sources=(*BENCH_FILES, *needed(sorted((encoder.folder / "rtl").glob("*.sv")), text), encoder.folder / "encoder.sv", TOP),
        generated={"bench.sv": bench_text(infos, taps=False, top=f"misused_encoder {params}")},
        effort=encoder_effort(),
    )
    sentences = np.split(encoder.want[encoder.graph.entry], np.cumsum(LENGTHS)[:-1])
    data = to_words(np.random.default_rng(3).integers(0, 1 << source.io_bits, (BEATS, source.lanes)), source.io_bits)

    def run(kind: str, *, heals: bool, stall: float = 0.0) -> EncoderRun:
        folder = tmp_path_factory.mktemp("misuse")
        last = set(KINDS[kind](source.beats, encoder.graph.max_tokens)) if kind else ()
        flags = [4 * heals + 2 * bool(kind) + (beat in last) for beat in range(BEATS)]
        words = [sum(int(word) << 32 * i for i, word in enumerate(row)) for row in data]
        (folder / "misuse.hex").write_text("\n".join(f"{flag << source.io_width | word:x}" for flag, word in zip(flags, words, strict=True)))
        options = Options(taps=False, folder=folder / "run", identity=encoder.graph.hash[:16], timeout_cycles=20_000, stall_in=stall, stall_out=stall, seed=2)
        return simulate(model, infos, sentences, options, memories=[*encoder.folder.glob("*.hex"), folder / "misuse.hex"])

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_behind_a_reset_nothing_is_left_of_a_misused_stream(kind, encoder, play):
    for stall in (0.0, 0.4):
        got, plain = play(kind, heals=True, stall=stall), play("", heals=True, stall=stall)
        assert got.problem == "" and np.array_equal(got.outputs, encoder.want["logits"].ravel())
        assert len(got.out_last_cycle) == len(LENGTHS) and got.out_last_cycle.tolist() == plain.out_last_cycle.tolist()
        if not stall:
            assert_cycles(encoder, got)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_reset_what_leaves_is_not_defined(kind, encoder, play):
    """As the contract says; silence alone spoils nothing, so that these streams are what does."""
    got, silent = play(kind, heals=False), play("", heals=False)
    assert got.problem or not np.array_equal(got.outputs, encoder.want["logits"].ravel())
    assert silent.problem == "" and np.array_equal(silent.outputs, encoder.want["logits"].ravel())
