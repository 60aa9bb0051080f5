# SPDX-License-Identifier: Apache-2.0
"""A small encoder's overlay, and a server of it on this machine."""

import json
import socket
import threading
from pathlib import Path

import numpy as np
from encoders import random_encoder, random_sentences
from pynq_stand_in import Pynq, golden_answers

from bitloom.boards.pynq_driver import wire
from bitloom.boards.pynq_driver.device import Device
from bitloom.boards.pynq_driver.server import Server
from bitloom.hw import golden
from bitloom.hw.board import Board
from bitloom.hw.build import build
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig
from bitloom.hw.vivado import pack_overlay, write_project
from bitloom.hw.vivado.ip import read_ip
from bitloom.sim.hil.targets import open_target

TOKEN = "correct horse battery staple"
SHAPE = dict(layers=1, hidden=24, heads=2, intermediate=20, max_tokens=8, labels=3)


class Encoder:
    """A small encoder, its overlay's folder, and sentences with golden answers."""

    def __init__(self, folder: Path, head: str, memory: MemoryConfig | None = None, seed: int = 7):
        self.graph = random_encoder(seed=seed, head=head, **SHAPE)
        self.build, self.overlay = folder / "build", folder / "board" / "overlay"
        self.build.mkdir(parents=True)
        self.folding = build(self.graph, HardwareConfig(multipliers=12, memory=memory), self.build)
        self.design = Design(self.graph, self.folding)
        self.ip = read_ip(self.build)
        self.project = project = write_project(self.build, Board.load("pynq_z2"), folder / "project")
        (project / "output").mkdir()
        (project / "output" / "encoder.bit").write_text(f"bitstream {self.ip.identity}")
        (project / "output" / "encoder.hwh").write_text("<EDKSYSTEM/>")
        pack_overlay(project, folder / "board")
        lengths = np.random.default_rng(3).integers(1, 9, 100).tolist()
        values = golden.run(self.graph, *random_sentences(self.graph, lengths))
        ends = np.cumsum(lengths)[:-1]
        self.sentences = np.split(values[self.graph.entry], ends)
        self.answers = golden_answers(self.graph, self.sentences, lengths)

    def check(self, answers, first=0):
        assert len(answers) > 0
        for index, answer in enumerate(answers, first):
            assert np.array_equal(answer.codes, self.answers[index]), index


class Running:
    """A server on this machine, in a thread."""

    def __init__(self, encoder: Encoder, pynq: Pynq | None = None, timeout_s: float = 0.2, **options):
        self.pynq = pynq or Pynq(encoder.graph, encoder.folding, encoder.ip)
        self.device = Device(encoder.overlay, self.pynq, timeout_s=timeout_s)
        self.server = Server(self.device, TOKEN.encode(), ("127.0.0.1", 0), **options)
        self.spec = f"pynq://127.0.0.1:{self.server.address[1]}"
        self._thread = threading.Thread(target=self.server.serve)
        self._thread.start()

    def stop(self):
        self.server.stop()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def raw(self) -> socket.socket:
        return socket.create_connection(self.server.address, timeout=5)

    def greeted(self) -> socket.socket:
        """A connection that has proved its token, READY read."""
        sock = self.raw()
        _, nonce = wire.read_frame(sock, {wire.HELLO: 32}, 5)
        wire.send_frame(sock, wire.AUTH, wire.proof(TOKEN.encode(), nonce), 5)
        wire.read_frame(sock, {wire.READY: 1 << 16}, 5)
        return sock


def serving(monkeypatch):
    """serve(encoder, pynq, **options): a running server; the host's token is the right one. For `yield from` in a fixture."""
    monkeypatch.setenv("BITLOOM_TOKEN", TOKEN)
    started = []

    def start(encoder, *pynq, **options):
        started.append(Running(encoder, *pynq, **options))
        return started[-1]

    yield start
    for running in started:
        running.stop()


def error_of(sock: socket.socket) -> dict:
    """The ERROR that comes next, after which the server hangs up."""
    _, body = wire.read_frame(sock, {wire.ERROR: 1 << 16}, 5)
    return json.loads(body)


def still_serves(running, encoder):
    target = open_target(running.spec, encoder.design)
    target.open()
    encoder.check(target.run(encoder.sentences[:2]))
    target.close()
