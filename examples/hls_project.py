# SPDX-License-Identifier: Apache-2.0
"""An HLS project from a finished run, with hls4ml's own API: python examples/hls_project.py [RUN FOLDER] [PROJECT FOLDER]."""

import sys
from pathlib import Path

import numpy as np

from bitloom.hls import pad, to_hls4ml
from bitloom.hw import graph_file
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding

run = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart")
graph = graph_file.load(run / "export")
design = Design(graph, Folding.load(run / "build" / "folding.json"))
model = to_hls4ml(design, "pynq_z2", sys.argv[2] if len(sys.argv) > 2 else "hls_project")
model.compile()  # writes the project and compiles it with g++

entry = graph.tensor(graph.entry)  # what the host sends: sums of embedding rows, here random ones
rng = np.random.default_rng(0)
sentences = [rng.integers(entry.low, entry.high + 1, (tokens, entry.channels)) for tokens in (3, graph.max_tokens)]
print(model.predict(pad([design.entry.place(codes) for codes in sentences], graph.max_tokens)))
