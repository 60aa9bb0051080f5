# SPDX-License-Identifier: Apache-2.0
"""Memory files against the graph, and which of their words a batch reads."""

from dataclasses import replace

import numpy as np
import pytest
from encoders import random_encoder, random_sentences

from bitloom.hw import golden
from bitloom.hw.emit import emit
from bitloom.hw.memory_files import MemoryFileError, Reads, check_memory_files
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, solve

LENGTHS = [5, 1, 3]
TABLES = {"exp": "exp_table", "table": "table"}  # end of the file's name -> parameter


@pytest.fixture(scope="module")
def made():
    """A design, sentences for it, and all golden tensors."""
    graph = random_encoder(2, layers=1, hidden=12, heads=2, intermediate=20, max_tokens=6)
    sentences = random_sentences(graph, LENGTHS)
    return Design(graph, solve(graph, HardwareConfig(multipliers=40))), sentences, golden.run(graph, *sentences)


def test_files_are_compared_word_for_word(made, tmp_path):
    design, _, _ = made
    emit(design, tmp_path)
    words = check_memory_files(design, tmp_path)
    assert words == {path.name: len(path.read_text().split()) for path in tmp_path.glob("*.hex")} and len(words) > 10
    for path in sorted(tmp_path.glob("*.hex")):
        text = path.read_text()
        path.write_text(text[:-2] + ("0" if text[-2] != "0" else "1") + "\n")
        with pytest.raises(
            MemoryFileError, match=rf"^{path.name}: word {words[path.name] - 1}: got '\w+', must be '\w+' \(1 of {words[path.name]} words differ\)$"
        ):
            check_memory_files(design, tmp_path)
        path.write_text(text)
    assert check_memory_files(design, tmp_path) == words


def test_the_entries_that_count_as_read_are_those_that_matter(made, tmp_path):
    """Another value in one of them shows in a tensor; in any other it does not."""
    design, sentences, want = made
    emit(design, tmp_path)
    reads = Reads(design, check_memory_files(design, tmp_path))
    assert reads.summary()["read"] == 0
    reads.add(want, np.array(LENGTHS))
    for file in reads.summary()["tables"]:
        node, _, end = file.removesuffix(".hex").rpartition(".")
        seen, key = reads.read[file], f"{node}.{TABLES[end]}"
        assert 0 < seen.sum() < seen.size
        for changes in (seen, ~seen):
            for entry in np.random.default_rng(0).permutation(np.flatnonzero(changes))[:6]:
                params = dict(design.graph.params)
                params[key] = params[key].copy()
                params[key][entry] = params[key].max() if params[key][entry] < params[key].mean() else params[key].min()
                got = golden.run(replace(design.graph, params=params), *sentences)
                assert (got[node] != want[node]).any() == seen[entry], f"{file} entry {entry}"


def test_all_words_of_other_memories_are_read(made, tmp_path):
    design, _, want = made
    emit(design, tmp_path)
    reads = Reads(design, check_memory_files(design, tmp_path))
    reads.add(want, np.array(LENGTHS))
    told = reads.summary()
    assert told["files"] == len(reads.read) > len(told["tables"]) == 3  # exponentials, GELU, tanh
    assert told["words"] - told["read"] == sum(entries - read for read, entries in told["tables"].values()) > 0
