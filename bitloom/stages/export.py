# SPDX-License-Identifier: Apache-2.0
"""export: freeze the integer graph, and hold its three software readers against each other on real sentences."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bitloom.errors import VerificationError
from bitloom.flow import Context
from bitloom.report import score
from bitloom.sentences import Sentences, load_dev, scores
from hw import golden
from hw.graph import Graph
from hw.onnx_export import OnnxReferee, to_onnx

BATCH = 32  # sentences whose tensors are all in memory at once


def run(context: Context) -> str:
    """Raises VerificationError: two readers differ."""
    from qat.export import forward_codes, in_float64, to_graph  # torch takes seconds to import
    from qat.model import QuantBert
    from qat.sizes import bits_by_layer, sizes

    recipe, trained = context.recipe, context.run.stage("train")
    context.progress(None, "freezing the graph")
    shutil.copytree(trained / "tokenizer", context.out / "tokenizer")
    dev = load_dev(recipe, context.run.data_dir, context.out)
    model = QuantBert.from_pretrained(trained / "qat").eval()
    graph = to_graph(model, recipe.name, {"labels": dev.label_names, "task": dev.task, "checkpoint": context.run.digest("train")})
    graph.save(context.out)
    _save_onnx(graph, context.out / "integer.onnx")
    exact, referee = in_float64(model), OnnxReferee(context.out / "integer.onnx", graph.hash)
    readers = {"Brevitas float64 = golden, every tensor": lambda s: forward_codes(exact, s.ids, s.segments),
               "ONNX Runtime = golden, outputs and layers": lambda s: referee.run(s.ids, s.segments)}
    sample = dev.spread(recipe.verification.reference_sentences, recipe.verification.seed)
    comparisons = [_compare(context, graph, sample, name, reader) for name, reader in readers.items()]
    context.progress(None, f"golden model on {len(dev)} sentences")
    value = scores(graph, dev, golden_logits(graph, dev))
    metrics = json.loads((trained / "metrics.json").read_text())
    result = {"accuracy": {"metric": metrics["metric"], "examples": len(dev), "float": metrics["float"], "qat": metrics["qat"], "golden": value},
              "comparisons": comparisons, "model": graph.meta["model"], "size": sizes(model), "bits": bits_by_layer(model)}
    (context.out / "metrics.json").write_text(json.dumps(result, indent=1) + "\n")
    total = sum(c["values_compared"] for c in comparisons)
    return f"graph {graph.hash[:16]}, golden {score(value)}, 0 of {total:,} values differ between Brevitas, golden and ONNX Runtime"


def golden_logits(graph: Graph, sentences: Sentences) -> np.ndarray:
    """Codes of the graph's output for all sentences: [S, labels], or [sum T, labels] for a token head."""
    parts = [golden.run(graph, part.ids, part.segments, keep_all=False) for part in _batches(sentences)]
    return np.concatenate([part[graph.outputs[0]] for part in parts])


def _batches(sentences: Sentences) -> Iterator[Sentences]:
    for start in range(0, len(sentences), BATCH):
        yield sentences.take(range(start, min(start + BATCH, len(sentences))))


def _compare(context: Context, graph: Graph, sample: Sentences, name: str, reader: Callable[[Sentences], dict]) -> dict:
    """Run the other reader and the golden model on the sample; every tensor that both give must be equal.

    Raises VerificationError: the first tensor, in the graph's order, that differs, and where.
    """
    compared = 0
    for index, part in enumerate(_batches(sample)):
        context.progress(index * BATCH / len(sample), name)
        want, got = golden.run(graph, part.ids, part.segments), reader(part)
        for tensor in (n.name for n in graph.nodes if n.name in got):
            _require_equal(name, tensor, index * BATCH, part, got[tensor], want[tensor])
            compared += want[tensor].size
    if not compared:
        raise VerificationError(f"export: {name}: got 0 values to compare, must be at least 1; the readers share no tensor")
    return {"name": name, "sentences": len(sample), "values_compared": compared, "mismatches": 0}


def _require_equal(name: str, tensor: str, first_sentence: int, part: Sentences, got: np.ndarray, want: np.ndarray) -> None:
    if got.shape != want.shape:
        raise VerificationError(f"export: {name}: {tensor}: got shape {got.shape}, must be {want.shape}")
    if (wrong := got != want).any():
        row, *lane = np.argwhere(wrong)[0].tolist()
        place = (f"token {row} of the batch, lane {lane[0]}" if len(want) == sum(part.lengths) else f"element {(row, *lane)} of the batch")
        value = tuple([row, *lane])
        raise VerificationError(f"export: {name}: {tensor}: {wrong.sum():,} of {wrong.size:,} values differ; first: {place} "
                                f"(sentences from {first_sentence}): got {got[value]}, must be {want[value]}")


def _save_onnx(graph: Graph, path: Path) -> None:
    path.write_bytes(to_onnx(graph).SerializeToString())
