# SPDX-License-Identifier: Apache-2.0
"""Integer graphs on disk, checked: graph.json and graph.safetensors; and parts that are cut out of a graph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bitloom.hw.graph import SCHEMA, Graph, GraphError, Node, Tensor
from bitloom.hw.ops import OPS


def load(folder: Path) -> Graph:
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
        graph = _parse(text, params)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise GraphError(
            f"{path}: got a graph with a part missing or malformed ({type(error).__name__}: {error}), must be as it was written; run `bitloom export` again"
        ) from error
    if graph.hash != text.get("hash"):
        raise GraphError(
            f"{path}: content has hash {graph.hash[:16]}, must be {str(text.get('hash'))[:16]}; "
            "graph.json and graph.safetensors do not belong together, run `bitloom export` again"
        )
    return check(graph)


def save(graph: Graph, folder: Path) -> None:
    """Write graph.json and graph.safetensors into an existing folder."""
    folder = Path(folder)
    save_file({k: _smallest(v) for k, v in graph.params.items()}, folder / "graph.safetensors")
    text = graph.content() | {"meta": graph.meta, "hash": graph.hash}
    (folder / "graph.json").write_text(json.dumps(text, indent=1) + "\n")


def check(graph: Graph) -> Graph:
    """Raise GraphError unless every node obeys its operator's rules; return graph."""
    known = set(graph.inputs)
    for node in graph.nodes:
        where = f"graph {graph.name}: node {node.name}"
        if node.op not in OPS:
            raise GraphError(f"{where}: no operator '{node.op}', must be one of {', '.join(sorted(OPS))}")
        if missing := [i for i in node.inputs if i not in known]:
            raise GraphError(f"{where}: input '{missing[0]}' is made by no earlier node; put its producer first")
        if node.name in known:
            raise GraphError(f"{where}: name used twice, must be unique")
        if node.name not in graph.tensors:
            raise GraphError(f"{where}: no tensor of that name; every node has one output tensor")
        op = OPS[node.op]
        for key in op.params:
            if f"{node.name}.{key}" not in graph.params:
                raise GraphError(f"{where}: parameter '{key}' is missing")
        for key in op.attrs:
            if key not in node.attrs:
                raise GraphError(f"{where}: attribute '{key}' is missing")
        op.check(graph, node)
        known.add(node.name)
    if missing := [o for o in graph.outputs if o not in known]:
        raise GraphError(f"graph {graph.name}: output '{missing[0]}' is made by no node")
    return graph


def extract(graph: Graph, entry: str, output: str) -> Graph:
    """The part between two tensors as a graph of its own, fed with `entry`'s codes.

    Raises GraphError: `output` needs more than `entry`.
    """
    needed, kept = {output}, []
    for node in reversed(graph.nodes):
        if node.name in needed and node.name != entry:
            needed |= set(node.inputs)
            kept.append(node)
    if loose := needed - {n.name for n in kept} - {entry}:
        raise GraphError(f"graph {graph.name}: {output} needs {sorted(loose)[0]} besides {entry}; cut where one tensor carries all")
    names = {n.name for n in kept}
    params = {k: v for k, v in graph.params.items() if k.rpartition(".")[0] in names}
    return check(
        Graph(
            name=f"{graph.name}:{entry}..{output}",
            nodes=tuple(reversed(kept)),
            tensors={n: graph.tensors[n] for n in (entry, *names)},
            params=params,
            inputs=(entry,),
            outputs=(output,),
            max_tokens=graph.max_tokens,
            meta=graph.meta,
        )
    )


def _parse(text: dict, params: dict[str, np.ndarray]) -> Graph:
    nodes = tuple(Node(name=n["name"], op=n["op"], inputs=tuple(n["inputs"]), attrs=n["attrs"]) for n in text["nodes"])
    tensors = {t["name"]: Tensor(**(t | {"shape": tuple(t["shape"])})) for t in text["tensors"]}
    return Graph(
        name=text["name"],
        nodes=nodes,
        tensors=tensors,
        params=params,
        inputs=tuple(text["inputs"]),
        outputs=tuple(text["outputs"]),
        max_tokens=text["max_tokens"],
        meta=text["meta"],
    )


def _smallest(value: np.ndarray) -> np.ndarray:
    for dtype in (np.int8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        if value.size and limits.min <= value.min() and value.max() <= limits.max:
            return np.ascontiguousarray(value, dtype=dtype)
    return np.ascontiguousarray(value, dtype=np.int64)
