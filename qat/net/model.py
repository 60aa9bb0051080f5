# SPDX-License-Identifier: Apache-2.0
"""The trainable model around an encoder: losses of the tasks, and outputs as Hugging Face's models give them."""

from __future__ import annotations

import torch
from bitloom.hw.graph import Graph
from bitloom.qat.config import QuantConfig
from bitloom.qat.families import family_of, task_of
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.quantizers import QuantError
from torch import Tensor, nn
from torch.nn import functional as TF
from transformers.modeling_outputs import QuestionAnsweringModelOutput, SequenceClassifierOutput, TokenClassifierOutput

IGNORED = -100  # label of a token that has none


class QuantModel(nn.Module):
    """An encoder with a head, all integer in its forward pass.

    shape  with one label a sentence the task is regression
    task   of a token head: 'span' (two labels: start and end of the answer) or 'token_classification'; None: 'span'

    Not ready until calibrated (bitloom.qat.calibrate.calibrate) or loaded (bitloom.qat.checkpoint.from_pretrained).
    """

    def __init__(self, shape: EncoderShape, quant: QuantConfig, task: str | None = None):
        super().__init__()
        self.shape, self.quant = shape, quant
        self.task = "classification" if shape.head == "sequence" else task or "span"
        if self.task == "span" and shape.labels != 2:
            raise QuantError(f"model: got {shape.labels} labels, must be 2 for spans (start and end); choose the task token_classification")
        self.network = Encoder(shape).bind(quant)

    @classmethod
    def from_float(cls, float_model: nn.Module, quant: QuantConfig, max_tokens: int) -> QuantModel:
        """Quantize a Hugging Face model of a known family (bitloom.qat.families); calibrate it next.

        Raises QuantError: another family or class, or more tokens than it has positions.
        """
        task = task_of(float_model)
        family = family_of(float_model.config)
        model = cls(family.encoder_shape(float_model.config, task, max_tokens), quant, task)
        family.load(model.network, float_model, task)
        return model.to(next(float_model.parameters()).device)

    def to_graph(self, name: str, meta: dict | None = None) -> Graph:
        """The integer graph of docs/numerics.md, checked.

        meta  what is not arithmetic (task, label names, tokenizer); the shape is added under 'model'
        """
        return self.network.to_graph(name, {**(meta or {}), "model": self.shape.about()})

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
    ):
        """As Hugging Face's models of the same task: loss (where targets are given) and logits.

        input_ids, attention_mask, token_type_ids  [B, T]; padding has mask 0 and does not reach a real token
        labels                          [B] classes or numbers; [B, T] of a label for each token, -100 where there is none
        start_positions, end_positions  [B], of spans
        """
        logits = self.network.run(input_ids, attention_mask, token_type_ids)
        if self.task == "classification":
            return SequenceClassifierOutput(loss=None if labels is None else _sequence_loss(logits, labels), logits=logits)
        if self.task == "token_classification":
            loss = None if labels is None else TF.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
            return TokenClassifierOutput(loss=loss, logits=logits)
        if attention_mask is not None:  # no answer in padding, so that a padded batch answers as the sentence alone
            logits = logits.masked_fill(~attention_mask.bool()[:, :, None], torch.finfo(logits.dtype).min)
        start, end = logits.unbind(-1)
        loss = None if start_positions is None else _span_loss(start, end, start_positions, end_positions)
        return QuestionAnsweringModelOutput(loss=loss, start_logits=start, end_logits=end)


def _sequence_loss(logits: Tensor, labels: Tensor) -> Tensor:
    if logits.shape[-1] == 1:
        return TF.mse_loss(logits.squeeze(-1), labels.to(logits.dtype).reshape(logits.squeeze(-1).shape))
    return TF.cross_entropy(logits, labels)


def _span_loss(start: Tensor, end: Tensor, start_positions: Tensor, end_positions: Tensor) -> Tensor:
    """Mean of both ends' cross entropy; a position outside the (truncated) text does not count."""
    ignored = start.shape[1]
    losses = [TF.cross_entropy(scores, at.clamp(0, ignored), ignore_index=ignored) for scores, at in ((start, start_positions), (end, end_positions))]
    return sum(losses) / 2
