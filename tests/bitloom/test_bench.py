# SPDX-License-Identifier: Apache-2.0
"""`bitloom bench TABLE`: rows, one float phase for all that agree on it, what is skipped, the table, mistakes."""

import json

import pytest
from small_runs import raised

from bitloom import bench as module
from bitloom.bench import QUANTIZATION, Figures, bench, table
from bitloom.errors import UsageError
from bitloom.flow import Watcher
from bitloom.hw.board import Board
from bitloom.qat.checkpoint import load_plain
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.methods import read
from bitloom.qat.shared_float import float_alone, reuse_float
from bitloom.recipe import Recipe, RecipeError
from bitloom.stages.train import START

SMALL = (
    "model={layers: 1, hidden: 16, heads: 2, intermediate: 64, max_tokens: 24}",
    "data={name: reviews, max_train_examples: 96, max_dev_examples: 24, vocab: 300}",
    "training.float_epochs=1",
    "training.qat_epochs=1",
    "verification={sentences: 4, stall_sentences: 1, reference_sentences: 8}",
    "hardware.target_cycles=1200",
)
FIGURES = Figures(
    row="w4a8", weights="4", activations=8, float_score=0.8, golden_score=0.75, bytes=2000, bytes_without_embeddings=1000, cycles=1200, multipliers=88,
    block_ram=10, dsp=93, mismatches=0, values=1234,
)  # fmt: skip


def test_rows_are_recipes(tmp_path):
    """Each loads, has a name of its own for its folder, and agrees with the settings that it is named by."""
    for name, row in QUANTIZATION.items():  # those of compression are other recipes of bitloom, whose teachers need not be there
        recipe = module._recipe(name, row, tmp_path, ["training.seed=3"])
        assert (recipe.name, recipe.training.seed) == (name, 3)
        if name.startswith("w"):
            assert name.startswith(f"w{recipe.quantization.weights}a{recipe.quantization.activations}")


def test_the_table_has_the_figures():
    text = table([FIGURES], Board.load("ulx3s_85f"))
    assert "| DP16KD | MULT18X18D |" in text
    assert text.endswith("| w4a8 | 4 | 8 | 80.00% | 75.00% | 2.0 | 1.0 | 1,200 | 88 | 10 | 93 | 0 of 1,234 |")


def test_float_phases_that_are_shared(tmp_path, monkeypatch):
    """One training in float for two rows, one of which has compression and so a float model of its own kind; none is trained by the rows themselves."""
    seen = []

    def flow(run, watcher):
        """What the stage `train` does first."""
        recipe, start, out = run.recipe, run.path / START, run.stage("train")
        out.mkdir()
        seen.append(run.path.name)
        assert not reuse_float(start, out, recipe.model, recipe.training, recipe.data, [read({"method": "layer_drop"})])
        assert reuse_float(start, out, recipe.model, recipe.training, recipe.data, recipe.compression)

    monkeypatch.setattr(module, "run_flow", flow)
    monkeypatch.setattr(module, "figures", lambda run, board: FIGURES)
    said = []
    bench("quantization", ["ternarybert", "w4a8"], None, tmp_path, SMALL, "ulx3s_85f", Watcher(), said.append)
    assert seen == ["w4a8", "ternarybert"] and said == ["w4a8 (1 of 2)", "ternarybert (2 of 2)"]
    assert len(list(tmp_path.glob("float-*"))) == 1
    load_plain(tmp_path / "ternarybert" / "train" / "float")
    assert (tmp_path / "w4a8" / "train" / "float" / "config.json").is_file()
    assert len(json.loads((tmp_path / "quantization.json").read_text())["rows"]) == 2 == (tmp_path / "quantization.md").read_text().count("w4a8")


def test_a_float_phase_that_is_not_shared():
    training = TrainConfig(float_epochs=2, qat_epochs=3, qat_learning_rate=1e-3, seed=5)
    alone = float_alone(QuantConfig(), training, [])
    assert (alone.float_epochs, alone.qat_epochs, alone.seed) == (2, 0, 5)
    assert alone == float_alone(QuantConfig(), training, [read({"method": "logits", "teacher": "float"})])
    assert float_alone(QuantConfig(), training, [read({"method": "ffn_pruning", "keep": 0.5})]) is None


def test_mistakes(tmp_path):
    call = (None, tmp_path, SMALL, "ulx3s_85f", Watcher(), print)
    assert "bench: got row 'w4a9', must be one of the table's; did you mean 'w4a8'?" in raised(UsageError, bench, "quantization", ["w4a9"], *call)
    assert "bench: got table 'quantisation', must be a known one; did you mean 'quantization'?" in raised(UsageError, bench, "quantisation", [], *call)
    text = raised(RecipeError, bench, "quantization", [], None, tmp_path, ["quantization.weights=9"], "ulx3s_85f", Watcher(), print)
    assert "weights: got 9, must be an integer 1 .. 8" in text and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_rows_that_are_done_are_not_run_again(tmp_path):
    """Whole rows, in RTL; the second call changes nothing."""
    names = []
    watcher = Watcher(ended=lambda stage, seconds, text: names.append((stage.name, seconds is not None)))
    first = bench("quantization", ["w1a8", "ternarybert"], None, tmp_path, SMALL, "ulx3s_85f", watcher, print)
    assert first.count(" | 0 of ") == 2 and sum(ran for _, ran in names) == 12
    names.clear()
    assert bench("quantization", ["w1a8", "ternarybert"], None, tmp_path, SMALL, "ulx3s_85f", watcher, print) == first
    assert not any(ran for _, ran in names)
    assert Recipe.load(tmp_path / "w1a8" / "recipe.yaml").name == "w1a8"
