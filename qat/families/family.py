# SPDX-License-Identifier: Apache-2.0
"""What a family of checkpoints is: how a Hugging Face config gives an encoder's shape, and where its model keeps each operator's weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from bitloom.hw.ops.table import FUNCTIONS
from bitloom.qat.families.heads import head_of
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import Embeddings, LayerNorm, Linear
from bitloom.qat.net.shape import EncoderShape, LayerShape
from bitloom.qat.networks import MAX_HIDDEN, check_heads
from bitloom.qat.quantizers import QuantError

KEYS = "attention_keys"  # of a config: which keys a query sees, where a recipe says it (bitloom.qat.baseline); Hugging Face's own have all
SEGMENTS = 2  # rows of the segment table at least: a family without segments has equal ones, so that pairs read alike
# Kinds that people bring and that this forward pass cannot be.
REFUSED = {
    "mobilebert": "missing for it: NoNorm (a factor and an offset a channel in the place of LayerNorm), embeddings of three neighbouring tokens, and "
    "queries and keys that are read from a bottleneck of their own",
    "deberta": "missing for it: scores of relative positions (disentangled attention)",
    "deberta-v2": "missing for it: scores of relative positions (disentangled attention)",
    "xlnet": "missing for it: scores of relative positions",
    "longformer": "missing for it: windows of attention",
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """names and quirks of one family.

    kinds      model types of Hugging Face's configs
    body       the attribute of a model with a head that holds the encoder, and its prefix in checkpoints
    fields     config attribute for each of hidden, heads, intermediate, activation, dropout, attention_dropout
    eps        of LayerNorm: a config attribute, or the number
    modules    operator's path in the network -> module's path in the model's body; {i} is the layer
    heads      by head (sequence, token, span): operator's path -> module's path in the whole model
    pooler     pooler(config): activation behind the first token's linear layer of a sequence head
    embedding  config attribute of the embedding tables' width, None: the encoder's
    first_position  first_position(config): row of the position table that belongs to the first token
    depth      depth(config): encoder layers
    layer_of   layer_of(config, i): what {i} stands for in layer i, where layers share weights
    """

    name: str
    kinds: tuple[str, ...]
    body: str
    fields: dict[str, str] = field(default_factory=dict)
    eps: str | float = "layer_norm_eps"
    tables: tuple[str, str, str | None] = ("embeddings.word_embeddings", "embeddings.position_embeddings", "embeddings.token_type_embeddings")
    modules: dict[str, str] = field(default_factory=dict)
    heads: dict[str, dict[str, str]] = field(default_factory=dict)
    pooler: Callable[[Any], str | None] = lambda config: "tanh"
    embedding: str | None = None
    first_position: Callable[[Any], int] = lambda config: 0
    depth: Callable[[Any], int] = lambda config: config.num_hidden_layers
    layer_of: Callable[[Any, int], str] = lambda config, i: str(i)

    def get(self, config, key: str):
        """The config's value of one of FIELDS."""
        return getattr(config, self.fields.get(key, FIELDS[key]))

    def check(self, config) -> None:
        """Raise QuantError: a config of this family that the forward pass cannot be."""
        if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
            raise QuantError("checkpoint: got is_decoder (each token sees only those before it), must be an encoder; choose another checkpoint")
        kind = getattr(config, "position_embedding_type", None) or "absolute"
        if kind != "absolute":
            raise QuantError(f"checkpoint: got position_embedding_type '{kind}', must be absolute; choose another checkpoint")
        check_heads(self.get(config, "hidden"), self.get(config, "heads"))
        if not 2 <= self.get(config, "hidden") <= MAX_HIDDEN:
            raise QuantError(f"checkpoint: got a hidden size of {self.get(config, 'hidden')}, must be 2 .. {MAX_HIDDEN}; choose another checkpoint")
        activations = (self.get(config, "activation"), self.pooler(config))
        if unknown := [a for a in activations if a is not None and a not in FUNCTIONS]:
            raise QuantError(f"model: got activation '{unknown[0]}', must be one of {', '.join(FUNCTIONS)}; choose another checkpoint")

    def rows(self, config) -> int:
        """Positions that the checkpoint has."""
        return config.max_position_embeddings - self.first_position(config)

    def shape(self, config, max_tokens: int, head: str, labels: int) -> EncoderShape:
        """An encoder of that config.

        Raises QuantError: more tokens than positions.
        """
        if max_tokens > self.rows(config):
            raise QuantError(f"max_tokens: got {max_tokens}, must be at most the checkpoint's {self.rows(config)} positions; lower it")
        hidden, heads = self.get(config, "hidden"), self.get(config, "heads")
        layer = LayerShape(
            heads=heads,
            head_width=hidden // heads,
            intermediate=self.get(config, "intermediate"),
            activation=self.get(config, "activation"),
            keys=getattr(config, KEYS, "T"),
        )
        width = getattr(config, self.embedding) if self.embedding else hidden
        return EncoderShape(
            hidden=hidden,
            layers=(layer,) * self.depth(config),
            vocabulary=config.vocab_size,
            positions=max_tokens,
            segments=max(SEGMENTS, getattr(config, "type_vocab_size", 0) or 0),
            embedding=None if width == hidden else width,
            layer_norm_eps=self.eps if isinstance(self.eps, float) else getattr(config, self.eps),
            pooler=self.pooler(config),
            head=head,
            labels=labels,
            max_tokens=max_tokens,
            dropout=self.get(config, "dropout"),
            attention_dropout=self.get(config, "attention_dropout"),
        )

    def shape_of(self, model: nn.Module, max_tokens: int) -> EncoderShape:
        """Of a model with a head.

        Raises QuantError: a model without one of the known heads.
        """
        return self.shape(model.config, max_tokens, head_of(model), model.config.num_labels)

    @torch.no_grad()
    def copy_weights(self, model: nn.Module, network: Network) -> None:
        """Fill a network of `shape_of`'s shape with the model's weights; 1/sqrt(d) goes into the query layers, but of a float network."""
        shape, body, config = network.shape, getattr(model, self.body), model.config
        factors = {} if network.plain else network.factors()
        for operator, step in zip(network.operators(), network.steps, strict=True):
            if isinstance(operator, Embeddings):
                self.copy_tables(body, operator, config)
            elif isinstance(operator, Linear):
                operator.copy_from(self.module(model, step.path, shape.head, config), factors.get(operator, 1.0))
            elif isinstance(operator, LayerNorm):
                operator.copy_from(self.module(model, step.path, shape.head, config))

    def module(self, model: nn.Module, path: str, head: str, config) -> nn.Module:
        """The model's module that holds the weights of the operator at `path`."""
        if path in self.heads[head]:
            return model.get_submodule(self.heads[head][path])
        parts = path.split(".")
        if parts[0] == "layer":
            name = self.modules[".".join(["layer", *parts[2:]])].replace("{i}", self.layer_of(config, int(parts[1])))
        else:
            name = self.modules[path]
        return getattr(model, self.body).get_submodule(name)

    def copy_tables(self, body: nn.Module, target: Embeddings, config) -> None:
        """The three tables; a family without segments has zeros, one with a single segment has it twice."""
        word, position, segment = (None if name is None else body.get_submodule(name).weight for name in self.tables)
        first = self.first_position(config)
        target.word.copy_(word)
        target.position.copy_(position[first : first + len(target.position)])
        if segment is None:
            target.segment.zero_()
        else:
            target.segment.copy_(segment if len(segment) >= len(target.segment) else segment[:1].expand_as(target.segment))


FIELDS = {
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "intermediate": "intermediate_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
# BERT's own names below its body, which many families keep.
BERT_LAYER = {
    "layer.query": "encoder.layer.{i}.attention.self.query",
    "layer.key": "encoder.layer.{i}.attention.self.key",
    "layer.value": "encoder.layer.{i}.attention.self.value",
    "layer.attention.output": "encoder.layer.{i}.attention.output.dense",
    "layer.attention.norm": "encoder.layer.{i}.attention.output.LayerNorm",
    "layer.ffn.up": "encoder.layer.{i}.intermediate.dense",
    "layer.ffn.down": "encoder.layer.{i}.output.dense",
    "layer.ffn.norm": "encoder.layer.{i}.output.LayerNorm",
    "embeddings.norm": "embeddings.LayerNorm",
}
PER_TOKEN = {"token": {"logits": "classifier"}, "span": {"logits": "qa_outputs"}}
