# SPDX-License-Identifier: Apache-2.0
"""ELECTRA's discriminator (Clark et al. 2020): embeddings may be narrower than the encoder, and a GELU stands behind the first token."""

from bitloom.qat.families.family import BERT_LAYER, PER_TOKEN, Family

FAMILY = Family(
    name="electra",
    kinds=("electra",),
    body="electra",
    modules={**BERT_LAYER, "embeddings.project": "embeddings_project"},
    heads={"sequence": {"pooler.pre": "classifier.dense", "logits": "classifier.out_proj"}, **PER_TOKEN},
    pooler=lambda config: "gelu",
    embedding="embedding_size",
)
