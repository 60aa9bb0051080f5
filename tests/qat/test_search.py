# SPDX-License-Identifier: Apache-2.0
"""The choice of bits: what may be chosen, that predicted costs are the design's, that the programme finds the least, and what it says where nothing fits."""

import itertools
import random

import numpy as np
import pytest
from pydantic import ValidationError
from search_cases import TOKENS, batches, inputs, rounded, space, start

from bitloom.hw.board import Board
from bitloom.hw.plan import streamed
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig
from bitloom.hw.plan.table import resources
from bitloom.hw.settings import ConfigError
from bitloom.qat.calibrate import calibrate
from bitloom.qat.net.model import QuantModel
from bitloom.qat.search.config import SearchConfig
from bitloom.qat.search.errors import SearchError
from bitloom.qat.search.ilp import Programme, best
from bitloom.qat.search.prices import COSTS, Prices, fill
from bitloom.qat.search.sensitivity import Judge, Sensitivity, measure

TARGET = 512
FEW = {"weights": [2, 8], "activations": [], "embeddings": [], "scores": [], "probs": []}


def prices(of, layers=2, board="ulx3s_85f", target=TARGET):
    made = Prices(of.space, of.graph, HardwareConfig(target_cycles=target, layers=layers), board and Board.load(board))
    fill([made])
    return made


def test_every_layer_attention_and_feed_forward_has_variables_of_its_own():
    names = set(space().by_name)
    assert {"embeddings.sum:embeddings", "layer.0.query:weights", "layer.1.ffn.down:weights", "logits:weights", "layer.1.probs:probs"} <= names
    assert {"embeddings:activations", "layer.0.attention:activations", "layer.0.ffn:activations", "head:activations"} <= names
    assert not any("residual" in name for name in names)  # by default as the recipe has them
    assert set(space(residual=[8, 10]).by_name) - names == {f"layer.{i}.{part}.sum:residual" for i in (0, 1) for part in ("attention", "ffn")}


def test_layers_in_turn_share_variables():
    shared = space(layers=1).by_name
    assert shared["layer.0.query:weights"].tensors == ("layer.0.query", "layer.1.query")
    assert "layer.1.query:weights" not in shared


def test_a_choice_becomes_overrides_behind_the_recipes_own():
    of = space(quant={"overrides": {"layer.*": {"weights": 8}, "layer.0.query": {"weights": 6, "weight_range": "full"}}})
    quant = of.quantization(of.top | {"layer.0.query:weights": 2})
    assert quant.of("layer.0.query", "weights") == 2 and quant.of("layer.0.query", "activations") == 8 == quant.of("layer.1.key", "weights")
    assert quant.of("layer.0.query", "weight_range") == "full"  # what was not searched stays
    assert list(quant.overrides)[0] == "layer.*" and all(quant.of(t, v.setting) == 8 for v in of.variables for t in v.tensors if t != "layer.0.query")


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"only": {"layer.7.*": {"weights": [2, 4]}}}, r"search.only: got pattern 'layer.7.\*', must match a layer or tensor; did you mean"),
        (
            {"only": {"layer.0.probs": {"weights": [2, 4]}}},
            r"search.only\['layer.0.probs'\]: got 'weights', must be a setting of a matching tensor; .*has probs",
        ),
        ({"weights": [2, 9]}, r"weights: got \[2, 9\], must be a list of integers 1 .. 8 \(bits\); change it"),
        ({"scores": [11]}, r"scores: got \[11\], must be a list of integers 2 .. 10"),
        ({"weights": [4, 4]}, r"weights: got \[4, 4\], must name each number of bits once"),
        ({"only": {"*": {"weights": [0]}}}, r"only\['\*'\].weights: got \[0\], must be a list of integers 1 .. 8"),
        ({"only": {"*": {"weight": [2]}}}, r"only\['\*'\].weight: no setting 'weight'; did you mean 'weights'"),
        (FEW | {"weights": [4]}, r"search: got no setting with two numbers of bits, must have something to choose"),
    ],
)
def test_what_cannot_be_chosen_is_refused(config, text):
    with pytest.raises((ConfigError, ValidationError), match=text):
        space(**config)


@pytest.mark.parametrize("pick", ["top", "least"])
def test_a_choice_rounds_as_a_calibration_of_its_own(pick):
    of = rounded(weights=[8], embeddings=[4, 8], activations=[6, 8], residual=[8, 10])  # the weights' bits move what calibration sees behind them
    choice = getattr(of.space, pick)
    of.choose(of.space.least if pick == "top" else of.space.top)
    mine = of.choose(choice)
    other = QuantModel.from_float(start(), of.space.quantization(choice), TOKENS)
    calibrate(other, [inputs(batch) for batch in batches()])
    assert {name: (grid.e, grid.bits) for name, grid in mine.grids().items()} == {name: (grid.e, grid.bits) for name, grid in other.grids().items()}
    assert mine.network.to_graph("x").hash == other.network.to_graph("x").hash


@pytest.mark.parametrize("layers", [pytest.param(2, marks=pytest.mark.slow), 1])
def test_predicted_costs_are_those_of_the_design(layers):
    residual = {"residual": [6, 10]} if layers == 2 else {}  # of layers in turn, these decide where the layers are cut
    of = rounded(1 if layers == 1 else 0, weights=[1, 8], activations=[4, 8], embeddings=[2, 8], scores=[3, 8], probs=[], **residual)
    made, draw, board = prices(of, layers), random.Random(3), Board.load("ulx3s_85f")
    for _ in range(4):
        choice = {v.name: draw.choice(v.bits) for v in of.space.variables}
        real = made.real(choice)
        predicted = made.total(choice, real.lut_units)
        for figure in ("dsp", "block_ram", "bits"):
            assert predicted[COSTS.index(figure)] == real.costs[COSTS.index(figure)], figure
        assert predicted == pytest.approx(real.costs, rel=1e-9)  # LUTs: sums of floats in another order
        table = resources(Design(of.graph(choice), real.folding).graph, real.folding, board)  # with the serial bridge, as `plan` and `bench` tell it
        assert [real.costs[COSTS.index(figure)] for figure in ("dsp", "block_ram")] == [table[kind].used for kind in ("MULT18X18D", "DP16KD")]
        assert real.folding.interval == made.real(of.space.top).folding.interval


def test_weights_from_external_memory_take_its_beats():
    memory = MemoryConfig(data_bits=64, block=6, burst=4)
    of = rounded(1, **(FEW | {"weights": [2, 4, 8]}))
    made = Prices(of.space, of.graph, HardwareConfig(target_cycles=1024, layers=1, memory=memory), Board.load("ulx3s_85f"))
    fill([made])
    draw, beats = random.Random(4), COSTS.index("beats")
    for _ in range(4):
        choice = {v.name: draw.choice(v.bits) for v in of.space.variables}
        real = made.real(choice)
        assert made.total(choice, real.lut_units)[2:].tolist() == real.costs[2:].tolist()
        assert real.costs[beats] == streamed.fetch_beats(Design(of.graph(choice), real.folding).graph, real.folding) > 0
    sensitivity = {v.name: {b: 1 / b for b in v.bits} for v in of.space.variables}
    room = float((made.total(of.space.least)[beats] + made.total(of.space.top)[beats]) // 2)
    found = best(made, sensitivity, {"beats": room})
    assert made.total(of.space.least)[beats] < found.real.costs[beats] <= room
    with pytest.raises(SearchError, match="hardware.memory: got 5 beats of external memory, must be at least "):
        best(made, sensitivity, {"beats": 5.0})


def brute_force(made, sensitivity, limits):
    """The least sensitivity of any choice within the limits, by trying all; products in LUTs where DSPs are short."""
    of, least = made.space, np.inf
    for bits in itertools.product(*(v.bits for v in of.variables)):
        choice = dict(zip(of.by_name, bits, strict=True))
        costs = made.total(choice)
        if all(costs[COSTS.index(name)] <= most for name, most in limits.items()):
            least = min(least, sum(sensitivity[name][b] for name, b in choice.items()))
    return least


def test_the_programme_finds_the_least_of_all_choices():
    only = {"*": {"weights": [8]}, "layer.*.ffn.*": {"weights": [2, 4, 8]}, "layer.0.value": {"weights": [1, 3, 8]}}
    of = rounded(
        **(FEW | {"activations": [8], "only": only | {"layer.1.query": {"activations": [8]}, "layer.0.ffn.*": {"weights": [2, 4, 8], "activations": [4, 8]}}})
    )
    made, draw = prices(of), random.Random(5)
    sensitivity = {v.name: {b: draw.random() / 2**b for b in v.bits} for v in of.space.variables}
    top, least = (made.total(choice) for choice in (of.space.top, of.space.least))
    for share in (0.2, 0.5, 0.8):
        limits = {name: float(least[i] + share * (top[i] - least[i])) for i, name in enumerate(COSTS) if name in ("dsp", "bits", "lut")}
        found = Programme(made, sensitivity, styles=False).solve(limits)
        want = brute_force(made, sensitivity, limits)
        assert (found is None) == (want == np.inf)
        if found:
            assert found[1] == pytest.approx(want, rel=1e-6)


def test_a_solution_is_within_its_limits_and_uses_what_there_is():
    of = rounded(**FEW)
    made = prices(of)
    sensitivity = {v.name: {2: 1.0, 8: 0.0} for v in of.space.variables}
    room = float(made.real(of.space.top).costs[COSTS.index("bits")])
    assert best(made, sensitivity, {"bits": room}).choice == of.space.top
    tight = best(made, sensitivity, {"bits": room - 1})
    assert tight.sensitivity > 0 and tight.real.costs[COSTS.index("bits")] < room and list(tight.choice.values()).count(2) == tight.sensitivity == 1


def test_products_leave_the_dsps_where_these_are_short():
    of = rounded(**FEW)
    made = prices(of)
    sensitivity = {v.name: {2: 1.0, 8: 0.0} for v in of.space.variables}
    dsp = COSTS.index("dsp")
    rule = made.total(of.space.top)[dsp]
    assert 0 < made.total(of.space.least)[dsp] < rule
    small = Board.load("ulx3s_85f")
    small = small.model_copy(update={"resources": small.resources.model_copy(update={"dsp": small.resources.dsp.model_copy(update={"count": int(rule) - 5})})})
    made.board = small
    solution = best(made, sensitivity, {"dsp": rule - 5})
    assert solution.choice == of.space.top and solution.real.lut_units and solution.real.costs[dsp] <= rule - 5


def test_an_infeasible_budget_is_named_with_what_is_short():
    of = rounded(**FEW)
    made = prices(of)
    sensitivity = {v.name: {2: 1.0, 8: 0.0} for v in of.space.variables}
    least = int(made.total(of.space.least)[COSTS.index("bits")])
    with pytest.raises(SearchError, match=rf"search.budget.bytes: got {least // 8 - 10:,} bytes, must be at least {-(-least // 8):,} .*10 more"):
        best(made, sensitivity, {"bits": 8.0 * (least // 8 - 10)})
    with pytest.raises(
        SearchError, match=r"search.budget.block_ram: got 0 block RAMs, must be at least \d+ for the fewest bits that may be chosen, \d+ more; raise it"
    ):
        best(prices(of, target=TARGET), sensitivity, {"block_ram": 0.0})


def test_sensitivity_is_measured_with_the_others_at_their_most_bits(tmp_path):
    of = rounded(**FEW)
    judge = Judge(start(), batches())
    base, loss, apart = measure(of, judge)
    name = "layer.1.ffn.up:weights"
    other = judge(of.choose(of.space.top | {name: 2}))
    assert loss[name] == {8: 0.0, 2: other["loss"] - base["loss"]} and apart[name][2] == other["divergence"] - base["divergence"] > 0
    found = Sensitivity(sentences=16, base=base, tensors={name: ["layer.1.ffn.up"]}, loss={name: {8: 0.0, 4: -0.5, 3: 0.25, 2: 0.125}}, divergence=apart)
    assert found.by("loss")[name] == {8: 0.0, 4: 0.0, 3: 0.25, 2: 0.25}  # noise below 0, or better with fewer bits, counts as none
    found.save(tmp_path / "s.json")
    assert Sensitivity.load(tmp_path / "s.json") == found


def test_defaults_are_within_the_ranges():
    assert SearchConfig.model_validate(SearchConfig().model_dump()) == SearchConfig()
