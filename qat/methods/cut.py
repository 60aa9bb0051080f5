# SPDX-License-Identifier: Apache-2.0
"""Taking whole parts out of a float network: heads, units of the feed-forward, layers, channels. What stays computes what it did with the others at zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from bitloom.qat.net.encoder import EncoderLayer, reader, writer
from bitloom.qat.net.model import FloatModel
from bitloom.qat.net.operators import Linear


def cut_layers(model: FloatModel, kept: Sequence[int]) -> FloatModel:
    """The model of these layers, in this order."""
    new = FloatModel(replace(model.shape, layers=tuple(model.shape.layers[i] for i in kept)))
    new.load_state_dict(renumbered(dict(model.named_parameters()), kept), strict=False)
    return new


def renumbered(state: dict[str, Tensor], kept: Sequence[int], prefix: str = "network.layer.") -> dict[str, Tensor]:
    """Parameters by name, those of layer kept[i] as layer i's."""
    place = {str(old): str(new) for new, old in enumerate(kept)}
    found = {}
    for name, value in state.items():
        number, dot, rest = name.removeprefix(prefix).partition(".")
        if not name.startswith(prefix):
            found[name] = value
        elif number in place:
            found[f"{prefix}{place[number]}{dot}{rest}"] = value
    return found


def cut_parts(model: FloatModel, part: str, kept: Sequence[Sequence[int]]) -> FloatModel:
    """The model with these heads (part: heads) or units of the feed-forward (part: units) of each layer, in this order."""
    field = {"heads": "heads", "units": "intermediate"}[part]
    layers = tuple(replace(layer, **{field: len(own)}) for layer, own in zip(model.shape.layers, kept, strict=True))
    new = FloatModel(replace(model.shape, layers=layers))
    with torch.no_grad():
        there = dict(model.network.named_parameters())
        for name, parameter in new.network.named_parameters():
            if there[name].shape == parameter.shape:
                parameter.copy_(there[name])
        for old, layer, own, shape in zip(model.network.layer, new.network.layer, kept, layers, strict=True):
            if not len(own):  # no head but those with fixed patterns
                continue
            index = torch.tensor(list(own), device=next(model.parameters()).device)
            if part == "heads":
                index = (index[:, None] * shape.head_width + torch.arange(shape.head_width, device=index.device)).flatten()
            _take(old, layer, part, index)
    return new


GIVING = {"heads": ("query", "key", "value"), "units": ("ffn.up",)}  # layers whose outputs are these parts
TAKING = {"heads": "attention.output", "units": "ffn.down"}  # the layer that reads them


def _take(old: EncoderLayer, new: EncoderLayer, part: str, index: Tensor) -> None:
    for name in GIVING[part]:
        before, after = writer(old.get_submodule(name)), writer(new.get_submodule(name))
        after.weight.copy_(before.weight[index])
        after.bias.copy_(before.bias[index])
    before, after = _both(old, new, TAKING[part])
    after.weight.copy_(before.weight[:, index])


def _both(old: EncoderLayer, new: EncoderLayer, name: str) -> tuple[Linear, Linear]:
    return reader(old.get_submodule(name)), reader(new.get_submodule(name))


def cut_hidden(model: FloatModel, kept: Tensor, pooled: Tensor) -> FloatModel:
    """The model with these of the hidden channels, and as many of the pooler's; both are indices in order. LayerNorm is that of the channels that stay."""
    old, cuts = model.network, {}

    def cut(parameter: Tensor, *dims: tuple[int, Tensor]) -> None:
        cuts[id(parameter)] = dims

    def gives(operator: nn.Module, index: Tensor = kept) -> None:
        cut(operator.weight, (0, index))
        cut(operator.bias, (0, index))

    if old.embeddings.project is None:
        for table in (old.embeddings.sum.word, old.embeddings.sum.position, old.embeddings.sum.segment):
            cut(table, (1, kept))
        gives(old.embeddings.norm)
    else:
        gives(old.embeddings.project)
    for layer in old.layer:
        learned = ("query", "key", "value"), ("attention.output",)
        fixed = ("fixed.value",), ("fixed.output",)
        parts = [part for part, there in ((learned, layer.layer.heads), (fixed, layer.layer.patterns)) if there]
        for name in (*(name for taking, _ in parts for name in taking), "ffn.up"):
            cut(reader(layer.get_submodule(name)).weight, (1, kept))
        for operator in (
            *(writer(layer.get_submodule(name)) for _, giving in parts for name in giving),
            layer.attention.norm,
            writer(layer.ffn.down),
            layer.ffn.norm,
        ):
            gives(operator)
    pooler = old.pooler.pre if old.shape.pooler and not old.shape.per_token else None
    if pooler is not None:
        gives(pooler, pooled)
        cut(pooler.weight, (0, pooled), (1, kept))
    cut(old.logits.weight, (1, kept if pooler is None else pooled))
    for ramp in old.exit or ():
        cut(ramp.logits.weight, (1, kept))
    new = FloatModel(replace(model.shape, hidden=len(kept)))
    with torch.no_grad():
        there = dict(old.named_parameters())
        for name, parameter in new.network.named_parameters():
            value = there[name]
            for dim, index in cuts.get(id(value), ()):
                value = value.index_select(dim, index)
            if value.shape == parameter.shape:  # all but scales of weights, which are found behind the float phase
                parameter.copy_(value)
    return new
