# SPDX-License-Identifier: Apache-2.0
"""Codes in the beats of a stream, as a DMA moves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Stream:
    """A stream of the IP: a beat is `lanes` elements of `element_bytes`, little-endian, from byte 0 on, then zeros up to `beat_bytes`.

    kind  "token": [T, channels] a sentence; "sentence": [1, channels]; "pack": [1, channels] for each sentence of a pack, whose last token's first code is odd
    bits  of a code, sign-extended where `signed`
    """

    lanes: int
    bits: int
    signed: bool
    channels: int
    kind: str
    element_bytes: int
    beat_bytes: int

    def beats(self, rows: int) -> int:
        """Beats of that many rows of `channels`."""
        return rows * self.channels // self.lanes

    def rows(self, codes: np.ndarray) -> int:
        """Of the answer to a sentence, or a pack, whose codes are int [T, channels of the input]."""
        return {"token": len(codes), "sentence": 1, "pack": int(np.sum(codes[:, 0] & 1))}[self.kind]

    @property
    def dtype(self) -> np.dtype:
        """The integers that codes travel as over the network: the narrowest little-endian ones that hold them."""
        size = next(size for size in (1, 2, 4, 8) if size >= self.element_bytes)
        return np.dtype("<{}{}".format("i" if self.signed else "u", size))


def pack(codes: np.ndarray, stream: Stream) -> np.ndarray:
    """Codes [rows, channels] as uint8 [beats, beat_bytes]."""
    words = np.ascontiguousarray(codes, dtype="<i8").reshape(-1, stream.lanes)
    elements = words.view(np.uint8).reshape(len(words), stream.lanes, 8)[:, :, : stream.element_bytes]
    beats = np.zeros((len(words), stream.beat_bytes), dtype=np.uint8)
    beats[:, : stream.lanes * stream.element_bytes] = elements.reshape(len(words), -1)
    return beats


def packet(sentences: Sequence[np.ndarray], stream: Stream) -> np.ndarray:
    """What one transfer carries, uint8 [beats, beat_bytes]: each sentence behind a header beat, whose first 4 bytes say how many beats it has."""
    parts = []
    for codes in sentences:
        beats = pack(codes, stream)
        header = np.zeros((1, stream.beat_bytes), dtype=np.uint8)
        header[0, :4] = np.array([len(beats)], dtype="<u4").view(np.uint8)
        parts += [header, beats]
    return np.concatenate(parts)


def unpack(data: np.ndarray, stream: Stream) -> np.ndarray:
    """uint8 of whole beats as int64 codes [rows, channels]."""
    beats = np.ascontiguousarray(data).reshape(-1, stream.beat_bytes)[:, : stream.lanes * stream.element_bytes]
    elements = beats.reshape(-1, stream.element_bytes)
    wide = np.zeros((len(elements), 8), dtype=np.uint8)
    wide[:, : stream.element_bytes] = elements
    if stream.signed:  # the sign bit of the element fills the bytes above it
        wide[:, stream.element_bytes :] = np.where(elements[:, -1:] & 0x80, 0xFF, 0)
    return wide.view("<i8").reshape(-1, stream.channels).astype(np.int64)
