# SPDX-License-Identifier: Apache-2.0
"""Networks of cells: one small graph of convolutions, poolings and skips over tokens, stacked several times, then one vector a sentence.

Chen et al. 2020, "AdaBERT" (arXiv:2001.04246): the networks that a search among such cells chooses (qat/search/cells.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from bitloom.qat.cells import OPERATIONS, edges, told
from bitloom.qat.net.backbone import BackboneNetwork, BackboneShape
from bitloom.qat.net.convolution import WINDOWS, Convolution
from bitloom.qat.net.operators import Add, LayerNorm, Table
from bitloom.qat.net.shape import convolution_kept, convolution_parameters


@dataclass(frozen=True, kw_only=True)
class CellsShape(BackboneShape):
    """A network of cells with its head; fields as CellsConfig and BackboneShape have them."""

    kind: ClassVar[str] = "cells"
    smaller: ClassVar[str] = "model.hidden, cells"

    cells: int = 1
    cell: tuple[tuple[str, ...], ...]
    activation: str = "relu"
    pooling: Literal["max", "mean"] = "max"

    def _kernels(self) -> list[int]:
        """Of each convolution of a cell."""
        found = (OPERATIONS[name] for own in edges(self.cell).values() for name in own.values())
        return [operation.kernel for operation in found if operation.kind == "convolution"]

    def layer_parameters(self) -> int:
        convolutions = sum(convolution_parameters(self.hidden, self.hidden, kernel) for kernel in self._kernels())
        return self.cells * (convolutions + 2 * self.hidden * sum(len(own) > 1 for own in edges(self.cell).values()))

    def kept(self, batch: int) -> int:
        return self.cells * batch * sum(convolution_kept(self.hidden, self.hidden, kernel, self.max_tokens) for kernel in self._kernels())

    def words(self) -> str:
        cells = "a cell" if self.cells == 1 else f"{self.cells} cells"
        return f"{cells} of {self.hidden} channels: {told(self.cell)}"

    def text(self) -> str:
        return f"embeddings of {self.hidden}, {self.words()}" + ("" if self.per_token else f"; {self.pooling} over tokens")

    def figures(self) -> dict[str, Any]:
        return {"cells": self.cells, "cell": [list(row) for row in self.cell], "activation": self.activation}


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


class Cells(BackboneNetwork):
    """Logits of a sentence [B, labels], or of each token [B, T, labels]."""

    def make_layers(self, shape: CellsShape) -> None:
        self.cell = nn.ModuleList(CellBlock(shape) for _ in range(shape.cells))

    def backbone(self, x: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor | None]:
        for cell in self.cell:
            x = cell(x, real)
        return x, real
