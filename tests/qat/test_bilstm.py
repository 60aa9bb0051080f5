# SPDX-License-Identifier: Apache-2.0
"""Recurrent networks: the integers of their forward pass, torch's LSTM, gradients, training and resume, what each mistake is told."""

import numpy as np
import pytest
import torch
from compressed import assert_same, checked, compress, crashed, integers_agree
from random_models import VOCABULARY, padded, random_sentences
from torch import nn
from torch.nn import functional as TF

from bitloom.hw import golden
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.hw.settings import ConfigError
from bitloom.qat.calibrate import calibrate
from bitloom.qat.checkpoint import from_pretrained, save_pretrained
from bitloom.qat.config import QuantConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.memory import need
from bitloom.qat.net.kinds import shape_of
from bitloom.qat.net.model import FloatModel, QuantModel
from bitloom.qat.networks import BilstmConfig
from bitloom.qat.objectives.logits import Config, distance
from bitloom.recipe import Recipe, RecipeError

pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning", "ignore::bitloom.qat.config.CalibrationWarning")


def config(**settings) -> BilstmConfig:
    return BilstmConfig(**{"network": "bilstm", "hidden": 12, "units": 8, "classifier": 10, "max_tokens": 16, "dropout": 0.0} | settings)


def random_model(model: BilstmConfig, quant: QuantConfig, seed: int = 0) -> tuple[FloatModel, QuantModel]:
    """A float network with weights far from their first values, and the calibrated one of it."""
    torch.manual_seed(seed)
    plain = FloatModel(shape_of(model, model.head, 2, VOCABULARY))
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    quantized = QuantModel.from_float(plain, quant, model.max_tokens)
    calibrate(quantized, [padded(*random_sentences(seed, 8, model.max_tokens))])
    return plain.eval(), quantized.eval()


CASES = {
    "one layer": (config(), QuantConfig()),
    "weights of one bit": (config(), QuantConfig(weights=1, activations=6)),
    "two layers, 8 bits": (config(layers=2), QuantConfig(weights=8)),
    "logits of tokens": (config(head="token"), QuantConfig(activations=4, weight_range="full")),
    "few bits of gates and cell": (config(), QuantConfig(gates=5, cell=9)),
    "many bits of gates": (config(), QuantConfig(gates=10, cell=12)),
    "ternary, one scale": (config(), QuantConfig(weights=2, ternary="twn")),
    "learned scales": (config(), QuantConfig(activation_scales="learned", weight_scales="layer")),
    "other bits of one direction": (config(layers=2), QuantConfig(overrides={"layer.0.back": {"weights": 2, "gates": 9}, "layer.1.*": {"cell": 10}})),
}


@pytest.mark.parametrize("name", CASES)
def test_forward_pass_golden_and_onnx_agree(name):
    """On every tensor, of sentences of one token, of the most, and of others in one padded batch."""
    model, quant = CASES[name]
    exact = in_float64(random_model(model, quant)[1])
    graph, (ids, segments) = to_graph(exact, "bilstm"), random_sentences(3, 9, model.max_tokens)
    want, got = golden.run(graph, ids, segments), forward_codes(exact, ids, segments)
    assert set(got) == set(want) and not [tensor for tensor in want if not np.array_equal(got[tensor], want[tensor])]
    referee = OnnxReferee(to_onnx(graph)).run(ids, segments)
    assert len(referee) >= 4 and not [tensor for tensor in referee if not np.array_equal(referee[tensor], want[tensor])]


@pytest.mark.parametrize("head", ["sequence", "token"])
def test_the_float_layer_is_torchs(head):
    """Padded or not: the states that nn.LSTM has of each sentence alone, in both directions."""
    model = random_model(config(head=head), QuantConfig())[0]
    layer, rng = model.network.layer[0], torch.Generator().manual_seed(1)
    theirs = nn.LSTM(12, 8, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for own, end in ((layer.ahead, ""), (layer.back, "_reverse")):
            getattr(theirs, f"weight_ih_l0{end}").copy_(own.weight[:, :12])
            getattr(theirs, f"weight_hh_l0{end}").copy_(own.weight[:, 12:])
            getattr(theirs, f"bias_ih_l0{end}").copy_(own.bias)
            getattr(theirs, f"bias_hh_l0{end}").zero_()
        lengths = [5, 1, 9]
        x = torch.randn(3, 9, 12, generator=rng)
        real = torch.arange(9)[None] < torch.tensor(lengths)[:, None]
        got = layer(x, real[:, None, None, :])
        for row, length in enumerate(lengths):
            states = theirs(x[row : row + 1, :length])[0][0]
            want = states if head == "token" else torch.cat([states[-1, :8], states[0, 8:]])
            assert torch.allclose(got[row, :length] if head == "token" else got[row], want, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_integer_layer_is_near_the_float_one_and_so_is_its_gradient(layers):
    plain, quantized = random_model(config(layers=layers), QuantConfig(weights=8, gates=10))
    batch, grads, logits = padded(*random_sentences(2, 6, 16)), [], []
    for model in (plain, quantized):
        model.train()
        out = model(**batch, labels=torch.tensor([0, 1, 1, 0, 1, 0]))
        out.loss.backward()
        logits.append(out.logits.detach())
        grads.append([getattr(model.network.layer[0], side).weight.grad.flatten() for side in ("ahead", "back")])
    assert (logits[0] - logits[1]).abs().max() < 0.05
    assert all(TF.cosine_similarity(a, b, dim=0) > 0.9 for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("settings", [{}, {"layers": 2, "head": "token"}])
def test_parameters_are_the_networks_and_the_memory_is_a_lower_bound(settings):
    model = config(**settings)
    network, kept = random_model(model, QuantConfig())[1], {}
    count = sum(p.numel() for name, p in network.named_parameters() if not name.endswith("log_scale"))
    own = shape_of(model, model.head, 2, VOCABULARY)
    assert own.parameters() == count and 0 <= own.layer_parameters() < count
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network.train()(input_ids=torch.randint(0, VOCABULARY, (8, 16)))
    assert need(own, 8) - need(own) - 12 * own.layer_parameters() <= sum(kept.values())


def test_a_checkpoint_is_the_same_network(tmp_path):
    model = random_model(config(layers=2), QuantConfig(gates=9))[1]
    save_pretrained(model, tmp_path)
    again = from_pretrained(tmp_path)
    assert again.shape == model.shape and to_graph(again, "x").hash == to_graph(model, "x").hash


@pytest.mark.slow
def test_training_with_a_teacher_and_resume(tmp_path):
    """Both phases, the logits of another run's float model by their squared error; a crash changes nothing."""
    model, teacher = config(dropout=0.1, layers=2), [{"method": "logits", "teacher": str(tmp_path / "teacher" / "float"), "loss": "mse"}]
    compress(tmp_path / "teacher", [], model=model)
    compress(tmp_path / "whole", teacher, model=model)
    integers_agree(tmp_path / "whole")
    crashed(tmp_path / "qat", teacher, "qat", 7, model=model)
    compress(tmp_path / "qat", teacher, model=model)
    assert_same(tmp_path / "qat", tmp_path / "whole")


@pytest.mark.slow
def test_pruned_gates(tmp_path):
    compress(tmp_path / "run", [{"method": "magnitude_pruning", "keep": 0.5, "layers": "layer.*"}], model=config())
    graph = integers_agree(tmp_path / "run")
    assert np.mean(graph.params["layer.0.ahead.weight"] == 0) >= 0.5


def test_squared_error_of_logits():
    student, teacher = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[1.0, 4.0], [2.0, 4.0]])
    out = type("Out", (dict,), {"logits": student})()
    assert float(distance(out, teacher, torch.ones(2, 3), None)) == 2.0
    assert "temperature" not in Config(method="logits", teacher="x", loss="mse").model_dump()
    assert "loss" not in Config(method="logits", teacher="x").model_dump()
    with pytest.raises(ValueError, match="temperature: got 3 with loss: mse, must be left out"):
        Config(method="logits", teacher="x", loss="mse", temperature=3)


def test_a_method_of_encoders_says_so():
    said = checked([{"method": "depth", "layers": [0]}], config())
    assert (
        said
        == "compression.0.method: got 'depth' on a network of kind 'bilstm', must be on an encoder, whose parts it works on; remove it, or change model.network"
    )


@pytest.mark.parametrize(
    ("quant", "text"),
    [
        ({"codebook": "kmeans"}, "quantization: layer.0.ahead: got codebook kmeans for a recurrent layer, must be none"),
        ({"post_training": ["bias_correction"]}, "post_training: got bias_correction with the recurrent layer layer.0.ahead, must be"),
        ({"overrides": {"layer.0.back": {"activations": 5}}}, "got 8 and 5 bits of layer.0.ahead and layer.0.back, must be as many"),
    ],
)
def test_settings_that_a_recurrent_layer_cannot_have(quant, text):
    with pytest.raises(ConfigError, match=text):
        random_model(config(), QuantConfig(**quant))


RECIPE = "name: r\nmodel: {%s}\ndata: {name: reviews}\nhardware: {target_cycles: 5000}\n"
WRONG = {
    "network: bilstm, heads: 2": "r.yaml:2: model: no key 'heads'; ",
    "network: bilstm, units: 0": "r.yaml:2: model.units: got 0, must be at least 1; change it",
    "network: lstm": "r.yaml:2: model.network: got 'lstm', must be a kind of network; did you mean 'bilstm'?",
}


@pytest.mark.parametrize("model", WRONG)
def test_what_a_wrong_model_is_told(model):
    with pytest.raises(RecipeError) as error:
        Recipe.parse(RECIPE % model, "r.yaml")
    assert str(error.value).startswith(WRONG[model]) and "\n" not in str(error.value)


def test_bits_of_gates_and_cell_are_written_where_they_are_others():
    assert not {"gates", "cell"} & set(QuantConfig().model_dump())
    assert QuantConfig(gates=10).model_dump()["gates"] == 10
    with pytest.raises(ValueError, match=r"cell: got 17, must be an integer 8 .. 16"):
        QuantConfig(cell=17)
