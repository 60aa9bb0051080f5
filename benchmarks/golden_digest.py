# SPDX-License-Identifier: Apache-2.0
"""Digests of every integer code, and the cycles: `python -m benchmarks.golden_digest [RUN ...]` writes what a rebuild of the house must give again.

Without RUN, of the random encoders of the tests, whose integers come from a seed alone; with RUN, of a trained run's export on its whole development split.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from bitloom.hw import golden, graph_file
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import solve
from bitloom.runfolder import RunFolder
from bitloom.sentences import load_dev

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # as pytest has it
from draws import draw_encoder  # noqa: E402
from encoders import random_encoder, random_sentences  # noqa: E402

FILE = Path(__file__).parents[1] / "tests" / "data" / "golden_digest.json"
SEEDS = range(20)
BATCH = 64


def codes(graph: Graph, ids, segments) -> dict[str, str]:
    """Tensor -> SHA-256 (16 digits) of its int64 codes over all sentences."""
    digests = {node.name: hashlib.sha256() for node in graph.nodes}
    for start in range(0, len(ids), BATCH):
        tensors = golden.run(graph, ids[start : start + BATCH], segments[start : start + BATCH])
        for name, digest in digests.items():
            digest.update(np.ascontiguousarray(tensors[name], dtype="<i8").tobytes())
    return {name: digest.hexdigest()[:16] for name, digest in digests.items()}


def cycles(graph: Graph, folding: Folding, lengths) -> dict[str, int]:
    """Predicted: between equal sentences of full length, of one such alone, and of the mix from its first beat to its last."""
    top = graph.max_tokens
    full = predict(Design(graph, folding), [top] * 4)
    return {
        "interval": full.out_last[-1] - full.out_last[-2],
        "latency": predict(Design(graph, folding), [top]).latency[0],
        "mix": predict(Design(graph, folding), lengths).out_last[-1],
    }


def random_digest(seed: int) -> dict:
    drawn = draw_encoder(seed)
    graph = random_encoder(seed, **drawn["shape"])
    ids, segments = random_sentences(graph, drawn["lengths"], seed)
    folding = solve(graph, drawn["hardware"])
    return {"cycles": cycles(graph, folding, drawn["lengths"]), "codes": codes(graph, ids, segments)}


def run_digest(folder: str) -> dict:
    run = RunFolder.open(Path(folder))
    graph = graph_file.load(run.stage("export"))
    _, _, dev = load_dev(run.recipe, run.data_dir, run.stage("export"))
    some = dev.spread(32, 0)
    folding = Folding.load(run.stage("build") / "folding.json")
    return {"cycles": cycles(graph, folding, some.lengths), "codes": codes(graph, dev.ids, dev.segments)}


def main() -> None:
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    for folder in sys.argv[1:]:
        known[Path(folder).name] = run_digest(folder)
    if not sys.argv[1:]:
        known |= {f"random {seed}": random_digest(seed) for seed in SEEDS}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
