# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks: their size, the integers of their forward pass, training and resume, compression, what each mistake is told."""

import numpy as np
import pytest
import torch
from compressed import assert_same, checked, compress, crashed, integers_agree
from random_models import VOCABULARY, padded, random_sentences
from torch.nn import functional as TF

from bitloom.hw import golden
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.hw.settings import ConfigError
from bitloom.qat.calibrate import calibrate
from bitloom.qat.checkpoint import from_pretrained, load_plain, save_pretrained
from bitloom.qat.config import QuantConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.memory import need
from bitloom.qat.methods import METHODS, method_of
from bitloom.qat.net.convolution import WindowMax, WindowMean
from bitloom.qat.net.kinds import shape_of
from bitloom.qat.net.model import FloatModel, QuantModel
from bitloom.qat.networks import CnnConfig, HourglassConfig, HybridConfig, NetworkConfig
from bitloom.qat.quantizers import unseen
from bitloom.recipe import Recipe, RecipeError

pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning", "ignore::bitloom.qat.config.CalibrationWarning")


def config(**settings) -> CnnConfig:
    return CnnConfig(**{"network": "cnn", "hidden": 16, "kernels": [2, 3], "filters": 8, "max_tokens": 16, "dropout": 0.0} | settings)


def hybrid(**settings) -> HybridConfig:
    own = {"network": "hybrid", "hidden": 16, "dilations": [1, 3], "heads": 2, "intermediate": 24, "max_tokens": 16, "dropout": 0.0}
    return HybridConfig(**own | settings)


def hourglass(**settings) -> HourglassConfig:
    own = {"network": "hourglass", "hidden": 16, "middle": 1, "heads": 2, "intermediate": 24, "max_tokens": 16, "dropout": 0.0}
    return HourglassConfig(**own | settings)


def shape(model: NetworkConfig, head: str = "sequence", labels: int = 2):
    return shape_of(model, head, labels, VOCABULARY)


def random_model(model: NetworkConfig, quant: QuantConfig, seed: int = 0) -> tuple[FloatModel, QuantModel]:
    """A float network with weights far from their first values, and the calibrated one of it."""
    torch.manual_seed(seed)
    plain = FloatModel(shape(model, model.head))
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    quantized = QuantModel.from_float(plain, quant, model.max_tokens)
    calibrate(quantized, [padded(*random_sentences(seed, 8, model.max_tokens))])
    return plain.eval(), quantized.eval()


CASES = {
    "kernels side by side": (config(kernels=[3, 4, 5]), QuantConfig()),
    "means, gelu": (config(pooling="mean", activation="gelu"), QuantConfig(weights=2, activations=6)),
    "a stack": (config(dilations=[1, 2, 5], kernels=[]), QuantConfig(weights=1)),
    "both, means": (config(dilations=[2], kernel=2, pooling="mean"), QuantConfig(weights=8, residual="auto")),
    "logits of tokens": (config(dilations=[1], head="token"), QuantConfig(activations=4)),
    "the longest reach": (config(dilations=[15], kernels=[31]), QuantConfig()),
    "learned scales, a codebook": (config(dilations=[1]), QuantConfig(activation_scales="learned", codebook="kmeans")),
    "attention above": (hybrid(layers=2, pooling="mean"), QuantConfig()),
    "attention above, tokens": (hybrid(kernel=2, head="token"), QuantConfig(weights=2, residual="auto")),
    "attention above, first token": (hybrid(activation="relu"), QuantConfig(activation_scales="learned")),
    "one place in three": (config(stride=3), QuantConfig()),
    "one place in two, means": (config(stride=2, pooling="mean", dilations=[1]), QuantConfig(weights=2)),
    "attention beside": (hybrid(dilations=[], beside=[1, 4], layers=2), QuantConfig(activations=6)),
    "an hourglass": (hourglass(above=1, pooling="mean"), QuantConfig()),
    "an hourglass that stays narrow": (hourglass(middle=2, stride=3, down="max", pooling="first"), QuantConfig(activation_scales="learned")),
    "an hourglass, tokens": (hourglass(layers=0, stride=4, head="token"), QuantConfig(weights=2, residual="auto")),
    "pooled embeddings": (config(kernels=[], pooling="mean"), QuantConfig()),
    "other bits of one layer": (
        config(dilations=[1, 1]),
        QuantConfig(overrides={"layer.0.*": {"weights": 2, "activations": 5}, "branch.*": {"activations": 6}}),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_forward_pass_golden_and_onnx_agree(name):
    """On every tensor, of sentences of one token, of the most, and of others in one padded batch."""
    model, quant = CASES[name]
    exact = in_float64(random_model(model, quant)[1])
    graph, (ids, segments) = to_graph(exact, "cnn"), random_sentences(3, 9, model.max_tokens)
    want, got = golden.run(graph, ids, segments), forward_codes(exact, ids, segments)
    assert set(got) == set(want) and not [tensor for tensor in want if not np.array_equal(got[tensor], want[tensor])]
    referee = OnnxReferee(to_onnx(graph)).run(ids, segments)
    assert len(referee) >= 2 and not [tensor for tensor in referee if not np.array_equal(referee[tensor], want[tensor])]


def test_a_convolution_is_torchs():
    """In float: window and Linear of a sentence, padded or not, are conv1d with zeros beyond its ends."""
    model, _ = random_model(config(kernels=[4], pooling="max"), QuantConfig())
    (ids, segments), network = random_sentences(1, 6, 16), model.network
    seen = {}
    network.embeddings.norm.register_forward_hook(lambda module, args, y: seen.__setitem__("x", y))
    network.branch[0].pool.register_forward_hook(lambda module, args, y: seen.__setitem__("pooled", y))
    with torch.no_grad():
        model(**padded(ids, segments))
        layer = network.branch[0].convolution.conv
        for row, own in enumerate(ids):
            x = TF.pad(seen["x"][row, : len(own)].T, (1, 2))
            y = TF.conv1d(x[None], layer.weight.view(8, 16, 4), layer.bias).relu()
            assert torch.allclose(y.amax(-1)[0], seen["pooled"][row], atol=1e-5)


def test_pooled_windows_are_torchs():
    """In float, of sentences that are padded: what is not there does not count."""
    (ids, _), x = random_sentences(1, 6, 16), torch.randn(6, 16, 3)
    real = torch.arange(16) < torch.tensor([len(own) for own in ids])[:, None]
    for stride, made, pool in ((2, WindowMax(2, 2), TF.max_pool1d), (3, WindowMean(3, 3), TF.avg_pool1d)):
        if isinstance(made, WindowMean):
            made.observer = unseen
        got = made(x, real[:, None, None, :])
        for row, own in enumerate(ids):
            want = pool(x[row, : len(own)].T[None], stride, ceil_mode=True)[0].T
            assert torch.allclose(got[row, : len(want)], want, atol=1e-6)


def test_the_means_gradient_is_the_smooth_means():
    plain, quantized = random_model(config(pooling="mean", kernels=[]), QuantConfig(activations=8))
    batch, grads = padded(*random_sentences(2, 4, 16)), []
    for model in (plain, quantized):
        model.train()
        model(**batch, labels=torch.tensor([0, 1, 1, 0])).loss.backward()
        grads.append(model.network.embeddings.norm.weight.grad)
    assert TF.cosine_similarity(*grads, dim=0) > 0.95


SIZES = [
    config(),
    config(dilations=[1, 2], kernels=[]),
    config(kernels=[], head="token"),
    config(dilations=[3], kernel=5),
    hybrid(layers=2),
    hybrid(head="token"),
    hybrid(dilations=[], beside=[2]),
    hourglass(dropout=0.1),
    hourglass(above=1, dropout=0.1),
    hourglass(head="token", layers=2, dropout=0.1),
]


@pytest.mark.parametrize("model", SIZES)
def test_parameters_are_the_networks_and_no_more_memory_is_asked_for_than_it_takes(model):
    network, kept = random_model(model, QuantConfig())[1], {}
    count = sum(p.numel() for name, p in network.named_parameters() if not name.endswith("log_scale"))
    own = shape(model, model.head)
    assert own.parameters() == count and 0 <= own.layer_parameters() < count
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network.train()(input_ids=torch.randint(0, VOCABULARY, (8, 16)))
    assert need(own, 8) - need(own) - 12 * own.layer_parameters() <= 1.1 * sum(kept.values())  # without dropout, encoders' layers keep a little less


@pytest.mark.parametrize("settings", [config(dilations=[1]), config(stride=2), hybrid(), hybrid(beside=[3]), hourglass(above=0)])
def test_a_checkpoint_is_the_same_network(settings, tmp_path):
    model = random_model(settings, QuantConfig())[1]
    save_pretrained(model, tmp_path)
    again = from_pretrained(tmp_path)
    assert again.shape == model.shape and to_graph(again, "x").hash == to_graph(model, "x").hash


@pytest.mark.slow
def test_training_with_a_teacher_and_resume(tmp_path):
    """Both phases, the logits of another run's float model; a crash changes nothing."""
    model, teacher = config(dilations=[1], dropout=0.1), [{"method": "logits", "teacher": str(tmp_path / "teacher" / "float")}]
    compress(tmp_path / "teacher", [], model=model)
    compress(tmp_path / "whole", teacher, model=model)
    integers_agree(tmp_path / "whole")
    for phase in ("float", "qat"):
        crashed(tmp_path / phase, teacher, phase, 7, model=model)
        compress(tmp_path / phase, teacher, model=model)
        assert load_plain(tmp_path / phase / "float").shape == load_plain(tmp_path / "whole" / "float").shape
        assert_same(tmp_path / phase, tmp_path / "whole")


@pytest.mark.parametrize(
    "model",
    [config(dilations=[1]), *(pytest.param(own, marks=pytest.mark.slow) for own in (hybrid(), hybrid(beside=[1]), hourglass()))],
    ids=lambda model: model.network,
)
def test_training_and_its_integers(model, tmp_path):
    compress(tmp_path / "run", [], model=model)
    integers_agree(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("entry", [{"method": "magnitude_pruning", "keep": 0.5, "layers": "*conv"}, {"method": "augmentation"}])
def test_methods_that_work_on_any_network(entry, tmp_path):
    compress(tmp_path / "run", [entry], model=config(dilations=[1]))
    graph = integers_agree(tmp_path / "run")
    if "keep" in entry:
        assert np.mean(graph.params["layer.0.convolution.conv.acc.weight"] == 0) >= 0.5


ANY = {"augmentation", "pretrained_embeddings", "magnitude_pruning", "block_pruning", "balanced_pruning", "rpp", "logits"}
OF_ENCODERS = [
    {"method": "depth", "layers": [0]},
    {"method": "attention_window", "window": 2},
    {"method": "early_exit", "rule": "confidence"},
    {"method": "head_pruning", "keep": 0.5},
    {"method": "hidden_pruning", "keep": 0.5},
    {"method": "hidden_states", "teacher": "float"},
    {"method": "attention_maps", "teacher": "float"},
]


def test_the_methods_that_work_on_any_network():
    assert {name for name in METHODS if method_of(name).any_network} == ANY


@pytest.mark.parametrize("entry", OF_ENCODERS, ids=lambda entry: entry["method"])
@pytest.mark.parametrize("model", [config(), hybrid(), hourglass()], ids=lambda model: model.network)
def test_a_method_of_encoders_says_in_a_line_that_it_does_not_work_here(model, entry):
    assert checked([entry], model) == (
        f"compression.0.method: got '{entry['method']}' on a network of kind '{model.network}', must be on an encoder, whose parts it works on; "
        "remove it, or change model.network"
    )


RECIPE = "name: r\nmodel: {%s}\ndata: {name: reviews}\nhardware: {target_cycles: 5000}\n"
WRONG = {
    "network: cnn, kernels: [3, 63], max_tokens: 24": "r.yaml:2: model.kernels: got a kernel of 63, which reads tokens up to 31 away, must be less than "
    "max_tokens 24; lower it, or raise model.max_tokens",
    "network: cnn, dilations: [1, 30], max_tokens: 24": "r.yaml:2: model.dilations: got a kernel of 3 with a dilation of 30, which reads tokens up to 30 "
    "away, must be less than max_tokens 24; lower it, or raise model.max_tokens",
    "network: cnn, kernels: [1]": "r.yaml:2: model.kernels.0: got 1, must be at least 2; change it",
    "network: cnn, layers: 2": "r.yaml:2: model: no key 'layers'; did you mean",
    "network: cnn, checkpoint: x": "r.yaml:2: model: no key 'checkpoint'; ",
    "network: rnn": "r.yaml:2: model.network: got 'rnn', must be a kind of network; did you mean 'cnn'? Known: encoder, cnn, ",
    "network: hybrid, dilations: []": "r.yaml:2: model.dilations: got [] and nothing beside the attention, must be a list of at least one; give dilations: [1], ",
    "network: hybrid, beside: [1], layers: 2": "r.yaml:2: model.beside: got 1 dilations, must be as many as layers: 2; give one for each, or none",
    "network: hybrid, beside: [64]": "r.yaml:2: model.beside: got a kernel of 3 with a dilation of 64, which reads tokens up to 64 away, must be less than ",
    "network: cnn, stride: 64": "r.yaml:2: model.stride: got 64, must be less than max_tokens 64: one token of any sentence would be left; lower it",
    "network: cnn, stride: 24, kernels: [2], max_tokens: 24": "r.yaml:2: model.stride: got 24, must be less than max_tokens 24: one token of any sentence would be left; lower it",
    "network: cnn, stride: 2, head: token": "r.yaml:2: model.stride: got 2 with logits of each token, must be 1, as they would be of one in 2; remove it",
    "network: cnn, stride: 2, kernels: [], dilations: [1]": "r.yaml:2: model.stride: got 2 without kernels, must be that of convolutions side by side; give ",
    "network: hourglass, stride: 64": "r.yaml:2: model.stride: got 64, must be less than max_tokens 64: one token of any sentence would be left; lower it",
    "network: hourglass, stride: 1": "r.yaml:2: model.stride: got 1, must be at least 2; change it",
    "network: hourglass, hidden: 10, heads: 4": "r.yaml:2: model.hidden: got 10 with 4 heads, must be divisible by the number of heads; use e.g. heads: 5",
    "network: hourglass, down: first": "r.yaml:2: model.down: got 'first', must be 'max' or 'mean'; change it",
    "network: hybrid, hidden: 10, heads: 4": "r.yaml:2: model.hidden: got 10 with 4 heads, must be divisible by the number of heads; use e.g. heads: 5",
    "network: hybrid, dilations: [64]": "r.yaml:2: model.dilations: got a kernel of 3 with a dilation of 64, which reads tokens up to 64 away, must be less ",
    "network: cnn, pooling: first": "r.yaml:2: model.pooling: got 'first', must be 'max' or 'mean'; change it",
    "kernels: [3]": "r.yaml:2: model: no key 'kernels'; ",
}


@pytest.mark.parametrize("model", WRONG)
def test_what_a_wrong_model_is_told(model):
    with pytest.raises(RecipeError) as error:
        Recipe.parse(RECIPE % model, "r.yaml")
    assert str(error.value).startswith(WRONG[model]) and "\n" not in str(error.value)


def test_a_recipe_is_written_and_read_back():
    recipe = Recipe.parse(RECIPE % "network: cnn, dilations: [1, 2]", "r.yaml")
    assert isinstance(recipe.model, CnnConfig) and Recipe.parse(recipe.dump(), "again") == recipe


def test_bits_that_cannot_stand_side_by_side():
    with pytest.raises(ConfigError, match=r"activations: got 8 and 4 bits of branch.0.pool and branch.1.pool, must be as many: their channels stand side"):
        random_model(config(), QuantConfig(overrides={"branch.1.act": {"activations": 4}}))
