# SPDX-License-Identifier: Apache-2.0
"""Whole searches in one process, each method on a small model: what they give is within the budget, and says what it takes."""

import json

import pytest
from search_cases import TOKENS, rounded, space, task

from bitloom.hw.plan.solve import HardwareConfig
from bitloom.qat.config import QuantConfig
from bitloom.qat.search import run as module
from bitloom.qat.search.config import SearchConfig
from bitloom.qat.search.errors import SearchError
from bitloom.qat.search.run import Search, save
from bitloom.qat.search.sensitivity import Sensitivity

FEW = {"weights": [2, 8], "activations": [], "embeddings": [], "scores": [], "probs": [], "sentences": 8, "points": 3, "steps": 2}


def search(tmp_path, quant=None, **config):
    whole = task(2)
    hardware = HardwareConfig(target_cycles=512)
    settings = SearchConfig.model_validate(FEW | config)
    return Search(whole.start, QuantConfig.model_validate(quant or {}), whole.training, TOKENS, hardware, settings, None, tmp_path)


def test_what_sensitivity_finds_is_within_the_budget(tmp_path, monkeypatch):
    first = search(tmp_path)
    top = first.prices((1,))[512].total(first.space.top)
    room = int(top[4]) // 8 - 300
    found = search(tmp_path, budget={"bytes": room}).run()
    assert found.chosen.bytes <= room and found.chosen.bytes == found.chosen.predicted["bytes"] and set(found.chosen.choice.values()) == {2, 8}
    assert {p.target_cycles for p in found.front} == {512} and all(p.bytes <= room for p in found.front)
    for a in found.front:
        assert not any(b is not a and b.target_cycles <= a.target_cycles and b.bytes <= a.bytes and b.sensitivity <= a.sensitivity for b in found.front)
    assert [p.name for p in found.uniform] == ["uniform 8", "uniform 4", "uniform 2"] and found.uniform[0].bytes > room
    assert [p.name for p in found.rivals] == ["searched, for what uniform 4 takes", "searched, for what uniform 2 takes"]
    assert all(r.bytes <= u.bytes and r.sensitivity <= u.sensitivity for r, u in zip(found.rivals, found.uniform[1:], strict=True))
    assert found.quant == first.space.quantization(found.chosen.choice) and found.hardware.target_cycles == 512 and found.hardware.layers == 2
    save(found, tmp_path)
    assert json.loads((tmp_path / "pareto.json").read_text())["chosen"]["choice"] == found.chosen.choice
    monkeypatch.setattr(module, "measure", None)  # sensitivity is read, not measured again
    assert search(tmp_path, budget={"bytes": room}).sensitivity() == Sensitivity.load(tmp_path / "sensitivity.json")


def test_learned_bits_are_within_the_budget(tmp_path):
    of = search(tmp_path, method="gradient")
    top = of.prices((1,))[512].total(of.space.top)
    found = search(tmp_path, method="gradient", budget={"bytes": int(top[4]) // 8 - 300}).run()
    assert found.chosen.bytes <= int(top[4]) // 8 - 300 and set(found.places) == set(of.space.by_name) and found.chosen.predicted["bytes"] == found.chosen.bytes


def test_a_budget_of_resources_needs_a_board(tmp_path):
    with pytest.raises(SearchError, match="search.budget.block_ram: got a budget without a board, must have one to count on; give --board, or budget bytes"):
        search(tmp_path, budget={"block_ram": 3}).run()


def test_residual_bits_that_calibration_chooses_are_kept(tmp_path):
    of = search(tmp_path, {"residual": "auto"})
    assert all(4 <= of.space.quantization(of.space.top).of(f"layer.{i}.ffn.sum", "residual") <= 16 for i in (0, 1))


def test_codebooks_are_left_alone():
    quant = {"overrides": {"layer.0.query": {"codebook": "kmeans", "index_bits": 2}}}
    assert {"layer.0.query:weights"} == set(space().by_name) - set(space(quant=quant).by_name)
    of = rounded(quant=quant, weights=[2, 8])
    before = of.graph(of.space.top).param(of.graph(of.space.top).node("layer.0.query.acc"), "weight")
    after = of.graph(of.space.least).param(of.graph(of.space.least).node("layer.0.query.acc"), "weight")
    assert (before == after).all() and len(set(before.flatten().tolist())) <= 4
