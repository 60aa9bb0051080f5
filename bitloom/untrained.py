# SPDX-License-Identifier: Apache-2.0
"""A recipe's network before any training, as a graph with random weights."""

from __future__ import annotations

from dataclasses import replace

from bitloom import sources
from bitloom.hw.graph import Graph
from bitloom.hw.ops import aside_of
from bitloom.recipe import Recipe


def untrained(recipe: Recipe) -> tuple[Graph, str]:
    """The graph, with the zeros that compression will make; and what compression changes, in a line, or nothing."""
    from bitloom.qat.compress import Compression  # torch takes seconds to import
    from bitloom.qat.net.untrained import LABELS, VOCABULARY, untrained_graph

    recipe = sources.resolved(recipe, None)
    known, vocabulary = recipe.data.known(), recipe.data.vocab if isinstance(recipe.data.vocab, int) else VOCABULARY
    compression = Compression(recipe.compression, recipe.quantization, recipe.training)
    graph = untrained_graph(
        recipe.model,
        recipe.quantization,
        labels=len(known.labels) if known.labels else LABELS,
        vocabulary=vocabulary,
        task=known.task,
        compressed=compression.check,
        thin=compression.thin,
    )
    if aside_of(graph):  # pairs whose sentences are told apart
        graph = replace(graph, meta=graph.meta | {"first_share": known.first_share})
    return graph, compression.told
