# SPDX-License-Identifier: Apache-2.0
"""ELECTRA's discriminator (Clark et al. 2020): embeddings may be narrower than the encoder; its head's dense layer has a GELU."""

from __future__ import annotations

from typing import Any

from bitloom.qat.families.bert import IN_LAYER, tables
from bitloom.qat.families.family import Family, bert_like


def figures(config: Any) -> dict[str, Any]:
    return bert_like(config) | {"embedding": None if config.embedding_size == config.hidden_size else config.embedding_size}


def outside(config: Any) -> dict[str, str]:
    project = {} if config.embedding_size == config.hidden_size else {"embeddings.project": "electra.embeddings_project"}
    return {"embeddings.norm": "electra.embeddings.LayerNorm", **project}


FAMILY = Family(
    name="electra",
    prefix="electra",
    figures=figures,
    pooler="gelu",
    tables=tables("electra"),
    layer=lambda config, i: f"electra.encoder.layer.{i}",
    in_layer=IN_LAYER,
    outside=outside,
    heads={
        "classification": {"pooler.pre": "classifier.dense", "logits": "classifier.out_proj"},
        "span": {"logits": "qa_outputs"},
        "token_classification": {"logits": "classifier"},
    },
)
