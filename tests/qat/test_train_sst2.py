# SPDX-License-Identifier: Apache-2.0
"""examples/train_sst2.py on a little generated data, from scratch and on a Hugging Face checkpoint folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bitloom.qat.baseline import float_model
from bitloom.qat.checkpoint import from_pretrained
from bitloom.qat.corpus import generate
from bitloom.qat.networks import ModelConfig
from bitloom.qat.tokenizer import TextTokenizer

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_from_scratch_and_from_a_checkpoint(tmp_path):
    for split, count in (("train", 128), ("dev", 40)):
        rows = zip(*generate(split, count), strict=True)
        text = "sentence1\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
        (tmp_path / f"{split}.tsv").write_text(text)
    tokenizer = TextTokenizer.train(generate("train", 128)[0], 300)
    tokenizer.save(tmp_path / "bert")
    shape = ModelConfig(layers=1, hidden=32, heads=2, intermediate=64, max_tokens=64)
    float_model(shape, len(tokenizer), 2).save_pretrained(tmp_path / "bert")
    for name, more in (("scratch", []), ("fine-tuned", [str(tmp_path / "bert")])):
        command = [sys.executable, "examples/train_sst2.py", str(tmp_path / name), str(tmp_path), *more]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert re.search(r"^float \d\.\d+$.*^qat \d\.\d+$", done.stdout, re.M | re.S), done.stdout
        model = from_pretrained(tmp_path / name / "quantized")
        assert model.shape.hidden == (32 if more else 128)
        assert len(TextTokenizer.load(tmp_path / name / "quantized")) == model.shape.vocabulary
