# SPDX-License-Identifier: Apache-2.0
"""All cells of a search space in one network: each edge is the sum of its operations, weighted by a Gumbel softmax of its architecture parameters.

Chen et al. 2020, "AdaBERT" (arXiv:2001.04246), equations 4 to 7; Jang et al. 2017, "Categorical Reparameterization with Gumbel-Softmax" (arXiv:1611.01144).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as TF

from bitloom.qat.cells import NONE, OPERATIONS, Cell
from bitloom.qat.net.backbone import BackboneNetwork
from bitloom.qat.net.cells import CellsShape, Edge
from bitloom.qat.net.convolution import Convolution, TokenWindow
from bitloom.qat.net.model import EncoderModel
from bitloom.qat.net.network import is_scale
from bitloom.qat.net.operators import Table
from bitloom.qat.quantizers import Grid, unseen

NEGLIGIBLE = 1e-2  # an operation of less weight is not computed: its gradient is as small
NONE_EPS = 1e-2  # of a node's LayerNorm: what `none` makes small stays small


def places(nodes: int) -> list[tuple[int, int]]:
    """(node, earlier node) of each edge of a cell, in the order in which a cell is written."""
    return [(node, source) for node in range(1, nodes + 1) for source in range(node)]


def cell_of(names: Sequence[str], nodes: int) -> Cell:
    """A cell of its edges' operations, in the order of `places`."""
    left = iter(names)
    return tuple(tuple(next(left) for _ in range(node)) for node in range(1, nodes + 1))


class SharedConvolution(nn.Module):
    """Convolutions of several kernels as Edge has them, with the middle of the longest one's weights: each learns what the others do.

    Stamoulis et al. 2019, "Single-Path NAS" (arXiv:1904.02877).
    """

    def __init__(self, kernels: Sequence[int], dilation: int, shape: CellsShape):
        super().__init__()
        self.edge, self.longest, self.dilation = Edge("skip", shape.hidden, shape.activation, shape.dropout), max(kernels), dilation
        self.edge.convolution, self.edge.act = Convolution(shape.hidden, shape.hidden, self.longest, dilation), Table(shape.activation)

    def weight(self, kernel: int) -> Tensor:
        """[C, C * kernel], as Convolution has it; all kernels are odd, so they have one middle."""
        whole, beside = self.edge.convolution.conv.weight, (self.longest - kernel) // 2
        return whole.unflatten(1, (-1, self.longest))[:, :, beside : self.longest - beside].flatten(1)

    def forward(self, x: Tensor, real: Tensor | None, kernel: int) -> Tensor:
        window = TokenWindow(kernel, self.dilation)(x, real)
        return self.edge.dropout(self.edge.act(TF.linear(window, self.weight(kernel), self.edge.convolution.conv.bias)))


class MixedEdge(nn.Module):
    """All operations of one edge."""

    def __init__(self, operations: Sequence[str], shape: CellsShape):
        super().__init__()
        self.operations = [OPERATIONS[name] for name in operations]
        kernels: dict[int, list[int]] = {}
        for operation in self.operations:
            if operation.kind == "convolution":
                kernels.setdefault(operation.dilation, []).append(operation.kernel)
        self.convolution = nn.ModuleDict({str(dilation): SharedConvolution(own, dilation, shape) for dilation, own in kernels.items()})
        self.other = nn.ModuleDict(
            {name: Edge(name, shape.hidden, shape.activation) for name in operations if OPERATIONS[name].kind in ("max", "mean", "skip")}
        )
        self.names = list(operations)

    def one(self, index: int, x: Tensor, real: Tensor | None) -> Tensor:
        """What an operation gives, by its place."""
        operation = self.operations[index]
        if operation.kind == "convolution":
            return self.convolution[str(operation.dilation)](x, real, operation.kernel)
        return self.other[self.names[index]](x, real)

    def forward(self, x: Tensor, real: Tensor | None, weights: Tensor) -> Tensor:
        """[B, T, H] -> [B, T, H]; weights: of each operation"""
        total = torch.zeros_like(x)
        for index, weight in enumerate(weights):
            if self.names[index] != NONE and float(weight.detach()) > NEGLIGIBLE:
                total = total + weight * self.one(index, x, real)
        return total


class MixedCell(nn.Module):
    """One cell with every edge that there may be."""

    def __init__(self, nodes: int, operations: Sequence[str], shape: CellsShape):
        super().__init__()
        self.places = places(nodes)
        self.edge = nn.ModuleList(MixedEdge(operations, shape) for _ in self.places)
        self.norm = nn.ModuleList(nn.LayerNorm(shape.hidden, NONE_EPS) for _ in range(nodes))

    def forward(self, x: Tensor, real: Tensor | None, weights: Tensor) -> Tensor:
        """[B, T, H] -> [B, T, H], the last node's; weights [edges, operations]"""
        made = [x]
        for node, norm in enumerate(self.norm, start=1):
            own = [e for e, (at, _) in enumerate(self.places) if at == node]
            made.append(norm(sum(self.edge[e](made[self.places[e][1]], real, weights[e]) for e in own)))
        return made[-1]


class SuperNetwork(BackboneNetwork):
    """In the place of the cells a mixture of all; it is never bound. counts: how many cells there may be."""

    def __init__(self, shape: CellsShape, nodes: int, operations: Sequence[str], counts: Sequence[int]):
        super().__init__(shape, nodes, operations, counts)
        self.weights, self.shares = torch.empty(0), torch.empty(0)  # drawn for the step: [edges, operations], [counts]
        for module in self.modules():
            if isinstance(module, Grid):
                module.observer = unseen
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not is_scale(name))

    def make_layers(self, shape: CellsShape, nodes: int, operations: Sequence[str], counts: Sequence[int]) -> None:
        self.counts, self.cell = list(counts), nn.ModuleList(MixedCell(nodes, operations, shape) for _ in range(max(counts)))

    def follow(self) -> None:
        """Nothing: there are no scales."""

    def backbone(self, x: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor | None]:
        mixed = torch.zeros_like(x)
        for index, cell in enumerate(self.cell, start=1):
            x = cell(x, real, self.weights)
            if index in self.counts:
                mixed = mixed + self.shares[self.counts.index(index)] * x
        return mixed, real


class Supernet(EncoderModel):
    """The model of a search, with its architecture parameters: `edges` [edges, operations] and `depth` [counts] are unnormalized log probabilities."""

    def __init__(self, shape: CellsShape, nodes: int, operations: Sequence[str], counts: Sequence[int]):
        nn.Module.__init__(self)
        self.shape, self.max_tokens, self.head = shape, shape.max_tokens, shape.head
        self.network = SuperNetwork(shape, nodes, operations, counts)
        self.edges = nn.Parameter(torch.zeros(len(places(nodes)), len(operations)))
        self.depth = nn.Parameter(torch.zeros(len(counts)))

    def architecture(self) -> list[nn.Parameter]:
        return [self.edges, self.depth]

    def others(self) -> list[nn.Parameter]:
        """All that is no architecture."""
        return [p for p in self.network.parameters() if p.requires_grad]

    def probabilities(self, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Of the operations of each edge [edges, operations], and of each number of cells [counts]; below 1 sharper than those that are drawn by."""
        return tuple((logits / temperature).softmax(-1) for logits in self.architecture())

    def draw(self, temperature: float) -> None:
        """New weights for a step, by torch's random state: softmax((log p + Gumbel noise) / temperature)."""
        self.network.weights, self.network.shares = (_gumbel(logits, temperature) for logits in self.architecture())

    def choose(self, operations: Sequence[int], count: int) -> None:
        """One operation for each edge, one number of cells, by their places."""
        self.network.weights = torch.eye(self.edges.shape[1])[list(operations)]
        self.network.shares = torch.eye(self.depth.shape[0])[count]


def _gumbel(logits: Tensor, temperature: float) -> Tensor:
    noise = -torch.empty_like(logits).exponential_().log()
    return ((logits.log_softmax(-1) + noise) / temperature).softmax(-1)
