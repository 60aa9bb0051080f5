# SPDX-License-Identifier: Apache-2.0
"""What a board is to the host: a target that is opened, identified, run and closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from bitloom.hw import pack
from bitloom.hw.image import Image, ImageError, check
from bitloom.hw.instance import Layout
from bitloom.hw.keys import PACK
from bitloom.hw.plan.design import Design
from bitloom.sim.hil.errors import TargetError, WrongBitstreamError

Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A sentence's answer.

    codes  int64 [1, C], or [T, C] of a token head
    start  board cycle in which the sentence's first input beat was accepted; in a pack, the pack's
    end    board cycle in which its last output beat left; in a pack, the pack's
    epoch  counts the board's restarts: cycles of different epochs cannot be compared
    """

    codes: np.ndarray
    start: int
    end: int
    epoch: int = 0

    @property
    def latency(self) -> int:
        """First input beat accepted -> last output beat, in cycles, without either's transport."""
        return self.end - self.start


@dataclass(kw_only=True)
class Traffic:
    """What went over the line since the target was opened; zero where a transport has no such thing."""

    bytes_sent: int = 0
    bytes_received: int = 0
    frames_sent: int = 0
    frames_resent: int = 0
    frames_damaged: int = 0
    polls: int = 0
    rewinds: int = 0
    resets: int = 0


def whole_image(where: str, path: Path, design: Design, *, connected: bool) -> Image:
    """An image of this design, checked bit for bit, for a board that has a memory connected.

    Raises TargetError.
    """
    try:
        image = check(path, design)
    except ImageError as error:
        raise TargetError(f"{where}: {error}") from error
    if not connected:
        raise TargetError(f"{where}: got a bitstream without memory, must have one for {path}; load the bitstream of this run")
    return image


class Target(Protocol):
    """A board with a bitstream of one graph. `run` and `traffic` need an open target."""

    name: str
    traffic: Traffic

    def open(self) -> None:
        """Connect. Raises TargetError: absent, busy, silent."""

    def identify(self) -> str:
        """Whose answers it gives, 16 hex digits of the graph's hash: the identity word of the bitstream, or of the weights in the board's memory."""

    def load(self, path: Path, progress: Progress | None = None) -> None:
        """Put an image of weights (hw/image.py) into the board's memory, unless it holds that one.

        progress  called with the number of bytes so far
        Raises TargetError: a file that is no whole image of this design, a board without memory or with too little, one that refuses it.
        """

    def run(self, batch: Sequence[np.ndarray], *, burst: bool = False, progress: Progress | None = None) -> list[Answer]:
        """Every sentence's answer, in order, each exactly once.

        batch     codes of the graph's entry tensor, int [T, C] each, 1 <= T <= max_tokens
        burst     collect sentences on the board and let them in without a gap (where the transport can), to measure intervals
        progress  called with the number of answers so far
        Raises TargetError: bad input, another graph's bitstream, or a board that cannot be made to answer.
        """

    def close(self) -> None:
        """Release the port; also after an error, and twice."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What both ends must know of a design: its input and its output.

    entry, output  how a token's channels lie in the beats
    packed         sentences are sent in packs (bitloom.hw.pack): a pack's answers are those of its sentences, one behind the other
    out_bits       of an element of the output at the encoder's port: whole bytes
    """

    identity: str
    bits: int
    signed: bool
    entry: Layout
    out_bits: int
    output: Layout
    token_head: bool
    packed: bool = False
    max_tokens: int = field(default=1 << 20)

    @classmethod
    def of(cls, design: Design) -> Shape:
        """Raises TargetError: several outputs."""
        if len(design.outputs) != 1:
            names = ", ".join(stream.tensor for stream in design.outputs)
            raise TargetError(f"hil: got {len(design.outputs)} outputs ({names}), must be one: a board sends one answer a sentence; verify it in simulation")
        entry, (out,) = design.entry, design.outputs
        return cls(
            identity=design.identity,
            bits=entry.bits,
            signed=entry.signed,
            entry=entry.layout,
            out_bits=out.io_bits,
            output=out.layout,
            token_head=out.kind == "token" and out.keys != PACK,
            packed=entry.pack > 0,
            max_tokens=design.graph.max_tokens,
        )

    def elements(self, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Sentences, or their packs, as the beats carry them: int64 [T, entry.width] each.

        batch  codes of the graph's entry tensor, int [T, C] each; raises TargetError unless they are that
        """
        bits = self.bits - self.packed  # of the sentences' own codes
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if self.signed else (0, (1 << bits) - 1)
        for index, sentence in enumerate(batch):
            codes = np.asarray(sentence)
            where = f"hil: sentence {index}"
            if codes.ndim != 2 or codes.shape[1] != self.entry.channels or not 1 <= len(codes) <= self.max_tokens:
                raise TargetError(
                    f"{where}: got shape {codes.shape}, must be [T, {self.entry.channels}] with T = 1 .. {self.max_tokens}; "
                    "give the codes of the graph's entry tensor"
                )
            if not np.issubdtype(codes.dtype, np.integer) or codes.min() < low or codes.max() > high:
                raise TargetError(
                    f"{where}: got {codes.dtype} codes {codes.min()} .. {codes.max()}, must be integers {low} .. {high}; "
                    "give the codes of the graph's entry tensor"
                )
        if self.packed:
            batch = pack.sent(batch, self._packs(batch))
        return [self.entry.place(np.asarray(sentence, dtype=np.int64)) for sentence in batch]

    def _packs(self, batch: Sequence[np.ndarray]) -> list[tuple[int, ...]]:
        return pack.packs_of([len(sentence) for sentence in batch], self.max_tokens)

    @property
    def kind(self) -> str:
        """Of its answers, as the driver of a PYNQ board calls them."""
        return "token" if self.token_head else "pack" if self.packed else "sentence"

    def rows(self, sentence: np.ndarray) -> int:
        """Rows of the answer to a sentence, or a pack, as the beats carry it."""
        if self.token_head:
            return len(sentence)
        return int((sentence[:, 0] & 1).sum()) if self.packed else 1  # its last tokens are marked

    def apart(self, batch: Sequence[np.ndarray], answers: list[Answer]) -> list[Answer]:
        """The answers of the sentences `batch` from those to what `elements` makes of it; of a pack all have its cycles."""
        if not self.packed:
            return answers
        found = []
        for own, answer in zip(self._packs(batch), answers, strict=True):
            parts = np.split(answer.codes, np.cumsum(own if self.token_head else np.ones(len(own), dtype=np.int64))[:-1])
            found += [replace(answer, codes=codes) for codes in parts]
        return found

    def told(self, batch: Sequence[np.ndarray], progress: Progress | None) -> Progress | None:
        """What is to be called with the number of sent ones that are answered, so that it is called with that of sentences."""
        if progress is None or not self.packed:
            return progress
        firsts = pack.firsts(self._packs(batch))
        return lambda done: progress(firsts[done])

    def must_match(self, where: str, identity: str) -> None:
        """Raise WrongBitstreamError unless the board holds this graph."""
        if identity != self.identity:
            raise WrongBitstreamError(
                f"{where}: got a bitstream of graph {identity}, must be {self.identity}; load the bitstream of this run, or name the run of that bitstream"
            )
