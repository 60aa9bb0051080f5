# SPDX-License-Identifier: Apache-2.0
"""RoBERTa (Liu et al. 2019): positions begin behind the padding token's number, one segment, a head of its own."""

from bitloom.qat.families.family import BERT_LAYER, PER_TOKEN, Family

FAMILY = Family(
    name="roberta",
    kinds=("roberta", "xlm-roberta", "camembert"),
    body="roberta",
    modules=BERT_LAYER,
    heads={"sequence": {"pooler.pre": "classifier.dense", "logits": "classifier.out_proj"}, **PER_TOKEN},
    first_position=lambda config: config.pad_token_id + 1,
)
