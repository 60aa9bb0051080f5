# SPDX-License-Identifier: Apache-2.0
"""One simulation of a built encoder, compared with the golden model: what a worker is given, here or on another machine, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bitloom.hw import golden, process, recall
from bitloom.hw.graph import Graph
from bitloom.hw.memory_files import Reads
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.sim.encoder import EncoderRun, Options, run_encoder
from bitloom.sim.errors import SimulationError
from bitloom.sim.verify import VerifyReport, compare


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A build that is simulated.

    words   of each of its memory files (bitloom.hw.memory_files)
    folder  where it is
    files   path in the folder -> content, for a machine that does not see it; None: this one
    """

    graph: Graph
    folding: Folding
    words: Mapping[str, int]
    folder: Path
    files: Mapping[str, bytes] | None = None

    def packed(self) -> Hardware:
        """With its files."""
        files = {str(path.relative_to(self.folder)): path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}
        return replace(self, files=files)

    def unpack(self, folder: Path) -> Path:
        """Write the files there; the folder."""
        for name, content in (self.files or {}).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder


@dataclass(frozen=True, kw_only=True)
class Job:
    """Sentences that are simulated back to back.

    options  without what follows from the sentences: exits, left_out, identity
    kept     first sentences of pairs that are as those before are not sent (bitloom.hw.recall)
    """

    name: str
    ids: Sequence[Sequence[int]]
    segments: Sequence[Sequence[int]]
    options: Options
    kept: bool = False

    @property
    def lengths(self) -> list[int]:
        return [len(row) for row in self.ids]


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a simulation showed.

    run   without its streams, which are compared
    read  memory file -> bool [words], those that these sentences read
    """

    run: EncoderRun
    report: VerifyReport
    read: dict[str, np.ndarray]


def simulated(hardware: Hardware, job: Job) -> Done | SimulationError:
    """Run a job; what a simulation that died has to say is given, not raised, so that it comes whole from any worker."""
    graph, design = hardware.graph, Design(hardware.graph, hardware.folding)
    want = golden.run(graph, job.ids, job.segments)
    inputs = np.split(want[graph.entry], np.cumsum(job.lengths)[:-1])
    left_out = recall.left_out(job.ids, golden.borders(graph, want)) if job.kept else None
    exits, told = golden.exits(graph, want), left_out and tuple(left_out)
    options = replace(job.options, exits=exits, left_out=told, identity=graph.hash[:16])
    try:
        with nullcontext(hardware.folder) if hardware.files is None else process.scratch("hardware") as folder:
            run = run_encoder(hardware.unpack(folder), recall.sent(inputs, left_out) if left_out else inputs, options)
            report = compare(graph, want, run)
    except SimulationError as error:
        return error
    reads = Reads(design, hardware.words)
    if not left_out:  # else the first turns see less than these sentences
        reads.add(want, np.array(job.lengths), run.exits)
    return Done(run=replace(run, streams={}), report=report, read=reads.read)
