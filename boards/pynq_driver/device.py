# SPDX-License-Identifier: Apache-2.0
"""The encoder in the board's fabric: its bitstream, loaded and checked, and sentences through AXI DMA."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import registers as reg
from .errors import DeviceError, ImageError
from .layout import Stream, packet, unpack
from .weights import Weights, contiguous

SCHEMA = "bitloom.overlay/2"
TRANSFER_BYTES = (1 << 26) - 1  # of one transfer: c_sg_length_width of the block design
ENCODER, DMA = "encoder_0", "axi_dma_0"


@dataclass(frozen=True)
class Result:
    """A sentence's answer: int64 codes [rows, channels], the board's cycles in which its first beat entered and its last one left, and the epoch."""

    codes: np.ndarray
    start: int
    end: int
    epoch: int


class Device:
    """An overlay on this board.

    folder     holds overlay.json and the files that it names
    pynq       the module of that name; a test gives another
    timeout_s  for one transfer, and for the encoder to read its weights
    weights    of an encoder that has them in the board's memory; else None
    Raises DeviceError: a file is missing or was changed, there is no memory, or the fabric is not what overlay.json promises, or does not take the weights.
    """

    def __init__(self, folder: str | Path, pynq=None, timeout_s: float = 10.0):
        self.folder, self.timeout_s = Path(folder), timeout_s
        if pynq is None:
            import pynq  # only there on a board
        self._pynq = pynq
        self.manifest = read_manifest(self.folder)
        self.identity = self.manifest["identity"]
        self.max_tokens = self.manifest["max_tokens"]
        self.input, self.output = Stream(**self.manifest["input"]), Stream(**self.manifest["output"])
        self.sentences = self._sentences_per_transfer()
        self.epoch, self.weights = -1, None
        self.load()
        # Only behind a bitstream does PYNQ know memory to allocate.
        sent, received = self._bytes(self.sentences)
        self._sent, self._received = (contiguous(pynq.allocate, size, "sentences") for size in (sent, received))
        if self.manifest["memory_bits"]:
            self.weights = Weights(self._encoder, pynq.allocate, self.manifest, timeout_s, self._begin_epoch)
            self.weights.read_file(self.folder / self.manifest["image"]["file"])

    def load(self) -> None:
        """Write the bitstream into the fabric, whatever state it was in; the encoder gets the weights that it had.

        Raises DeviceError: it is not the one that overlay.json says, or does not take the weights.
        """
        self._overlay = self._pynq.Overlay(str(self.folder / self.manifest["bit"]["file"]))
        self._encoder, self._dma = getattr(self._overlay, ENCODER), getattr(self._overlay, DMA)
        self._begin_epoch()
        beats = self.input.beat_bytes | self.output.beat_bytes << 16
        for name, address, want in (
            ("magic word", reg.MAGIC, reg.MAGIC_VALUE),
            ("version of the registers", reg.VERSION, reg.VERSION_VALUE),
            ("bytes of a beat", reg.BEAT_BYTES, beats),
            ("bits of a beat of the weights' memory", reg.MEMORY_BITS, self.manifest["memory_bits"]),
        ):
            if (got := self._encoder.read(address)) != want:
                raise DeviceError(f"{self.folder}: {name}: got {got:#x}, must be {want:#x}; build the overlay again")
        if (told := self.tell_identity()) != self.identity:
            raise DeviceError(f"{self.folder}: the bitstream holds graph {told}, must be {self.identity} as overlay.json says; build the overlay again")
        if self.weights:
            self.weights.restart(self._encoder)

    def use_image(self) -> None:
        """Let the encoder work with the image that has come (`weights.begin`, `add`).

        Raises ImageError: it is not whole, or the encoder does not take it; the bitstream was loaded anew then, with the image before it if that is there.
        """
        try:
            self.weights.finish()
        except DeviceError as error:
            self.load()
            raise ImageError(f"{error}; the overlay was loaded anew; {self.weights.state}") from error

    def tell_identity(self) -> str:
        """The identity word in the fabric, 16 hex digits."""
        return f"{self._encoder.read(reg.IDENTITY_HIGH):08x}{self._encoder.read(reg.IDENTITY_LOW):08x}"

    def run(self, sentences: Sequence[np.ndarray], burst: bool) -> list[Result]:
        """The answers to at most `self.sentences` sentences, int [T, C] each, 1 <= T <= max_tokens (checked by the caller).

        burst  all in one transfer, back to back; else each alone, into an empty encoder
        Raises DeviceError: the hardware does not answer in time, or the weights' memory failed; it was loaded anew then.
        """
        try:
            if burst:
                return self._transfer(sentences)
            results = []
            for sentence in sentences:
                results += self._transfer([sentence])
                # The first token's answer leaves while later ones are still inside, and none is inside longer than it was.
                time.sleep((results[-1].end - results[-1].start) / (1e6 * self.manifest["clock_mhz"]))
            return results
        except DeviceError:
            self.load()
            raise

    def close(self) -> None:
        """Hold the encoder, so that it reads no memory that is another's, and give the buffers back."""
        if self.weights:
            self.weights.hold()
        for buffer in (self._sent, self._received):
            buffer.freebuffer()

    def _transfer(self, sentences: Sequence[np.ndarray]) -> list[Result]:
        rows = [self.output.rows(s) for s in sentences]
        data = packet(sentences, self.input).reshape(-1)
        size = self.output.beats(sum(rows)) * self.output.beat_bytes
        before = self._encoder.read(reg.DONE)
        self._sent[: len(data)] = data
        self._dma.recvchannel.transfer(self._received, 0, size)
        self._dma.sendchannel.transfer(self._sent, 0, len(data))
        try:
            self._wait()
        finally:
            # An answer that was computed from what the memory did not give is none, however it came.
            if self.weights and (fault := self.weights.fault()):
                raise DeviceError(f"{fault}; the overlay was loaded anew, run again")
        if (done := (self._encoder.read(reg.DONE) - before) & 0xFFFFFFFF) != len(sentences):
            raise DeviceError(f"encoder: got {done} answers, must be {len(sentences)}; the overlay was loaded anew, run again")
        if (got := self._dma.recvchannel.transferred) != size:
            raise DeviceError(f"encoder: got {got} bytes, must be {size}; the overlay was loaded anew, run again")
        codes = np.split(unpack(np.array(self._received[:size]), self.output), np.cumsum(rows)[:-1])
        return [Result(c, *self._times(before + i), self.epoch) for i, c in enumerate(codes)]

    def _wait(self) -> None:
        """Until both transfers have ended; pynq's own wait has no time limit."""
        channels = {"sendchannel": self._dma.sendchannel, "recvchannel": self._dma.recvchannel}
        deadline = time.monotonic() + self.timeout_s
        while busy := [name for name, channel in channels.items() if not channel.idle]:
            failed = [name for name, channel in channels.items() if channel.error]
            if failed or time.monotonic() > deadline:
                what = f"{failed[0]}: got an error" if failed else f"{', '.join(busy)}: got no end in {self.timeout_s:g} s"
                raise DeviceError(f"DMA {what}, must end; the overlay was loaded anew, run again")
            time.sleep(0)
        for channel in channels.values():
            channel.wait()  # makes what came visible to the processor

    def _begin_epoch(self) -> None:
        """All counts in the fabric are 0."""
        self.epoch, self._now, self._raw = self.epoch + 1, 0, 0

    def _times(self, sentence: int) -> tuple[int, int]:
        """First and last cycle of a sentence, on a clock of 64 bits: the counter of 32 bits may wrap once between two sentences."""
        address = reg.LOG + 8 * (sentence % reg.LOG_ENTRIES)
        start, stop = self._encoder.read(address), self._encoder.read(address + 4)
        self._now += (start - self._raw) & 0xFFFFFFFF
        self._raw = start
        return self._now, self._now + ((stop - start) & 0xFFFFFFFF)

    def _bytes(self, sentences: int) -> tuple[int, int]:
        """Of the largest transfers in and out for that many sentences."""
        rows = 1 if self.output.kind == "sentence" else self.max_tokens
        return (sentences * (1 + self.input.beats(self.max_tokens)) * self.input.beat_bytes, sentences * self.output.beats(rows) * self.output.beat_bytes)

    def _sentences_per_transfer(self) -> int:
        largest = max(self._bytes(1))
        if largest > TRANSFER_BYTES:
            raise DeviceError(f"{self.folder}: got sentences of {largest} bytes, must be at most {TRANSFER_BYTES} for one transfer")
        return min(reg.LOG_ENTRIES, TRANSFER_BYTES // largest)


def read_manifest(folder: Path) -> dict:
    """overlay.json, its files checked against their hashes.

    Raises DeviceError.
    """
    path = folder / "overlay.json"
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DeviceError(f"{path}: got no readable overlay ({error}), must be written by pack_overlay; copy the whole folder again") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        got = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise DeviceError(f"{path}: got schema {got!r}, must be '{SCHEMA}'; copy driver and overlay of one version")
    for name in ("bit", "hwh", *(("image",) if manifest["memory_bits"] else ())):
        file, want = folder / manifest[name]["file"], manifest[name]["sha256"]
        try:
            got = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            raise DeviceError(f"{file}: got {error.strerror}, must be there; copy the whole folder again") from error
        if got != want:
            raise DeviceError(f"{file}: got SHA-256 {got[:16]}..., must be {want[:16]}...; the file was changed or cut off: copy the folder again")
    return manifest
