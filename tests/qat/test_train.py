# SPDX-License-Identifier: Apache-2.0
"""Training end to end on tiny models: files, exact resume of a killed run, distillation, every task."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as TF
from transformers.modeling_outputs import SequenceClassifierOutput

from bitloom.hw.errors import BitloomError
from bitloom.qat.baseline import float_model
from bitloom.qat.checkpoint import from_pretrained
from bitloom.qat.config import DistillConfig, QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig, load
from bitloom.qat.features import Collator, Features, LengthGrouped
from bitloom.qat.networks import ModelConfig
from bitloom.qat.objectives.logits import distance
from bitloom.qat.resume import last_checkpoint
from bitloom.qat.tokenizer import TextTokenizer, TruncationWarning
from bitloom.qat.train import TrainError, _check_finite, train
from bitloom.qat.trainer import EncoderTrainer, predict

ROOT = Path(__file__).parents[2]
MODEL = ModelConfig(layers=1, hidden=16, heads=2, intermediate=32, max_tokens=24, dropout=0.1)
TRAINING = TrainConfig(
    float_epochs=2,
    qat_epochs=2,
    batch_size=8,
    calibration_batches=2,
    save_steps=6,
    logging_steps=4,
    word_dropout=0.1,
    float_learning_rate=5e-3,
    qat_learning_rate=1e-3,
)
DATA = DataConfig(max_train_examples=96, max_dev_examples=40, vocab=250)
PHASES = ("float", "qat")

pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")


def weights(out):
    return {phase: load_file(out / phase / "model.safetensors") for phase in PHASES}


def assert_same(a, b):
    """Bit for bit, and something was compared."""
    for phase in PHASES:
        assert a[phase].keys() == b[phase].keys()
        assert len(a[phase]) > 10
        for name in a[phase]:
            assert torch.equal(a[phase][name], b[phase][name]), f"{phase}: {name} differs"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An unbroken training, what it reported, and its folder."""
    out, seen = tmp_path_factory.mktemp("whole") / "out", []
    with pytest.warns(TruncationWarning, match="longer than 24 tokens and were cut"):
        metrics = train(MODEL, QuantConfig(), TRAINING, DATA, None, out, progress=lambda *args: seen.append(args))
    return out, metrics, seen


def test_writes_models_metrics_and_logs(whole):
    out, metrics, seen = whole
    assert sorted(p.name for p in out.iterdir()) == [
        "float",
        "logs",
        "metrics.json",
        "qat",
        "settings.json",
        "tokenizer",
    ]
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert (metrics["metric"], metrics["examples"]) == ("accuracy", 40)
    for phase in PHASES:
        assert list((out / "logs" / phase).glob("events.out.tfevents.*"))
        points = [p for p in metrics["curves"] if p["phase"] == phase]
        assert [p["step"] for p in points if p["metric"] is not None] == [12, 24]
        assert [p["step"] for p in points if p["loss"] is not None] == [4, 8, 12, 16, 20, 24]
    fractions = [fraction for fraction, _ in seen if fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert not [p for p in out.rglob("*") if p.suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_scores_are_those_of_the_saved_models(whole):
    """On all of the dev split, from the files alone."""
    out, metrics, _ = whole
    dataset, tokenizer = load(DATA), TextTokenizer.load(out / "tokenizer")
    dev = Features(dataset, dataset.dev, tokenizer, MODEL.max_tokens)
    plain = float_model(ModelConfig(checkpoint=str(out / "float"), max_tokens=24), len(tokenizer), 2)
    for phase, model in (("float", plain), ("qat", from_pretrained(out / "qat"))):
        logits = np.stack(predict(model, dev, tokenizer.pad_id))
        assert dev.score(logits)["accuracy"] == metrics[phase]
    assert plain.config.id2label == {0: "negative", 1: "positive"}


def test_finished_training_is_not_repeated_and_other_settings_are_refused(whole):
    out, metrics, _ = whole
    before = weights(out)
    assert train(MODEL, QuantConfig(), TRAINING, DATA, None, out) == metrics
    assert_same(before, weights(out))
    with pytest.raises(TrainError, match=r"got a training with other settings \(quantization\), must be the same to resume"):
        train(MODEL, QuantConfig(weights=2), TRAINING, DATA, None, out)


class Crash(Exception):
    pass


@pytest.mark.parametrize(("phase", "step"), [("float", 7), ("float", 13), ("qat", 14), ("qat", 19)])
def test_crashed_training_ends_in_the_same_weights(whole, tmp_path, monkeypatch, phase, step):
    """A crash at the first step after a checkpoint (within an epoch, at its end) and later; then the same call."""
    original = EncoderTrainer.compute_loss

    def crash(self, model, inputs, *args, **kwargs):
        if model.training and self.state.global_step == step and phase in self.args.output_dir:
            raise Crash
        return original(self, model, inputs, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(EncoderTrainer, "compute_loss", crash)
        with pytest.raises(Crash):
            train(MODEL, QuantConfig(), TRAINING, DATA, None, tmp_path / "out")
    saved = Path(last_checkpoint(tmp_path / "out" / "checkpoints" / phase)).name
    assert saved == f"checkpoint-{step // 6 * 6}"
    metrics = train(MODEL, QuantConfig(), TRAINING, DATA, None, tmp_path / "out")
    assert_same(weights(tmp_path / "out"), weights(whole[0]))
    assert metrics | {"seconds": 0} == whole[1] | {"seconds": 0}  # scores and the curve, too


CODED = {"weights": 8, "codebook": "kmeans", "index_bits": 2, "overrides": {"layer.0.ffn.*": {"codebook": "bs_flex", "index_bits": 1}}}
LEARNED = {"weights": 2, "ternary": "loss_aware", "activations": 4, "activation_scales": "learned", "overrides": {"layer.0.key": {"ternary": "twn"}}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "kept"), [(CODED | {"clusters": "free"}, "centroids"), (CODED | {"clusters": "kept"}, "index"), (LEARNED, "norm.log_scale")]
)
def test_crashed_training_of_other_codings_ends_in_the_same_weights(tmp_path, monkeypatch, settings, kept):
    """Values and clusters, thresholds that follow from the optimizer's moments, and learned exponents are in a checkpoint, too."""
    quant = QuantConfig(**settings)
    train(MODEL, quant, TRAINING, DATA, None, tmp_path / "whole")
    original = EncoderTrainer.compute_loss

    def crash(self, model, inputs, *args, **kwargs):
        if model.training and self.state.global_step == 14 and "qat" in self.args.output_dir:
            raise Crash
        return original(self, model, inputs, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(EncoderTrainer, "compute_loss", crash)
        with pytest.raises(Crash):
            train(MODEL, quant, TRAINING, DATA, None, tmp_path / "out")
    train(MODEL, quant, TRAINING, DATA, None, tmp_path / "out")
    assert_same(weights(tmp_path / "out"), weights(tmp_path / "whole"))
    assert any(name.endswith(kept) for name in weights(tmp_path / "out")["qat"])


@pytest.mark.slow
def test_killed_training_ends_in_the_same_weights(whole, tmp_path):
    """SIGKILL of a process while it fine-tunes the quantized model; then the same call in a new process."""
    arguments = [str(tmp_path), *(c.model_dump_json() for c in (MODEL, QuantConfig(), TRAINING, DATA))]
    code = (
        "import sys; from bitloom.qat.config import *; from bitloom.qat.data import DataConfig; from bitloom.qat.train import train; "
        "kinds = (ModelConfig, QuantConfig, TrainConfig, DataConfig); "
        "settings = [kind.model_validate_json(text) for kind, text in zip(kinds, sys.argv[2:])]; "
        "train(*settings, None, sys.argv[1])"
    )
    command = [sys.executable, "-c", code, *arguments]
    state = tmp_path / "checkpoints" / "qat" / "checkpoint-6" / "trainer_state.json"
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not state.is_file():
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert not (tmp_path / "metrics.json").exists()
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    assert_same(weights(tmp_path), weights(whole[0]))


def test_settings_that_do_not_fit_fail_before_the_training(tmp_path, whole):
    checkpoint = MODEL.model_validate({"checkpoint": str(whole[0] / "float"), "max_tokens": 24})
    cases = [
        ({"quant": QuantConfig(overrides={"layer.9.*": {"weights": 2}})}, "got pattern 'layer.9.\\*', must match a layer"),
        ({"model": checkpoint}, r"data.vocab: got a size \(250\) with a checkpoint, must be its own vocabulary"),
        ({"model": checkpoint.model_copy(update={"max_tokens": 48}), "data": DATA.model_copy(update={"vocab": None})},
         "max_tokens: got 48, must be at most the checkpoint's 24 positions"),
    ]  # fmt: skip
    for number, (settings, message) in enumerate(cases):
        given = {"model": MODEL, "quant": QuantConfig(), "data": DATA, **settings}
        out = tmp_path / str(number)
        with pytest.raises(BitloomError, match=message):
            train(given["model"], given["quant"], TRAINING, given["data"], None, out)
        assert not (out / "float").exists()
        assert not (out / "checkpoints").exists()


def test_fine_tunes_a_checkpoint_with_its_own_tokenizer(tmp_path, whole):
    model = ModelConfig(checkpoint=str(whole[0] / "float"), max_tokens=16)
    data = DATA.model_copy(update={"vocab": None})
    train(model, QuantConfig(), TRAINING.model_copy(update={"float_epochs": 0.0}), data, None, tmp_path)
    before, after = weights(whole[0])["float"], weights(tmp_path)["float"]
    assert all(torch.equal(before[name], after[name]) for name in before)  # no float epochs: the checkpoint as it is
    assert (tmp_path / "tokenizer" / "vocab.txt").read_bytes() == (whole[0] / "tokenizer" / "vocab.txt").read_bytes()
    assert from_pretrained(tmp_path / "qat").max_tokens == 16


def test_pairs_for_a_checkpoint_with_one_segment_are_told(tmp_path, whole):
    checkpoint = Path(shutil.copytree(whole[0] / "float", tmp_path / "checkpoint"))
    weights, config = load_file(checkpoint / "model.safetensors"), json.loads((checkpoint / "config.json").read_text())
    key = "bert.embeddings.token_type_embeddings.weight"
    save_file(weights | {key: weights[key][:1].clone()}, checkpoint / "model.safetensors")
    (checkpoint / "config.json").write_text(json.dumps(config | {"type_vocab_size": 1}))
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("sentence1\tsentence2\tlabel\na\tb\tpositive\nc\td\tnegative\n")
    model, data = ModelConfig(checkpoint=str(checkpoint), max_tokens=16), DataConfig(name="pairs")
    training = TRAINING.model_copy(update={"float_epochs": 0.0, "qat_epochs": 0.0, "calibration_batches": 1})
    (note,) = train(model, QuantConfig(), training, data, tmp_path, tmp_path / "out")["notes"]
    assert note.endswith("it has no second segment: the texts of a pair are told apart by the token between them alone")


def test_other_seed_gives_other_weights(whole, tmp_path):
    """So that the comparisons above can fail."""
    train(MODEL, QuantConfig(), TRAINING.model_copy(update={"seed": 1}), DATA, None, tmp_path)
    with pytest.raises(AssertionError, match="differs"):
        assert_same(weights(whole[0]), weights(tmp_path))


def test_checkpoint_that_was_cut_off_does_not_count(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step, state in ((5, "{}"), (10, "{}"), (100, '{"epoch": 1'), (120, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert Path(last_checkpoint(tmp_path)).name == "checkpoint-10"


def test_distillation_from_the_own_and_from_another_teacher(whole, tmp_path):
    """The teacher's word changes the quantized model, and only that; another teacher reads with its own tokenizer."""
    out, result = whole[0], {}
    for name, teacher in (("own", "float"), ("other", str(out / "float"))):
        training = TRAINING.model_copy(update={"distill": DistillConfig(teacher=teacher, alpha=0.9)})
        train(MODEL, QuantConfig(), training, DATA, None, tmp_path / name)
        result[name] = weights(tmp_path / name)
        assert all(torch.equal(v, result[name]["float"][k]) for k, v in weights(out)["float"].items())
        assert not torch.equal(result[name]["qat"]["network.logits.weight"], weights(out)["qat"]["network.logits.weight"])
    assert_same(result["own"], result["other"])  # it is the same teacher


def test_distance_is_hintons():
    student, teacher = torch.randn(5, 3), torch.randn(5, 3)
    got = distance(SequenceClassifierOutput(logits=student), teacher, torch.ones(5, 1), 2.0)
    p = (teacher / 2).softmax(-1)
    want = 4 * (p * (p.log() - (student / 2).log_softmax(-1))).sum(-1).mean()
    assert torch.allclose(got, want, atol=1e-6)
    assert distance(SequenceClassifierOutput(logits=teacher), teacher, torch.ones(5, 1), 2.0).abs() < 1e-6
    one = distance(SequenceClassifierOutput(logits=student[:, :1]), teacher[:, :1], torch.ones(5, 1), 2.0)
    assert torch.allclose(one, TF.mse_loss(student[:, 0], teacher[:, 0]))


def test_regression_and_pairs(tmp_path):
    rows = "sentence1\tsentence2\tlabel\n" + "".join(f"{'good ' * (i % 5)}\tbad\t{i % 5}\n" for i in range(60))
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text(rows)
    data = DataConfig(name="stsb", vocab=40)
    training = TRAINING.model_copy(update={"float_epochs": 12, "float_learning_rate": 5e-3})
    metrics = train(MODEL, QuantConfig(), training, data, tmp_path, tmp_path / "out")
    assert metrics["metric"] == "pearson"
    assert metrics["float"] > 0.8
    assert set(metrics["scores"]["qat"]) == {"pearson", "spearman"}


def span_rows(count):
    """The answer is the word after "the"."""
    words = ["ann", "bob", "cat", "dog", "eel", "fox"]
    for i in range(count):
        before = " ".join(words[(i * 7 + k) % 6] for k in range(i % 12))
        context, answer = f"{before} the {words[i % 6]} end".strip(), words[i % 6]
        yield {
            "question": "who ?",
            "context": context,
            "answers": {"text": [answer], "answer_start": [context.index("the ") + 4]},
        }


def test_spans_with_windows(tmp_path):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in span_rows(120)))
    model = MODEL.model_copy(update={"head": "token", "max_tokens": 14, "hidden": 32, "dropout": 0.0})
    training = TRAINING.model_copy(update={"float_epochs": 12, "float_learning_rate": 5e-3, "word_dropout": 0.0, "distill": DistillConfig()})
    data = DataConfig(name="squad", vocab=60)
    metrics = train(model, QuantConfig(weights=8), training, data, tmp_path, tmp_path / "out")
    assert set(metrics["scores"]["float"]) == {"span_f1", "exact_match"}
    assert metrics["float"] > 0.8
    assert metrics["qat"] > 0.5
    with pytest.raises(TrainError, match="model.head: got 'sequence', must be 'token' for 'squad'"):
        train(MODEL, QuantConfig(), training, data, tmp_path, tmp_path / "other")


def test_batches_are_padded_to_their_longest():
    batch = Collator(pad_id=9)([{"input_ids": [1, 2, 3], "token_type_ids": [0, 0, 1], "labels": 1},
                                {"input_ids": [4], "token_type_ids": [0], "labels": 0}])  # fmt: skip
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 1], [0, 0, 0]]
    assert batch["labels"].tolist() == [1, 0]


def test_length_grouped_order():
    """Each index once; batches of like lengths; another order each epoch and seed, the same for the same."""
    lengths = torch.randint(3, 60, (1003,), generator=torch.Generator().manual_seed(0)).tolist()
    sampler = LengthGrouped(lengths, 16, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(1003))
    assert list(sampler) == first != list(LengthGrouped(lengths, 16, seed=4))
    sampler.set_epoch(1)
    assert list(sampler) != first
    spread = [max(part) - min(part) for i in range(0, 992, 16) if (part := [lengths[j] for j in first[i : i + 16]])]
    assert sum(spread) / len(spread) < 3  # at random it is above 50


def test_word_dropout_and_label_smoothing_change_the_loss_only_in_training(tmp_path):
    dataset = load(DATA)
    tokenizer = TextTokenizer.train(dataset.train.texts, 250)
    features = Features(dataset, dataset.train, tokenizer, 24)
    model = float_model(MODEL.model_copy(update={"dropout": 0.0}), len(tokenizer), 2)
    batch = Collator(tokenizer.pad_id)(features.items[:8])
    losses = {}
    for name, update in {"plain": {}, "smooth": {"label_smoothing": 0.3}, "words": {"word_dropout": 0.9}}.items():
        cfg = TrainConfig(word_dropout=0.0).model_copy(update=update)
        trainer = EncoderTrainer(model, tokenizer, features, None, cfg, tmp_path, epochs=1, learning_rate=1e-3)
        losses[name] = [trainer.compute_loss(model.train(mode), dict(batch)).item() for mode in (True, False)]
    assert losses["smooth"][0] != losses["plain"][0] != losses["words"][0]
    assert losses["smooth"][1] == losses["plain"][1] == losses["words"][1] == losses["plain"][0]
    special = trainer._drop_words(batch["input_ids"])[:, 0]
    assert (special == batch["input_ids"][0, 0]).all()


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path):
    """As `accelerate launch` starts them, here two on the CPU: one set of files, and each sees its half of the data."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom bitloom.qat.config import *\nfrom bitloom.qat.data import DataConfig\nfrom bitloom.qat.train import train\n"
        f"train({MODEL!r}, QuantConfig(), {TRAINING!r}, {DATA!r}, None, sys.argv[1], progress=lambda f, t: print(t))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run([*launch, str(script), str(tmp_path / "out")], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("making the vocabulary") == 1  # by the main process, which alone writes
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["examples"] == 40
    assert max(p["step"] for p in metrics["curves"]) == 12  # 96 examples, 2 processes, batches of 8, 2 epochs
    assert from_pretrained(tmp_path / "out" / "qat").shape.labels == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_training_that_diverged_names_its_learning_rate(value):
    model = torch.nn.Linear(2, 2)
    _check_finite(model, "qat")
    with torch.no_grad():
        model.bias[1] = value
    with pytest.raises(TrainError) as error:
        _check_finite(model, "qat")
    assert str(error.value) == ("training: got values that are not finite in 'bias' after the qat phase, must be finite; lower training.qat_learning_rate")
