# SPDX-License-Identifier: Apache-2.0
"""Serves a device over TCP (wire.py) to one host at a time, and to none without the token."""

from __future__ import annotations

import json
import logging
import secrets
import socket
import struct
import threading
import time
import zlib
from contextlib import suppress
from dataclasses import asdict

import numpy as np

from . import wire
from .device import Device
from .errors import DeviceError, ImageError
from .header import HEADER_BYTES
from .weights import NONE

log = logging.getLogger("pynq_driver")


class RequestError(Exception):
    """A RUN that cannot be run; the connection stays."""


class Server:
    """Listens from its construction on; `serve` answers until `stop`.

    address      (host, port) of this board's interface; port 0 takes any free one: see `self.address`
    greet_s      seconds for a host to prove that it has the token
    idle_s       seconds without a request after which a host is sent away, so that a dead one does not keep the board
    frame_s      seconds for a whole frame to come or go
    busy_s       seconds that a host waits for the one before it, whose connection may just be ending
    connections  most at a time, those that have not proved anything included; more are closed at once
    """

    def __init__(
        self,
        device: Device,
        token: bytes,
        address: tuple[str, int],
        *,
        greet_s: float = 5.0,
        idle_s: float = 60.0,
        frame_s: float = 20.0,
        busy_s: float = 1.0,
        connections: int = 8,
    ):
        self.device, self._token = device, token
        self.greet_s, self.idle_s, self.frame_s, self.busy_s = greet_s, idle_s, frame_s, busy_s
        self._places = threading.BoundedSemaphore(connections)
        self._board = threading.Lock()  # held by the one host that is served
        self._stop = threading.Event()
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.create_server(address, family=family)
        self._socket.settimeout(0.2)
        self.address = self._socket.getsockname()[:2]
        limit = 8 + device.sentences * (4 + device.max_tokens * device.input.channels * device.input.dtype.itemsize)
        self._limits = {wire.RUN: limit, wire.IMAGE: HEADER_BYTES}

    def serve(self) -> None:
        """Answer hosts until `stop` is called from elsewhere."""
        with self._socket:
            while not self._stop.is_set():
                try:
                    connection, peer = self._socket.accept()
                except TimeoutError:
                    continue
                if not self._places.acquire(blocking=False):
                    connection.close()
                    continue
                threading.Thread(target=self._connection, args=(connection, peer[0]), daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _connection(self, connection: socket.socket, peer: str) -> None:
        try:
            self._greet(connection, peer)
        except wire.Closed:
            log.info("%s: closed", peer)
        except (wire.WireError, OSError) as error:
            log.warning("%s: %s", peer, error)
        except Exception:  # a fault of one connection must not end the others
            log.exception("%s: internal error", peer)
        finally:
            hang_up(connection)
            self._places.release()

    def _greet(self, connection: socket.socket, peer: str) -> None:
        nonce = secrets.token_bytes(wire.NONCE_BYTES)
        wire.send_frame(connection, wire.HELLO, nonce, self.greet_s)
        try:
            _, got = wire.read_frame(connection, {wire.AUTH: wire.AUTH_BYTES}, self.greet_s)
        except wire.Closed:
            raise
        except wire.WireError as error:
            self._error(connection, "protocol", str(error))
            raise
        if not wire.is_proof(got, self._token, nonce):
            self._error(connection, "token", "the token is wrong")
            log.warning("%s: wrong token", peer)
            return
        if not self._board.acquire(timeout=self.busy_s):
            self._error(connection, "busy", "the board serves another host")
            return
        try:
            log.info("%s: served", peer)
            self._serve(connection)
        finally:
            self._board.release()

    def _serve(self, connection: socket.socket) -> None:
        device = self.device
        info = {
            "identity": device.tell_identity(),
            "clock_mhz": device.manifest["clock_mhz"],
            "max_tokens": device.max_tokens,
            "sentences": device.sentences,
            "input": asdict(device.input),
            "output": asdict(device.output),
            "weights": self._weights(),
        }
        wire.send_frame(connection, wire.READY, json.dumps(info).encode(), self.frame_s)
        while not self._stop.is_set():
            # A request must begin within idle_s; what has begun must be whole within that time too.
            try:
                kind, body = wire.read_frame(connection, self._limits, self.idle_s)
                if kind == wire.RUN:
                    wire.send_frame(connection, wire.ANSWER, self._run(body), self.frame_s)
                else:
                    self._load(connection, body)
                    wire.send_frame(connection, wire.LOADED, json.dumps(self._weights()).encode(), self.frame_s)
            except wire.Closed:
                raise
            except wire.WireError as error:
                self._error(connection, "protocol", str(error))
                raise
            except RequestError as error:
                self._error(connection, "request", str(error))
            except ImageError as error:
                log.warning("%s", error)
                self._error(connection, "image", str(error))
            except DeviceError as error:
                log.error("%s", error)
                self._error(connection, "device", str(error))
                return

    def _weights(self) -> dict | None:
        weights = self.device.weights
        return {"graph": weights.graph, "shapes": weights.shapes} if weights else None

    def _load(self, connection: socket.socket, head: bytes) -> None:
        """An image, from its header on.

        Raises ImageError; WireError, OSError: it does not come whole.
        """
        weights = self.device.weights
        if weights is None:
            raise ImageError("got an image of weights, must be none: this encoder has them on the chip")
        weights.begin(head)
        try:
            wire.send_frame(connection, wire.GO, struct.pack("<I", wire.PART_BYTES), self.frame_s)
            while weights.left:
                _, body = wire.read_frame(connection, {wire.PART: wire.PART_HEAD.size + wire.PART_BYTES}, self.idle_s)
                weights.add(self._part(body, weights.size - weights.left))
        except (wire.WireError, OSError) as error:
            weights.abandon()
            log.warning("image: %s; %s", error, weights.state)
            raise error if isinstance(error, (wire.Closed, OSError)) else wire.WireError(f"{error}; {weights.state}") from error
        self.device.use_image()
        log.info("image of graph %s", weights.graph)

    def _part(self, body: bytes, at: int) -> bytes:
        """What a PART brings. Raises WireError: it is not the next one, or was damaged."""
        if len(body) <= wire.PART_HEAD.size:
            raise wire.WireError(f"got a part of {len(body)} bytes, must be more than {wire.PART_HEAD.size}")
        (offset, crc), data = wire.PART_HEAD.unpack_from(body), body[wire.PART_HEAD.size :]
        if offset != at or crc != zlib.crc32(data):
            got = f"got a part from byte {offset} on" + (" whose CRC-32 is wrong" if offset == at else "")
            raise wire.WireError(f"{got}, must be the part from byte {at} on, undamaged")
        return data

    def _run(self, body: bytes) -> bytes:
        weights = self.device.weights
        if weights and weights.graph == NONE:
            raise RequestError("the board's memory holds no weights, must hold an image; load one first")
        burst, sentences = self._parse(body)
        results = self.device.run(sentences, burst)
        times = np.array([(r.start, r.end, r.epoch) for r in results], dtype=wire.TIMES)
        codes = np.concatenate([r.codes.reshape(-1) for r in results]).astype(self.device.output.dtype)
        return struct.pack("<I", len(results)) + times.tobytes() + codes.tobytes()

    def _parse(self, body: bytes) -> tuple[bool, list[np.ndarray]]:
        """(burst, sentences) of a RUN, every number in it checked."""
        device = self.device
        if len(body) < 8:
            raise RequestError(f"got {len(body)} bytes, must be at least 8")
        burst, count = struct.unpack_from("<II", body)
        if burst > 1 or not 1 <= count <= device.sentences or len(body) < 8 + 4 * count:
            raise RequestError(
                f"got {count} sentences, burst {burst}, {len(body)} bytes, must be 1 .. {device.sentences} sentences with their tokens, burst 0 or 1"
            )
        tokens = np.frombuffer(body, dtype="<u4", count=count, offset=8).astype(np.int64)
        if tokens.min() < 1 or tokens.max() > device.max_tokens:
            raise RequestError(f"got sentences of {tokens.min()} .. {tokens.max()} tokens, must be 1 .. {device.max_tokens}")
        want = 8 + 4 * count + int(tokens.sum()) * device.input.channels * device.input.dtype.itemsize
        if len(body) != want:
            raise RequestError(f"got {len(body)} bytes, must be {want} for {tokens.sum()} tokens")
        codes = np.frombuffer(body, dtype=device.input.dtype, offset=8 + 4 * count).reshape(-1, device.input.channels)
        return bool(burst), np.split(codes, np.cumsum(tokens)[:-1])

    def _error(self, connection: socket.socket, code: str, text: str) -> None:
        try:
            wire.send_frame(connection, wire.ERROR, json.dumps({"code": code, "text": text}).encode(), self.greet_s)
        except OSError as error:
            log.info("could not tell an error: %s", error)


def hang_up(connection: socket.socket, seconds: float = 1.0, most: int = 1 << 24) -> None:
    """Close, but let what was said last arrive: a close with unread bytes would take it back."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + seconds
        while most > 0 and (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not (part := connection.recv(1 << 16)):
                break
            most -= len(part)
    connection.close()
