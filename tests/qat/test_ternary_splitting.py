# SPDX-License-Identifier: Apache-2.0
"""A ternary network becomes a binary one of twice the width that computes the same; what is refused."""

from types import SimpleNamespace

import pytest
import torch
from random_models import padded, random_float, random_model, random_sentences

from bitloom.qat.checkpoint import save_pretrained
from bitloom.qat.compress import Compression
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.methods import MethodError, method_of, read
from bitloom.qat.methods.ternary_splitting import halves
from bitloom.qat.net.model import FloatModel, QuantModel
from bitloom.qat.networks import ModelConfig

HALF = ModelConfig(layers=1, hidden=16, heads=1, intermediate=24, max_tokens=16, dropout=0.0)
TERNARY = QuantConfig(weights=2, ternary="twn", overrides={"logits": {"weights": 8, "ternary": "none"}})
BINARY = QuantConfig(weights=1, overrides={"logits": {"weights": 8}})


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ternary") / "qat"
    model = random_model(HALF, TERNARY, 5)
    save_pretrained(model, folder)
    return model, folder


def halves_of(folder, **changes):
    return read({"method": "ternary_splitting", "ternary": str(folder)} | changes)


def splitted(folder) -> FloatModel:
    compression = Compression([halves_of(folder)], BINARY, TrainConfig(float_epochs=0))
    model = FloatModel.from_hugging_face(random_float(HALF, 1), 16)
    assert compression.check(model.shape).hidden == 32
    return compression.start(model).eval()


def answers(model, plain: bool) -> torch.Tensor:
    """With activations in float, and weights in float too or as they are quantized."""
    for grid in model.grids().values():
        grid.observer = grid.observer if plain else lambda x: x
    with torch.no_grad():
        return model(**padded(*random_sentences(3, 8, 16))).logits


def test_the_binary_network_computes_what_the_ternary_one_does(source):
    """Weights as they are quantized, activations in float: all that is between the two is the rounding of scales to 16 bits."""
    ternary, folder = source
    binary = QuantModel.from_float(splitted(folder), BINARY, 16).eval()
    assert (binary.shape.hidden, binary.shape.layers[0].heads, binary.shape.layers[0].intermediate) == (32, 2, 48)
    grids = [layer.weight_grid for layer in (binary.network.layer[0].query, binary.network.layer[0].ffn.down, binary.network.pooler.pre)]
    assert [grid.bits for grid in grids] == [1, 1, 1]
    want, got = answers(ternary, False), answers(binary, False)
    assert want.std() > 0.05 and torch.allclose(got, want, atol=1e-3)


def test_the_float_network_computes_what_the_latent_weights_do(source):
    ternary, folder = source
    latent = FloatModel.from_hugging_face(random_float(HALF, 5), 16).eval()  # those that the ternary model was made of
    assert torch.allclose(answers(splitted(folder), True), answers(latent, True), atol=1e-5)
    assert not torch.allclose(answers(latent, True), answers(ternary, False), atol=1e-2)


def test_halves_add_up(source):
    layer = source[0].network.layer[0].ffn.up
    codes, scale = layer.weight_grid.codes(layer.weight), layer.weight_grid.scale().float()
    first, second = (half.detach() for half in halves(layer.weight, codes, scale))
    assert torch.allclose(first + second, layer.weight) and torch.equal(first.sign() + second.sign(), 2 * codes)
    assert torch.allclose(torch.cat([first, second], 1).abs().mean(1), scale / 2, rtol=1e-4)


def test_the_copies_of_a_channel_differ(source):
    """Else training would never tell them apart."""
    weight = splitted(source[1]).network.layer[0].query.weight
    assert not torch.equal(weight[:16], weight[16:]) and torch.allclose(weight[:16].sum(1), weight[16:].sum(1), atol=1e-5)


def test_other_tokens_are_refused(source):
    """Without the run's tokenizer beside it, by their number."""
    method = method_of("ternary_splitting")(halves_of(source[1]), "compression.0")
    method.prepare(SimpleNamespace(tokenizer=range(50)))
    with pytest.raises(MethodError, match="compression.0.ternary: got a network that reads other tokens, must read the recipe's; set data.vocab: .*/tokenizer"):
        method.prepare(SimpleNamespace(tokenizer=range(49)))


@pytest.mark.parametrize(
    ("model", "quant", "training", "text"),
    [
        ({}, BINARY, {"float_epochs": 1}, "compression.0: got training.float_epochs 1, must be 0: the binary network begins where the ternary one ended; set"),
        ({}, QuantConfig(weights=2), {"float_epochs": 0}, "compression.0: got 'layer.0.query' with weights of 2 bits, must have 1 bit"),
        ({"hidden": 32}, BINARY, {"float_epochs": 0}, "compression.0.ternary: got a network of hidden 16, must be as wide as the recipe's model, of 32"),
        ({"layers": 2}, BINARY, {"float_epochs": 0}, "compression.0.ternary: got a network of layers"),
    ],
)
def test_what_is_refused(source, model, quant, training, text):
    entry, training = halves_of(source[1]), TrainConfig(**training)
    shape = FloatModel.from_hugging_face(random_float(HALF.model_copy(update=model), 1), 16).shape
    with pytest.raises(MethodError) as error:
        Compression([entry], quant, training).check(shape)
    assert str(error.value).startswith(text)
