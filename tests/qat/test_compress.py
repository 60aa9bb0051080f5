# SPDX-License-Identifier: Apache-2.0
"""Compression: a recipe's methods at work, their order, what each mistake is told; a method is one file."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from compressed import MODEL, STEPS, TRAINING, assert_same, compress, crashed, integers_agree, weights

from bitloom.cli import main
from bitloom.qat.checkpoint import load_plain
from bitloom.qat.compress import Compression
from bitloom.qat.config import QuantConfig
from bitloom.qat.methods import METHODS, MethodError, method_of, read
from bitloom.qat.methods.masks import Gradual
from bitloom.qat.methods.method import Step
from bitloom.qat.net.untrained import untrained_shape
from bitloom.qat.train import TrainError
from bitloom.recipe import Recipe, RecipeError

pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")
RECIPE = """\
name: small
data: {name: reviews}
hardware: {target_cycles: 5000}
compression:
"""
TOY = {"method": "toy", "limit": 0.1}


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(METHODS, "toy", "toy_method")


def message(entry: str) -> str:
    with pytest.raises(RecipeError) as error:
        Recipe.parse(RECIPE + f"  - {entry}\n", "r.yaml")
    return str(error.value)


def checked(entries: list[dict], quant: QuantConfig | None = None, model=MODEL, **training) -> str:
    """The error that a list of methods gets before any training."""
    with pytest.raises(MethodError) as error:
        settings = quant or QuantConfig(), TRAINING.model_copy(update=training)
        Compression(tuple(map(read, entries)), *settings).check(untrained_shape(model, labels=2, vocabulary=250))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_method_is_one_short_file(toy, tmp_path):
    """All its hooks are called, in both phases; the network is its shape, in integers too; a crash changes nothing."""
    assert len((Path(__file__).parents[1] / "toy_method.py").read_text().splitlines()) < 60
    compress(tmp_path / "whole", [TOY])
    plain, graph = load_plain(tmp_path / "whole" / "float"), integers_agree(tmp_path / "whole")
    assert [layer.intermediate for layer in plain.shape.layers] == [16, 16]
    assert graph.params["layer.1.ffn.down.acc.weight"].shape == (16, 16)
    assert all(value.abs().max() <= 0.1 for name, value in weights(tmp_path / "whole").items() if "ffn.up.weight" in name and "quant" not in name)
    with pytest.raises(TrainError, match=r"got a training with other settings \(compression\), must be the same to resume"):
        compress(tmp_path / "whole", [])
    crashed(tmp_path / "out", [TOY], "float", STEPS // 2 + 2)
    compress(tmp_path / "out", [TOY])
    assert_same(tmp_path / "out", tmp_path / "whole")
    settings = tmp_path / "whole" / "settings.json"
    settings.write_text(json.dumps({key: value for key, value in json.loads(settings.read_text()).items() if key != "compression"}))
    with pytest.raises(TrainError, match=r"other settings \(compression\)"):  # of a run without any
        compress(tmp_path / "whole", [TOY])


def test_a_recipe_names_methods_and_survives_its_own_dump(toy):
    recipe = Recipe.parse(RECIPE + "  - {method: toy}\n  - {method: magnitude_pruning, keep: 0.5}\n", "r.yaml")
    assert [entry.method for entry in recipe.compression] == ["toy", "magnitude_pruning"] and recipe.compression[0].limit == 0.05
    assert Recipe.parse(recipe.dump(), "again") == recipe
    assert Recipe.parse(RECIPE.replace("compression:\n", ""), "r.yaml").compression == ()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_tells_its_source(name):
    method = method_of(name)
    assert method.Config.model_fields["method"].annotation.__args__ == (name,)
    module = Path(__file__).parents[2].joinpath(*METHODS[name].split(".")[1:]).with_suffix(".py")
    assert module.stem == name and method.__doc__


def test_every_method_stands_in_the_docs_with_a_recipe():
    """Which is read as it stands there, and names all that can be set."""
    rows = [
        line
        for line in (Path(__file__).parents[2] / "docs" / "compression.md").read_text().split("## Measured")[0].splitlines()
        if line.startswith("| `{method: ")
    ]
    entries = [(read(yaml.safe_load(re.match(r"\| `(.*?)` \|", row)[1])), row) for row in rows]
    assert [entry.method for entry, _ in entries] == list(METHODS)
    shared = {"scope", "layers", "phase", "begin", "end", "every", "rounds", "normalize"}  # told once, in the first row of their kind
    for entry, row in entries:
        assert not [key for key in type(entry).model_fields if f"`{key}`" not in row and key not in shared | {"method"}], entry.method


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{method: magnitud_pruning}", "method: got 'magnitud_pruning', must be a known method; did you mean 'magnitude_pruning'? Known: "),
        ("{keep: 0.5}", "got \"{'keep': 0.5}\", must be a mapping with a method; write e.g. {method: magnitude_pruning, keep: 0.5}"),
        ("{method: magnitude_pruning}", "keep: got nothing, must be given; add 'keep:'"),
        ("{method: magnitude_pruning, keep: 2}", "keep: got '2', must be at most 1; change it"),
        ("{method: magnitude_pruning, kep: 1}", "no setting 'kep'; did you mean 'keep'? Known: "),
        ("{method: magnitude_pruning, keep: 1, begin: 0.9}", "begin: got 0.9 with end 0.7, must be at most that; lower it"),
    ],
)
def test_each_mistake_of_an_entry_has_its_line(entry, expected):
    text = message(entry)
    assert text.startswith("r.yaml:5: compression.0") and "\n" not in text
    assert text.removeprefix("r.yaml:5: compression.0").removeprefix(": ").removeprefix(".").startswith(expected)


@pytest.mark.parametrize(
    ("entries", "kwargs", "expected"),
    [
        ([{"method": "magnitude_pruning", "keep": 0.5, "layers": "layr.*"}], {},
         "compression.0.layers: got 'layr.*', must match a layer; did you mean 'layer.1.key'? Known: "),
        ([{"method": "magnitude_pruning", "keep": 0.5}], {"float_epochs": 0.0},
         "compression.0.phase: got 'float' with no epochs of it, must be a phase that trains; set training.float_epochs, or phase: qat"),
        ([{"method": "magnitude_pruning", "keep": 0.5}], {"quant": QuantConfig(overrides={"layer.1.ffn.up": {"weights": 1}})},
         "compression.0.layers: got 'layer.1.ffn.up' with weights of 1 bit, must have a zero among its weights; give it 2 bits or more, or leave it out"),
        ([{"method": "magnitude_pruning", "keep": 0.5}], {"quant": QuantConfig(overrides={"layer.1.ffn.up": {"codebook": "kmeans"}})},
         "compression.0.layers: got 'layer.1.ffn.up' with a codebook, must have a zero among its values; set codebook_zero: kept there, or leave it out"),
        ([{"method": "magnitude_pruning", "keep": 0.5, "phase": "qat"}], {"quant": QuantConfig(codebook="kmeans", codebook_zero="kept", clusters="kept")},
         "compression.0.phase: got 'qat' for 'layer.0.query' with kept clusters, must be before they are found; set phase: float, or clusters: free there"),
        ([{"method": "magnitude_pruning", "keep": 0.5}, TOY], {},
         "compression.1: got 'toy' behind 'magnitude_pruning', must be in front of it: it makes the network that 'magnitude_pruning' is trained on; move it up"),
        ([TOY, TOY], {}, "compression.1: got a second 'toy', must be there once; remove one"),
        ([TOY], {"model": MODEL.model_copy(update={"intermediate": 31})},
         "compression.0: got a feed-forward of an odd width, must be even; change model.intermediate"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told_before_the_training(toy, entries, kwargs, expected):
    assert checked(entries, **kwargs).startswith(expected)


def test_a_mistake_ends_the_command_with_one_line(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(RECIPE + "  - {method: magnitude_pruning, keep: 0.5}\ntraining: {float_epochs: 0}\n")
    with pytest.raises(SystemExit) as end:
        main(["plan", str(tmp_path / "r.yaml")])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("bitloom: compression.0.phase: got 'float' with no epochs of it, must be a phase that trains")


def test_the_schedule_is_zhu_and_guptas():
    cfg = Gradual(method="", begin=0.25, end=0.75, every=10)
    done = {n: cfg.due(Step(number=n, total=100)) for n in range(101)}
    assert {n: d for n, d in done.items() if d is not None} == {
        25: 0.0,
        35: 1 - 0.8**3,
        45: 1 - 0.6**3,
        55: pytest.approx(1 - 0.4**3),
        65: pytest.approx(1 - 0.2**3),
        75: 1.0,
    }
    assert Gradual(method="", begin=0, end=0).due(Step(number=1, total=3)) == 1.0


@pytest.mark.parametrize(
    ("phase", "scope"),
    [("float", "layer"), *(pytest.param(*case, marks=pytest.mark.slow) for case in (("qat", "all"), ("float", "all"), ("qat", "layer")))],
)
def test_magnitude_pruning(tmp_path, phase, scope):
    """The share of zeros is the recipe's to one weight, in the float model, the quantized one and the integers; a crash changes nothing."""
    entries = [{"method": "magnitude_pruning", "keep": 0.3, "scope": scope, "phase": phase, "every": 3, "layers": "layer.*.ffn.*"}]
    compress(tmp_path / "whole", entries)
    graph, found = integers_agree(tmp_path / "whole"), weights(tmp_path / "whole")
    zeros = {name: value == 0 for name, value in found.items() if ".ffn." in name and name.endswith(("up.weight", "down.weight"))}
    assert len(zeros) == 8
    for one in ("float", "qat"):
        counts = [int((~mask).sum()) for name, mask in zeros.items() if name.startswith(one)]
        if (one, phase) == ("float", "qat"):
            assert min(counts) == 512
        else:
            assert sum(counts) == 4 * round(0.3 * 512) if scope == "layer" else sum(counts) == round(0.3 * 4 * 512)
            assert (len(set(counts)) == 1) == (scope == "layer")
    for name, mask in zeros.items():
        if name.startswith("qat"):
            codes = graph.params[f"{name.removeprefix('qat/network.').removesuffix('.weight')}.acc.weight"]
            assert not codes[mask.numpy()].any() and codes.any()
    if phase == "float":  # masks hold in the next phase: what is zero stays so, what is not moves
        before, after = (found[f"{one}/network.layer.0.ffn.up.weight"] for one in ("float", "qat"))
        assert torch.equal(before == 0, after == 0) and not torch.equal(before, after)
    assert all(value.all() for name, value in found.items() if name.endswith("query.weight"))  # not of these layers
    crashed(tmp_path / "out", entries, phase, 8)
    compress(tmp_path / "out", entries)
    assert_same(tmp_path / "out", tmp_path / "whole")
