# SPDX-License-Identifier: Apache-2.0
"""One's own training script: python examples/train_sst2.py OUT [DATA FOLDER] [HUGGING FACE BERT FOLDER]

Quantizes a BERT for SST-2 and fine-tunes it; without a data folder the data come from the Hugging Face hub, without a
checkpoint the encoder starts from scratch. `accelerate launch` runs it on several GPUs.
"""

import sys
from pathlib import Path

from bitloom.qat.baseline import float_model
from bitloom.qat.calibrate import calibrate
from bitloom.qat.checkpoint import save_pretrained
from bitloom.qat.config import QuantConfig, TrainConfig
from bitloom.qat.data import DataConfig, load
from bitloom.qat.features import Features
from bitloom.qat.net.model import QuantModel
from bitloom.qat.networks import ModelConfig
from bitloom.qat.tokenizer import TextTokenizer
from bitloom.qat.train import calibration_batches
from bitloom.qat.trainer import EncoderTrainer

out, folder, checkpoint = (sys.argv[1:] + [None, None])[:3]
data = load(DataConfig(name="sst2"), folder)
tokenizer = TextTokenizer.load(checkpoint) if checkpoint else TextTokenizer.train(data.train.texts, 8000)
model_cfg, cfg = ModelConfig(checkpoint=checkpoint, max_tokens=64), TrainConfig(batch_size=64, qat_learning_rate=3e-4)
train, dev = (Features(data, split, tokenizer, model_cfg.max_tokens) for split in (data.train, data.dev))


def fit(model, phase, epochs, learning_rate):
    """Train, or go on where a killed run was."""
    trainer = EncoderTrainer(model, tokenizer, train, dev, cfg, Path(out) / phase, epochs=epochs, learning_rate=learning_rate)
    trainer.resume()
    print(phase, trainer.evaluate()["eval_accuracy"])


bert = float_model(model_cfg, len(tokenizer), data.num_labels)  # any BertForSequenceClassification will do
fit(bert, "float", cfg.float_epochs, cfg.float_learning_rate)
bert = QuantModel.from_float(bert, QuantConfig(weights=4, activations=8), model_cfg.max_tokens)
calibrate(bert, calibration_batches(train, tokenizer, cfg))
fit(bert, "qat", cfg.qat_epochs, cfg.qat_learning_rate)
save_pretrained(bert, Path(out) / "quantized")
tokenizer.save(Path(out) / "quantized")
