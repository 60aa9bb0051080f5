# SPDX-License-Identifier: Apache-2.0
"""training.compile: the same training by compiled code, whose result is as exact as any other."""

import pytest

from bitloom.hw import golden
from bitloom.qat.checkpoint import from_pretrained
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.networks import ModelConfig
from bitloom.qat.train import train

MODEL = ModelConfig(layers=1, hidden=16, heads=2, intermediate=32, max_tokens=24, dropout=0)
DATA = DataConfig(max_train_examples=96, max_dev_examples=40, vocab=250)


@pytest.mark.slow  # a minute and more of compilation
@pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")
def test_compiled_training_learns_what_eager_training_does(tmp_path):
    settings = {"float_epochs": 1, "qat_epochs": 1, "batch_size": 8, "calibration_batches": 2, "logging_steps": 1}
    losses = {}
    for compile in (False, True):
        out = tmp_path / str(compile)
        curves = train(MODEL, QuantConfig(), TrainConfig(**settings, compile=compile), DATA, None, out)["curves"]
        losses[compile] = [point["loss"] for point in curves if point["loss"] is not None]
    assert len(losses[True]) == len(losses[False]) >= 24
    assert losses[True] == pytest.approx(losses[False], abs=0.02)

    model = from_pretrained(tmp_path / "True" / "qat")
    ids = [[2, 17, 40, 3], [2, 9, 3]]
    want, got = golden.run(to_graph(model, "compiled"), ids), forward_codes(in_float64(model), ids)
    assert got
    assert all((got[name] == want[name]).all() for name in got)
