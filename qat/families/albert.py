# SPDX-License-Identifier: Apache-2.0
"""ALBERT (Lan et al. 2020): narrow embeddings and layers that share their weights; in the quantized network each layer has a copy of its own."""

from __future__ import annotations

from typing import Any

from bitloom.qat.families.bert import tables
from bitloom.qat.families.family import Family, bert_like


def figures(config: Any) -> dict[str, Any]:
    common = bert_like(config)
    return common | {"embedding": config.embedding_size, "layers": common["layers"] * config.inner_group_num, "head_dropout": config.classifier_dropout_prob}


def layer(config: Any, i: int) -> str:
    """Layer i of the unrolled encoder: each step takes a group, which is `inner_group_num` layers."""
    step, inner = divmod(i, config.inner_group_num)
    group = int(step / (config.num_hidden_layers / config.num_hidden_groups))
    return f"albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}"


FAMILY = Family(
    name="albert",
    prefix="albert",
    figures=figures,
    tables=tables("albert"),
    layer=layer,
    in_layer={
        "query": "attention.query",
        "key": "attention.key",
        "value": "attention.value",
        "attention.output": "attention.dense",
        "attention.norm": "attention.LayerNorm",
        "ffn.up": "ffn",
        "ffn.down": "ffn_output",
        "ffn.norm": "full_layer_layer_norm",
    },
    outside=lambda config: {"embeddings.norm": "albert.embeddings.LayerNorm", "embeddings.project": "albert.encoder.embedding_hidden_mapping_in"},
    heads={
        "classification": {"pooler.pre": "albert.pooler", "logits": "classifier"},
        "span": {"logits": "qa_outputs"},
        "token_classification": {"logits": "classifier"},
    },
    dropouts=("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob"),
)
