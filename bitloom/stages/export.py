# SPDX-License-Identifier: Apache-2.0
"""export: freeze the integer graph, and hold its three software readers against each other on real sentences."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bitloom.errors import VerificationError
from bitloom.flow import Context
from bitloom.hw import golden, graph_file
from bitloom.hw.cost.sizes import sizes
from bitloom.hw.graph import Graph
from bitloom.hw.instance import Layout
from bitloom.hw.onnx_export import OnnxReferee, observed, to_onnx
from bitloom.hw.ops import aside_of
from bitloom.hw.plan.streams import Stream
from bitloom.report import score
from bitloom.sentences import Sentences, load_dev, score_all
from bitloom.sim.verify import locate

if TYPE_CHECKING:
    from bitloom.qat.net.model import QuantModel

BATCH = 32  # sentences whose tensors are all in memory at once


def run(context: Context) -> str:
    """Raises VerificationError: two readers differ."""
    from bitloom.qat.checkpoint import from_pretrained  # torch takes seconds to import
    from bitloom.qat.export import to_graph

    recipe, trained = context.recipe, context.run.stage("train")
    context.progress(None, "freezing the graph")
    shutil.copytree(trained / "tokenizer", context.out / "tokenizer")
    dataset, features, dev = load_dev(recipe, context.run.data_dir, context.out)
    model = from_pretrained(trained / "qat")
    pairs = dataset.dev.pairs is not None
    meta = {"task": dataset.task, "labels": dataset.label_names, "pairs": pairs, "checkpoint": context.run.digest("train")}
    graph = to_graph(model, recipe.name, meta)
    if aside_of(graph) and (share := recipe.data.first_share or dev.first_share()):
        graph = replace(graph, meta=graph.meta | {"first_share": share})
    graph_file.save(graph, context.out)
    (context.out / "integer.onnx").write_bytes(to_onnx(graph).SerializeToString())
    sample = dev.spread(recipe.verification.reference_sentences, recipe.verification.seed)
    comparisons = compare_readers(context, graph, model, sample)
    context.progress(None, f"golden model on {len(dev)} sentences")
    value, size = score_all(features, graph, dev.lengths, golden_logits(graph, dev)), sizes(graph)
    trained_metrics = json.loads((trained / "metrics.json").read_text())
    accuracy = {key: trained_metrics[key] for key in ("metric", "float", "qat")}
    result = {"accuracy": accuracy | {"examples": len(dataset.dev), "golden": value}, "comparisons": comparisons}
    result |= {"model": graph.meta["model"], "bits": size.pop("layers"), "size": size}
    (context.out / "metrics.json").write_text(json.dumps(result, indent=1) + "\n")
    total = sum(c["values_compared"] for c in comparisons)
    return f"graph {graph.hash[:16]}, golden {score(value)}, 0 of {total:,} values differ between Brevitas, golden and ONNX Runtime"


def compare_readers(context: Context, graph: Graph, model: QuantModel, sample: Sentences) -> list[dict]:
    """Hold the trained model in float64, and integer.onnx, against the golden model; counts for the report."""
    from bitloom.qat.export import forward_codes, in_float64

    exact, referee = in_float64(model), OnnxReferee(context.out / "integer.onnx", graph.hash)
    readers = {
        "Brevitas float64 = golden, every tensor": (
            [node.name for node in graph.nodes],
            lambda s: forward_codes(exact, s.ids, s.segments),
        ),
        "ONNX Runtime = golden, outputs and layers": (
            observed(graph),
            lambda s: referee.run(s.ids, s.segments),
        ),
    }
    results = []
    for index, (name, (tensors, reader)) in enumerate(readers.items()):

        def progress(fraction: float, done: int = index, text: str = name) -> None:
            context.progress((done + fraction) / len(readers), text)

        results.append(compare(graph, sample, name, tensors, reader, progress))
    return results


def golden_logits(graph: Graph, sentences: Sentences) -> np.ndarray:
    """Codes of the graph's output for all sentences: [S, labels], or [sum T, labels] for a token head."""
    parts = [golden.run(graph, part.ids, part.segments, keep_all=False) for part in _batches(sentences)]
    return np.concatenate([part[graph.outputs[0]] for part in parts])


def _batches(sentences: Sentences) -> Iterator[Sentences]:
    for start in range(0, len(sentences), BATCH):
        yield sentences.take(range(start, min(start + BATCH, len(sentences))))


def compare(
    graph: Graph,
    sample: Sentences,
    name: str,
    tensors: Sequence[str],
    reader: Callable[[Sentences], dict[str, np.ndarray]],
    progress: Callable[[float], None] = lambda fraction: None,
) -> dict:
    """Run another reader of the graph on the sample; each of `tensors`, in this order, must equal the golden model's.

    Raises VerificationError: the first tensor that differs or is missing, and where.
    """
    compared = 0
    for index, part in enumerate(_batches(sample)):
        progress(index * BATCH / len(sample))
        want, got = golden.run(graph, part.ids, part.segments), reader(part)
        for tensor in tensors:
            if tensor not in got:
                raise VerificationError(f"export: {name}: got no tensor '{tensor}', must be there to compare")
            _require_equal(f"{name}: {tensor}", graph, tensor, index * BATCH, part, got[tensor], want[tensor])
            compared += want[tensor].size
    if not compared:
        raise VerificationError(f"export: {name}: got 0 values to compare, must be at least 1")
    return {"name": name, "sentences": len(sample), "values_compared": compared, "mismatches": 0}


def _require_equal(where: str, graph: Graph, tensor: str, skipped: int, part: Sentences, got: np.ndarray, want: np.ndarray) -> None:
    """skipped: sentences of the sample before this part."""
    if got.size != want.size:
        raise VerificationError(f"export: {where}: got {got.size:,} values, must be {want.size:,}")
    got, want = got.ravel(), want.ravel()
    if not (wrong := got != want).any():
        return
    index, info = int(wrong.argmax()), graph.tensor(tensor)
    stream = Stream(tensor=tensor, wire="", lanes=1, bits=info.bits, signed=info.signed, kind=info.kind, layout=Layout(channels=info.channels))
    sentence, token, channel = locate(index, stream, info.tokens.of(np.array(part.lengths)), want.size)
    raise VerificationError(
        f"export: {where}: {wrong.sum():,} of {wrong.size:,} values differ; first: "
        f"sentence {skipped + sentence} token {token} channel {channel}: got {got[index]}, must be {want[index]}"
    )
