# SPDX-License-Identifier: Apache-2.0
"""Networks of cells: what a cell means, the integers of its forward pass, its size, training, what each mistake is told."""

import numpy as np
import pytest
import torch
from compressed import compress, integers_agree
from random_models import VOCABULARY, padded, random_sentences

from bitloom.hw import golden
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.qat.calibrate import calibrate
from bitloom.qat.cells import OPERATIONS, edges, tidy, told
from bitloom.qat.checkpoint import from_pretrained, save_pretrained
from bitloom.qat.config import QuantConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.net.kinds import shape_of
from bitloom.qat.net.model import FloatModel, QuantModel
from bitloom.qat.networks import CellsConfig
from bitloom.recipe import Recipe, RecipeError

pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning", "ignore::bitloom.qat.config.CalibrationWarning")
EVERY = [["conv3"], ["skip", "dilated3"], ["max3", "mean3", "conv5"], ["none", "conv7", "dilated5", "dilated7"]]


def config(cell=(("conv3",), ("skip", "dilated3")), **settings) -> CellsConfig:
    own = {"network": "cells", "hidden": 12, "cell": [list(row) for row in cell], "max_tokens": 16, "dropout": 0.0}
    return CellsConfig(**own | settings)


def random_model(model: CellsConfig, quant: QuantConfig, seed: int = 0) -> QuantModel:
    """Calibrated, of a float network with weights far from their first values."""
    torch.manual_seed(seed)
    plain = FloatModel(shape_of(model, model.head, 2, VOCABULARY))
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    quantized = QuantModel.from_float(plain, quant, model.max_tokens)
    calibrate(quantized, [padded(*random_sentences(seed, 8, model.max_tokens))])
    return quantized.eval()


def test_edges_that_do_nothing_are_left_out():
    """A node that nothing reaches, one that nothing needs, and what hangs on them."""
    cell = [["none"], ["conv3", "conv5"], ["max3", "none", "none"], ["skip", "conv7", "dilated3", "none"]]
    assert edges(cell) == {2: {0: "conv3"}, 4: {0: "skip", 2: "dilated3"}}
    assert tidy(cell) == (("none",), ("conv3", "none"), ("none",) * 3, ("skip", "none", "dilated3", "none"))
    assert edges(tidy(cell)) == edges(cell) and edges([["conv3"], ["none", "none"]]) == {}
    assert told(cell) == "2 = conv3(input); 4 = skip(input) + dilated3(2)"


CASES = {
    "every operation, two cells": (config(EVERY, cells=2), QuantConfig(activations=6)),
    "a chain, means, gelu": (config([["conv5"], ["none", "dilated3"]], pooling="mean", activation="gelu"), QuantConfig(weights=2, residual="auto")),
    "no convolution": (config([["skip"]]), QuantConfig()),
    "the same twice": (config([["skip"], ["skip", "skip"], ["none", "none", "conv3"]]), QuantConfig()),
    "logits of tokens": (config(head="token"), QuantConfig(weights=1, activations=4)),
    "learned scales": (config(EVERY[:3]), QuantConfig(activation_scales="learned")),
}


@pytest.mark.parametrize("name", CASES)
def test_forward_pass_golden_and_onnx_agree(name):
    """On every tensor, of sentences of one token, of the most, and of others in one padded batch."""
    model, quant = CASES[name]
    exact = in_float64(random_model(model, quant))
    graph, (ids, segments) = to_graph(exact, "cells"), random_sentences(3, 9, model.max_tokens)
    want, got = golden.run(graph, ids, segments), forward_codes(exact, ids, segments)
    assert set(got) == set(want) and not [tensor for tensor in want if not np.array_equal(got[tensor], want[tensor])]
    referee = OnnxReferee(to_onnx(graph)).run(ids, segments)
    assert len(referee) >= 2 and not [tensor for tensor in referee if not np.array_equal(referee[tensor], want[tensor])]


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_the_networks_and_a_checkpoint_is_the_same_network(name, tmp_path):
    model = random_model(*CASES[name])
    count = sum(p.numel() for own, p in model.network.named_parameters() if not own.endswith("log_scale"))
    assert model.shape.parameters() == count and 0 <= model.shape.layer_parameters() < count
    save_pretrained(model, tmp_path)
    again = from_pretrained(tmp_path)
    assert again.shape == model.shape and to_graph(again, "x").hash == to_graph(model, "x").hash


@pytest.mark.slow
def test_training_and_its_integers(tmp_path):
    compress(tmp_path / "run", [], model=config(EVERY, cells=2))
    integers_agree(tmp_path / "run")


RECIPE = "name: r\nmodel: {network: cells, %s}\ndata: {name: reviews}\nhardware: {target_cycles: 5000}\n"
WRONG = {
    "cell: [[conv4]]": "r.yaml:2: model.cell: got 'conv4', must be an operation; did you mean 'conv7'?",
    "cell: [[conv3], [skip]]": "r.yaml:2: model.cell: got 1 operations of node 2, must be 2: one from each earlier node, the cell's input first; write 'none'",
    "cell: [[conv3], [none, none]]": "r.yaml:2: model.cell: got a cell whose last node reads nothing of its input, must be reached by edges that are not",
    "cell: []": "r.yaml:2: model.cell: got '[]', must be a list of 1 to 8 lists of operations; write e.g. [[conv3], [skip, conv3]]",
    "cell: [conv3]": "r.yaml:2: model.cell: got \"['conv3']\", must be a list of 1 to 8 lists of operations",
    "cell: [[3]]": "r.yaml:2: model.cell: got '3', must be an operation; ",
    "cell: [[dilated7]], max_tokens: 6": "r.yaml:2: model.cell: got a kernel of 7 with a dilation of 2, which reads tokens up to 6 away, must be less than "
    "max_tokens 6; lower it, or raise model.max_tokens",
    "kernel: 3": "r.yaml:2: model: no key 'kernel'; Known: network",
    "cells: 0": "r.yaml:2: model.cells: got 0, must be at least 1; change it",
}


@pytest.mark.parametrize("model", WRONG)
def test_what_a_wrong_model_is_told(model):
    with pytest.raises(RecipeError) as error:
        Recipe.parse(RECIPE % model, "r.yaml")
    assert str(error.value).startswith(WRONG[model]) and "\n" not in str(error.value)


def test_a_recipe_is_written_and_read_back():
    recipe = Recipe.parse(RECIPE % "cell: [[conv3], [skip, none]], cells: 3", "r.yaml")
    assert isinstance(recipe.model, CellsConfig) and Recipe.parse(recipe.dump(), "again") == recipe
    assert set(OPERATIONS) == {"conv3", "conv5", "conv7", "dilated3", "dilated5", "dilated7", "max3", "mean3", "skip", "none"}
