# SPDX-License-Identifier: Apache-2.0
"""export: freeze the integer graph, and hold its three software readers against each other on real sentences."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator

import numpy as np

from bitloom.errors import VerificationError
from bitloom.flow import Context
from bitloom.report import score
from bitloom.sentences import Sentences, load_dev, score_all
from hw import golden
from hw.graph import Graph
from hw.onnx_export import OnnxReferee, to_onnx
from sim.encoder import StreamInfo
from sim.verify import locate

BATCH = 32  # sentences whose tensors are all in memory at once


def run(context: Context) -> str:
    """Raises VerificationError: two readers differ."""
    from qat.checkpoint import from_pretrained  # torch takes seconds to import
    from qat.export import forward_codes, in_float64, to_graph
    from qat.sizes import sizes

    recipe, trained = context.recipe, context.run.stage("train")
    context.progress(None, "freezing the graph")
    shutil.copytree(trained / "tokenizer", context.out / "tokenizer")
    dataset, features, dev = load_dev(recipe, context.run.data_dir, context.out)
    model = from_pretrained(trained / "qat")
    graph = to_graph(model, recipe.name, {"task": dataset.task, "labels": dataset.label_names, "checkpoint": context.run.digest("train")})
    graph.save(context.out)
    (context.out / "integer.onnx").write_bytes(to_onnx(graph).SerializeToString())
    exact, referee = in_float64(model), OnnxReferee(context.out / "integer.onnx", graph.hash)
    readers = {"Brevitas float64 = golden, every tensor": lambda s: forward_codes(exact, s.ids, s.segments),
               "ONNX Runtime = golden, outputs and layers": lambda s: referee.run(s.ids, s.segments)}
    sample = dev.spread(recipe.verification.reference_sentences, recipe.verification.seed)
    comparisons = [_compare(lambda f, i=i, n=name: context.progress((i + f) / len(readers), n), graph, sample, name, reader)
                   for i, (name, reader) in enumerate(readers.items())]
    context.progress(None, f"golden model on {len(dev)} sentences")
    golden_score = score_all(features, graph, dev.lengths, golden_logits(graph, dev))
    metrics, size = json.loads((trained / "metrics.json").read_text()), sizes(model)
    accuracy = {"metric": metrics["metric"], "examples": len(dataset.dev), "float": metrics["float"], "qat": metrics["qat"], "golden": golden_score}
    result = {"accuracy": accuracy, "comparisons": comparisons, "model": graph.meta["model"], "bits": size.pop("layers"), "size": size}
    (context.out / "metrics.json").write_text(json.dumps(result, indent=1) + "\n")
    total = sum(c["values_compared"] for c in comparisons)
    return f"graph {graph.hash[:16]}, golden {score(golden_score)}, 0 of {total:,} values differ between Brevitas, golden and ONNX Runtime"


def golden_logits(graph: Graph, sentences: Sentences) -> np.ndarray:
    """Codes of the graph's output for all sentences: [S, labels], or [sum T, labels] for a token head."""
    parts = [golden.run(graph, part.ids, part.segments, keep_all=False) for part in _batches(sentences)]
    return np.concatenate([part[graph.outputs[0]] for part in parts])


def _batches(sentences: Sentences) -> Iterator[Sentences]:
    for start in range(0, len(sentences), BATCH):
        yield sentences.take(range(start, min(start + BATCH, len(sentences))))


def _compare(progress: Callable[[float], None], graph: Graph, sample: Sentences, name: str, reader: Callable[[Sentences], dict]) -> dict:
    """Run the other reader and the golden model on the sample; every tensor that both give must be equal.

    Raises VerificationError: the first tensor, in the graph's order, that differs, and where.
    """
    compared = 0
    for index, part in enumerate(_batches(sample)):
        progress(index * BATCH / len(sample))
        want, got = golden.run(graph, part.ids, part.segments), reader(part)
        for tensor in (n.name for n in graph.nodes if n.name in got):
            _require_equal(f"{name}: {tensor}", graph, tensor, index * BATCH, part, got[tensor], want[tensor])
            compared += want[tensor].size
    if not compared:
        raise VerificationError(f"export: {name}: got 0 values to compare, must be at least 1; the readers share no tensor")
    return {"name": name, "sentences": len(sample), "values_compared": compared, "mismatches": 0}


def _require_equal(where: str, graph: Graph, tensor: str, skipped: int, part: Sentences, got: np.ndarray, want: np.ndarray) -> None:
    """skipped: sentences of the sample before this part."""
    if got.size != want.size:
        raise VerificationError(f"export: {where}: got {got.size:,} values, must be {want.size:,}")
    got, want = got.ravel(), want.ravel()
    if not (wrong := got != want).any():
        return
    index, info = int(wrong.argmax()), graph.tensor(tensor)
    stream = StreamInfo(tensor=tensor, wire="", lanes=1, bits=info.bits, signed=info.signed, kind=info.kind, channels=info.channels)
    sentence, token, channel = locate(index, stream, np.array(part.lengths), want.size)
    raise VerificationError(f"export: {where}: {wrong.sum():,} of {wrong.size:,} values differ; first: sentence {skipped + sentence} token {token} "
                            f"channel {channel}: got {got[index]}, must be {want[index]}")
