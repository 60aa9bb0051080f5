# SPDX-License-Identifier: Apache-2.0
"""Recipes: what they accept, and the exact line that each mistake gets."""

import os
import time
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
            "r.yaml:3: model: no key 'layres'; did you mean 'layers'? Known: network, max_tokens, head, dropout, layers, hidden, "
            "heads, intermediate, activation, attention, window, checkpoint",
        ),
        (
            "hardware:",
            "hardwear:",
            "r.yaml:13: no section 'hardwear'; did you mean 'hardware'? Known: name, model, data, quantization, training, compression, hardware, search, verification",
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
            "r.yaml:1: name: got 'a/b', must be letters, digits, '-', '_' and '.', at most 80; it names the run folder",
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
            "r.yaml:1: got an alias inside its own anchor, must be a tree; write it out",
        ),
        ("just words", "r.yaml: got str, must be a mapping of sections; see README.md, Recipes"),
        ("", "r.yaml: got an empty file, must be a mapping of sections; see README.md, Recipes"),
    ],
)
def test_files_that_are_no_recipe(text, expected):
    assert message(text) == expected


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
MERGED = "a0: &a0 {b: x}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 10))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 400))
NUMBER, DEEP = "must be of at most 15; change it", "got text that is not YAML (more than 16 levels), must be a mapping; mend it"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (f"training: {{seed: {'9' * 400}}}", f"r.yaml:15: got a number of 400 characters, {NUMBER}"),
        (f"training:\n  seed: {'9' * 5000}", f"r.yaml:16: got a number of 5000 characters, {NUMBER}"),  # more than Python reads
        (f"training: {{seed: 0x{'f' * 9000}}}", f"r.yaml:15: got a number of 9002 characters, {NUMBER}"),
        ("training: {max_steps: 12345678901234567890}", f"r.yaml:15: got a number of 20 characters, {NUMBER}"),
        ("x: 2020-99-99", "r.yaml:15: got text that is not YAML ('2020-99-99' is written as timestamp and is none), must be a mapping; mend it"),
        ("x: !!bool maybe", "r.yaml:15: got text that is not YAML ('maybe' is written as bool and is none), must be a mapping; mend it"),
        ("x: " + "[" * 2000, f"r.yaml:15: {DEEP}"),
        ("x:\n  " + "- " * 2000 + "1", f"r.yaml:16: {DEEP}"),
        ("x: " + "{a: " * 2000 + "}" * 2000, f"r.yaml:15: {DEEP}"),
        (LAUGHS, "r.yaml:15: got more than 20,000 values with its aliases written out, must be a small tree; write it plainly"),
        (MERGED, "r.yaml:15: got more than 20,000 values with its aliases written out, must be a small tree; write it plainly"),
        (CHAIN, "r.yaml:15: got more than 16 levels with its aliases written out, must be a small tree; write it plainly"),
        ('x: {b: "a\\0b"}', "r.yaml:15: got a text with the character \\x00, must be without control characters; remove it"),
        ('"\\e[31m": 1', "r.yaml:15: got a text with the character \\x1b, must be without control characters; remove it"),
        ('x: "\\ud800"', "r.yaml:15: got a text with the character \\ud800, must be without control characters; remove it"),
        ("3: 1", "r.yaml:15: got the key '3', must be a text; quote it"),
        ("on: 1", "r.yaml:15: got the key 'on', must be a text; quote it"),
        ("? [a, b]\n: 1", "r.yaml:15: got the key a list or mapping, must be a text; quote it"),
        ("training: {distill: {alpha: 1, alpha: 1}}", "r.yaml:15: got 'alpha' twice (first at r.yaml:15), must be given once; remove one"),
        ("x: !!python/object:os.system 1", "r.yaml:15: got text that is not YAML (could not determine a constructor for the tag 'tag:yaml.org,2002:py"),
    ],
)  # fmt: skip
def test_what_costs_time_or_breaks_a_reader_is_refused_at_once(more, expected):
    began = time.monotonic()
    assert message(f"{GOOD}{more}\n").startswith(expected)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("small", "a" * 300, f"r.yaml:1: name: got '{'a' * 79}... (302 characters), must be letters, digits, '-', '_' and '.', at most 80; it names the run folder"),
        ("reviews", "reviews\n  vocab: 123456789012345", "r.yaml:9: data.vocab: got 123456789012345, must be 1 .. 1048576; change it"),
        ("5000", "5000\n  clock_mhz: 1e300", "r.yaml:15: hardware.clock_mhz: got '1e300', must be at most 100000; change it"),
        ("5000", "5000\ntraining:\n  batch_size: 123456789", "r.yaml:16: training.batch_size: got 123456789, must be at most 65536; change it"),
        ("5000", "5000\ntraining:\n  qat_epochs: 1e300", "r.yaml:16: training.qat_epochs: got '1e300', must be at most 100000; change it"),
        ("small", f"[{', '.join('a' * 9000)}]", "r.yaml:1: name: got ['a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a',... (45,000 characters), must be"),
    ],
)  # fmt: skip
def test_values_out_of_all_proportion_are_told_in_one_short_line(old, new, expected):
    assert message(GOOD.replace(old, new, 1)).startswith(expected)


def test_many_mistakes_are_cut(tmp_path):
    told = message(GOOD + "".join(f"k{i}: 1\n" for i in range(500))).splitlines()
    assert len(told) == 21 and told[-1] == "and 480 more mistakes"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (f"training.seed={'9' * 400}", f"--set training.seed: got a number of 400 characters, {NUMBER}"),
        ("x=" + "[" * 2000, "--set x: got text that is not YAML (more than 16 levels), must be a YAML value; quote it"),
        ("x.y=[1", "--set x.y: got text that is not YAML (expected ',' or ']', but got '<stream end>'), must be a YAML value; quote it"),
        ("quantization.overrides" + ".a" * 2000 + "=1", "--set: got 'quantization.overrides.a.a.a"),
        ("model.checkpoint=a\0b", "--set model.checkpoint: got text that is not YAML (unacceptable character #x0000: "),
    ],
)
def test_the_command_line_is_held_to_the_same(override, expected):
    assert message(GOOD, override).startswith(expected)


def test_files_that_cannot_be_a_recipe_are_refused_by_what_they_are(tmp_path):
    """None of them is read: a FIFO would wait for ever, a large file fill the memory."""
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "fifo.yaml")
    with open(tmp_path / "large.yaml", "wb") as large:
        large.truncate(100 << 20)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    for name, got in (("folder", "a folder"), ("fifo", "no regular file"), ("large", "more than 128 KiB"), ("latin", "not UTF-8 text"), ("a\0b", "a path with a NUL"),
                      ("n" * 300, "file name too long")):  # fmt: skip
        with pytest.raises(RecipeError) as error:
            Recipe.load(tmp_path / f"{name}.yaml")
        assert str(error.value) == f"{tmp_path}/{name}.yaml: got {got}, must be a readable YAML file; check the path"
    assert Recipe.load(tmp_path / "bom.yaml").name == "small"
    with pytest.raises(RecipeError, match="recipe: got 'nnn.* must be a YAML file or one of bitloom's own"):
        find("n" * 300)


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


@pytest.mark.parametrize("name", sorted(name for name, path in shipped().items() if path.parent.name in ("compression", "students")))
def test_each_recipe_of_a_compression_method_fits_its_network(name, tmp_path, monkeypatch):
    """As far as it is known before training; a teacher and a checkpoint of other runs are stood in for."""
    from transformers import BertConfig

    from bitloom.qat.compress import Compression
    from bitloom.qat.net.untrained import untrained_shape
    from bitloom.qat.networks import ModelConfig

    monkeypatch.chdir(tmp_path)
    teacher = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    for folder in ("runs/minilm-sst2/train/float", "sentence-transformers/all-MiniLM-L6-v2"):
        teacher.save_pretrained(tmp_path / folder)
    recipe = Recipe.load(find(name))
    model = ModelConfig(layers=6, hidden=384, heads=12, intermediate=1536) if recipe.model.checkpoint else recipe.model
    shape = untrained_shape(model, labels=2, vocabulary=1000)
    Compression(recipe.compression, recipe.quantization, recipe.training).check(shape)
    assert recipe.compression and recipe.training.qat_epochs


def test_each_compression_method_has_a_recipe():
    from bitloom.qat.methods import METHODS

    used = {path.read_text() for path in shipped().values()}
    assert not [method for method in METHODS if not any(f"method: {method}," in text for text in used)]
