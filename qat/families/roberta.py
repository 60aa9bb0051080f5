# SPDX-License-Identifier: Apache-2.0
"""RoBERTa (Liu et al. 2019): positions are counted from behind the padding's, there is one segment, the head has a dense layer of its own."""

from __future__ import annotations

from bitloom.qat.families.bert import IN_LAYER, tables
from bitloom.qat.families.family import Family

FAMILY = Family(
    name="roberta",
    prefix="roberta",
    tables=tables("roberta"),
    position_row=lambda config: config.pad_token_id + 1,
    layer=lambda config, i: f"roberta.encoder.layer.{i}",
    in_layer=IN_LAYER,
    outside=lambda config: {"embeddings.norm": "roberta.embeddings.LayerNorm"},
    heads={
        "classification": {"pooler.pre": "classifier.dense", "logits": "classifier.out_proj"},
        "span": {"logits": "qa_outputs"},
        "token_classification": {"logits": "classifier"},
    },
)
