# SPDX-License-Identifier: Apache-2.0
"""The integer graph: nodes on tensors of integer codes, saved as JSON and safetensors, named by a content hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from bitloom.hw.errors import BitloomError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

SCHEMA = "bitloom.graph/1"


class GraphError(BitloomError):
    """A graph that breaks a rule of docs/numerics.md, or a file that holds none."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """Integer codes; `scale` is what one LSB is worth (a power of two for activations).

    shape  ("T", C) a token stream, ("T", heads, "T") a row stream, (1, C) one vector a sentence
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
        return "token" if self.shape[0] == "T" else "sentence"

    @property
    def channels(self) -> int:
        """C; 1 for a row stream."""
        return 1 if self.kind == "row" else int(self.shape[-1])


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

    meta  what is not arithmetic: model shape, task, label names, scales for the host. Not part of the hash,
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

    def param(self, node: Node, key: str) -> np.ndarray:
        """The node's parameter as int64."""
        return self.params[f"{node.name}.{key}"]

    def node(self, name: str) -> Node:
        return self._by_name[name]

    @property
    def entry(self) -> str:
        """The tensor that the host streams in: the embedding sums, or the input of a part that was cut out (`extract`)."""
        return next((n.name for n in self.nodes if n.op == "embed"), self.inputs[0])

    def extract(self, entry: str, output: str) -> Graph:
        """The part between two tensors as a graph of its own, fed with `entry`'s codes.

        Raises GraphError: `output` needs more than `entry`.
        """
        needed, kept = {output}, []
        for node in reversed(self.nodes):
            if node.name in needed and node.name != entry:
                needed |= set(node.inputs)
                kept.append(node)
        if loose := needed - {n.name for n in kept} - {entry}:
            raise GraphError(f"graph {self.name}: {output} needs {sorted(loose)[0]} besides {entry}; cut where one tensor carries all")
        names = {n.name for n in kept}
        params = {k: v for k, v in self.params.items() if k.rpartition(".")[0] in names}
        return Graph(
            name=f"{self.name}:{entry}..{output}",
            nodes=tuple(reversed(kept)),
            tensors={n: self.tensors[n] for n in (entry, *names)},
            params=params,
            inputs=(entry,),
            outputs=(output,),
            max_tokens=self.max_tokens,
            meta=self.meta,
        ).check()

    def readers(self, name: str) -> list[Node]:
        """The nodes that take the tensor, in topological order."""
        return [n for n in self.nodes if name in n.inputs]

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {n.name: n for n in self.nodes}

    @cached_property
    def hash(self) -> str:
        """SHA-256 of all that determines the arithmetic."""
        digest = hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode())
        for key in sorted(self.params):
            value = np.ascontiguousarray(self.params[key], dtype="<i8")
            digest.update(f"{key}{value.shape}".encode() + value.tobytes())
        return digest.hexdigest()

    def _content(self) -> dict:
        return {
            "schema": SCHEMA,
            "name": self.name,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "max_tokens": self.max_tokens,
            "nodes": [asdict(n) for n in self.nodes],
            "tensors": [asdict(t) for t in sorted(self.tensors.values(), key=lambda t: t.name)],
        }

    def check(self) -> Graph:
        """Raise GraphError unless every node obeys its operator's rules; return self."""
        from bitloom.hw.ops import OPS  # the operators' modules read this one

        known = set(self.inputs)
        for node in self.nodes:
            where = f"graph {self.name}: node {node.name}"
            if node.op not in OPS:
                raise GraphError(f"{where}: no operator '{node.op}', must be one of {', '.join(sorted(OPS))}")
            if missing := [i for i in node.inputs if i not in known]:
                raise GraphError(f"{where}: input '{missing[0]}' is made by no earlier node; put its producer first")
            if node.name in known:
                raise GraphError(f"{where}: name used twice, must be unique")
            if node.name not in self.tensors:
                raise GraphError(f"{where}: no tensor of that name; every node has one output tensor")
            op = OPS[node.op]
            for key in op.params:
                if f"{node.name}.{key}" not in self.params:
                    raise GraphError(f"{where}: parameter '{key}' is missing")
            for key in op.attrs:
                if key not in node.attrs:
                    raise GraphError(f"{where}: attribute '{key}' is missing")
            op.check(self, node)
            known.add(node.name)
        if missing := [o for o in self.outputs if o not in known]:
            raise GraphError(f"graph {self.name}: output '{missing[0]}' is made by no node")
        return self

    def save(self, folder: Path) -> None:
        """Write graph.json and graph.safetensors into an existing folder."""
        folder = Path(folder)
        save_file({k: _smallest(v) for k, v in self.params.items()}, folder / "graph.safetensors")
        text = self._content() | {"meta": self.meta, "hash": self.hash}
        (folder / "graph.json").write_text(json.dumps(text, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Graph:
        """Read a saved graph.

        Raises GraphError: files missing or malformed, another schema, or content that does not match its hash.
        """
        path = Path(folder) / "graph.json"
        try:
            text = json.loads(path.read_text())
            params = {k: v.astype(np.int64) for k, v in load_file(path.with_suffix(".safetensors")).items()}
        except (OSError, ValueError, SafetensorError) as error:
            raise GraphError(f"{path}: not a readable graph ({error}); run `bitloom export` again") from error
        if not isinstance(text, dict) or text.get("schema") != SCHEMA:
            got = text.get("schema") if isinstance(text, dict) else type(text).__name__
            raise GraphError(f"{path}: got schema {got!r}, must be '{SCHEMA}'; run `bitloom export` again")
        try:
            graph = cls._parse(text, params)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise GraphError(
                f"{path}: got a graph with a part missing or malformed ({type(error).__name__}: {error}), must be as it was written; run `bitloom export` again"
            ) from error
        if graph.hash != text.get("hash"):
            raise GraphError(
                f"{path}: content has hash {graph.hash[:16]}, must be {str(text.get('hash'))[:16]}; "
                "graph.json and graph.safetensors do not belong together, run `bitloom export` again"
            )
        return graph.check()

    @classmethod
    def _parse(cls, text: dict, params: dict[str, np.ndarray]) -> Graph:
        nodes = tuple(Node(name=n["name"], op=n["op"], inputs=tuple(n["inputs"]), attrs=n["attrs"]) for n in text["nodes"])
        tensors = {t["name"]: Tensor(**(t | {"shape": tuple(t["shape"])})) for t in text["tensors"]}
        return cls(
            name=text["name"],
            nodes=nodes,
            tensors=tensors,
            params=params,
            inputs=tuple(text["inputs"]),
            outputs=tuple(text["outputs"]),
            max_tokens=text["max_tokens"],
            meta=text["meta"],
        )


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
        """The graph, checked."""
        return Graph(
            name=name, nodes=tuple(self.nodes), tensors=self.tensors, params=self.params, outputs=tuple(outputs), max_tokens=self.max_tokens, meta=meta or {}
        ).check()


def _smallest(value: np.ndarray) -> np.ndarray:
    for dtype in (np.int8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        if value.size and limits.min <= value.min() and value.max() <= limits.max:
            return np.ascontiguousarray(value, dtype=dtype)
    return np.ascontiguousarray(value, dtype=np.int64)


def signed_bits(bound: int) -> int:
    """Bits of the narrowest signed word that holds -bound .. bound."""
    return int(bound).bit_length() + 1
