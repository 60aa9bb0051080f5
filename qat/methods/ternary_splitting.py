# SPDX-License-Identifier: Apache-2.0
"""Binary weights that begin as the sum of two: a trained ternary encoder of half the width becomes a binary one that computes the same.

Bai et al. 2021, "BinaryBERT: Pushing the Limit of BERT Quantization" (arXiv:2012.15701): a ternary weight is two binary ones, so a binary network of twice
the width starts where a half-sized ternary one ended, instead of in the steep loss that binary weights have from float ones.

Here all widths double: hidden size, heads (of the same width) and feed-forward. With every channel there twice, x' = [x; x], a matrix W = A + B becomes
    W' = [A B]      so that W' x' = [W x; W x],
         [B A]
tables, gamma, beta and biases stand twice, LayerNorm's mean and variance and each head's scores are what they were, and the logits read [W/2 W/2]. For a row
of K latent weights w with ternary codes t and scale a, A and B are (the paper's equations 5 to 7 with one scale for both)
    t != 0: w/2 and w/2;    t = 0: b + w and -b for w >= 0, b and w - b for w < 0;    b = (K a - sum |w|) / (2 #{t = 0})
so that A + B = w, sign(A) + sign(B) = 2 t, and the mean magnitude of a row of W', which is its scale with weights of 1 bit, is a/2: the float network
computes what the latent weights do, the quantized one what the ternary network does (up to the rounding of scales and activations). In the lower rows A and
B change places where t = 0 at random, so that training can tell the two copies of a channel apart.

The paper splits the feed-forward and the heads alone and keeps the hidden size, by adding the outputs of two matrices; a matrix here has one scale and one
rescaling in hardware, so its copies need channels of their own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from bitloom.qat.checkpoint import from_pretrained, quantized_shape
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import Method, Setup, TaskData
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.operators import Embeddings, LayerNorm, Linear
from bitloom.qat.net.shape import EncoderShape
from bitloom.qat.tokenizer import TextTokenizer

HEAD = "logits"  # the layer whose outputs do not double
LEAST = 1e-3  # of a scale: b at least, where a scale is below the mean magnitude


class Config(MethodConfig):
    """ternary: the train/qat of another run, whose layers have ternary weights; the recipe's model is as wide as its."""

    method: Literal["ternary_splitting"]
    ternary: str


class TernarySplitting(Method):
    """The network is the ternary one's at twice the width; there is no float phase, which would lose what the ternary one has learned."""

    Config = Config
    early = True

    def require(self, setup: Setup) -> None:
        if setup.epochs("float"):
            got = f"training.float_epochs {setup.epochs('float'):g}"
            raise self.error("", got, "be 0: the binary network begins where the ternary one ended", "set training.float_epochs: 0")
        theirs, ours = quantized_shape(self.cfg.ternary), setup.shape
        for key, value in _widths(theirs).items():
            if _widths(ours)[key] != value:
                raise self.error("ternary", f"a network of {key} {value}", f"be as wide as the recipe's model, of {_widths(ours)[key]}", "change model")
        if ours.embedding is not None or any(layer.ranks for layer in ours.layers):
            raise self.error("ternary", "a network with factored matrices", "have each matrix in one piece", "remove low_rank and embedding_factorization")
        for operator in setup.network.operators():
            if isinstance(operator, Linear) and operator.tensor != HEAD and (bits := setup.quant.of(operator.tensor, "weights")) != 1:
                raise self.error(
                    "", f"'{operator.tensor}' with weights of {bits} bits", "have 1 bit: the halves of ternary weights", "set quantization.weights: 1"
                )

    def prepare(self, data: TaskData) -> None:
        folder = Path(self.cfg.ternary).parent / "tokenizer"
        theirs = TextTokenizer.load(folder).words() if folder.is_dir() else None
        if (theirs is None and quantized_shape(self.cfg.ternary).vocabulary != len(data.tokenizer)) or (theirs and theirs != data.tokenizer.words()):
            raise self.error("ternary", "a network that reads other tokens", "read the recipe's", f"set data.vocab: {folder}")

    def reshape(self, shape: EncoderShape) -> EncoderShape:
        layers = tuple(replace(layer, heads=2 * layer.heads, intermediate=2 * layer.intermediate) for layer in shape.layers)
        return replace(shape, hidden=2 * shape.hidden, layers=layers)

    def weights(self, old: Encoder, new: Encoder) -> None:
        source, draw = from_pretrained(self.cfg.ternary).network, torch.Generator().manual_seed(0)
        factors = source.factors()
        for theirs, ours in zip(source.operators(), new.operators(), strict=True):
            if isinstance(ours, Linear):
                matrix, bias = split(theirs, draw)
                ours.weight.copy_(matrix / factors.get(theirs, 1.0))
                ours.bias.copy_(bias / factors.get(theirs, 1.0))
            elif isinstance(ours, Embeddings):
                for name in ("word", "position", "segment"):
                    getattr(ours, name).copy_(getattr(theirs, name).repeat(1, 2))
            elif isinstance(ours, LayerNorm):
                ours.weight.copy_(theirs.weight.repeat(2))
                ours.bias.copy_(theirs.bias.repeat(2))


def split(layer: Linear, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """W' [2C, 2K] and its bias [2C] of a layer with ternary weights [C, K]; of the logits [C, 2K] and [C]."""
    if layer.tensor == HEAD:
        return torch.cat([layer.weight, layer.weight], 1) / 2, layer.bias
    first, second = halves(layer.weight, layer.weight_grid.codes(layer.weight), layer.weight_grid.scale().to(layer.weight.dtype))
    swapped = torch.rand(first.shape, generator=draw) < 0.5
    lower = torch.where(swapped, second, first), torch.where(swapped, first, second)
    return torch.cat([torch.cat([first, second], 1), torch.cat(lower, 1)]), layer.bias.repeat(2)


def halves(weight: Tensor, codes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """A and B [C, K] of latent weights [C, K] with ternary codes and scales [C]."""
    zero, size = codes == 0, weight.abs().sum(1)
    apart = (weight.shape[1] * scale - size) / (2 * zero.sum(1).clamp(min=1))
    apart = torch.maximum(apart, LEAST * scale)[:, None]
    above = weight.clamp(min=0) + apart, weight.clamp(max=0) - apart
    return torch.where(zero, above[0], weight / 2), torch.where(zero, above[1], weight / 2)


def _widths(shape: EncoderShape) -> dict[str, object]:
    """What must be the same."""
    layers = [(layer.heads, layer.head_width, layer.intermediate, layer.activation, layer.keys) for layer in shape.layers]
    return {"hidden": shape.hidden, "layers (heads, their width, feed-forward, activation, keys)": layers, "head": shape.head, "labels": shape.labels,
            "pooler": shape.pooler, "max_tokens": shape.max_tokens}  # fmt: skip


METHOD = TernarySplitting
