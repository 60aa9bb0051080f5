# SPDX-License-Identifier: Apache-2.0
"""The integer graph: nodes on tensors of integer codes, named by a content hash. Data only: hw/graph_file.py checks, saves and loads it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np

from bitloom.hw.errors import BitloomError
from bitloom.hw.keys import Border, Keys
from bitloom.hw.tokens import Count, Tokens

SCHEMA = "bitloom.graph/1"


class GraphError(BitloomError):
    """A graph that breaks a rule of docs/numerics.md, or a file that holds none."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """Integer codes; `scale` is what one LSB is worth (a power of two for activations).

    shape  (TOKENS, C) a token stream, (TOKENS, heads, KEYS) a row stream, (1, C) one vector a sentence; TOKENS is "T", or what is left of them
           (hw/tokens.py), KEYS is "T" where a query sees all keys, else a range of them (hw/keys.py)
    """

    name: str
    shape: tuple[int | str, ...]
    bits: int
    signed: bool
    scale: float = 1.0

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def kind(self) -> str:
        """`token`, `row` or `sentence`: the stream that carries it."""
        if len(self.shape) == 3:
            return "row"
        return "sentence" if self.shape[0] == 1 else "token"

    @property
    def channels(self) -> int:
        """C; 1 for a row stream."""
        return 1 if self.kind == "row" else int(self.shape[-1])

    @property
    def tokens(self) -> Tokens:
        """How many of a sentence's it has. Raises ValueError: its shape does not say."""
        return Tokens.parse(self.shape[0])

    @property
    def keys(self) -> Keys:
        """Of a row stream: which keys a query sees. Raises ValueError: its shape does not say."""
        return Keys.parse(str(self.shape[-1]))


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operator; its output tensor has the node's name."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attrs: dict[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes in topological order, their tensors and integer parameters (`<node>.<param>`, int64).

    meta  what is not arithmetic: model shape, task, label names, scales for the host, of pairs `first_share` (`border`). Not part of the hash,
          but for the keys that hardware needs: `max_tokens`, `heads`.
    """

    name: str
    nodes: tuple[Node, ...]
    tensors: dict[str, Tensor]
    params: dict[str, np.ndarray]
    inputs: tuple[str, ...] = ("input_ids", "token_type_ids")
    outputs: tuple[str, ...] = ("logits",)
    max_tokens: int = 64
    meta: dict = field(default_factory=dict)

    def tensor(self, name: str) -> Tensor:
        return self.tensors[name]

    def border(self, tokens: int) -> Border:
        """Tokens of the first sentence of a pair of so many, as plans count them: the data's typical share, halves where that is not known; rounded up."""
        return math.ceil(tokens * self.meta.get("first_share", 0.5))

    def param(self, node: Node, key: str) -> np.ndarray:
        """The node's parameter as int64."""
        return self.params[f"{node.name}.{key}"]

    def node(self, name: str) -> Node:
        return self._by_name[name]

    @property
    def entry(self) -> str:
        """The tensor that the host streams in: the embedding sums, or the input of a part that was cut out (`extract`)."""
        first = self.inputs[0]  # a tensor of a part that was cut out; else ids, which the host's node reads
        return first if first in self.tensors else self.readers(first)[0].name

    @property
    def source(self) -> Graph:
        """What is computed: the graph itself, but for a rolled one (hw/plan/rolled.py)."""
        return self

    @property
    def around(self) -> tuple[str, str] | None:
        """Of a rolled graph the tensors between which sentences go round: the first layer's input and the last one's output."""
        return None

    def carried(self, name: str) -> tuple[str, ...]:
        """Of a rolled graph: the tensors of the whole graph that a tensor's stream carries, by turn; () outside of its layers."""
        return ()

    @property
    def packed(self) -> bool:
        """It takes packs of sentences (hw/pack.py)."""
        return False

    @property
    def shared(self) -> bool:
        """Of a rolled graph: turns that hold the same share a bank of a unit's memory."""
        return True

    def turns(self, node: Node) -> tuple[tuple[Graph, Node], ...]:
        """The nodes that one unit serves, by turn, each in the graph that has its exact tensors: the node alone, but in a rolled graph."""
        return ((self, node),)

    def taken(self, node: Node, tokens: Count) -> Count:
        """How many tokens a node takes of sentences of so many: what is left of them in its (first) input."""
        return self.tensors[node.inputs[0]].tokens.of(tokens) if node.inputs[0] in self.tensors else tokens

    def longest(self, node: Node) -> int:
        """The most tokens that a node takes of a sentence."""
        return self.taken(node, self.max_tokens)

    def index_bits(self, node: Node) -> int:
        """Bits of the indices that a unit's weights are stored as; 0: it stores their values, as some layer that it serves has no codebook.

        Two values of each channel cannot be in turn with longer codebooks of a whole layer: then values are stored too.
        """
        books = [g.params.get(f"{n.name}.codebook") for g, n in self.turns(node)]
        if any(book is None for book in books):
            return 0
        bits = max(book.shape[1] for book in books).bit_length() - 1
        return bits if bits == 1 or all(len(book) == 1 for book in books) else 0

    def stored_bits(self, node: Node) -> int:
        """Of each weight of its unit in memory; 0: it has none."""
        return self.index_bits(node) or int(node.attrs.get("weight_bits", 0))

    def narrow(self, node: Node) -> bool:
        """No weight of its unit, in any turn, is the least of the weights' bits: -2**(bits-1)."""
        least = [g._least.get(f"{n.name}.{key}", 0) for g, n in self.turns(node) for key in ("weight", "codebook")]
        return min(least) > -(1 << int(node.attrs["weight_bits"]) - 1)

    def readers(self, name: str) -> list[Node]:
        """The nodes that take the tensor, in topological order."""
        return [n for n in self.nodes if name in n.inputs]

    @cached_property
    def _least(self) -> dict[str, int]:
        """The smallest code of each weight matrix and codebook."""
        return {key: int(value.min()) for key, value in self.params.items() if key.endswith((".weight", ".codebook"))}

    @cached_property
    def found(self) -> dict:
        """What takes long to find in its parameters, found once: by a key of whoever looks for it."""
        return {}

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {n.name: n for n in self.nodes}

    @cached_property
    def hash(self) -> str:
        """SHA-256 of all that determines the arithmetic."""
        digest = hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode())
        for key in sorted(self.params):
            value = np.ascontiguousarray(self.params[key], dtype="<i8")
            digest.update(f"{key}{value.shape}".encode() + value.tobytes())
        return digest.hexdigest()

    def content(self) -> dict:
        return {
            "schema": SCHEMA,
            "name": self.name,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "max_tokens": self.max_tokens,
            "nodes": [asdict(n) for n in self.nodes],
            "tensors": [asdict(t) for t in sorted(self.tensors.values(), key=lambda t: t.name)],
        }


def require(ok: bool, graph: Graph, node: Node, text: str) -> None:
    """Raise GraphError `graph: node: text` unless ok. text says what was got and what it must be."""
    if not ok:
        raise GraphError(f"graph {graph.name}: {node.op} {node.name}: {text}")


class GraphBuilder:
    """Collects the nodes of a graph in topological order; each operator's module has an `append` that adds one of its nodes."""

    def __init__(self, max_tokens: int):
        self.max_tokens = max_tokens
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.params: dict[str, np.ndarray] = {}

    def add(self, op: str, out: Tensor, inputs: Sequence[str], attrs: dict | None = None, **params: np.ndarray) -> Tensor:
        """A node, its output tensor and its parameters; returns the tensor."""
        self.nodes.append(Node(name=out.name, op=op, inputs=tuple(inputs), attrs=attrs or {}))
        self.tensors[out.name] = out
        self.params |= {f"{out.name}.{key}": np.asarray(value, dtype=np.int64) for key, value in params.items()}
        return out

    def graph(self, name: str, outputs: Sequence[str], meta: dict | None = None) -> Graph:
        """The graph, not yet checked (hw/graph_file.py: check)."""
        return Graph(
            name=name, nodes=tuple(self.nodes), tensors=self.tensors, params=self.params, outputs=tuple(outputs), max_tokens=self.max_tokens, meta=meta or {}
        )


def signed_bits(bound: int) -> int:
    """Bits of the narrowest signed word that holds -bound .. bound."""
    return int(bound).bit_length() + 1
