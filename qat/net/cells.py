# SPDX-License-Identifier: Apache-2.0
"""Networks of cells: one small graph of convolutions, poolings and skips over tokens, stacked several times, then one vector a sentence.

Chen et al. 2020, "AdaBERT" (arXiv:2001.04246): the networks that a search among such cells chooses (qat/search/cells.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from bitloom.qat.cells import OPERATIONS, edges, told
from bitloom.qat.net.cnn import POOLS
from bitloom.qat.net.convolution import Convolution, WindowMax, WindowMean
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import LOGIT_BITS, Add, Embeddings, LayerNorm, Linear, Table
from bitloom.qat.net.shape import Head, NetworkShape
from bitloom.qat.networks import CellsConfig

WINDOWS = {"max": WindowMax, "mean": WindowMean}


@dataclass(frozen=True, kw_only=True)
class CellsShape(NetworkShape):
    """A network of cells with its head; fields as CellsConfig and NetworkShape have them."""

    kind: ClassVar[str] = "cells"
    smaller: ClassVar[str] = "model.hidden, cells"

    hidden: int
    cells: int = 1
    cell: tuple[tuple[str, ...], ...]
    activation: str = "relu"
    pooling: Literal["max", "mean"] = "max"
    vocabulary: int
    positions: int
    segments: int = 2
    layer_norm_eps: float = 1e-12
    head: Head = "sequence"
    labels: int = 2
    max_tokens: int = 64
    dropout: float = 0.1

    @classmethod
    def of(cls, model: CellsConfig, head: Head, labels: int, vocabulary: int) -> CellsShape:
        """Of a recipe."""
        own = {key: getattr(model, key) for key in ("hidden", "cells", "activation", "pooling", "max_tokens", "dropout")}
        return cls(cell=tuple(map(tuple, model.cell)), vocabulary=vocabulary, positions=model.max_tokens, head=head, labels=labels, **own)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CellsShape:
        """Of `as_dict`, through JSON too. Raises TypeError, KeyError: it is none."""
        own = {key: value for key, value in values.items() if key != "network"}
        return cls(**(own | {"cell": tuple(map(tuple, own["cell"]))}))

    @property
    def width(self) -> int:
        return self.hidden

    def _kernels(self) -> list[int]:
        """Of each convolution of a cell."""
        found = (OPERATIONS[name] for own in edges(self.cell).values() for name in own.values())
        return [operation.kernel for operation in found if operation.kind == "convolution"]

    def layer_parameters(self) -> int:
        convolutions = sum((kernel * self.hidden + 1) * self.hidden for kernel in self._kernels())
        return self.cells * (convolutions + 2 * self.hidden * sum(len(own) > 1 for own in edges(self.cell).values()))

    def parameters(self) -> int:
        tables = (self.vocabulary + self.positions + self.segments + 2) * self.hidden
        return tables + self.layer_parameters() + (self.hidden + 1) * self.labels

    def kept(self, batch: int) -> int:
        """Of a convolution the window's tokens, and what it gives before and behind its activation."""
        return self.cells * sum(4 * batch * self.max_tokens * (kernel + 2) * self.hidden for kernel in self._kernels())

    def words(self) -> str:
        cells = "a cell" if self.cells == 1 else f"{self.cells} cells"
        return f"{cells} of {self.hidden} channels: {told(self.cell)}"

    def about(self) -> dict[str, Any]:
        return {
            "network": self.kind,
            "hidden": self.hidden,
            "cells": self.cells,
            "cell": [list(row) for row in self.cell],
            "activation": self.activation,
            "head": "token" if self.per_token else "sequence",
            "labels": self.labels,
            "max_tokens": self.max_tokens,
            "text": f"embeddings of {self.hidden}, {self.words()}" + ("" if self.per_token else f"; {self.pooling} over tokens"),
        }


class Edge(nn.Module):
    """One operation of OPERATIONS but `none`, from `hidden` channels to as many."""

    def __init__(self, name: str, hidden: int, activation: str, dropout: float = 0.0):
        super().__init__()
        operation = OPERATIONS[name]
        self.convolution = self.act = self.pool = None
        if operation.kind == "convolution":
            self.convolution, self.act = Convolution(hidden, hidden, operation.kernel, operation.dilation), Table(activation)
        elif operation.kind in WINDOWS:
            self.pool = WINDOWS[operation.kind](operation.kernel)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, H] -> [B, T, H]"""
        if self.convolution is not None:
            return self.dropout(self.act(self.convolution(x, real)))
        return x if self.pool is None else self.pool(x, real)


class CellNode(nn.Module):
    """The sum of its edges, with LayerNorm behind; of a single edge just this. own: {earlier node: operation}."""

    def __init__(self, own: dict[int, str], shape: CellsShape):
        super().__init__()
        self.edge = nn.ModuleDict({str(source): Edge(name, shape.hidden, shape.activation, shape.dropout) for source, name in own.items()})
        self.sum = nn.ModuleDict({str(source): Add() for source in list(own)[1:]})
        self.norm = LayerNorm(shape.hidden, shape.layer_norm_eps) if self.sum else None

    def forward(self, made: dict[int, Tensor], real: Tensor | None) -> Tensor:
        """made: what the earlier nodes gave, [B, T, H] each -> [B, T, H]"""
        total = None
        for source, edge in self.edge.items():
            y = edge(made[int(source)], real)
            total = y if total is None else self.sum[source](total, y)
        return total if self.norm is None else self.norm(total)


class CellBlock(nn.Module):
    """One cell."""

    def __init__(self, shape: CellsShape):
        super().__init__()
        self.node = nn.ModuleDict({str(node): CellNode(own, shape) for node, own in edges(shape.cell).items()})

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """[B, T, H] -> [B, T, H], the last node's"""
        made = {0: x}
        for node, module in self.node.items():
            x = made[int(node)] = module(made, real)
        return x


class Cells(Network):
    """Logits of a sentence [B, labels], or of each token [B, T, labels]."""

    def __init__(self, shape: CellsShape):
        super().__init__()
        self.shape = shape
        self.embeddings = nn.Module()
        self.embeddings.sum = Embeddings(shape.vocabulary, shape.positions, shape.segments, shape.hidden)
        self.embeddings.norm = LayerNorm(shape.hidden, shape.layer_norm_eps)
        self.dropout = nn.Dropout(shape.dropout)
        self.cell = nn.ModuleList(CellBlock(shape) for _ in range(shape.cells))
        self.pool = None if shape.per_token else POOLS[shape.pooling]()
        self.logits = Linear(shape.hidden, shape.labels, bits=LOGIT_BITS)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, real: Tensor | None) -> Tensor:
        x = self.dropout(self.embeddings.norm(self.embeddings.sum(input_ids, token_type_ids)))
        for cell in self.cell:
            x = cell(x, real)
        return self.logits(self.dropout(x if self.pool is None else self.pool(x, real)))
