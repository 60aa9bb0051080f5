# SPDX-License-Identifier: Apache-2.0
"""BERT (Devlin et al. 2019), and what keeps its names: MiniLM, TinyBERT."""

from bitloom.qat.families.family import BERT_LAYER, PER_TOKEN, Family

FAMILY = Family(
    name="bert",
    kinds=("bert",),
    body="bert",
    modules=BERT_LAYER,
    heads={"sequence": {"pooler.pre": "bert.pooler.dense", "logits": "classifier"}, **PER_TOKEN},
)
