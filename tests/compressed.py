# SPDX-License-Identifier: Apache-2.0
"""Tiny trainings with compression, and what each of them must hold: zeros that stay, integers that agree, a resume that changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from random_models import padded, random_float, random_sentences
from safetensors.torch import load_file

from bitloom.hw import golden
from bitloom.hw.graph import Graph
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.qat.checkpoint import from_pretrained
from bitloom.qat.compress import Compression
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.methods import MethodError, read
from bitloom.qat.net.model import FloatModel
from bitloom.qat.net.untrained import untrained_shape
from bitloom.qat.networks import ModelConfig
from bitloom.qat.train import train
from bitloom.qat.trainer import EncoderTrainer

MODEL = ModelConfig(layers=2, hidden=16, heads=4, intermediate=32, max_tokens=16, dropout=0.1)
TRAINING = TrainConfig(float_epochs=1, qat_epochs=1, batch_size=8, calibration_batches=2, save_steps=5, logging_steps=6, float_learning_rate=5e-3)
DATA = DataConfig(max_train_examples=96, max_dev_examples=16, vocab=250)
STEPS = 12  # of each phase


def compress(out: Path, entries: list[dict], *, model: ModelConfig = MODEL, quant: QuantConfig | None = None, training: dict | None = None,
             data: DataConfig = DATA, **kwargs) -> dict:  # fmt: skip
    """Train with these methods; what metrics.json holds."""
    settings = TRAINING.model_copy(update=training or {})
    return train(model, quant or QuantConfig(), settings, data, None, out, compression=tuple(map(read, entries)), **kwargs)


def integers_agree(folder: Path) -> Graph:
    """The graph of a trained folder: Brevitas in float64 = golden = ONNX Runtime, on every tensor."""
    model = from_pretrained(folder / "qat")
    graph, rng = to_graph(model, "compressed"), np.random.default_rng(0)
    ids = [rng.integers(0, model.shape.vocabulary, n).tolist() for n in (1, 7, model.max_tokens)]
    segments = [[0] * len(row) for row in ids]
    want, got = golden.run(graph, ids, segments), forward_codes(in_float64(model), ids, segments)
    assert set(got) == set(want) and not [name for name in want if not np.array_equal(got[name], want[name])]
    referee = OnnxReferee(to_onnx(graph)).run(ids, segments)
    assert len(referee) > 3 and not [name for name in referee if not np.array_equal(referee[name], want[name])]
    return graph


class Crash(Exception):
    pass


def crashed(out: Path, entries: list[dict], phase: str, step: int, **kwargs) -> None:
    """A training that breaks off within step `step` + 1 of a phase, behind a checkpoint."""
    original = EncoderTrainer.compute_loss

    def loss(self, model, *args, **more):
        if model.training and self.state.global_step == step and phase in self.args.output_dir:
            raise Crash
        return original(self, model, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EncoderTrainer, "compute_loss", loss)
        with pytest.raises(Crash):
            compress(out, entries, **kwargs)


def weights(out: Path) -> dict[str, torch.Tensor]:
    """Of both phases, by phase and name."""
    return {f"{phase}/{name}": value for phase in ("float", "qat") for name, value in load_file(out / phase / "model.safetensors").items()}


def assert_same(a: Path, b: Path) -> None:
    """Bit for bit."""
    got, want = weights(a), weights(b)
    assert got.keys() == want.keys() and len(got) > 40
    assert not [name for name in want if not torch.equal(got[name], want[name])]


def plain_model(seed: int = 0, **changes) -> FloatModel:
    return FloatModel.from_hugging_face(random_float(MODEL.model_copy(update={"dropout": 0.0} | changes), seed), MODEL.max_tokens).eval()


def inputs(seed: int = 1) -> dict:
    return padded(*random_sentences(seed, 8, MODEL.max_tokens))


def answers(model: FloatModel) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs()).logits


def checked(entries: list[dict], model: ModelConfig = MODEL, **training) -> str:
    with pytest.raises(MethodError) as error:
        Compression(tuple(map(read, entries)), QuantConfig(), TrainConfig(**training)).check(untrained_shape(model, labels=2, vocabulary=250))
    assert "\n" not in str(error.value)
    return str(error.value)
