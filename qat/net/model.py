# SPDX-License-Identifier: Apache-2.0
"""A network as a model that trains: inputs, losses and outputs as Hugging Face's models of the same task have them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as TF
from transformers.modeling_outputs import QuestionAnsweringModelOutput, SequenceClassifierOutput, TokenClassifierOutput

from bitloom.qat.config import QuantConfig
from bitloom.qat.families import family_of
from bitloom.qat.net.kinds import build
from bitloom.qat.net.network import Network
from bitloom.qat.net.off_ramps import OffRamps
from bitloom.qat.net.operators import Embeddings, LayerNorm, Linear
from bitloom.qat.net.shape import NetworkShape
from bitloom.qat.quantizers import Grid, QuantError

IGNORED = -100  # a token's label that does not count


class EncoderModel(nn.Module):
    """A network with its head: what the float and the quantized model share."""

    def __init__(self, shape: NetworkShape, quant: QuantConfig):
        super().__init__()
        self.shape, self.quant, self.max_tokens, self.head = shape, quant, shape.max_tokens, shape.head
        self.network = build(shape).bind(quant, shape.max_tokens)

    def grids(self) -> dict[str, Grid]:
        """Each rescaled tensor's grid by name, in the order of computation."""
        return self.network.grids()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
    ):
        """Loss (where labels are given) and logits.

        input_ids, attention_mask, token_type_ids  [B, T]; padding has mask 0 and does not reach a real token
        labels  classes or numbers [B]; of a token head classes [B, T], -100 where none counts
        """
        if input_ids.shape[1] > self.max_tokens:
            raise QuantError(f"model: got {input_ids.shape[1]} tokens, must be at most {self.max_tokens}; truncate or raise max_tokens")
        segments = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        real = None
        if attention_mask is not None and not bool(attention_mask.all()):
            real = attention_mask.bool()[:, None, None, :]
        if self.training:
            self.network.follow()
        logits = self.network(input_ids, segments, real)
        if self.head == "sequence":
            return SequenceClassifierOutput(loss=None if labels is None else sequence_loss(logits, labels), logits=logits)
        if self.head == "token":
            loss = None if labels is None else TF.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
            return TokenClassifierOutput(loss=loss, logits=logits)
        if attention_mask is not None:  # no answer in padding, so that a padded batch answers as the sentence alone
            logits = logits.masked_fill(~attention_mask.bool()[:, :, None], torch.finfo(logits.dtype).min)
        start, end = logits.unbind(-1)
        loss = None if start_positions is None else span_loss(start, end, start_positions, end_positions)
        return QuestionAnsweringModelOutput(loss=loss, start_logits=start, end_logits=end)


class FloatModel(EncoderModel):
    """A network in float of any shape, layers that differ too: what compression works on (bitloom.qat.methods)."""

    def __init__(self, shape: NetworkShape):
        super().__init__(shape, QuantConfig())
        self.network.as_plain()

    @classmethod
    def from_hugging_face(cls, model: nn.Module, max_tokens: int) -> FloatModel:
        """The same function as a Hugging Face model of a known family, on its device."""
        family = family_of(model.config)
        made = cls(family.shape_of(model, max_tokens))
        family.copy_weights(model, made.network)
        return made.to(next(model.parameters()).device)


class QuantModel(EncoderModel):
    """A network with its head, all integer in its forward pass.

    shape   of the network; quant: bits

    Not ready until calibrated (bitloom.qat.calibrate.calibrate) or loaded (bitloom.qat.checkpoint.from_pretrained).
    """

    @classmethod
    def from_float(cls, float_model: nn.Module, quant: QuantConfig, max_tokens: int) -> QuantModel:
        """Quantize a FloatModel or a Hugging Face model of a known family (bitloom.qat.families), on its device; calibrate it next.

        max_tokens  of a Hugging Face model; a FloatModel has its own
        """
        if isinstance(float_model, FloatModel):
            model = cls(float_model.shape, quant)
            copy_plain(float_model.network, model.network)
        else:
            family = family_of(float_model.config)
            model = cls(family.shape_of(float_model, max_tokens), quant)
            family.copy_weights(float_model, model.network)
        return model.to(next(float_model.parameters()).device)


@torch.no_grad()
def copy_plain(source: Network, target: Network) -> None:
    """Fill a quantized network with a float one's weights, of the same shape."""
    factors = target.factors()
    for old, new in zip(source.operators(), target.operators(), strict=True):
        if isinstance(new, Linear):
            new.copy_from(old, factors.get(new, 1.0))
        elif isinstance(new, Embeddings | LayerNorm | OffRamps):
            new.load_state_dict(dict(old.named_parameters()), strict=False)


def sequence_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared error of a single number, cross entropy of classes."""
    if logits.shape[-1] == 1:
        return TF.mse_loss(logits.squeeze(-1), labels.to(logits.dtype).reshape(logits.squeeze(-1).shape))
    return TF.cross_entropy(logits, labels)


def span_loss(start: Tensor, end: Tensor, start_positions: Tensor, end_positions: Tensor) -> Tensor:
    """Mean of both ends' cross entropy; a position outside the (truncated) text does not count."""
    ignored = start.shape[1]
    losses = [TF.cross_entropy(scores, at.clamp(0, ignored), ignore_index=ignored) for scores, at in ((start, start_positions), (end, end_positions))]
    return sum(losses) / 2
