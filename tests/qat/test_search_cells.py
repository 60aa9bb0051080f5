# SPDX-License-Identifier: Apache-2.0
"""The search for a cell: its prices are those of designs, its supernet computes the cells that it mixes, a killed one goes on to the same end."""

import warnings
from functools import cache

import pytest
import torch
from random_models import padded, random_sentences

from bitloom.hw.board import Board
from bitloom.hw.plan.folding import FoldingError
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.hw.settings import ConfigError
from bitloom.qat.cells import OPERATIONS as OPERATION
from bitloom.qat.cells import tidy
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig
from bitloom.qat.methods import read as method
from bitloom.qat.net.cells import CellsShape
from bitloom.qat.net.model import FloatModel
from bitloom.qat.networks import CellsConfig, CnnConfig
from bitloom.qat.search.cell_prices import FIGURES, CellPrices
from bitloom.qat.search.cell_space import check, most_probable, priced
from bitloom.qat.search.cells import CellSearch, save
from bitloom.qat.search.config import SearchConfig
from bitloom.qat.search.errors import SearchError
from bitloom.qat.search.supernet import Supernet, cell_of, places
from bitloom.qat.train import read_task, train

OPERATIONS = ["conv3", "conv5", "max3", "skip", "none"]
MODEL = CellsConfig(network="cells", hidden=16, max_tokens=12, dropout=0.1)
SHAPE = CellsShape(hidden=16, cell=(("conv3",),), vocabulary=60, positions=12, max_tokens=12, dropout=0.0)
HARDWARE = HardwareConfig(target_cycles=2048)


@cache
def prices(board: str | None = None) -> CellPrices:
    return CellPrices(SHAPE, QuantConfig(), HARDWARE, board and Board.load(board), 2, OPERATIONS, [1, 2])


CHAIN, BOTH = (("conv3",), ("none", "conv5")), (("conv3",), ("skip", "conv5"))


@pytest.mark.parametrize(("cell", "cells"), [(BOTH, 2), (CHAIN, 1), ((("conv5",), ("max3", "conv3")), 1)])
def test_multipliers_and_bits_are_the_designs(cell, cells):
    said, made = prices().total(cell, cells), prices().real(cell, cells)
    assert said["multipliers"] == made.figures["multipliers"] > 1 and made.interval <= 2048
    assert said["bits"] == made.figures["bits"]


def test_what_a_board_gives_is_nearly_what_was_said():
    said, made = prices("ulx3s_85f").total(BOTH, 2), prices("ulx3s_85f").real(BOTH, 2)
    for name in FIGURES:
        assert abs(said[name] - made.figures[name]) <= 0.15 * made.figures[name], name
    assert made.figures["dsp"] and made.figures["lut"] and not made.fits


def test_the_mean_cost_is_that_of_all_cells():
    """Of independent edges and depths: the sum over all cells of probability times price; and its gradient reaches both."""
    of, draw = prices(), torch.Generator().manual_seed(0)
    edges, depth = (torch.rand(size, generator=draw).softmax(-1).requires_grad_() for size in ((3, len(OPERATIONS)), (2,)))
    want = torch.zeros(len(FIGURES), dtype=torch.float64)
    for names, count in most_probable(edges.detach(), depth.detach()):
        share = float(depth[count].detach()) * torch.stack([edges[e, o] for e, o in enumerate(names)]).prod().item()
        want += share * torch.tensor(list(of.total(cell_of([OPERATIONS[o] for o in names], 2), of.counts[count]).values()), dtype=torch.float64)
    mean = of.mean(edges, depth)
    assert torch.allclose(mean, want, rtol=1e-4)
    mean[0].backward()
    assert edges.grad.abs().sum() > 0 and depth.grad[1] > depth.grad[0] > 0


def test_cells_come_in_the_order_of_their_probability():
    edges, depth = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]), torch.tensor([0.3, 0.7])
    found = [(names, count, float(edges[0, names[0]] * edges[1, names[1]] * depth[count])) for names, count in most_probable(edges, depth)]
    assert len({(names, count) for names, count, _ in found}) == 18 and found[0][:2] == ((0, 1), 1)
    assert [p for *_, p in found] == sorted((p for *_, p in found), reverse=True)


def test_a_chosen_cell_is_the_network_of_that_cell():
    """With one operation an edge the supernet gives what the network of that cell gives, with the same weights and its LayerNorm."""
    torch.manual_seed(0)
    cell, net = (("conv3",), ("skip", "conv5"), ("max3", "none", "skip")), Supernet(SHAPE, 3, OPERATIONS, [1, 2]).eval()
    plain = FloatModel(CellsShape(**{key: getattr(SHAPE, key) for key in ("hidden", "vocabulary", "positions", "max_tokens")}, cell=cell, cells=1)).eval()
    net.choose([OPERATIONS.index(name) for row in cell for name in row], 0)
    for norm in net.network.cell[0].norm:
        norm.eps = 1e-12
    net.network.cell[0].norm[0] = torch.nn.Identity()  # a node of one edge has none
    theirs, mine = dict(net.named_parameters()), {}
    for name in [own for own, parameter in plain.named_parameters() if parameter.requires_grad]:
        parts = name.split(".")
        if parts[1] == "cell" and parts[5] == "edge":
            at = places(3).index((int(parts[4]), int(parts[6])))
            edge, kernel = net.network.cell[int(parts[2])].edge[at].convolution["1"], OPERATION[cell[int(parts[4]) - 1][int(parts[6])]].kernel
            mine[name] = edge.weight(kernel) if parts[-1] == "weight" else edge.edge.convolution.conv.bias
            continue
        elif parts[1] == "cell":
            other = ["network", "cell", parts[2], "norm", str(int(parts[4]) - 1), *parts[6:]]
        else:
            other = parts
        mine[name] = theirs[".".join(other)]
    plain.load_state_dict(mine, strict=False)
    batch = padded(*random_sentences(1, 6, 12))
    assert len(mine) == 15 and torch.allclose(plain(**batch).logits, net(**batch).logits, atol=1e-5)


TRAINING = TrainConfig(batch_size=8, float_learning_rate=3e-3, calibration_batches=1)


def search(folder, config: dict | None = None, board: str | None = None, entries: list[dict] | None = None, hardware=HARDWARE, **settings) -> CellSearch:
    own = {"operations": OPERATIONS, "nodes": 2, "cells": [1, 2], **settings}
    made = SearchConfig.model_validate({"method": "architecture", "steps": 30, "architecture": own} | (config or {}))
    data, found = DataConfig(name="reviews", max_train_examples=64, max_dev_examples=8, vocab=60), tuple(map(method, entries or []))
    with warnings.catch_warnings(action="ignore"):  # texts are cut, on purpose
        task = read_task(MODEL, QuantConfig(), TRAINING, data, None, folder / "start", compression=found)
        return CellSearch(task, MODEL, QuantConfig(), TRAINING, hardware, made, board and Board.load(board), folder, lambda fraction, text: None)


def test_a_budget_is_kept_and_a_killed_search_ends_as_a_whole_one(tmp_path, monkeypatch):
    room = prices().total(BOTH, 1)["multipliers"]
    limited = {"budget": {"multipliers": int(room)}}
    whole = search(tmp_path / "whole", limited).run()
    assert whole.real.figures["multipliers"] <= room < prices().total(BOTH, 2)["multipliers"] and whole.cell == tidy(whole.cell)
    assert whole.history[-1]["multipliers"] < whole.history[0]["multipliers"] and whole.loss > 0
    assert len(whole.probabilities) == 3 and all(abs(sum(row) - 1) < 1e-6 for row in whole.probabilities)
    step = CellSearch._step
    monkeypatch.setattr(CellSearch, "_step", lambda self, at, *rest: step(self, at, *rest) if at < 27 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        search(tmp_path / "killed", limited).run()
    monkeypatch.setattr(CellSearch, "_step", lambda self, at, *rest: step(self, at, *rest) if at >= 25 else 1 / 0)  # nothing is done twice
    again = search(tmp_path / "killed", limited).run()
    assert again == whole and again.history == whole.history
    save(again, tmp_path)
    assert '"schema": "bitloom.architecture/1"' in (tmp_path / "architecture.json").read_text()


def test_what_was_made_of_a_sentence_is_held_out_with_it(tmp_path):
    of = search(tmp_path, entries=[{"method": "augmentation", "copies": 2}], held_out=0.25)
    own = [id(item) for item in of.read.train]
    groups = [{own.index(id(item)) % 64 for item in part} for part in (of.learned, of.held)]
    assert not groups[0] & groups[1] and [len(part) for part in (of.learned, of.held)] == [144, 48]


def test_weights_and_architecture_may_learn_in_one_step(tmp_path):
    of = search(tmp_path, {"steps": 6}, held_out=0.0, warm_up=0.0)
    before = [p.detach().clone() for p in of.net.parameters()]
    found = of.run()
    assert not torch.equal(of.net.edges, before[0]) and found.history[-1]["loss"] == found.history[-1]["held_out"]


def test_draws_are_as_probable_and_as_sharp_as_said():
    net, p = Supernet(SHAPE, 1, list(OPERATION), [1, 2]), torch.tensor([0.55] + [0.05] * 9)  # of many, noise of the other sign would show
    with torch.no_grad():
        net.edges[0] = p.log() + 3
    torch.manual_seed(0)

    def drawn(temperature: float) -> torch.Tensor:
        found = []
        for _ in range(500):
            net.draw(temperature)
            found.append(net.network.weights[0].detach())
        return torch.stack(found)

    sharp, blunt = drawn(0.1), drawn(10.0)
    assert torch.allclose(sharp.sum(1), torch.ones(500)) and (sharp.amax(1) > 0.9).float().mean() > 0.6 and blunt.amax() < 0.7
    assert torch.allclose(torch.bincount(sharp.argmax(1), minlength=10) / 500, p, atol=0.07)
    assert torch.allclose(net.probabilities()[0][0], p) and torch.allclose(net.probabilities(0.5)[0][0], p**2 / (p**2).sum())


def test_the_architecture_learns_behind_the_warm_up_and_what_is_beyond_the_budget_counts_more_and_more(tmp_path, monkeypatch):
    """The weights in cells that are nearly drawn, the architecture at the step's temperature."""
    own = {"warm_up": 0.5, "temperature": 2.0, "final_temperature": 0.5}
    of = search(tmp_path, {"steps": 4, "budget": {"multipliers": 4}}, **own)
    drawn, edges, draw, step = [], [], of.net.draw, of._step
    monkeypatch.setattr(of.net, "draw", lambda temperature: (drawn.append(temperature), draw(temperature)))
    monkeypatch.setattr(of, "_step", lambda *given: (step(*given), edges.append(of.net.edges.detach().clone()))[0])
    of._learn()
    assert drawn == pytest.approx([0.5, 0.5, 0.5, 2 * 0.25 ** (2 / 3), 0.5, 0.5])
    assert [bool(e.any()) for e in edges] == [False, False, True, True]
    beyond, share = of.beyond(1.0).item(), of.shares(1.0)["multipliers"].item()
    assert beyond == pytest.approx(share - 1) and beyond > 0
    assert [of.cost(at, 1.0).item() for at in (2, 3)] == pytest.approx([0.1 * share + 5 * beyond, 0.1 * share + 10 * beyond])


@pytest.mark.slow
def test_a_teachers_logits_and_words_count_in_the_search(tmp_path):
    alone = search(tmp_path / "first", {"steps": 6}).run()
    model = CellsConfig(network="cells", hidden=32, max_tokens=12)
    teacher = str(tmp_path / "teacher" / "float")
    with warnings.catch_warnings(action="ignore"):
        data = DataConfig(name="reviews", max_train_examples=64, max_dev_examples=8, vocab=60)
        train(model, QuantConfig(), TRAINING.model_copy(update={"float_epochs": 1, "qat_epochs": 0}), data, None, tmp_path / "teacher")
    entries = [{"method": "pretrained_embeddings", "checkpoint": teacher}, {"method": "logits", "teacher": teacher}]
    taught = search(tmp_path / "second", {"steps": 6}, entries=entries)
    assert taught.work.data.answers and taught.run().history[0]["loss"] != alone.history[0]["loss"]


def test_a_space_in_which_nothing_fits_says_by_how_much():
    made = SearchConfig.model_validate({"method": "architecture", "budget": {"multipliers": 2}, "architecture": {"operations": ["conv5", "conv3"], "nodes": 2}})
    with pytest.raises(SearchError) as error:
        priced(SHAPE, QuantConfig(), HARDWARE, made, None)
    assert str(error.value) == (
        "search.architecture: got a space whose cheapest cell (1 = conv3(input); 2 = conv3(input) + conv3(1); one of it) takes 19 multipliers of 2, must have "
        "one that fits; lower model.hidden, nodes or cells, raise search.budget, or choose a larger board"
    )
    wide = CellsShape(hidden=128, cell=(("conv3",),), vocabulary=60, positions=12, max_tokens=12)
    with pytest.raises(SearchError, match=r"cheapest cell \(1 = conv3\(input\); one of it\) takes [\d,]+ LUTs of [\d,]+, [\d,]+ FFs of [\d,]+, must"):
        priced(wide, QuantConfig(), HARDWARE, made.model_copy(update={"budget": made.budget.model_copy(update={"multipliers": None}),
               "architecture": made.architecture.model_copy(update={"nodes": 1})}), Board.load("tang_nano_20k"))  # fmt: skip
    with pytest.raises(FoldingError, match="got target_cycles 3, must be at least"):
        priced(SHAPE, QuantConfig(), HardwareConfig(target_cycles=3), made, None)


def test_none_that_fits_among_the_most_probable(tmp_path, monkeypatch):
    of = search(tmp_path, {"steps": 1, "budget": {"multipliers": 4}}, candidates=2, warm_up=0.5)
    with torch.no_grad():
        of.net.edges[:, 0] = 9.0
    monkeypatch.setattr(CellSearch, "_learn", lambda self: None)
    with pytest.raises(SearchError, match=r"search: got none that fits among the 2 most probable cells \(takes \d+ multipliers of 4\), must have one; raise"):
        of.run()


def test_sections_that_do_not_go_with_it():
    made = SearchConfig.model_validate({"method": "architecture"})
    for model, hardware, text in (
        (CnnConfig(network="cnn"), HARDWARE, "search.method: got architecture on a network of kind 'cnn', must be on cells; set model.network: cells"),
        (MODEL, HardwareConfig(multipliers=9), "search.budget.cycles: got none, must be given, or hardware.target_cycles: what an operation takes depends"),
        (MODEL, HardwareConfig(target_cycles=9, layers=1), "hardware.layers: got it with search.method architecture, must be left out: all cells are hardware"),
        (
            MODEL.model_copy(update={"max_tokens": 6}),
            HARDWARE,
            "search.architecture.operations: got a kernel of 7 with a dilation of 2, which reads tokens up ",
        ),
    ):
        with pytest.raises(ConfigError) as error:
            check(model, hardware, made)
        assert str(error.value).startswith(text) and "\n" not in str(error.value)
