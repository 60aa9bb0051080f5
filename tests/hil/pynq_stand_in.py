# SPDX-License-Identifier: Apache-2.0
"""Stands in for the module pynq on a board: overlay, registers and DMA behave as PYNQ 3.0's, the fabric behind them is the golden model.

Memory and caches are apart: what the processor writes is in memory after flush(), what the DMA wrote is seen after invalidate(). There is memory to
allocate only behind a bitstream, and none of it comes back before the end.
"""

from pathlib import Path

import numpy as np

from bitloom.boards.pynq_driver import registers as reg
from bitloom.boards.pynq_driver.layout import Stream, pack
from bitloom.hw import golden, graph_file
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict

NEAR_THE_END = (1 << 32) - 3000  # of the cycle counter: it wraps soon


class Buffer(np.ndarray):
    """A PynqBuffer: `memory` is what the DMA reads and writes, at `device_address`."""

    def flush(self):
        self.memory[:] = np.asarray(self)

    def invalidate(self):
        self[:] = self.memory

    def freebuffer(self):
        self.freed = True


class Channel:
    """A pynq.lib.dma._SDMAChannel; `sends`: memory to stream."""

    def __init__(self, fabric, sends):
        self.fabric, self.sends, self.idle, self.error, self.transferred, self.first = fabric, sends, False, False, 0, True

    def transfer(self, array, start=0, nbytes=0):
        if not self.idle and not self.first:
            raise RuntimeError("DMA channel not idle")
        assert nbytes and start + nbytes <= array.nbytes, "the default takes the whole buffer"
        self.idle, self.first, self.buffer, self.size = False, False, array, nbytes
        if self.sends:
            array.flush()
        self.fabric.moved()

    def wait(self):
        assert self.idle, "the driver polls with a time limit before it waits"
        if not self.sends:
            self.buffer.invalidate()


class Fabric:
    """The encoder's IP behind its DMA: packets in, packets out, registers."""

    def __init__(self, board, identity):
        self.board, self.identity = board, identity
        self.sendchannel, self.recvchannel = Channel(self, True), Channel(self, False)
        self.done, self.now, self.log = 0, NEAR_THE_END, {}

    def read(self, address):
        """encoder_0.read"""
        graph = int(self.identity, 16)
        sizes = self.board.output.beat_bytes << 16 | self.board.input.beat_bytes
        words = {
            reg.MAGIC: reg.MAGIC_VALUE,
            reg.VERSION: reg.VERSION_VALUE,
            reg.IDENTITY_LOW: graph & 0xFFFFFFFF,
            reg.IDENTITY_HIGH: graph >> 32,
            reg.DONE: self.done,
            reg.BEAT_BYTES: sizes,
            reg.MEMORY_BITS: 0,
        }
        return (words | self.registers() | self.log)[address] & 0xFFFFFFFF

    def registers(self):
        """Those of an encoder with its weights in memory."""
        return {}

    def moved(self):
        """Both channels are at work: everything happens at once."""
        send, recv = self.sendchannel, self.recvchannel
        if send.first or recv.first or send.idle or recv.idle or self.board.fault == "hang":
            return
        if self.board.fault == "error":
            recv.error = True
            return
        sentences = self.unframe(send.buffer.memory[: send.size])
        lengths = [len(s) for s in sentences]
        answer = np.concatenate([pack(a, self.board.output) for a in self.answers(sentences, lengths)]).reshape(-1)
        self.clock(lengths)
        assert answer.size <= recv.size, "the packet is longer than the transfer: AXI DMA would stop with an error"
        recv.buffer.memory[: answer.size] = answer
        recv.transferred = answer.size
        send.idle = recv.idle = True
        self.board.transfers.append(len(sentences))

    def answers(self, sentences, lengths):
        """Golden codes of each sentence, [1, C] or [T, C]."""
        return golden_answers(self.board.graph, sentences, lengths)

    def unframe(self, data):
        """sentence_framer.sv and the encoder's view of its beats."""
        stream = self.board.input
        beats, sentences = data.reshape(-1, stream.beat_bytes), []
        while len(beats):
            count = int(beats[0, :4].view("<u4")[0])
            assert 1 <= count < len(beats), f"a header of {count} beats in front of {len(beats) - 1}"
            words = np.ascontiguousarray(beats[1 : 1 + count, : stream.lanes * stream.element_bytes])
            assert stream.element_bytes == 2, "the small encoders here have 10-bit embeddings"
            codes = words.view("<i2").reshape(-1, stream.channels).astype(np.int64)
            sentences.append(((codes & (1 << stream.bits) - 1) ^ 1 << stream.bits - 1) - (1 << stream.bits - 1))
            beats = beats[1 + count :]
        return sentences

    def clock(self, lengths):
        times = predict(Design(self.board.graph, self.board.folding), lengths)
        for start, stop in zip(times.in_first, times.out_last, strict=True):
            entry = reg.LOG + 8 * (self.done % reg.LOG_ENTRIES)
            self.log |= {entry: self.now + start, entry + 4: self.now + stop}
            self.done += 1
        self.now += times.out_last[-1] + 1_000_000


class Overlay:
    """pynq.Overlay: its cells by name."""

    def __init__(self, board, path):
        identity = Path(path).read_text().split()[-1]
        assert Path(path).with_suffix(".hwh").is_file(), "PYNQ finds the description by the bitstream's name"
        board.loaded += 1
        self.encoder_0 = self.axi_dma_0 = board.fabric(board, board.identity or identity)


class Pynq:
    """The module, for the device of one overlay.

    fabric    what an overlay puts into the fabric: a class of (board, identity)
    fault     "hang" or "error" of the DMA
    identity  another one than the bitstream's
    memory    what can be allocated, and what the fabric sees of it
    """

    BEGIN = 0x10000000  # of its addresses

    def __init__(self, graph, folding, ip, *, fabric=Fabric, memory=None):
        self.graph, self.folding, self.fabric, self.fault, self.identity, self.loaded, self.transfers = graph, folding, fabric, "", "", 0, []
        self.input, self.output = (Stream(**ip.as_dict()[name]) for name in ("input", "output"))
        self.memory = np.full(1 << 20, 0x55, dtype=np.uint8) if memory is None else memory
        self.used = 0

    def Overlay(self, path):
        return Overlay(self, path)

    def allocate(self, shape, dtype):
        if not self.loaded:
            raise RuntimeError("Overlay is not downloaded")
        buffer = np.full(shape, 0xAA, dtype=dtype).view(Buffer)
        begin, self.used = self.used, self.used - -buffer.nbytes // 4096 * 4096
        if self.used > len(self.memory):
            self.used = begin
            raise RuntimeError("Allocate failed: 4294967295")
        buffer.memory = self.memory[begin : begin + buffer.nbytes].view(dtype)
        buffer.device_address = self.BEGIN + begin
        return buffer


def golden_answers(graph, sentences, lengths):
    """Golden codes of each sentence, [1, C] or [T, C]."""
    inner, output = graph_file.extract(graph, graph.entry, graph.outputs[0]), graph.outputs[0]
    codes = golden.evaluate(inner, {graph.entry: np.concatenate(sentences)}, np.array(lengths))[output]
    return np.split(codes, np.cumsum(lengths)[:-1] if graph.tensor(output).kind == "token" else len(lengths))
