# SPDX-License-Identifier: Apache-2.0
"""DistilBERT (Sanh et al. 2019): no segments, and a ReLU behind the first token in the place of BERT's pooler."""

from bitloom.qat.families.family import PER_TOKEN, Family

FAMILY = Family(
    name="distilbert",
    kinds=("distilbert",),
    body="distilbert",
    fields={"intermediate": "hidden_dim", "activation": "activation", "dropout": "dropout", "attention_dropout": "attention_dropout"},
    eps=1e-12,
    tables=("embeddings.word_embeddings", "embeddings.position_embeddings", None),
    modules={
        "layer.query": "transformer.layer.{i}.attention.q_lin",
        "layer.key": "transformer.layer.{i}.attention.k_lin",
        "layer.value": "transformer.layer.{i}.attention.v_lin",
        "layer.attention.output": "transformer.layer.{i}.attention.out_lin",
        "layer.attention.norm": "transformer.layer.{i}.sa_layer_norm",
        "layer.ffn.up": "transformer.layer.{i}.ffn.lin1",
        "layer.ffn.down": "transformer.layer.{i}.ffn.lin2",
        "layer.ffn.norm": "transformer.layer.{i}.output_layer_norm",
        "embeddings.norm": "embeddings.LayerNorm",
    },
    heads={"sequence": {"pooler.pre": "pre_classifier", "logits": "classifier"}, **PER_TOKEN},
    pooler=lambda config: "relu",
)
