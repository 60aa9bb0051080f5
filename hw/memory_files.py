# SPDX-License-Identifier: Apache-2.0
"""The memory files of a built design: whether each word is the graph's, and which words a simulation's sentences read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bitloom.hw import image
from bitloom.hw.emit import memory_file
from bitloom.hw.errors import BitloomError
from bitloom.hw.graph import Node
from bitloom.hw.hexfile import Hex
from bitloom.hw.parts import shared
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.units import Unit


class MemoryFileError(BitloomError):
    """A memory file does not hold what the graph says."""


def memories(design: Design) -> dict[str, tuple[Unit, str, Hex]]:
    """File -> its unit, the parameter there that names it, and what it must hold."""
    return {memory_file(u, key): (u, key, value) for u in design.units for key, value in u.instance.params.items() if isinstance(value, Hex)}


def check_memory_files(design: Design, folder: Path) -> dict[str, int]:
    """Compare every memory file with the graph, word for word; file -> how many words it has. Memories that are loaded have no files, but words in the image.

    Raises MemoryFileError: the first word that differs, or a file that is missing, or has more or fewer words. ImageError: the image is not the graph's.
    """
    if design.fetch:
        image.check(Path(folder) / image.FILE, design)
        return {name: len(memory.parts(image.PART)) for name, (_, _, memory) in memories(design).items()}
    words = {}
    for name, (_, _, memory) in memories(design).items():
        want = memory.text().split()
        try:
            got = (Path(folder) / name).read_text().lower().split()
        except (OSError, UnicodeDecodeError) as error:
            raise MemoryFileError(f"{name}: got no file that can be read ({error}), must hold {len(want)} words") from error
        if len(got) != len(want):
            raise MemoryFileError(f"{name}: got {len(got)} words, must be {len(want)}")
        if got != want:
            wrong = [word for word, (a, b) in enumerate(zip(got, want, strict=True)) if a != b]
            raise MemoryFileError(f"{name}: word {wrong[0]}: got {got[wrong[0]]!r}, must be {want[wrong[0]]!r} ({len(wrong)} of {len(want)} words differ)")
        words[name] = len(want)
    return words


@dataclass
class Reads:
    """Which words of the memories were read. `add` takes the golden tensors of what was simulated: the hardware's were equal to them.

    words  of each file, as check_memory_files gives them
    """

    design: Design
    words: Mapping[str, int]
    read: dict[str, np.ndarray] = field(init=False)  # file -> bool [words]

    def __post_init__(self) -> None:
        self.read = {name: np.zeros(count, dtype=bool) for name, count in self.words.items()}

    def add(self, values: Mapping[str, np.ndarray], lengths: np.ndarray, exits: Sequence[int] | None = None) -> None:
        """values: tensor -> codes as `golden.run` gives them; exits: the last turn of each sentence, where they leave early."""
        graph, entries, lengths = self.design.graph, {}, np.asarray(lengths)
        inside = [np.ones(len(lengths), dtype=bool) if exits is None else np.asarray(exits) >= turn for turn in range(graph.count if graph.around else 1)]
        for name, (unit, key, _) in memories(self.design).items():
            if unit.op.looked_up is None:
                self._take(name, unit, key, [bool(those.any()) for those in inside[: unit.turns]])
                continue
            if unit.name not in entries:
                entries[unit.name] = [_looked_up(unit, n, values, lengths, those) for (_, n), those in zip(graph.turns(unit.node), inside, strict=False)]
            for read, own in zip(self._banks(name, unit, key), entries[unit.name], strict=True):
                if own is None:
                    continue
                if key in own:
                    read[np.unique(own[key])] = True
                else:
                    read[:] = True

    def merge(self, read: Mapping[str, np.ndarray]) -> None:
        """Those of another simulation, which `read` says as this one does, too."""
        for name, words in read.items():
            self.read[name] |= words

    def _banks(self, name: str, unit: Unit, key: str) -> list[np.ndarray]:
        """Of each turn, the part of a memory that it reads; turns may share one."""
        of = shared.of_turns(unit.instance.params, key)
        of = of if len(of) == unit.turns else list(range(unit.turns))  # loaded by turn
        parts = np.split(self.read[name], max(of) + 1)
        return [parts[bank] for bank in of]

    def _take(self, name: str, unit: Unit, key: str, reached: Sequence[bool]) -> None:
        """Whole turns of a memory were read; of one whose turns have not as many words each, only all of them count."""
        if all(reached):
            self.read[name][:] = True
        elif not unit.fold.words and self.read[name].size % (max(shared.of_turns(unit.instance.params, key)) + 1) == 0:
            for read, was in zip(self._banks(name, unit, key), reached, strict=True):
                read |= was

    def summary(self) -> dict:
        """files, words and read of all of them; tables: those whose entries are looked up, file -> [entries read, entries]."""
        tables = {name: [int(self.read[name].sum()), self.read[name].size] for name, (unit, _, _) in memories(self.design).items() if unit.op.looked_up}
        return {"files": len(self.read), "words": sum(self.words.values()), "read": int(sum(r.sum() for r in self.read.values())), "tables": tables}


def _looked_up(unit: Unit, node: Node, values: Mapping[str, np.ndarray], lengths: np.ndarray, those: np.ndarray) -> dict[str, np.ndarray] | None:
    """Entries of a unit's memories that a node reads for some of the sentences; None: for no sentence. those: bool [S]."""
    if not those.any():
        return None
    graph, inputs = unit.graph.source, []
    for name in (own for own in node.inputs if own in values):  # what tells of packs is not, and counts for none
        tokens = graph.tensor(name).tokens.of(lengths)
        sizes = {"token": tokens, "row": tokens * tokens, "sentence": np.ones_like(lengths)}
        kept = np.repeat(those, sizes[graph.tensor(name).kind])
        inputs.append(values[name][np.repeat(kept, len(values[name]) // len(kept))])
    return unit.op.looked_up(unit.graph, unit.node, inputs, graph.taken(node, lengths[those]))
