# SPDX-License-Identifier: Apache-2.0
"""What may come over the line between a PYNQ board and its host: nothing of it may hang, crash or mislead either end."""

import socket
import struct
import threading
import time

import numpy as np
import pytest
from pynq_cases import TOKEN, Encoder, error_of, still_serves

from bitloom.boards.pynq_driver import wire
from bitloom.sim.hil.errors import PortError, SilentError, TargetError
from bitloom.sim.hil.pynq import PynqTarget, socket_place
from bitloom.sim.hil.targets import open_target


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return Encoder(tmp_path_factory.mktemp("encoder"), "sequence")


# --- what may come over the line


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 64, b"\0" * 12, b"BLP1\x04\x01\0\0\0\0\0\0"])
def test_garbage(encoder, serve, greeted, garbage):
    running = serve(encoder)
    with running.greeted() if greeted else running.raw() as sock:
        if not greeted:
            wire.read_frame(sock, {wire.HELLO: 32}, 5)
        sock.sendall(garbage)
        assert "must be a frame of this protocol" in error_of(sock)["text"]
        assert sock.recv(1) == b"", "the server hangs up"
    still_serves(running, encoder)


def test_too_large(encoder, serve):
    running = serve(encoder)
    with running.greeted() as sock:
        limit = 8 + 64 * (4 + 8 * 24 * 2)
        sock.sendall(wire.HEADER.pack(wire.MAGIC, wire.RUN, limit + 1))
        assert error_of(sock) == {"code": "protocol", "text": f"got a frame of {limit + 1} bytes, must be at most {limit}"}
    still_serves(running, encoder)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "got 0 bytes, must be at least 8"),
        (struct.pack("<II", 0, 0), "got 0 sentences"),
        (struct.pack("<II", 0, 65) + bytes(1000), "got 65 sentences, burst 0, 1008 bytes, must be 1 .. 64 sentences"),
        (struct.pack("<II", 2, 1) + bytes(100), "burst 2"),
        (struct.pack("<II", 0, 60), "got 60 sentences, burst 0, 8 bytes"),
        (struct.pack("<III", 0, 1, 0), "got sentences of 0 .. 0 tokens, must be 1 .. 8"),
        (struct.pack("<III", 0, 1, 9) + bytes(9 * 48), "got sentences of 9 .. 9 tokens"),
        (struct.pack("<III", 0, 1, 0xFFFFFFFF), "got sentences of 4294967295"),
        (struct.pack("<III", 0, 1, 2) + bytes(95), "got 107 bytes, must be 108 for 2 tokens"),
    ],
)
def test_bad_requests(encoder, serve, body, message):
    """Each is refused, and the next good one on the same connection is answered."""
    running = serve(encoder)
    with running.greeted() as sock:
        wire.send_frame(sock, wire.RUN, body, 5)
        told = error_of(sock)
        assert told["code"] == "request" and message in told["text"]
        assert running.pynq.transfers == []
        sentence = encoder.sentences[0]
        wire.send_frame(sock, wire.RUN, struct.pack("<III", 0, 1, len(sentence)) + sentence.astype("<i2").tobytes(), 5)
        _, answer = wire.read_frame(sock, {wire.ANSWER: 1000}, 5)
        assert np.array_equal(np.frombuffer(answer[28:], dtype="<i2"), encoder.answers[0][0])


def test_slow_bytes(encoder, serve):
    """A frame must be whole in time, however steadily its bytes drip."""
    running = serve(encoder, idle_s=0.5)
    with running.greeted() as sock:
        began = time.monotonic()
        with pytest.raises(OSError):  # the server hung up
            while time.monotonic() - began < 10:
                sock.sendall(b"B" if time.monotonic() == began else b"L")
                time.sleep(0.2)
        assert time.monotonic() - began < 5
    still_serves(running, encoder)


def test_idle_host_is_sent_away(encoder, serve):
    running = serve(encoder, idle_s=0.3)
    target = open_target(running.spec, encoder.design)
    target.open()
    time.sleep(0.6)
    with pytest.raises(TargetError, match=r"the board refused: got 0 of 12 bytes in time|lost connection"):
        target.run(encoder.sentences[:1])
    still_serves(running, encoder)


@pytest.mark.parametrize("sent", [0, 5, 12, 40])
def test_dropped_connection(encoder, serve, sent):
    """A host that goes away in the middle of a request."""
    running = serve(encoder)
    sentence = encoder.sentences[0]
    body = struct.pack("<III", 0, 1, len(sentence)) + sentence.astype("<i2").tobytes()
    sock = running.greeted()
    sock.sendall((wire.HEADER.pack(wire.MAGIC, wire.RUN, len(body)) + body)[:sent])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not a farewell
    sock.close()
    still_serves(running, encoder)


# --- the host's end


def test_no_server(encoder, monkeypatch):
    monkeypatch.setenv("BITLOOM_TOKEN", TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(PortError, match=rf"pynq://127.0.0.1:{port}: got no connection \(.*refused.*\), must be a board that runs pynq_driver"):
        open_target(f"pynq://127.0.0.1:{port}", encoder.design).open()
    with pytest.raises(TargetError, match=r"got a target that is not open"):
        open_target("pynq://127.0.0.1", encoder.design).identify()


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (b"", SilentError, r"got 0 of 12 bytes in time, must be all"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", SilentError, "must be a frame of this protocol"),
        (wire.HEADER.pack(wire.MAGIC, wire.HELLO, 1 << 31), SilentError, "got a frame of 2147483648 bytes, must be at most 32"),
        (wire.HEADER.pack(wire.MAGIC, wire.HELLO, 32) + bytes(10), SilentError, "got 10 of 32 bytes in time"),
        (wire.HEADER.pack(wire.MAGIC, wire.HELLO, 32) + bytes(32) + wire.HEADER.pack(wire.MAGIC, wire.READY, 2) + b"{}", TargetError, "cannot be understood"),
        (wire.HEADER.pack(wire.MAGIC, wire.ERROR, 2) + b"[]", TargetError, "got an error that cannot be understood"),
    ],
)
def test_what_is_no_board(encoder, monkeypatch, said, error, message):
    """Something else listens there; and nothing that it says is believed in its size."""
    monkeypatch.setenv("BITLOOM_TOKEN", TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = PynqTarget(encoder.design, *server.getsockname(), connect_s=0.3)
        thread = threading.Thread(target=lambda: (conn := server.accept()[0], conn.sendall(said), time.sleep(1.0), conn.close()))
        thread.start()
        with pytest.raises(error, match=message):
            target.open()
        thread.join()


def test_places():
    assert socket_place("192.168.2.99") == ("192.168.2.99", wire.PORT)
    assert socket_place("pynq.local:8000") == ("pynq.local", 8000)
    assert socket_place("[fe80::1]:8000") == ("fe80::1", 8000) and socket_place("[::1]") == ("::1", wire.PORT)
    for bad in (":80", "host:", "host:x", "host:0", "host:65536", "user@host", "host/path", "[::1"):
        with pytest.raises(TargetError, match="must be pynq://HOST or pynq://HOST:PORT"):
            open_target(f"pynq://{bad}", None)


def test_bad_sentences(encoder, serve):
    target = open_target(serve(encoder).spec, encoder.design)
    target.open()
    with pytest.raises(TargetError, match=r"sentence 0: got shape \(9, 24\), must be \[T, 24\] with T = 1 .. 8"):
        target.run([np.zeros((9, 24), dtype=np.int64)])
    target.close()
