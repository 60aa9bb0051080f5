# SPDX-License-Identifier: Apache-2.0
"""Encoders whose weights are sparse: golden model, ONNX Runtime and RTL agree, in fewer cycles and with less ROM, as predicted."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from draws import draw_encoder, draw_run
from encoder_bench import Encoder, assert_cycles, assert_equal, assert_fills, assert_onnx_agrees, make
from encoders import random_encoder

from bitloom.hw.graph import Graph
from bitloom.hw.memory_files import MemoryFileError, check_memory_files
from bitloom.hw.ops import OPS
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.solve import HardwareConfig, solve

SHAPE = dict(layers=1, hidden=32, heads=2, intermediate=64, max_tokens=8, weight_bits=(3, 4, 6))
SHARES = (0.0, 0.5, 0.8, 1.0)
SEEDS = 30
SPARSE, BALANCED = (4, 14), (3,)  # seeds whose layers surely have what the test is about; in the plain run the encoder `mixed` has both


def tiles_left(graph: Graph, folding: Folding) -> dict[str, float]:
    """Of each layer's words of weights, the share that is left."""
    left = {}
    for name, fold in folding.folds.items():
        if fold.words:
            weight = graph.params[f"{name}.weight"]
            left[name] = sum(fold.words) * fold.products / (len(fold.words) * weight.size)
    return left


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_the_solver_leaves_zero_tiles_out(share):
    """At equal multipliers the interval falls as the weights do."""
    shape = dict(layers=1, hidden=128, heads=2, intermediate=512, max_tokens=8)
    dense, sparse = (random_encoder(1, **shape, zero_tiles=(zero,)) for zero in (0.0, share))
    want, got = (solve(graph, HardwareConfig(multipliers=104)) for graph in (dense, sparse))
    assert got.multipliers <= 104 and got.interval <= 1.05 * (1 - share) * want.interval
    made, work = Design(sparse, got).work(8), Design(dense, want).work(8)
    assert made < 1.1 * (1 - share) * work and made <= got.multipliers * got.interval  # what counts as useful; attention's stay
    left = tiles_left(sparse, got)
    assert {name for name in sparse.params if name.startswith("layer") and name.endswith(".weight")} == {f"{name}.weight" for name in left if "layer" in name}
    assert not tiles_left(dense, want)


def test_no_tile_is_left_out_where_its_schedule_takes_more_bits():
    """A word of the schedule for each weight: fewer cycles, more memory."""
    graph = random_encoder(1, **SHAPE | {"weight_bits": (2,)}, zero_tiles=(0.5,), tile=(1, 1))
    assert not tiles_left(graph, solve(graph, HardwareConfig(multipliers=13)))


def draw(seed: int) -> dict:
    """A random encoder of which each layer has another share of zero tiles."""
    rng = np.random.default_rng(11_000 + seed)
    drawn = draw_encoder(seed)
    drawn["shape"] |= {"zero_tiles": SHARES, "tile": (int(rng.integers(1, 9)), int(rng.integers(1, 9)))}
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_sparse_encoder(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    encoder, how = make(tmp_path, **draw(seed)), draw_run(seed)
    if seed in SPARSE:
        assert len(tiles_left(encoder.graph, encoder.folding)) > 3
    got, report = encoder.run(**how)
    assert_equal(encoder, report)
    assert_fills(encoder, got)
    if not how["stall_in"] and not how["stall_out"]:
        assert_cycles(encoder, got)
    assert_onnx_agrees(encoder)


PATTERNS = ((1, 1), (2, 4), (1, 4), (4, 8), (1, 2))


def draw_balanced(seed: int) -> dict:
    """A random encoder whose layers have patterns of weights in groups, on a shape that they divide; some have zero tiles besides."""
    rng = np.random.default_rng(13_000 + seed)
    drawn = draw_encoder(seed)
    shape = drawn["shape"]
    shape |= {"hidden": 8 * shape["heads"], "intermediate": 8 * int(rng.integers(1, 7)), "balanced": PATTERNS}
    shape |= {"zero_tiles": SHARES[: int(rng.integers(1, 4))], "tile": (int(rng.integers(1, 5)), int(rng.integers(1, 5)))}
    layers = shape["layers"] * 6
    return drawn | {"hardware": HardwareConfig(multipliers=int(layers * rng.uniform(2, 10)) + 10)}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_balanced_encoder(seed, tmp_path, monkeypatch):
    """Weights in groups, k of every n of a row: those alone are in the memory, with their places."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    encoder, how = make(tmp_path, **draw_balanced(seed)), draw_run(seed)
    if seed in BALANCED:
        assert len({(fold.keep, fold.group) for fold in encoder.folding.folds.values()}) > 2
    got, report = encoder.run(**how)
    assert_equal(encoder, report)
    assert_fills(encoder, got)
    if not how["stall_in"] and not how["stall_out"]:
        assert_cycles(encoder, got)


@pytest.mark.parametrize(("pattern", "multipliers"), [((2, 4), 104), ((1, 4), 104)])
def test_the_solver_takes_weights_in_groups(pattern, multipliers):
    """At equal multipliers the interval falls to the share that is kept."""
    shape = dict(layers=1, hidden=128, heads=2, intermediate=512, max_tokens=8)
    dense, sparse = random_encoder(1, **shape), random_encoder(1, **shape, balanced=(pattern,))
    want, got = (solve(graph, HardwareConfig(multipliers=multipliers)) for graph in (dense, sparse))
    assert got.multipliers <= multipliers and got.interval <= 1.05 * pattern[0] / pattern[1] * want.interval
    assert {(fold.keep, fold.group) for name, fold in got.folds.items() if name.startswith("layer.0.ffn") and name.endswith("acc")} == {pattern}


def test_memory_files_are_what_is_left(tmp_path):
    """Weights have a word for each tile that is left, the schedule one for those of a block."""
    encoder = make(tmp_path, 5, HardwareConfig(multipliers=40), [3], SHAPE | {"zero_tiles": (0.5,)})
    folds = encoder.folding.folds
    left = [name for name in tiles_left(encoder.graph, encoder.folding) if folds[name].words]
    assert len(left) > 3 and Folding.load(tmp_path / "folding.json") == encoder.folding
    for name in left:
        files = [(tmp_path / f"{name}.{what}.hex").read_text().split() for what in ("weight", "schedule")]
        assert [len(words) for words in files] == [sum(folds[name].words), sum(folds[name].words) // folds[name].grain // folds[name].repeat]
        assert OPS["linear"].interval(encoder.graph, encoder.graph.node(name), folds[name], 1) <= encoder.folding.interval


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Encoder:
    """Layers with zero tiles, and with weights in groups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITLOOM_BUILD", "quick")
        shape = dict(layers=1, hidden=16, heads=2, intermediate=32, max_tokens=6, balanced=((1, 1), (2, 4)), zero_tiles=(0.0, 0.6), tile=(4, 4))
        yield make(tmp_path_factory.mktemp("mixed"), 6, HardwareConfig(multipliers=40), [6, 2], shape)


def flip(bit: int):
    """A word with one bit changed."""
    return lambda words: [f"{int(words[0], 16) ^ 1 << bit:0{len(words[0])}x}", *words[1:]]


# Memory, what is done to it: of the first unit that has what the fault is about.
FAULTS = {
    "a step beside the right one": ("schedule", lambda fold: bool(fold.words), flip(0)),
    "a tile left out that is not zero": ("weight", lambda fold: bool(fold.words), lambda words: [words[1], words[1], *words[2:]]),
    "a weight for another input of its group": ("weight", lambda fold: fold.keep, flip(4)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found_and_named(fault, mixed, tmp_path):
    """By the comparison of memory files, word and file; by the simulation, tensor and place."""
    what, concerns, change = FAULTS[fault]
    weights = {name: (mixed.folder / f"{name}.weight.hex").read_text().split() for name, fold in mixed.folding.folds.items() if concerns(fold)}
    name = next(name for name, words in weights.items() if int(words[0], 16) & 15 and words[0] != words[1])  # its first weight is not zero
    shutil.copytree(mixed.folder, tmp_path / "build")
    path = tmp_path / "build" / f"{name}.{what}.hex"
    path.write_text("\n".join(change(path.read_text().split())) + "\n")
    with pytest.raises(MemoryFileError, match=f"{name}.{what}.hex: word 0: got "):
        check_memory_files(Design(mixed.graph, mixed.folding), tmp_path / "build")
    _, report = replace(mixed, folder=tmp_path / "build").run()
    assert not report.ok and report.first.tensor == name


def test_without_a_fault_the_same_encoder_passes(mixed):
    assert len(tiles_left(mixed.graph, mixed.folding)) > 3 and {(2, 4)} <= {(fold.keep, fold.group) for fold in mixed.folding.folds.values()}
    got, report = mixed.run()
    assert_equal(mixed, report)
    assert_fills(mixed, got)
    assert_cycles(mixed, got)
    assert_onnx_agrees(mixed)
    assert_equal(mixed, mixed.run(stall_in=0.4, stall_out=0.4, resets=2, reset_within=300, seed=2)[1])
