# SPDX-License-Identifier: Apache-2.0
"""Whole runs on checkpoints that others trained: post-training quantization, heads that are new, tokenizers and families other than BERT."""

import json
import random
import shutil
from pathlib import Path

import pytest
import tokenizer_files
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForTokenClassification

from bitloom import Recipe, RunFolder
from bitloom.flow import run_stage
from bitloom.qat.corpus import generate
from bitloom.qat.tokenizer import TextTokenizer

RECIPE = """
name: taken
model: {{checkpoint: {checkpoint}, max_tokens: 24, dropout: 0.0{model}}}
data: {{max_train_examples: 64, max_dev_examples: 48{data}}}
quantization: {{weights: 8}}
training: {{float_epochs: {epochs}, qat_epochs: 0, batch_size: 16, calibration_batches: 2}}
hardware: {{multipliers: 60}}
verification: {{sentences: 4, stall_sentences: 2, reference_sentences: 8}}
"""


def write(tmp_path, checkpoint, *, epochs=0, model="", data="") -> Path:
    path = tmp_path / "taken.yaml"
    path.write_text(RECIPE.format(checkpoint=checkpoint, epochs=epochs, model=model, data=data))
    return path


@pytest.fixture
def fine_tuned(tiny_run, tmp_path) -> Path:
    """The tiny run's float model, as somebody else's checkpoint with its labels in another order."""
    folder = Path(shutil.copytree(tiny_run / "train" / "float", tmp_path / "checkpoint"))
    (folder / "bitloom_scores.json").unlink()
    tensors, config = load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
    save_file(tensors | {key: tensors[key].flip(0).contiguous() for key in ("classifier.weight", "classifier.bias")}, folder / "model.safetensors")
    names = [config["id2label"]["1"], config["id2label"]["0"]]
    (folder / "config.json").write_text(json.dumps(config | {"id2label": dict(enumerate(names)), "label2id": {names[0]: 0, names[1]: 1}}))
    return folder


@pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")
def test_post_training_quantization(fine_tuned, tiny_run, tmp_path, bitloom):
    """No training at all: the checkpoint's accuracy is kept, what the integers cost is in the report, the hardware agrees."""
    code, out, err = bitloom("run", write(tmp_path, fine_tuned), "--out", tmp_path / "run")
    assert code == 0, err
    report, before = (json.loads((run / "report.json").read_text()) for run in (tmp_path / "run", tiny_run))
    assert report["accuracy"]["float"] == before["accuracy"]["float"] and report["verify"]["mismatches"] == 0
    assert report["training"]["curves"] == [] and report["training"]["epochs"] == {"float": 0, "qat": 0}
    page, cost = (tmp_path / "run" / "report.html").read_text(), report["accuracy"]["float"] - report["accuracy"]["golden"]
    assert "Post-training quantization: scales from at most 32 training sentences" in page and f"It costs {100 * cost:.2f} points of accuracy" in page
    for text in (*report["training"]["notes"], out, page):
        assert "positive, negative, are put into the data set" in text


# A pruned checkpoint: parts whose names hold one of these are zero.
PRUNED = [
    pytest.param(["output.dense", "attention.self.query", "attention.output.LayerNorm.weight"], id="blocks"),
    pytest.param([""], id="everything"),
]


@pytest.mark.slow  # in the plain run tests/qat/test_zeros.py has dead parts, as far as the golden model
@pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")
@pytest.mark.parametrize("dead", PRUNED)
def test_a_pruned_checkpoint_builds_and_agrees(dead, fine_tuned, tmp_path, bitloom):
    """Tensors of zeros have scales that the hardware takes; Brevitas, golden and RTL give the same codes."""
    tensors = load_file(fine_tuned / "model.safetensors")
    save_file({key: value * 0 if any(part in key for part in dead) else value for key, value in tensors.items()}, fine_tuned / "model.safetensors")
    code, out, err = bitloom("run", write(tmp_path, fine_tuned), "--out", tmp_path / "run")
    assert code == 0, err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["verify"]["mismatches"] == 0 and report["verify"]["values_compared"] > 1000


@pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")
def test_a_head_that_is_new_must_be_trained_and_is_told(fine_tuned, tmp_path, bitloom):
    tensors = load_file(fine_tuned / "model.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if not name.startswith("classifier")}, fine_tuned / "model.safetensors")
    code, _, err = bitloom("run", write(tmp_path, fine_tuned), "--out", tmp_path / "run")
    assert code == 2 and "got no epochs of either kind, must train a head that is new; set training.float_epochs" in err
    recipe = Recipe.load(write(tmp_path, fine_tuned, epochs=1))
    run = RunFolder.create(tmp_path / "trained", recipe)
    with run.locked():
        run.adopt(recipe, data_dir=None)
        run_stage(run, "train")
    (note,) = json.loads((run.path / "train" / "metrics.json").read_text())["notes"]
    assert "the head is trained from new (classifier.bias, classifier.weight): the checkpoint has none" in note


def word_pieces(folder, texts, size) -> None:
    TextTokenizer.train(texts, size).save(folder)


SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 32}
FAMILIES = {
    "roberta": (tokenizer_files.byte_pairs, 400, SHAPE | {"type_vocab_size": 1}),
    "albert": (tokenizer_files.unigram, 200, SHAPE | {"embedding_size": 8}),
    "electra": (word_pieces, 250, SHAPE | {"embedding_size": 8}),
    "distilbert": (word_pieces, 250, {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 32}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")
def test_labels_of_words_from_a_checkpoint_of_a_family(kind, tmp_path, bitloom):
    """A folder as transformers saves it, with the family's tokenizer, on one label a word: text to verified RTL, then a prediction."""
    make_tokenizer, size, shape = FAMILIES[kind]
    folder, rng, texts = tmp_path / "checkpoint", random.Random(1), generate("train", 112)[0]
    folder.mkdir()
    make_tokenizer(folder, texts, size)
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **shape, vocab_size=len(TextTokenizer.load(folder)) + 3, num_labels=3)
    AutoModelForTokenClassification.from_config(config).save_pretrained(folder)
    for split, part in (("train", texts[:64]), ("dev", texts[64:])):
        rows = [{"tokens": (words := text.split()[:8]), "tags": [rng.choice("XYZ") for _ in words]} for text in part]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = write(tmp_path, folder, model=", head: token", data=", name: words, task: token_classification")
    code, _, err = bitloom("run", recipe, "--data", tmp_path, "--out", tmp_path / "run")
    assert code == 0, err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["verify"]["mismatches"] == 0 and report["accuracy"]["rtl"]["value"] == report["accuracy"]["rtl"]["golden"]
    assert [r["mismatches"] for r in report["verify"]["comparisons"]] == [0] * len(report["verify"]["comparisons"])
    code, out, err = bitloom("predict", tmp_path / "run", "a fine film", "--on", "rtl")
    assert code == 0 and all(f"{word}/" in out for word in ("a", "fine", "film")), err
