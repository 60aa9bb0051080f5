# SPDX-License-Identifier: Apache-2.0
"""Every register with a reset needs it: without it, the unit bench of its module finds registers that begin with random bits, or stay as they were."""

import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from axi_bench import RTL as AXI_RTL
from axi_bench import check_data
from axi_bench import setups as axi_setups
from encoder_units import packed, units
from encoders import random_bilstm, random_cnn, random_encoder, random_hourglass
from loader_bench import check_headers
from loop_bench import UNIT as LOOP
from loop_bench import simulate as simulate_loop
from operator_bench import RTL_FILES, Case, check_units, filled

from bitloom.hw.ops import OPS, linear
from bitloom.sim.compare import assert_equal_streams
from bitloom.sim.errors import SimulationError
from bitloom.sim.runner import needed
from bitloom.sim.unit import OutSpec, Stimulus, UnitCase, run_units

RESET = re.compile(r"if \(rst(?P<more> \|\| \w+)?\)(?P<body> begin.*?\n\s*end\b| [^;]*;)", re.S)
FORK = Path(__file__).parent / "fork_unit.sv"
AXI = [path for path in AXI_RTL if path not in RTL_FILES]
FIFOS = {"fifo": (2, 3, 9), "fifo_deep": (65,)}  # depths
WINDOWS = ("token_window", "token_max", "token_mean", "concat", "window_max", "window_mean", "upsample")
# Resets that change nothing that the module's own bench may see.
REDUNDANT = {
    ("axi_fetch", "drain_q"): "the bench resets the memory too; tests/rtl/test_axi_fetch.py has one that does not",
    ("fifo", "s_ready"): "an empty fifo may be ready in the first cycle after a reset",
    ("fifo_deep", "s_ready"): "an empty fifo may be ready in the first cycle after a reset",
    ("schedule", "place_q"): "linear_tiles alone reads it, whose bench is tests/hw/test_streamed.py and test_streamed_kinds.py",
    ("image_loader", "turn_loaded"): "its bench asks for no turn; tests/hw/test_streamed_kinds.py does",
    ("loop", "begun_q"): "its bench has off-ramps, with which it is not read; tests/hw/test_rolled.py finds it",
    **dict.fromkeys([("loop", "pass_q"), ("loop", "token_q"), ("loop", "beat_q")], "its bench looks at no bus; tests/hw/test_rolled.py finds it"),
    **dict.fromkeys([("by_turn", "open_q"), ("by_turn", "inside_q")], "no bench of its own; tests/hw/test_streamed_kinds.py::test_constants_by_turn finds it"),
    ("fifo_deep", "arrived_q"): "what then arrives is written to a slot that holds no beat, before any beat comes",
}


def registers() -> list[tuple[str, str]]:
    """(module, register) of every reset in hw/rtl."""
    found = []
    for path in RTL_FILES:
        for block in RESET.finditer(path.read_text()):
            left = re.findall(r"([\w{}, ]+?) <=", block["body"].replace(" begin", ""))
            found += [(path.stem, name) for names in left for name in re.findall(r"\w+", names)]
    return found


def without(text: str, register: str) -> str:
    """A module in which the reset of a register is gone."""

    def cut(block: re.Match) -> str:
        whole = block[0]
        if block["more"] and re.search(rf"\b{register} <=", whole):
            return whole.replace(f"rst{block['more']}", block["more"][4:])
        if "{" in whole and re.search(rf"[{{ ]{register}[,}}]", whole):
            return re.sub(rf"(?<=[{{ ]){register}, |, {register}(?=}})", "", whole)
        return re.sub(rf"(?<= ){register} <= [^;]*;", ";" if "begin" not in whole else "", whole)

    return RESET.sub(cut, text)


@cache
def operators() -> tuple[Case, ...]:
    """The units of a small encoder, each alone, with what they would get; those of attention again with windows of keys, the first sentence longer.

    Those that are told of packs; scores of queries side by side. And a layer whose weights take two values, one whose zero tiles are left out, and the unit that takes tokens out; those of convolutional and recurrent networks.
    """
    shape = dict(layers=1, hidden=12, heads=2, intermediate=20, max_tokens=6)
    all_keys, window = units(random_encoder(5, **shape), [1, 6, 4, 6, 2, 1, 5]), units(random_encoder(5, **shape, keys="window 1"), [4, 6, 1, 6, 2, 1, 5])
    two = next(c for c in units(random_encoder(5, **shape, index_bits=(1,)), [1, 6, 4, 6, 2, 1, 5]) if c.node.op == "linear")
    sparse = next(c for c in units(random_encoder(5, **shape, zero_tiles=(0.5,), tile=(3, 4)), [1, 6, 4, 6, 2, 1, 5]) if c.node.op == "linear")
    few = random_encoder(5, **shape | {"heads": 1}, keep=200, prob_bits=(2,))  # of few bits, so that a reset often comes while tokens are listed
    lengths = ([1, 6, 4, 6, 2, 1, 5], [1, 6, 4, 6, 2, 1, *[6] * 12], [2, *[6] * 14], [3, *[6] * 14], [5, 4, *[6] * 14])
    graphs = (random_encoder(5, **shape, keep=100), few, few, few, few)
    kept = [next(c for c in units(graph, own) if c.node.op == "keep_tokens") for graph, own in zip(graphs, lengths, strict=True)]
    fold = replace(sparse.fold, pe=1, simd=2, lanes_in=1, lanes_out=1, grain=2, repeat=3, layout_in=None, layout_out=None)
    sparse = replace(sparse, fold=linear.left_out(sparse.graph, sparse.node, fold))
    recurrent = units(random_bilstm(5, hidden=6, units=4, classifier=4, head="token", max_tokens=6), [5, 1, 6, 4, 2, 1, 6, 3])
    small = dict(hidden=6, max_tokens=6, stack=(), kernels=(2, 3), filters=4)
    networks = [random_cnn(5, **small, **how) for how in ({"pooling": "max"}, {"pooling": "mean"}, {"head": "token"}, {"stride": 2})]
    narrow = dict(hidden=6, max_tokens=6, heads=1, intermediate=4, layers=(0, 1, 0), returns=True)
    networks += [random_hourglass(5, **narrow, **how) for how in ({"stride": 2, "down": "max"}, {"stride": 3, "down": "mean"})]
    windows = [c for graph in networks for c in units(graph, [4, 6, 1, 6, 2, 1, 5]) if c.node.op in WINDOWS]
    windows += [c for c in recurrent if c.node.op == "lstm"]
    told = packed(random_encoder(5, **shape), [1, 3, 2, 1, 1, 6, 4, 1, 6, 2, 2, 1, 5, 1, 1, 1, 1, 1, 1, 3])
    told += [c for c in units(random_encoder(5, **shape, keys="segment"), [1, 6, 4, 6, 2, 1, 5]) if c.node.op == "border"]
    beside = [filled(c, queries=3) for c in all_keys if c.node.op == "scores"]
    return *windows, *told, *all_keys, *beside, *(c for c in window if any(tensor.kind == "row" for tensor in c.graph.tensors.values())), two, sparse, *kept


def check(module: str, files: list[Path], stall: float, seed: int = 1) -> None:
    """The unit bench of the module, or of the operators that it is part of."""
    rng = np.random.default_rng(1)
    stimulus = {"s": Stimulus(rng.integers(0, 256, (300, 1)), rng.random(300) < 0.2, 8)}
    outs = [OutSpec(f"m{i}", 1, 8, False) for i in range(3)]
    units = [UnitCase("fifo", {"WIDTH": 8, "DEPTH": depth}, stimulus, OutSpec("m", 1, 8, False), 300) for depth in FIFOS.get(module, ())]
    units += [UnitCase("fork_unit", {"WIDTH": 8}, stimulus, outs[0], 300, tuple((o, 300) for o in outs[1:]))] if module == "stream_fork" else []
    if module == "axi_fetch":
        chosen = axi_setups()[:5]
        for setup, result in zip(chosen, run_units([s.case() for s in chosen], [*AXI, *files], stall_in=stall), strict=True):
            check_data(setup, result, module)
    elif module == "image_loader":
        check_headers([*AXI, *files], stall_in=stall)
    elif module in ("loop", "off_ramps"):
        simulate_loop([LOOP, *files], stall_in=stall, stall_out=stall, seed=seed)
    elif units:
        for result in run_units(units, files, stall_in=stall, stall_out=stall):
            for part in (result, *result.more):
                assert_equal_streams(module, part, stimulus["s"].beats, stimulus["s"].last)
    else:
        using = [c for c in operators() if module in {p.stem for p in needed(files, OPS[c.node.op].rtl(c.graph, c.node, c.fold).module)}]
        assert check_units(using, stall_in=stall, stall_out=stall, seed=seed, rtl_files=files) > 50


def found(module: str, register: str, folder: Path) -> str:
    """What the unit bench says without the register's reset; "" if nothing."""
    files = [Path(shutil.copy(path, folder)) for path in [*RTL_FILES, FORK]]
    path = folder / f"{module}.sv"
    text = without(path.read_text(), register)
    assert text != path.read_text(), f"{module} resets no {register}"
    path.write_text(text)
    try:
        for stall, seed in ((0.0, 1), (0.5, 1), (0.0, 3)):  # of the cycles in which resets come, too
            check(module, files, stall, seed)
    except (SimulationError, AssertionError) as error:
        return str(error)
    return ""


@pytest.mark.slow  # in the plain run `bitloom verify` finds the same one (tests/bitloom/test_planted_faults.py)
def test_a_fifo_whose_counter_is_not_reset_is_found(tmp_path):
    check("fifo", RTL_FILES, 0.5)
    assert re.search("run 1 of 6|stream rule broken|beats came|accepted", found("fifo", "count_q", tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted({module for module, _ in registers()}))
def test_without_a_fault_the_same_benches_pass(module):
    for stall in (0.0, 0.5):
        check(module, [*RTL_FILES, FORK], stall)


@pytest.mark.slow
@pytest.mark.parametrize(("module", "register"), registers())
def test_every_reset_is_needed(module, register, tmp_path):
    assert bool(found(module, register, tmp_path)) == ((module, register) not in REDUNDANT)
