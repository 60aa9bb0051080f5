# SPDX-License-Identifier: Apache-2.0
"""A PYNQ board over the network: the host's end of boards/pynq_driver."""

from __future__ import annotations

import json
import socket
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from bitloom.boards.pynq_driver import wire
from bitloom.boards.pynq_driver.header import HEADER_BYTES
from bitloom.boards.pynq_driver.layout import Stream
from bitloom.boards.pynq_driver.weights import NONE as NO_GRAPH
from bitloom.hw.plan.design import Design
from bitloom.sim.hil.errors import PortError, SessionTakenError, SilentError, TargetError, WrongBitstreamError
from bitloom.sim.hil.target import Answer, Progress, Shape, Traffic, whole_image

CONNECT_S = 10.0
ANSWER_S = 120.0  # for the answer to one request, from its last byte on
INFO_LIMIT = ERROR_LIMIT = 1 << 16
Info = TypeVar("Info")
# Error code of the server -> what to raise, and what to do.
REFUSALS = {
    "token": (PortError, "give both ends the same token"),
    "busy": (SessionTakenError, "end the other program, or wait"),
    "device": (TargetError, "look at the server's output on the board"),
    "request": (TargetError, "use the same version at both ends"),
    "image": (TargetError, "run `bitloom hil` again to load the image of its run"),
    "protocol": (TargetError, "use the same version at both ends"),
}


@dataclass(frozen=True, kw_only=True)
class BoardWeights:
    """The image of weights in the board's memory: the first 16 hex digits of its graph's hash (zeros: none), and the shapes that the bitstream takes."""

    graph: str
    shapes: str

    @classmethod
    def parse(cls, said: dict | None) -> BoardWeights | None:
        """Raises TypeError, ValueError: it is none."""
        if said is None:
            return None
        weights = cls(**said)
        for digits, count in ((weights.graph, 16), (weights.shapes, 64)):
            if len(digits) != count or set(digits) - set("0123456789abcdef"):
                raise ValueError(f"weights {said}")
        return weights


@dataclass(frozen=True, kw_only=True)
class BoardInfo:
    """What the server says of its overlay; `sentences`: most in one request; `weights`: None where they are on the chip."""

    identity: str
    clock_mhz: float
    max_tokens: int
    sentences: int
    input: Stream
    output: Stream
    weights: BoardWeights | None


def open_pynq(design: Design, place: str, **options) -> PynqTarget:
    """The target `pynq://PLACE`, PLACE a HOST, HOST:PORT or [IPv6]:PORT, not yet opened.

    Raises TargetError: no such place.
    """
    try:
        parts = socket_place(place)
    except ValueError:
        raise TargetError(
            f"hil: --target: got 'pynq://{place}', must be pynq://HOST or pynq://HOST:PORT with a port of 1 .. 65535; for example pynq://192.168.2.99"
        ) from None
    return PynqTarget(design, *parts, **options)


def socket_place(place: str) -> tuple[str, int]:
    """(host, port) of such a text. Raises ValueError."""
    host, colon, port = place.rpartition(":") if "]" not in place or place.rpartition("]")[2] else (place, "", "")
    host, number = (host, int(port)) if colon else (place, wire.PORT)
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or set(host) & set("[]/@ ") or not 1 <= number <= 65535:
        raise ValueError(place)
    return host, number


class PynqTarget:
    """A board that runs boards/pynq_driver.

    token_file  with the token that the server has too; None: the variable BITLOOM_TOKEN
    """

    def __init__(
        self, design: Design, host: str, port: int = wire.PORT, *, token_file: Path | None = None, connect_s: float = CONNECT_S, answer_s: float = ANSWER_S
    ):
        self.design, self.shape, self._place, self._token_file = design, Shape.of(design), (host, port), token_file
        self._connect_s, self._answer_s = connect_s, answer_s
        self.name, self.traffic = f"pynq://{f'[{host}]' if ':' in host else host}:{port}", Traffic()
        self._socket: socket.socket | None = None
        self._board: BoardInfo | None = None

    def open(self) -> None:
        """Connect and prove that this host has the token.

        Raises PortError: no server there, no token, a wrong one; SessionTakenError: it serves another host; SilentError; TargetError: no such server.
        """
        self.close()
        self.traffic = Traffic()
        try:
            token = wire.load_token(self._token_file)
        except (ValueError, OSError) as error:
            raise PortError(f"{self.name}: {error}") from error
        try:
            self._socket = socket.create_connection(self._place, timeout=self._connect_s)
        except OSError as error:
            raise PortError(
                f"{self.name}: got no connection ({error}), must be a board that runs pynq_driver; check address, port and cable, and start the server"
            ) from error
        try:
            nonce = self._read(wire.HELLO, wire.NONCE_BYTES, self._connect_s)
            self._send(wire.AUTH, wire.proof(token, nonce))
            self._board = self._info(self._read(wire.READY, INFO_LIMIT, self._connect_s))
        except BaseException:
            self.close()
            raise

    @property
    def board(self) -> BoardInfo:
        """What the board tells of itself."""
        if self._board is None:
            raise TargetError(f"{self.name}: got a target that is not open, must be opened first; call open()")
        return self._board

    def identify(self) -> str:
        """The identity word of the board's bitstream, or of the image of weights in its memory, 16 hex digits."""
        return self.board.weights.graph if self.board.weights else self.board.identity

    def load(self, path: Path, progress: Progress | None = None) -> None:
        """`bitloom.sim.hil.target.Target.load`: the image replaces the one before when it has come whole."""
        weights = self.board.weights
        image = whole_image(self.name, path, self.design, connected=weights is not None)
        if image.shapes != weights.shapes:
            raise WrongBitstreamError(
                f"{self.name}: got a bitstream for images of shapes {weights.shapes[:16]}, must be {image.shapes[:16]}; load the bitstream of this run"
            )
        if weights.graph == self.shape.identity:
            return
        data = Path(path).read_bytes()
        self._send(wire.IMAGE, data[:HEADER_BYTES])
        most = int.from_bytes(self._read(wire.GO, 4, self._answer_s), "little")
        if not most:
            raise self._broken("got no room in a part of the image, must be some; use the same version at both ends")
        for begin in range(HEADER_BYTES, len(data), most):
            part = data[begin : begin + most]
            self._send(wire.PART, wire.PART_HEAD.pack(begin, zlib.crc32(part)) + part)
            if progress:
                progress(begin + len(part))
        weights = self._understood(lambda body: BoardWeights.parse(json.loads(body)), self._read(wire.LOADED, INFO_LIMIT, self._answer_s))
        self._board = replace(self._board, weights=weights)
        if weights is None or weights.graph != self.shape.identity:
            raise self._broken(f"got weights of graph {weights and weights.graph}, must be {self.shape.identity}; build the overlay again", WrongBitstreamError)

    def run(self, batch: Sequence[np.ndarray], *, burst: bool = False, progress: Progress | None = None) -> list[Answer]:
        """`bitloom.sim.hil.target.Target.run`; without `burst` each sentence finds the encoder empty."""
        sentences, batch = batch, self.shape.elements(batch)
        progress = self.shape.told(sentences, progress)
        if self.identify() == NO_GRAPH:
            raise TargetError(f"{self.name}: got a memory without weights, must hold the image of graph {self.shape.identity}; load it first")
        self.shape.must_match(self.name, self.identify())
        self._must_fit()
        answers: list[Answer] = []
        for begin in range(0, len(batch), self._board.sentences):
            part = batch[begin : begin + self._board.sentences]
            lengths = [len(sentence) for sentence in part]
            codes = np.concatenate(part).astype(self._board.input.dtype)
            self._send(wire.RUN, struct.pack(f"<II{len(part)}I", burst, len(part), *lengths) + codes.tobytes())
            answers += self._answers([self.shape.rows(sentence) for sentence in part])
            if progress:
                progress(len(answers))
        return self.shape.apart(sentences, answers)

    def close(self) -> None:
        """Close the connection; also after an error, and twice."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._board = None

    def _answers(self, rows: list[int]) -> list[Answer]:
        """rows: of each."""
        stream, head = self._board.output, 4 + 24 * len(rows)
        size = head + sum(rows) * stream.channels * stream.dtype.itemsize
        body = self._read(wire.ANSWER, size, self._answer_s)
        if len(body) != size or struct.unpack_from("<I", body) != (len(rows),):
            raise self._broken(f"got an answer of {len(body)} bytes, must be {size} for {len(rows)} sentences; use the same version at both ends")
        times = np.frombuffer(body, dtype=wire.TIMES, count=3 * len(rows), offset=4).reshape(-1, 3).tolist()
        codes = self.shape.output.take(np.frombuffer(body, dtype=stream.dtype, offset=head).reshape(-1, stream.channels).astype(np.int64))
        parts = np.split(codes, np.cumsum(rows)[:-1])
        return [Answer(codes=part, start=start, end=end, epoch=epoch) for part, (start, end, epoch) in zip(parts, times, strict=True)]

    def _info(self, body: bytes) -> BoardInfo:
        def parse(body: bytes) -> BoardInfo:
            said = json.loads(body)
            streams = {name: Stream(**said[name]) for name in ("input", "output")}
            return BoardInfo(**said | streams | {"weights": BoardWeights.parse(said["weights"])})

        return self._understood(parse, body)

    def _understood(self, parse: Callable[[bytes], Info], body: bytes) -> Info:
        """What the server says of itself, in JSON."""
        try:
            return parse(body)
        except (ValueError, TypeError, KeyError) as error:
            raise self._broken(f"got a board that cannot be understood ({error}), must say what it holds; use the same version at both ends") from error

    def _must_fit(self) -> None:
        """The identity says the same already; a board that contradicts itself is not trusted with sizes."""
        told = (self._board.input.channels, self._board.output.channels, self._board.output.kind, self._board.max_tokens)
        want = (self.shape.entry.width, self.shape.output.width, self.shape.kind, self.shape.max_tokens)
        if told != want or self._board.sentences < 1:
            raise WrongBitstreamError(f"{self.name}: got elements in and out, kind of answers, most tokens {told}, must be {want}; build the overlay again")

    def _send(self, kind: int, body: bytes) -> None:
        try:
            wire.send_frame(self._socket, kind, body, self._connect_s)
        except OSError as error:
            # A server that refuses says so and closes: what it said may be here already.
            self._raise_refusal()
            raise self._broken(f"got a lost connection ({error}), must stay until the end; look at the server's output on the board") from error
        self.traffic.bytes_sent += wire.HEADER.size + len(body)
        self.traffic.frames_sent += 1

    def _read(self, kind: int, limit: int, seconds: float) -> bytes:
        try:
            got, body = wire.read_frame(self._socket, {kind: limit, wire.ERROR: ERROR_LIMIT}, seconds)
        except wire.WireError as error:
            raise self._broken(f"{error}; look at the server's output on the board", SilentError) from error
        except OSError as error:
            raise self._broken(f"got a lost connection ({error}), must stay until the end; look at the server's output on the board") from error
        self.traffic.bytes_received += wire.HEADER.size + len(body)
        if got == wire.ERROR:
            raise self._refusal(body)
        return body

    def _raise_refusal(self) -> None:
        try:
            _, body = wire.read_frame(self._socket, {wire.ERROR: ERROR_LIMIT}, self._connect_s)
        except (wire.WireError, OSError):
            return
        raise self._refusal(body)

    def _refusal(self, body: bytes) -> TargetError:
        try:
            said = json.loads(body)
            code, text = str(said["code"]), str(said["text"])
        except (ValueError, TypeError, KeyError):
            return self._broken("got an error that cannot be understood, must say what it is; use the same version at both ends")
        kind, do = REFUSALS.get(code, REFUSALS["protocol"])
        return self._broken(f"the board refused: {text}; {do}", kind)

    def _broken(self, text: str, kind: type[TargetError] = TargetError) -> TargetError:
        """After any of these the connection is of no use."""
        self.close()
        return kind(f"{self.name}: {text}")
