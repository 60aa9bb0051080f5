# SPDX-License-Identifier: Apache-2.0
"""What an encoder needs is known, and said, before it is made."""

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from random_models import random_float

from bitloom.qat import memory
from bitloom.qat.calibrate import calibrate
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig
from bitloom.qat.memory import ModelSizeError, need, require
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.model import QuantModel
from bitloom.qat.net.shape import EncoderShape, LayerShape
from bitloom.qat.net.untrained import untrained_graph, untrained_shape
from bitloom.qat.networks import ModelConfig
from bitloom.qat.train import train

LAYERS = (LayerShape(heads=2, head_width=8, intermediate=20), LayerShape(heads=1, head_width=8, intermediate=12))


@pytest.mark.parametrize("settings", [{}, {"embedding": 6}, {"head": "span"}, {"pooler": None, "labels": 5}])
def test_parameters_are_the_networks(settings):
    shape = EncoderShape(hidden=16, layers=LAYERS, vocabulary=40, positions=12, max_tokens=12, **settings)
    network = Encoder(shape).bind(QuantConfig(), 12)
    assert shape.parameters() == sum(p.numel() for name, p in network.named_parameters() if not name.endswith("log_scale"))


# Each with another part of the formula as the largest: the layer's width, its inner width, pairs of tokens, the weights.
@pytest.mark.parametrize(
    ("layers", "hidden", "heads", "intermediate", "tokens", "batch"),
    [(1, 64, 4, 128, 32, 8), (2, 8, 1, 256, 16, 8), (2, 16, 8, 16, 48, 4), (2, 64, 1, 128, 2, 1)],
)
def test_what_a_batch_keeps_for_the_gradient_is_about_what_the_formula_says(layers, hidden, heads, intermediate, tokens, batch):
    config = ModelConfig(layers=layers, hidden=hidden, heads=heads, intermediate=intermediate, max_tokens=tokens)
    model, ids = QuantModel.from_float(random_float(config), QuantConfig(), tokens), torch.randint(0, 50, (batch, tokens))
    calibrate(model, [{"input_ids": ids}])
    weights, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model.train()(input_ids=ids, labels=torch.zeros(batch, dtype=torch.long)).loss
    formula = need(model.shape, batch) - need(model.shape)
    assert loss.isfinite() and 0.8 < formula / sum(kept.values()) < 1.2
    assert need(model.shape) == 20 * model.shape.parameters()  # without a training


def test_the_largest_published_encoders_fit_a_workstation():
    """BERT-large: 340 million parameters, 24 GiB are enough for batches of 8."""
    shape = untrained_shape(ModelConfig(layers=24, hidden=1024, heads=16, intermediate=4096, max_tokens=128), labels=2, vocabulary=30522)
    assert 330e6 < shape.parameters() < 340e6 and need(shape, 8) < 24 << 30
    require(shape, 1)


def test_too_much_is_refused_before_training_and_before_a_plan(tmp_path, monkeypatch):
    model = ModelConfig(layers=2, hidden=16, heads=2, intermediate=32, max_tokens=8)
    data, training = DataConfig(max_train_examples=20, max_dev_examples=10, vocab=250), TrainConfig(batch_size=8)
    monkeypatch.setattr(memory, "machine", lambda device=None: 1 << 18)
    with pytest.raises(
        ModelSizeError, match=r"model: got a network of [\d,]+ parameters, for which a training in batches of 8 takes at least 0.0 GiB"
    ) as caught:
        train(model, QuantConfig(), training, data, None, tmp_path)
    assert str(caught.value).endswith("lower model.layers, hidden, intermediate or training.batch_size, or take a larger machine")
    assert not (tmp_path / "checkpoints").exists() and not (tmp_path / "float").exists()
    monkeypatch.setattr(memory, "machine", lambda device=None: 1000)
    with pytest.raises(ModelSizeError, match="for which the integer graph takes at least"):
        untrained_graph(model, QuantConfig(), labels=2, vocabulary=50)


@pytest.mark.parametrize(("batch_size", "epochs", "batch"), [(8, 1, 8), (64, 1, 20), (64, 0, 0)])
def test_what_is_asked_for_is_the_largest_batch_that_there_will_be(batch_size, epochs, batch, tmp_path, monkeypatch):
    """On the device of the training: of a GPU its own memory counts."""
    asked, model = [], ModelConfig(layers=2, hidden=16, heads=2, intermediate=32, max_tokens=8)

    def require(shape, batch, device):
        asked.append((batch, device.type))
        raise ModelSizeError("enough")

    monkeypatch.setattr(memory, "require", require)
    training = TrainConfig(batch_size=batch_size, float_epochs=0, qat_epochs=epochs)
    with pytest.raises(ModelSizeError, match="enough"):
        train(model, QuantConfig(), training, DataConfig(max_train_examples=20, max_dev_examples=10, vocab=250), None, tmp_path)
    assert asked == [(batch, "cuda" if torch.cuda.is_available() else "cpu")]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=7))
    assert memory.machine(torch.device("cuda")) == 7 < memory.machine(torch.device("cpu"))


def test_a_control_group_limits_the_machine(tmp_path, monkeypatch):
    whole, limit = memory.machine(), tmp_path / "memory.max"
    assert whole > 1 << 28
    monkeypatch.setattr(memory, "CONTROL_GROUPS", (limit, tmp_path / "none"))
    for text, want in (("max\n", None), ("4096000\n", 4096000)):
        limit.write_text(text)
        assert (memory.machine() == want) if want else (memory.machine() >= whole)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (ModelConfig, {"hidden": 1 << 14, "heads": 2}),
        (ModelConfig, {"hidden": 1, "heads": 1}),
        (ModelConfig, {"hidden": 10**400}),
        (ModelConfig, {"layers": 10**20}),
        (DataConfig, {"max_train_examples": 10**15}),
        (DataConfig, {"max_dev_examples": 10**15}),
        (DataConfig, {"vocab": 10**20}),
        (TrainConfig, {"max_steps": 10**20}),
        (TrainConfig, {"calibration_batches": 10**20}),
        (TrainConfig, {"save_steps": 10**20}),
        (TrainConfig, {"logging_steps": 10**20}),
    ],
)
def test_numbers_far_out_of_range_are_refused_at_once(kind, settings):
    with pytest.raises(ValidationError, match="less than or equal to|greater than or equal to|must be"):
        kind(**settings)
