# SPDX-License-Identifier: Apache-2.0
"""`bitloom search`: what is wrong is one line and exit code 2; a whole search ends with the verified encoder that it promised."""

import json
import re
import shutil
from pathlib import Path

import pytest
from here import Here

from bitloom.charts import Row, heat
from bitloom.hw import graph_file
from bitloom.hw.board import Board
from bitloom.hw.cost.resources import estimate
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.qat.search import blackbox
from bitloom.qat.search.sensitivity import Sensitivity
from bitloom.qat.shared_float import SCORES
from bitloom.recipe import Recipe
from bitloom.search_page import render

TINY = Path(__file__).parents[1] / "tiny.yaml"
FAST = ["--set", "search.sentences=32", "--set", "search.points=2", "--set", "search.weights=[2, 8]", "--set", "search.activations=[]",
        "--set", "search.embeddings=[]", "--set", "search.scores=[]", "--set", "search.probs=[]"]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("search.weights=[2, 9]", "search.weights: got [2, 9], must be a list of integers 1 .. 8 (bits); change it"),
        ("search.only={'layer.*': {weights: [0]}}", "search.only['layer.*'].weights: got [0], must be a list of integers 1 .. 8 (bits); change it"),
        ("search.by=luck", "search.by: got 'luck', must be 'divergence', 'loss', 'trace' or 'eigenvalue'; change it"),
        ("search.budget={cycle: 3}", "search.budget: no key 'cycle'; did you mean 'cycles'?"),
        ("search.points=1", "search.points: got 1, must be at least 2; change it"),
    ],
)
def test_settings_out_of_range(bitloom, tmp_path, change, text):
    code, _, err = bitloom("search", TINY, "--out", tmp_path / "run", "--set", change)
    assert code == 2 and text in err and err.count("\n") == 1


def test_an_unknown_board(bitloom, tmp_path):
    code, _, err = bitloom("search", TINY, "--out", tmp_path / "run", "--board", "ulx")
    assert code == 2 and "no board 'ulx'" in err and err.count("\n") == 1


SMALL = [
    "--no-run",
    "--set",
    "data={name: reviews, max_train_examples: 32, max_dev_examples: 16, vocab: 60}",
    "--set",
    "training={batch_size: 16, calibration_batches: 1}",
]
ROOM = 3700  # bytes: between those of 2-bit and of 8-bit weights
BITS = [*SMALL, "--set", "model={layers: 1, hidden: 16, heads: 2, intermediate: 32, max_tokens: 12}", "--set", "hardware={target_cycles: 1200}", *FAST,
        "--set", "search.steps=3", "--set", f"search.budget={{bytes: {ROOM}}}"]  # fmt: skip
TRIALS = ["--set", "search.method=trials", "--set", "search.trials=5"]
METHODS = {  # by divergence, and gradient: tests/qat/test_search_run.py
    "loss": ["--set", "search.by=loss"],
    "nsga2": TRIALS,
    "hyperband": [*TRIALS, "--set", "search.sampler=tpe", "--set", "search.pruner=hyperband"],
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A run folder whose float model is there."""
    return tmp_path_factory.mktemp("searched") / "run"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--set", "search.only={'layer.9.*': {weights: [4]}}"], "search.only: got pattern 'layer.9.*', must match a layer or tensor"),
        (["--set", "search.budget={bytes: 100}"], "search.budget.bytes: got 100 bytes, must be at least "),
        (
            ["--set", "search.budget={multipliers: 9}"],
            "search.budget.multipliers: got 9 with method ilp, must go with architecture: bits do not change how many",
        ),
        (["--set", "search.budget={dsp: 1}"], "search.budget.dsp: got a budget without a board, must have one to count on"),
    ],
)
def test_what_only_the_network_shows(bitloom, searched, argv, text):
    code, _, err = bitloom("search", TINY, "--out", searched, *BITS, *argv)
    assert code == 2 and text in err and err.count("\n") == 1


def searched_bits(bitloom, run, recipe, *argv):
    """pareto.json of a search that chose within the budget, as its recipe has it."""
    code, out, err = bitloom("search", recipe, "--out", run, *BITS, *argv)
    assert code == 0, err
    found, recipe = json.loads((run / "search" / "pareto.json").read_text()), Recipe.load(run / "search" / "chosen.yaml")
    chosen = found["chosen"]
    assert chosen["bytes"] == chosen["predicted"]["bytes"] <= found["budget"]["bits"] / 8 < found["uniform"][0]["bytes"] and f"{chosen['bytes']:,} bytes" in out
    assert {v: recipe.quantization.of(v.removesuffix(":weights"), "weights") for v in chosen["choice"]} == chosen["choice"]
    assert (run / "search" / "search.html").stat().st_size > 1000
    return found


@pytest.mark.parametrize("method", METHODS)
def test_each_method_chooses_bits_within_the_budget(bitloom, tmp_path, monkeypatch, method):
    monkeypatch.setattr(blackbox, "workers", Here)
    found = searched_bits(bitloom, tmp_path / "run", TINY, *METHODS[method])
    assert set(found["chosen"]["choice"].values()) == {2, 8} and len(found["chosen"]["choice"]) == 8
    assert found["chosen"]["steps"] == (3 if found["method"] == "trials" else 0)


def test_a_search_begins_with_the_float_model_that_is_there(bitloom, tmp_path):
    """Of a bench, in `start`: as told by how long it took, which no training does. The searches end behind their float model."""
    run = tmp_path / "run"

    def search():
        code, _, err = bitloom("search", TINY, "--out", run, *BITS, "--set", "search.only={'layer.9.*': {weights: [4]}}")
        assert code == 2 and "must match a layer or tensor" in err

    search()
    (own,) = run.glob("search*/start")
    shutil.move(own, run / "start")
    scores = run / "start" / "float" / SCORES
    scores.write_text(json.dumps(json.loads(scores.read_text()) | {"seconds": 987_654}))
    search()
    assert json.loads((own / "float" / SCORES).read_text())["seconds"] == 987_654


def test_the_recipe_of_qbert_searches_by_the_hessian(bitloom, tmp_path):
    """Of one layer's weights: it takes seconds a layer. Of eigenvalues, and the trace with them."""
    pytest.importorskip("curvlinops", reason="no curvlinops: pip install --no-deps curvlinops-for-pytorch backpack-for-pytorch unfoldNd")
    few = ["--set", "model.layers=2", "--set", "search.weights=[]", "--set", "search.only={layer.0.value: {weights: [2, 8]}}"]
    found = searched_bits(bitloom, tmp_path / "run", "qbert", *few, "--set", "search.curvature_sentences=4", "--set", "search.budget={bytes: 3050}")
    sensitivity = Sensitivity.load(tmp_path / "run" / "search" / "sensitivity.json")
    assert found["chosen"]["choice"] == {"layer.0.value:weights": 2} and len(sensitivity.layers["layer.0.value"].eigenvalues) == 4
    by = {kind: sensitivity.by(kind)["layer.0.value:weights"][2] for kind in ("loss", "trace", "eigenvalue")}
    assert found["chosen"]["sensitivity"] == by["eigenvalue"] > 0 and len(set(by.values())) == 3


def test_the_recipe_of_adabert_searches_for_a_cell(bitloom, tmp_path):
    run, space = tmp_path / "run", "{operations: [conv3, max3, skip], nodes: 2, cells: [1], warm_up: 0.5}"
    argv = [*SMALL, "--set", "model={network: cells, hidden: 8, max_tokens: 12}", "--set", "compression=[]", "--set", "search.steps=4"]
    code, out, err = bitloom("search", "adabert", "--out", run, *argv, "--set", f"search.architecture={space}")
    assert code == 0, err
    found, recipe = json.loads((run / "search" / "architecture.json").read_text()), Recipe.load(run / "search" / "chosen.yaml")
    assert recipe.model.cell == found["cell"] and recipe.hardware.target_cycles == 16384 and recipe.hardware.board == "ulx3s_85f"
    assert found["text"] in out and found["real"]["figures"]["dsp"] <= found["limits"]["dsp"] == 60 and (run / "search" / "search.html").is_file()


CELLS = ["--set", "model={network: cells, hidden: 16, max_tokens: 24}", "--set", "search.method=architecture", "--set", "search.steps=4"]


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--set", "search.architecture={operations: [conv4]}"], "search.architecture.operations: got 'conv4', must be an operation; did you mean 'conv"),
        (["--set", "search.architecture={operations: [none]}"], "search.architecture.operations: got ['none'], must have one that is not 'none'; add e.g."),
        (["--set", "search.architecture={operations: [skip, skip]}"], "search.architecture.operations: got ['skip', 'skip'], must name each once; remove"),
        (["--set", "search.architecture={nodes: 9}"], "search.architecture.nodes: got 9, must be at most 8; change it"),
        (["--set", "search.architecture={edges: 9}"], "search.architecture: no key 'edges'; did you mean 'nodes'?"),
        (["--set", "model.cell=[[conv3], [skip]]"], "model.cell: got 1 operations of node 2, must be 2: one from each earlier node, the cell's input first"),
        (["--set", "model={layers: 1, hidden: 16, heads: 2}"], "search.method: got architecture on a network of kind 'encoder', must be on cells; set model."),
        (["--set", "model.max_tokens=6"], "search.architecture.operations: got a kernel of 7 with a dilation of 2, which reads tokens up to 6 away, must be"),
        (["--set", "hardware={multipliers: 20}"], "search.budget.cycles: got none, must be given, or hardware.target_cycles: what an operation takes depends"),
    ],
)
def test_what_is_wrong_with_a_search_for_a_cell(bitloom, tmp_path, argv, text):
    code, _, err = bitloom("search", TINY, "--out", tmp_path / "run", "--no-run", *CELLS, *argv)
    assert code == 2 and text in err and err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--set", "search.budget={multipliers: 1}", "--set", "search.architecture={operations: [conv3, conv5]}"], "whose cheapest cell"),
        (["--set", "compression=[{method: logits, teacher: TEACHER}]"], "' without a head for 2 labels, must have been trained on this task; fine-tune it"),
        (["--set", "compression=[{method: head_pruning, keep: 0.5}]"], "'head_pruning' on a network of kind 'cells', must be on an encoder"),
    ],
)
def test_what_only_a_space_and_its_teacher_show(bitloom, tmp_path, argv, text):
    from bitloom.qat.baseline import float_model
    from bitloom.qat.data import DataConfig, load
    from bitloom.qat.networks import ModelConfig
    from bitloom.qat.tokenizer import TextTokenizer

    float_model(ModelConfig(layers=1, hidden=16, heads=2, intermediate=32), 60, 2).bert.save_pretrained(tmp_path / "bare")  # no head
    TextTokenizer.train(load(DataConfig(name="reviews", max_train_examples=64)).train.all_texts(), 60).save(tmp_path / "bare")
    argv = [part.replace("TEACHER", str(tmp_path / "bare")) for part in argv]
    code, _, err = bitloom("search", TINY, "--out", tmp_path / "run", "--no-run", *CELLS, *argv)
    assert code == 2 and text in err and err.splitlines()[-1].count("must") and err.count("\nerror") <= 1


@pytest.mark.slow
def test_a_cell_that_is_found_is_built_as_promised(bitloom, tmp_path):
    run = tmp_path / "run"
    argv = [TINY, "--out", run, "--board", "ulx3s_85f", *CELLS, "--set", "search.steps=30", "--set", "search.architecture={nodes: 2}"]
    code, out, err = bitloom("search", *argv)
    assert code == 0, err
    found, recipe = json.loads((run / "search" / "architecture.json").read_text()), Recipe.load(run / "search" / "chosen.yaml")
    assert recipe.model.cell == found["cell"] and recipe.model.cells == found["cells"] and recipe.hardware.board == "ulx3s_85f"
    design = Design(graph_file.load(run / "export"), Folding.load(run / "build" / "folding.json"))
    total = estimate(design, Board.load("ulx3s_85f")).total
    assert (total.dsp, total.block_ram) == (found["real"]["figures"]["dsp"], found["real"]["figures"]["block_ram"])
    assert json.loads((run / "build" / "timing.json").read_text())["interval"] == found["real"]["interval"]
    assert json.loads((run / "report.json").read_text())["verify"]["mismatches"] == 0
    page = (run / "search" / "search.html").read_text()
    assert "Probabilities" in page and page.count('class="cell') == 3 * len(found["operations"])
    assert "unchanged" in bitloom("search", *argv, "--no-run")[1]


def point(**change):
    made = {"name": "", "score": 0.8, "divergence": 0.01, "interval": 1000, "dsp": 3, "block_ram": 5, "lut": 7, "bytes": 900, "steps": 0, "fits": ""}
    return made | {"choice": {"layer.0.query:weights": 3, "layer.0:activations": 8}} | change


def test_the_page_shows_points_bits_and_sensitivities():
    uniform = [point(name="uniform 8", score=None, fits="too much", block_ram=6), point(name="uniform 2", score=0.7)]
    found = {"method": "ilp", "metric": "accuracy", "float_score": 0.81, "chosen": point(), "front": [point(), point(score=0.79, block_ram=4)], "uniform": uniform,
             "rivals": [point(name="searched")], "variables": {"layer.0.query:weights": ["layer.0.query"], "layer.0:activations": ["layer.0.query", "layer.0.key"]}}  # fmt: skip
    page = render(found, {"layer.0.query:weights": {2: 0.125, 8: 0.0}}, "name: x")
    assert "layer.0.query, weights, 2 bits" in page and "0.12" in page and "uniform 8" in page and "name: x" in page
    assert page.count('class="cell') == 3 and page.count('<circle class="dot s2"') == 2  # one uniform point was scored, in two charts
    assert "Sensitivity" not in render(found, {}, "name: x")


def test_cells_of_a_heat_map_are_as_deep_as_their_values():
    drawn = heat([Row(label="a & b", cells={"x": (2, "2"), "y": (8, "8")}), Row(label="c", cells={"y": (5, "5")})], ["x", "y"])
    assert [float(depth) for depth in re.findall(r'fill-opacity="([\d.]+)"', drawn)] == [0.12, 1.0, 0.56] and "a &amp; b, y: 8" in drawn
    assert not heat([], ["x"])


@pytest.mark.slow
def test_the_design_that_is_built_takes_what_was_promised(bitloom, tmp_path):
    run = tmp_path / "run"
    code, out, err = bitloom("search", TINY, "--out", run, "--board", "ulx3s_85f", *FAST, "--set", "search.budget={block_ram: 8}")
    assert code == 0, err
    found = json.loads((run / "search" / "pareto.json").read_text())["chosen"]
    design = Design(graph_file.load(run / "export"), Folding.load(run / "build" / "folding.json"))
    total = estimate(design, Board.load("ulx3s_85f")).total
    assert (total.dsp, total.block_ram) == (found["predicted"]["dsp"], found["predicted"]["block_ram"]) == (found["dsp"], found["block_ram"])
    assert json.loads((run / "build" / "timing.json").read_text())["interval"] == found["interval"]
    assert json.loads((run / "report.json").read_text())["verify"]["mismatches"] == 0
    recipe = Recipe.load(run / "search" / "chosen.yaml")
    assert {v: recipe.quantization.of(v.removesuffix(":weights"), "weights") for v in found["choice"]} == found["choice"]
    assert "unchanged" in bitloom("search", TINY, "--out", run, "--board", "ulx3s_85f", *FAST, "--set", "search.budget={block_ram: 8}", "--no-run")[1]
