# SPDX-License-Identifier: Apache-2.0
"""What a family of checkpoints is: which shape its configuration describes, and what its tensors are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bitloom.qat.config import check_heads
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.shape import EncoderShape, LayerShape
from bitloom.qat.quantizers import QuantError
from torch import nn

# Hugging Face's names of functions that are the same up to float rounding
ACTIVATIONS = {"gelu_python": "gelu", "gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new", "gelu_python_tanh": "gelu_new", "swish": "silu"}
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def bert_like(config: Any) -> dict[str, Any]:
    """The figures of an EncoderShape (all but labels, head, max_tokens and pooler) from a configuration that has BERT's field names."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    check_heads(hidden, heads)
    layer = LayerShape(heads=heads, head_width=hidden // heads, intermediate=config.intermediate_size, activation=activation(config.hidden_act))
    return {
        "hidden": hidden,
        "vocabulary": config.vocab_size,
        "positions": config.max_position_embeddings,
        "segments": config.type_vocab_size,
        "layers": (layer,) * config.num_hidden_layers,
        "layer_norm_eps": config.layer_norm_eps,
        "dropout": config.hidden_dropout_prob,
        "attention_dropout": config.attention_probs_dropout_prob,
        "head_dropout": config.hidden_dropout_prob,
    }


def activation(name: str) -> str:
    """Its name among bitloom.hw.ops.table.FUNCTIONS, or as it is where there is none (EncoderShape refuses it)."""
    return ACTIVATIONS.get(name, name)


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of encoders.

    name      Hugging Face's model type
    prefix    attribute that holds the encoder in a model with a head, so the prefix of its tensors
    figures   configuration -> fields of EncoderShape but labels, head, max_tokens, pooler
    pooler    activation of the dense layer in front of the logits of a sentence
    tables    modules of the embedding tables: word, position, segment (None: none)
    position_row  configuration -> the row of the position table that the first token takes
    layer     configuration, i -> the module of layer i
    in_layer  path of an operator in a layer -> path of its module in that one
    outside   configuration -> (path of another operator -> its module)
    heads     task -> (path of an operator -> its module)
    dropouts  fields of the configuration that hold the encoder's and the head's dropout
    """

    name: str
    prefix: str
    figures: Callable[[Any], dict[str, Any]] = bert_like
    pooler: str = "tanh"
    tables: tuple[str, str, str | None]
    position_row: Callable[[Any], int] = lambda config: 0
    layer: Callable[[Any, int], str]
    in_layer: dict[str, str]
    outside: Callable[[Any], dict[str, str]]
    heads: dict[str, dict[str, str]]
    dropouts: tuple[str, ...] = DROPOUTS

    def encoder_shape(self, config: Any, task: str, max_tokens: int) -> EncoderShape:
        """Raises QuantError, ConfigError: figures that fit no network, or too few positions."""
        sequence = task == "classification"
        return EncoderShape(
            **self.figures(config) | {"positions": self.positions(config)},
            pooler=self.pooler if sequence else None,
            labels=config.num_labels,
            head="sequence" if sequence else "token",
            max_tokens=max_tokens,
        )

    def positions(self, config: Any) -> int:
        """The longest sentence that the position table has rows for."""
        return self.figures(config)["positions"] - self.position_row(config)

    def names(self, config: Any, layers: int, task: str) -> dict[str, str]:
        """Path of each operator with weights -> path of its module, without the embedding tables."""
        found = {f"layer.{i}.{path}": f"{self.layer(config, i)}.{module}" for i in range(layers) for path, module in self.in_layer.items()}
        return {**self.outside(config), **found, **self.heads[task]}

    def load(self, network: Encoder, float_model: nn.Module, task: str) -> None:
        """Fill a bound network with a float model's weights."""
        config, names = float_model.config, self.names(float_model.config, len(network.layer), task)
        word, position, segment = (None if name is None else float_model.get_submodule(name).weight for name in self.tables)
        network.embeddings.sum.load(word, position[self.position_row(config) :], segment)
        rest = [step.path for step in network.steps if hasattr(network.operator(step), "load") and step.path != "embeddings.sum"]
        if wrong := {*rest} ^ {*names}:
            raise QuantError(f"family {self.name}: got no weights or no operator for {', '.join(sorted(wrong))}; correct bitloom/qat/families/{self.name}.py")
        for path in rest:
            network.get_submodule(path).load(float_model.get_submodule(names[path]))
