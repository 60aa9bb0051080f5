# SPDX-License-Identifier: Apache-2.0
"""The quantized BERT encoder: docs/numerics.md as a trainable Brevitas model.

Module paths are the tensors' names (`layer.0.ffn.up`). Tensors between modules hold values, code * scale, exactly.
"""

from __future__ import annotations

import math

import torch
from bitloom.qat.config import QuantConfig, check_heads
from bitloom.qat.layers import Embeddings, LayerNorm, Linear, Requant, Softmax, Table
from bitloom.qat.quantizers import Grid, QuantError
from torch import Tensor, nn
from torch.nn import functional as TF
from transformers import BertConfig
from transformers.modeling_outputs import QuestionAnsweringModelOutput, SequenceClassifierOutput

LOGIT_BITS = 16


def settings_of_tensors(layers: int) -> dict[str, set[str]]:
    """Each layer's and tensor's name, with the quantization settings that apply to it.

    'residual' beside 'activations' marks an output that only a residual add reads: it may have as many bits.
    """
    linear, act = {"weights", "weight_range", "activations"}, {"activations"}
    block = {
        **dict.fromkeys(("query", "key", "value", "ffn.up"), linear),
        **dict.fromkeys(("attention.output", "ffn.down"), linear | {"residual"}),
        **dict.fromkeys(("context", "attention.norm", "ffn.act", "ffn.norm"), act),
        **dict.fromkeys(("attention.sum", "ffn.sum"), {"residual"}),
        "scores": {"scores"},
        "probs": {"probs"},
    }
    names = {"embeddings.sum": {"embeddings"}, "embeddings.norm": act}
    names |= {f"layer.{i}.{name}": keys for i in range(layers) for name, keys in block.items()}
    return names | {"pooler.pre": linear, "pooler": act, "logits": {"weights", "weight_range"}}


class _Builder:
    """Makes operators with the bits that the settings give to their names."""

    def __init__(self, config: BertConfig, quant: QuantConfig, max_tokens: int):
        self.config, self.quant, self.max_tokens = config, quant, max_tokens

    def linear(self, name: str, source: Grid, in_features: int, out_features: int, **kwargs) -> Linear:
        kwargs.setdefault("bits", self.quant.of(name, "activations"))
        narrow = self.quant.of(name, "weight_range") == "narrow"
        weight_bits = self.quant.of(name, "weights")
        return Linear(name, source, in_features, out_features, weight_bits=weight_bits, narrow=narrow, **kwargs)

    def projection(self, name: str, source: Grid, in_features: int) -> Linear:
        """A linear layer whose output only the residual add reads; an override may give it `residual` bits."""
        bits = self.quant.of(name, "residual", default=self.quant.of(name, "activations"))
        return self.linear(name, source, in_features, self.config.hidden_size, bits=bits)

    def norm(self, name: str, source: Grid) -> LayerNorm:
        config = self.config
        return LayerNorm(name, source, config.hidden_size, self.quant.of(name, "activations"), config.layer_norm_eps)

    def table(self, name: str, function: str, source: Grid) -> Table:
        return Table(name, function, source, self.quant.of(name, "activations"))

    def dropout(self) -> nn.Dropout:
        return nn.Dropout(self.config.hidden_dropout_prob)


class AttentionOutput(nn.Module):
    """Projection of the context, residual add, LayerNorm."""

    def __init__(self, name: str, make: _Builder, source: Grid):
        super().__init__()
        self.output = make.projection(f"{name}.output", source, make.config.hidden_size)
        self.dropout = make.dropout()
        self.sum = Requant(f"{name}.sum", make.quant.of(f"{name}.sum", "residual"))
        self.norm = make.norm(f"{name}.norm", self.sum.grid)

    def forward(self, context: Tensor, x: Tensor) -> Tensor:
        return self.norm(self.sum(self.dropout(self.output(context)) + x))


class FeedForward(nn.Module):
    """Two linear layers with an activation between, residual add, LayerNorm."""

    def __init__(self, name: str, make: _Builder, source: Grid):
        super().__init__()
        config = make.config
        self.up = make.linear(f"{name}.up", source, config.hidden_size, config.intermediate_size)
        self.act = make.table(f"{name}.act", config.hidden_act, self.up.grid)
        self.down = make.projection(f"{name}.down", self.act, config.intermediate_size)
        self.dropout = make.dropout()
        self.sum = Requant(f"{name}.sum", make.quant.of(f"{name}.sum", "residual"))
        self.norm = make.norm(f"{name}.norm", self.sum.grid)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.sum(self.dropout(self.down(self.act(self.up(x)))) + x))


class EncoderLayer(nn.Module):
    """Multi-head attention and feed-forward, each with a post-LayerNorm."""

    def __init__(self, name: str, make: _Builder, source: Grid):
        super().__init__()
        config, quant = make.config, make.quant
        hidden, self.heads = config.hidden_size, config.num_attention_heads
        self.query = make.linear(f"{name}.query", source, hidden, hidden)
        self.key = make.linear(f"{name}.key", source, hidden, hidden)
        self.value = make.linear(f"{name}.value", source, hidden, hidden)
        factors = (self.query.grid, self.key.grid)
        self.scores = Requant(f"{name}.scores", quant.of(f"{name}.scores", "scores"), factors)
        self.probs = Softmax(f"{name}.probs", self.scores.grid, quant.of(f"{name}.probs", "probs"), make.max_tokens)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)
        factors = (self.probs, self.value.grid)
        self.context = Requant(f"{name}.context", quant.of(f"{name}.context", "activations"), factors)
        self.attention = AttentionOutput(f"{name}.attention", make, self.context.grid)
        self.ffn = FeedForward(f"{name}.ffn", make, self.attention.norm)

    def _split(self, x: Tensor) -> Tensor:
        """[B, T, H] -> [B, heads, T, d]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        q, k, v = self._split(self.query(x)), self._split(self.key(x)), self._split(self.value(x))
        probs = self.dropout(self.probs(self.scores(q @ k.transpose(-1, -2)), real))
        context = self.context((probs @ v).transpose(1, 2).flatten(2))
        return self.ffn(self.attention(context, x))


class Pooler(nn.Module):
    """tanh(W * first token); its tensors are `pooler.acc`, `pooler.pre` and `pooler`."""

    def __init__(self, make: _Builder, source: Grid):
        super().__init__()
        hidden = make.config.hidden_size
        self.pre = make.linear("pooler.pre", source, hidden, hidden, acc="pooler.acc")
        self.act = make.table("pooler", "tanh", self.pre.grid)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.pre(x[:, 0]))


class QuantBert(nn.Module):
    """BERT encoder with a head, all integer in its forward pass.

    config      Hugging Face BertConfig: the shape, dropout, `num_labels`, `problem_type`
    quant       bits
    max_tokens  longest sentence; positions beyond are dropped
    head        'sequence' (pooler, one vector of `num_labels` logits) or 'token' (`num_labels` logits a token; with
                two labels start and end of a span)

    Not ready until calibrated (bitloom.qat.calibrate.calibrate) or loaded (bitloom.qat.checkpoint.from_pretrained).
    """

    def __init__(self, config: BertConfig, quant: QuantConfig, max_tokens: int, head: str = "sequence"):
        super().__init__()
        _check_config(config, max_tokens)
        quant.check_names(settings_of_tensors(config.num_hidden_layers))
        self.config, self.quant, self.max_tokens, self.head = config, quant, max_tokens, head
        make, hidden = _Builder(config, quant, max_tokens), config.hidden_size
        self.embeddings = nn.Module()
        bits = quant.of("embeddings.sum", "embeddings")
        self.embeddings.sum = Embeddings("embeddings.sum", config.vocab_size, max_tokens, config.type_vocab_size, hidden, bits)
        self.embeddings.norm = make.norm("embeddings.norm", self.embeddings.sum)
        self.dropout = make.dropout()
        source, layers = self.embeddings.norm, []
        for index in range(config.num_hidden_layers):
            layers.append(EncoderLayer(f"layer.{index}", make, source))
            source = layers[-1].ffn.norm
        self.layer = nn.ModuleList(layers)
        self.pooler = Pooler(make, source) if head == "sequence" else None
        source = self.pooler.act if head == "sequence" else source
        self.logits = make.linear("logits", source, hidden, config.num_labels, bits=LOGIT_BITS)

    @classmethod
    def from_float(cls, float_model: nn.Module, quant: QuantConfig, max_tokens: int) -> QuantBert:
        """Quantize a Hugging Face BertForSequenceClassification or BertForQuestionAnswering; calibrate it next."""
        from bitloom.qat.baseline import copy_weights, head_of

        model = cls(float_model.config, quant, max_tokens, head_of(float_model))
        copy_weights(float_model, model)
        return model.to(next(float_model.parameters()).device)

    def grids(self) -> dict[str, Grid]:
        """Each quantized tensor's grid by name, in the order of computation (accumulators have none)."""
        return {m.tensor: m.grid for m in self.operators()}

    def operators(self) -> list[nn.Module]:
        """The named operators, in the order of computation."""
        return [m for m in self.modules() if hasattr(m, "tensor")]

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None) -> Tensor:
        """Values of the last layer, [B, T, H]."""
        if input_ids.shape[1] > self.max_tokens:
            raise QuantError(f"model: got {input_ids.shape[1]} tokens, must be at most {self.max_tokens}; truncate or raise max_tokens")
        segments = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        real = None
        if attention_mask is not None and not bool(attention_mask.all()):
            real = attention_mask.bool()[:, None, None, :]
        x = self.dropout(self.embeddings.norm(self.embeddings.sum(input_ids, segments)))
        for layer in self.layer:
            x = layer(x, real)
        return x

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
    ):
        """As Hugging Face's models of the same task: loss (where labels are given) and logits.

        input_ids, attention_mask, token_type_ids  [B, T]; padding has mask 0 and does not reach a real token
        """
        x = self.encode(input_ids, attention_mask, token_type_ids)
        if self.head == "sequence":
            logits = self.logits(self.dropout(self.pooler(x)))
            loss = None if labels is None else _sequence_loss(logits, labels, self.config)
            return SequenceClassifierOutput(loss=loss, logits=logits)
        logits = self.logits(x)
        if attention_mask is not None:  # no answer in padding, so that a padded batch answers as the sentence alone
            logits = logits.masked_fill(~attention_mask.bool()[:, :, None], torch.finfo(logits.dtype).min)
        start, end = logits.unbind(-1)
        loss = None if start_positions is None else _span_loss(start, end, start_positions, end_positions)
        return QuestionAnsweringModelOutput(loss=loss, start_logits=start, end_logits=end)


def _check_config(config: BertConfig, max_tokens: int) -> None:
    check_heads(config.hidden_size, config.num_attention_heads)
    if config.hidden_act not in ("gelu", "relu"):
        raise QuantError(f"model: got activation '{config.hidden_act}', must be gelu or relu; choose another checkpoint")
    if max_tokens > config.max_position_embeddings:
        raise QuantError(f"max_tokens: got {max_tokens}, must be at most the checkpoint's {config.max_position_embeddings} positions; lower it")


def _sequence_loss(logits: Tensor, labels: Tensor, config: BertConfig) -> Tensor:
    if config.num_labels == 1 or config.problem_type == "regression":
        return TF.mse_loss(logits.squeeze(-1), labels.to(logits.dtype).reshape(logits.squeeze(-1).shape))
    return TF.cross_entropy(logits, labels)


def _span_loss(start: Tensor, end: Tensor, start_positions: Tensor, end_positions: Tensor) -> Tensor:
    """Mean of both ends' cross entropy; a position outside the (truncated) text does not count."""
    ignored = start.shape[1]
    losses = [TF.cross_entropy(scores, at.clamp(0, ignored), ignore_index=ignored) for scores, at in ((start, start_positions), (end, end_positions))]
    return sum(losses) / 2


def query_factor(config: BertConfig) -> float:
    """1/sqrt(d), folded into the query layer before it is quantized."""
    return 1 / math.sqrt(config.hidden_size // config.num_attention_heads)
