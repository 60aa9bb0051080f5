# SPDX-License-Identifier: Apache-2.0
"""ALBERT (Lan et al. 2020): layers share weights (here each has its copy), embeddings are narrower than the encoder."""

from bitloom.qat.families.family import PER_TOKEN, Family

LAYER = "encoder.albert_layer_groups.{i}"


def layer_of(config, index: int) -> str:
    """Group and layer within it that layer `index` takes its weights from: a turn goes through all inner layers of its group."""
    turn, inner = divmod(index, config.inner_group_num)
    return f"{int(turn / (config.num_hidden_layers / config.num_hidden_groups))}.albert_layers.{inner}"


FAMILY = Family(
    name="albert",
    kinds=("albert",),
    body="albert",
    modules={
        "layer.query": f"{LAYER}.attention.query",
        "layer.key": f"{LAYER}.attention.key",
        "layer.value": f"{LAYER}.attention.value",
        "layer.attention.output": f"{LAYER}.attention.dense",
        "layer.attention.norm": f"{LAYER}.attention.LayerNorm",
        "layer.ffn.up": f"{LAYER}.ffn",
        "layer.ffn.down": f"{LAYER}.ffn_output",
        "layer.ffn.norm": f"{LAYER}.full_layer_layer_norm",
        "embeddings.norm": "embeddings.LayerNorm",
        "embeddings.project": "encoder.embedding_hidden_mapping_in",
    },
    heads={"sequence": {"pooler.pre": "albert.pooler", "logits": "classifier"}, **PER_TOKEN},
    embedding="embedding_size",
    depth=lambda config: config.num_hidden_layers * config.inner_group_num,
    layer_of=layer_of,
)
