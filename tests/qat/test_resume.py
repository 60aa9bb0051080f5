# SPDX-License-Identifier: Apache-2.0
"""Broken-off trainings: killed at the end of a phase they report what an unbroken one does; files that are not whole are named."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig
from bitloom.qat.networks import ModelConfig
from bitloom.qat.resume import ResumeError, last_checkpoint
from bitloom.qat.train import train
from bitloom.qat.trainer import EncoderTrainer

MODEL = ModelConfig(layers=1, hidden=8, heads=2, intermediate=16, max_tokens=16, dropout=0.1)
TRAINING = TrainConfig(float_epochs=2, qat_epochs=1, batch_size=8, calibration_batches=2, save_steps=5, logging_steps=3)
DATA = DataConfig(max_train_examples=48, max_dev_examples=16, vocab=250)

pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")


class Crash(Exception):
    pass


def crash(*args, **kwargs):
    raise Crash


def run(out, **training):
    return train(MODEL, QuantConfig(), TRAINING.model_copy(update=training), DATA, None, out)


def same(a, b):
    return a | {"seconds": 0} == b | {"seconds": 0}


@pytest.mark.parametrize(
    ("phase", "training"),
    [
        pytest.param("qat", {}, id="epochs"),
        pytest.param("qat", {"max_steps": 4}, id="steps", marks=pytest.mark.slow),
        pytest.param("float", {"float_epochs": 0.5}, id="half an epoch"),
    ],
)
def test_killed_just_before_a_phase_is_finished(tmp_path, monkeypatch, phase, training):
    """All steps are done and saved, nothing of the phase is written yet."""
    whole, original = run(tmp_path / "whole", **training), EncoderTrainer.curve
    with monkeypatch.context() as patch:
        patch.setattr(EncoderTrainer, "curve", lambda self, name: crash() if name == phase else original(self, name))
        with pytest.raises(Crash):
            run(tmp_path / "out", **training)
    again = run(tmp_path / "out", **training)
    assert same(again, whole) and [p["metric"] for p in again["curves"]].count(None) < len(again["curves"])
    for name in ("float", "qat"):
        got, want = (load_file(tmp_path / folder / name / "model.safetensors") for folder in ("out", "whole"))
        assert got.keys() == want.keys() and all(torch.equal(got[key], want[key]) for key in want)


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory):
    """A run that stopped in the second float epoch, with one checkpoint."""
    out = tmp_path_factory.mktemp("broken") / "out"
    original = EncoderTrainer.compute_loss

    def loss(self, model, *args, **kwargs):
        return crash() if model.training and self.state.global_step == 7 else original(self, model, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EncoderTrainer, "compute_loss", loss)
        with pytest.raises(Crash):
            run(out)
    return out


def changed(path: Path, change) -> None:
    state = torch.load(path, weights_only=False)
    change(state)
    torch.save(state, path)


def edited(path: Path, change) -> None:
    state = json.loads(path.read_text())
    change(state)
    path.write_text(json.dumps(state))


class Pickled:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors")
DAMAGE = {
    **{f"{name} cut": (name, lambda path: path.write_bytes(path.read_bytes()[:-200])) for name in FILES},
    **{f"{name} empty": (name, lambda path: path.write_bytes(b"")) for name in FILES},
    **{f"{name} gone": (name, lambda path: path.unlink()) for name in FILES},
    **{f"{name} is a list": (name, lambda path: torch.save([1], path)) for name in FILES},
    **{f"{name} is another's": (name, lambda path: torch.save({"a": 1}, path)) for name in FILES},
    **{f"{name} is a pickle": (name, lambda path: path.write_bytes(pickle.dumps(Pickled()))) for name in FILES},
    "scaler cut": ("scaler.pt", lambda path: path.write_bytes(b"PK")),
    "optimizer without a parameter": ("optimizer.pt", lambda path: changed(path, lambda s: s["param_groups"][0]["params"].pop())),
    "optimizer without moments": ("optimizer.pt", lambda path: changed(path, lambda s: s["state"].clear())),
    "moments of another shape": ("optimizer.pt", lambda path: changed(path, lambda s: s["state"][0].update(exp_avg=torch.zeros(3)))),
    "weights of another shape": ("model.safetensors", lambda path: save_file({k: v[:1].clone() for k, v in load_file(path).items()}, path)),
    "state is a list": ("trainer_state.json", lambda path: path.write_text("[]")),
    "state of another step": ("trainer_state.json", lambda path: edited(path, lambda s: s.update(global_step=6))),
    "step is a text": ("trainer_state.json", lambda path: edited(path, lambda s: s.update(global_step="5"))),
    "unknown field": ("trainer_state.json", lambda path: edited(path, lambda s: s.update(nonsense=1))),
    "logs are none": ("trainer_state.json", lambda path: edited(path, lambda s: s.update(log_history=[1]))),
    "no losses": ("trainer_state.json", lambda path: edited(path, lambda s: s.update(stateful_callbacks={}))),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_not_whole_is_named(broken_off, tmp_path, damage, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = Path(shutil.copytree(broken_off, tmp_path / "out"))
    name, break_it = DAMAGE[damage]
    checkpoint = Path(last_checkpoint(out / "checkpoints" / "float"))
    break_it(checkpoint / name)
    with pytest.raises(ResumeError) as caught:
        run(out)
    text = str(caught.value)
    assert text.startswith(f"{checkpoint / name}: got a file that is cut or of another kind (") and "\n" not in text
    assert text.endswith(f"must be what the training wrote; remove {checkpoint.parent} to begin that phase anew")
    assert not (tmp_path / "executed").exists()


def test_what_the_message_says_helps(broken_off, tmp_path):
    """The undamaged one goes on; with the phase's checkpoints removed it begins anew: the same in the end."""
    first, second = (Path(shutil.copytree(broken_off, tmp_path / name)) for name in ("first", "second"))
    shutil.rmtree(second / "checkpoints" / "float")
    assert same(run(first), run(second))


@pytest.mark.parametrize(
    ("name", "content"), [("settings.json", "{"), ("settings.json", "[]"), ("metrics.json", '{"metric": 1}'), ("metrics.json", "[" * 5000)]
)
def test_notes_of_an_earlier_run_that_are_not_whole_are_named(broken_off, tmp_path, name, content):
    out = Path(shutil.copytree(broken_off, tmp_path / "out"))
    (out / name).write_text(content)
    with pytest.raises(ResumeError, match=f"{name}: got a file that is cut or of another kind"):
        run(out)
