# SPDX-License-Identifier: Apache-2.0
"""What an encoder needs is known, and said, before it is made."""

import pytest
import torch
from pydantic import ValidationError
from random_models import random_float

from bitloom.qat import memory
from bitloom.qat.calibrate import calibrate
from bitloom.qat.config import ModelConfig, QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig
from bitloom.qat.memory import ModelSizeError, need, parameters, require
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.model import QuantModel
from bitloom.qat.net.shape import EncoderShape, LayerShape
from bitloom.qat.net.untrained import untrained_graph, untrained_shape
from bitloom.qat.train import train

LAYERS = (LayerShape(heads=2, head_width=8, intermediate=20), LayerShape(heads=1, head_width=8, intermediate=12))


@pytest.mark.parametrize("settings", [{}, {"embedding": 6}, {"head": "span"}, {"pooler": None, "labels": 5}])
def test_parameters_are_the_networks(settings):
    shape = EncoderShape(hidden=16, layers=LAYERS, vocabulary=40, positions=12, max_tokens=12, **settings)
    network = Encoder(shape).bind(QuantConfig(), 12)
    assert parameters(shape) == sum(p.numel() for name, p in network.named_parameters() if not name.endswith("log_scale"))


def test_what_a_batch_keeps_for_the_gradient_is_about_what_the_formula_says():
    config, batch = ModelConfig(layers=1, hidden=64, heads=4, intermediate=128, max_tokens=32), 8
    model, ids = QuantModel.from_float(random_float(config), QuantConfig(), 32), torch.randint(0, 50, (batch, 32))
    calibrate(model, [{"input_ids": ids}])
    weights, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model.train()(input_ids=ids, labels=torch.zeros(batch, dtype=torch.long)).loss
    formula = need(model.shape, batch) - memory.FROZEN * parameters(model.shape)
    assert loss.isfinite() and 0.8 < formula / sum(kept.values()) < 1.2


def test_the_largest_published_encoders_fit_a_workstation():
    """BERT-large: 340 million parameters, 24 GiB are enough for batches of 8."""
    shape = untrained_shape(ModelConfig(layers=24, hidden=1024, heads=16, intermediate=4096, max_tokens=128), labels=2, vocabulary=30522)
    assert 330e6 < parameters(shape) < 340e6 and need(shape, 8) < 24 << 30
    require(shape, 1)


def test_too_much_is_refused_before_training_and_before_a_plan(tmp_path, monkeypatch):
    model = ModelConfig(layers=2, hidden=16, heads=2, intermediate=32, max_tokens=8)
    data, training = DataConfig(max_train_examples=20, max_dev_examples=10, vocab=250), TrainConfig(batch_size=8)
    monkeypatch.setattr(memory, "machine", lambda device=None: 1 << 18)
    with pytest.raises(
        ModelSizeError, match=r"model: got an encoder of [\d,]+ parameters, for which a training in batches of 8 takes at least 0.0 GiB"
    ) as caught:
        train(model, QuantConfig(), training, data, None, tmp_path)
    assert str(caught.value).endswith("lower model.layers, hidden, intermediate or training.batch_size, or take a larger machine")
    assert not (tmp_path / "checkpoints").exists() and not (tmp_path / "float").exists()
    monkeypatch.setattr(memory, "machine", lambda device=None: 1000)
    with pytest.raises(ModelSizeError, match="for which the integer graph takes at least"):
        untrained_graph(model, QuantConfig(), labels=2, vocabulary=50)


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
