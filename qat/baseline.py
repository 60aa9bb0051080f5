# SPDX-License-Identifier: Apache-2.0
"""The float baseline: a plain Hugging Face BERT, from scratch or from a checkpoint, and the way to QuantBert."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from bitloom.qat.config import ModelConfig
from bitloom.qat.model import QuantBert, query_factor
from bitloom.qat.quantizers import QuantError
from torch import nn
from transformers import AutoConfig, BertConfig, BertForQuestionAnswering, BertForSequenceClassification

HEADS = {"sequence": BertForSequenceClassification, "token": BertForQuestionAnswering}
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def float_model(model: ModelConfig, vocabulary: int, labels: int) -> nn.Module:
    """Hugging Face model of that shape.

    vocabulary  number of tokens; with a checkpoint its own count is kept, and must be at least this
    labels      number of logits (1: regression); 2 for the token head (start, end)
    """
    if model.checkpoint is not None:
        return load_float(
            model.checkpoint,
            head=model.head,
            labels=labels,
            layers=model.layers,
            dropout=model.dropout,
            vocabulary=vocabulary,
        )
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=model.hidden,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        intermediate_size=model.intermediate,
        hidden_act=model.activation,
        max_position_embeddings=model.max_tokens,
        hidden_dropout_prob=model.dropout,
        attention_probs_dropout_prob=model.dropout,
        num_labels=labels,
        initializer_range=0.02 * math.sqrt(768 / model.hidden),  # BERT-base's, for any width
    )
    return HEADS[model.head](config)


def load_float(
    checkpoint: str | Path,
    *,
    head: str,
    labels: int,
    layers: int | None = None,
    dropout: float = 0.1,
    vocabulary: int = 0,
) -> nn.Module:
    """Load a Hugging Face BERT checkpoint (folder or hub name), from safetensors only; a missing head starts at random.

    Raises QuantError: not a BERT, pickled weights, too few layers or tokens.
    """
    refuse_pickle(checkpoint)
    try:
        config = AutoConfig.from_pretrained(checkpoint)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise QuantError(f"checkpoint: got '{checkpoint}', must be a Hugging Face folder or hub name ({first})") from error
    if config.model_type != "bert":
        raise QuantError(f"checkpoint: got a '{config.model_type}' model, must be 'bert'; choose another checkpoint")
    if layers is not None and layers > config.num_hidden_layers:
        raise QuantError(f"layers: got {layers}, must be at most the checkpoint's {config.num_hidden_layers}; lower it")
    if vocabulary > config.vocab_size:
        raise QuantError(f"checkpoint: got {config.vocab_size} tokens, must be at least the tokenizer's {vocabulary}; use its own tokenizer")
    config.num_hidden_layers = layers or config.num_hidden_layers
    config.num_labels = labels
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    try:
        return HEADS[head].from_pretrained(checkpoint, config=config, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise QuantError(f"checkpoint: got '{checkpoint}', must hold readable safetensors weights ({first})") from error


def refuse_pickle(folder: str | Path) -> None:
    """Raise QuantError where a local folder (or file) holds pickled weights and no safetensors."""
    folder = Path(folder)
    if not folder.exists():
        return  # a hub name: use_safetensors decides
    files = [folder] if folder.is_file() else sorted(folder.iterdir())
    pickles = [f for f in files if f.suffix in PICKLE_SUFFIXES and f.name != "training_args.bin"]
    if pickles and not any(f.suffix == ".safetensors" for f in files):
        raise QuantError(
            f"checkpoint: got pickled weights {pickles[0].name}, must be safetensors (a pickle can run code); "
            "convert in a sandbox: AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
        )


def head_of(model: nn.Module) -> str:
    """'sequence' or 'token'. Raises QuantError for another class."""
    for head, kind in HEADS.items():
        if isinstance(model, kind):
            return head
    known = " or ".join(kind.__name__ for kind in HEADS.values())
    raise QuantError(f"from_float: got {type(model).__name__}, must be {known}; load the checkpoint with bitloom.qat.baseline.load_float")


@torch.no_grad()
def copy_weights(float_model: nn.Module, model: QuantBert) -> None:
    """Fill `model` with the float model's weights; 1/sqrt(d) goes into the query layers."""
    bert, tables = float_model.bert, float_model.bert.embeddings
    target = model.embeddings.sum
    target.word.copy_(tables.word_embeddings.weight)
    target.position.copy_(tables.position_embeddings.weight[: model.max_tokens])
    target.segment.copy_(tables.token_type_embeddings.weight)
    model.embeddings.norm.copy_from(tables.LayerNorm)
    for layer, source in zip(model.layer, bert.encoder.layer, strict=True):
        attention = source.attention
        layer.query.copy_from(attention.self.query, query_factor(model.config))
        layer.key.copy_from(attention.self.key)
        layer.value.copy_from(attention.self.value)
        layer.attention.output.copy_from(attention.output.dense)
        layer.attention.norm.copy_from(attention.output.LayerNorm)
        layer.ffn.up.copy_from(source.intermediate.dense)
        layer.ffn.down.copy_from(source.output.dense)
        layer.ffn.norm.copy_from(source.output.LayerNorm)
    if model.pooler is not None:
        model.pooler.pre.copy_from(bert.pooler.dense)
    model.logits.copy_from(float_model.classifier if model.head == "sequence" else float_model.qa_outputs)
