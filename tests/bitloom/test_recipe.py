# SPDX-License-Identifier: Apache-2.0
"""Recipes: what they accept, and the exact line that each mistake gets."""

from pathlib import Path

import pytest

from bitloom.recipe import Recipe, RecipeError, find, shipped, title

GOOD = """\
name: small
model:
  layers: 1
  hidden: 16
  heads: 2
  intermediate: 32
data:
  name: reviews
quantization:
  weights: 4
  overrides:
    "layer.0.*": {weights: 2}
hardware:
  target_cycles: 5000
"""


def message(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as error:
        Recipe.parse(text, "r.yaml", list(overrides))
    return str(error.value)


def test_a_good_recipe_is_read_and_survives_its_own_dump():
    recipe = Recipe.parse(GOOD, "r.yaml")
    assert recipe.model.layers == 1 and recipe.quantization.overrides == {"layer.0.*": {"weights": 2}}
    assert recipe.verification.sentences == 32  # a default
    assert Recipe.parse(recipe.dump(), "again") == recipe


def test_set_overrides_a_key_that_is_there_one_that_is_not_and_a_whole_section():
    recipe = Recipe.parse(GOOD, "r.yaml", ["model.layers=3", "training.seed=7", "hardware={multipliers: 50}"])
    assert (recipe.model.layers, recipe.training.seed) == (3, 7)
    assert (recipe.hardware.multipliers, recipe.hardware.target_cycles) == (50, None)


def test_numbers_that_yaml_reads_as_text_are_taken_as_numbers():
    assert Recipe.parse(GOOD + "training: {float_learning_rate: 1e-3}\n", "r.yaml").training.float_learning_rate == 0.001


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "  layers: 1",
            "  layres: 1",
            "r.yaml:3: model: no key 'layres'; did you mean 'layers'? Known: layers, hidden, heads, intermediate, activation, max_tokens, "
            "head, checkpoint, dropout",
        ),
        (
            "hardware:",
            "hardwear:",
            "r.yaml:13: no section 'hardwear'; did you mean 'hardware'? Known: name, model, data, quantization, training, hardware, verification",
        ),
        (
            "  weights: 4",
            "  weights: 9",
            "r.yaml:10: quantization.weights: got 9, must be an integer 1 .. 8 (bits); change 'weights'",
        ),
        (
            "{weights: 2}",
            "{weights: 0}",
            "r.yaml:12: quantization.overrides['layer.0.*'].weights: got 0, must be an integer 1 .. 8 (bits); change 'weights'",
        ),
        (
            "  weights: 4",
            "  activations: 1",
            "r.yaml:10: quantization.activations: got 1, must be an integer 2 .. 8 (bits); change 'activations'",
        ),
        (
            "  heads: 2",
            "  heads: 3",
            "r.yaml:4: model.hidden: got 16 with 3 heads, must be divisible by the number of heads; use e.g. heads: 2",
        ),
        ("  layers: 1", "  layers: 0", "r.yaml:3: model.layers: got 0, must be at least 1; change it"),
        ("  layers: 1", "  layers: two", "r.yaml:3: model.layers: got 'two', must be an integer; change it"),
        (
            "  layers: 1",
            "  layers: 1000000000",
            "r.yaml:3: model.layers: got 1000000000, must be at most 256; change it",
        ),
        (
            "  target_cycles: 5000",
            "  target_cycles: '5000'",
            "r.yaml:14: hardware.target_cycles: got '5000', must be an integer; change it",
        ),
        (
            "  target_cycles: 5000",
            "  target_cycles: 5000\n  clock_mhz: .inf",
            "r.yaml:15: hardware.clock_mhz: got inf, must be a finite number; change it",
        ),
        (
            "  target_cycles: 5000",
            "  target_cycles: 5000\n  multipliers: 10",
            "r.yaml:13: hardware: got both of target_cycles and multipliers, must be exactly one; remove or add one",
        ),
        (
            "name: small",
            "name: a/b",
            "r.yaml:1: name: got 'a/b', must be letters, digits, '-', '_' and '.'; it names the run folder",
        ),
        ("name: small\n", "", "r.yaml: name: got nothing, must be given; add 'name:'"),
        (
            "  layers: 1",
            "  layers: 1\n  layers: 2",
            "r.yaml:4: got 'layers' twice (first at r.yaml:3), must be given once; remove one",
        ),
    ],
)
def test_each_mistake_has_its_line(old, new, expected):
    assert old in GOOD
    assert message(GOOD.replace(old, new, 1)) == expected


def test_several_mistakes_are_told_at_once():
    text = GOOD.replace("  layers: 1", "  layers: 0").replace("  weights: 4", "  weights: 12")
    assert [line.split(": ")[0] for line in message(text).splitlines()] == ["r.yaml:3", "r.yaml:10"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.layers", "--set: got 'model.layers', must be section.key=value; e.g. --set training.seed=1"),
        ("model.layers=0", "--set model.layers=0: model.layers: got 0, must be at least 1; change it"),
        (
            "training.float_learning_rate=.inf",
            "--set training.float_learning_rate=.inf: training.float_learning_rate: got inf, must be a finite number",
        ),
        ("training.seed=99999999999", "--set training.seed=99999999999: training.seed: got 99999999999, must be at most 4294967295"),
        ("data.labels=[a]", "--set data.labels=[a]: data.labels: got ['a'], must be a list of at least 2 items"),
        ("model=3", "--set model=3: model: got 3, must be a mapping of keys; change it"),
        ("name.x=1", "--set name.x: got a path through 'name', must lead through sections; check the dots"),
        ("training.sed=1", "--set training.sed=1: training: no key 'sed'; did you mean 'seed'?"),
    ],
)
def test_mistakes_on_the_command_line_name_the_option(override, expected):
    assert message(GOOD, override).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: [1",
            "r.yaml:1: got text that is not YAML (expected ',' or ']', but got '<stream end>'), must be a mapping; mend it",
        ),
        (
            "a: &x {b: *x}",
            "r.yaml: got an alias inside its own anchor, must be a tree; write it out",
        ),
        ("just words", "r.yaml: got str, must be a mapping of sections; see README.md, Recipes"),
        ("", "r.yaml: got an empty file, must be a mapping of sections; see README.md, Recipes"),
    ],
)
def test_files_that_are_no_recipe(text, expected):
    assert message(text) == expected


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError) as error:
        Recipe.load(tmp_path / "no.yaml")
    assert str(error.value) == f"{tmp_path}/no.yaml: got no such file or directory, must be a readable YAML file; check the path"


def test_recipes_are_found_by_name_where_no_such_file_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {"quickstart", "sst2-tiny"} <= shipped().keys()
    (tmp_path / "sst2-tiny").mkdir()  # a folder is no recipe
    for name, path in shipped().items():
        assert find(name) == path and Recipe.load(path).name == name
        assert len(title(path)) > 20 and "SPDX" not in title(path)
    (tmp_path / "quickstart").write_text("mine")
    assert find("quickstart") == Path("quickstart")
    assert find("recipes/none.yaml") == Path("recipes/none.yaml")  # which load then refuses by its path
