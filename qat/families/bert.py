# SPDX-License-Identifier: Apache-2.0
"""BERT (Devlin et al. 2019)."""

from __future__ import annotations

from bitloom.qat.families.family import Family

IN_LAYER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention.norm": "attention.output.LayerNorm",
    "ffn.up": "intermediate.dense",
    "ffn.down": "output.dense",
    "ffn.norm": "output.LayerNorm",
}


def tables(prefix: str) -> tuple[str, str, str]:
    """BERT's modules of the embedding tables."""
    return tuple(f"{prefix}.embeddings.{name}_embeddings" for name in ("word", "position", "token_type"))


FAMILY = Family(
    name="bert",
    prefix="bert",
    tables=tables("bert"),
    layer=lambda config, i: f"bert.encoder.layer.{i}",
    in_layer=IN_LAYER,
    outside=lambda config: {"embeddings.norm": "bert.embeddings.LayerNorm"},
    heads={
        "classification": {"pooler.pre": "bert.pooler.dense", "logits": "classifier"},
        "span": {"logits": "qa_outputs"},
        "token_classification": {"logits": "classifier"},
    },
)
