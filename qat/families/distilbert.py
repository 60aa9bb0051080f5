# SPDX-License-Identifier: Apache-2.0
"""DistilBERT (Sanh et al. 2019): BERT without segments; its head's dense layer has a ReLU."""

from __future__ import annotations

from typing import Any

from bitloom.qat.config import check_heads
from bitloom.qat.families.family import Family, activation
from bitloom.qat.net.shape import LayerShape


def figures(config: Any) -> dict[str, Any]:
    check_heads(config.dim, config.n_heads)
    layer = LayerShape(heads=config.n_heads, head_width=config.dim // config.n_heads, intermediate=config.hidden_dim, activation=activation(config.activation))
    return {
        "hidden": config.dim,
        "vocabulary": config.vocab_size,
        "positions": config.max_position_embeddings,
        "segments": 0,
        "layers": (layer,) * config.n_layers,
        "layer_norm_eps": 1e-12,  # a constant of Hugging Face's model
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "head_dropout": config.seq_classif_dropout,
    }


FAMILY = Family(
    name="distilbert",
    prefix="distilbert",
    figures=figures,
    pooler="relu",
    tables=("distilbert.embeddings.word_embeddings", "distilbert.embeddings.position_embeddings", None),
    layer=lambda config, i: f"distilbert.transformer.layer.{i}",
    in_layer={
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "attention.output": "attention.out_lin",
        "attention.norm": "sa_layer_norm",
        "ffn.up": "ffn.lin1",
        "ffn.down": "ffn.lin2",
        "ffn.norm": "output_layer_norm",
    },
    outside=lambda config: {"embeddings.norm": "distilbert.embeddings.LayerNorm"},
    heads={
        "classification": {"pooler.pre": "pre_classifier", "logits": "classifier"},
        "span": {"logits": "qa_outputs"},
        "token_classification": {"logits": "classifier"},
    },
    dropouts=("dropout", "attention_dropout", "seq_classif_dropout", "qa_dropout"),
)
