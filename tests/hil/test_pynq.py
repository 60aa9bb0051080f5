# SPDX-License-Identifier: Apache-2.0
"""A PYNQ board without the board: the real server and client over TCP, the module pynq and the fabric stood in for."""

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from encoders import random_encoder
from pynq_cases import SHAPE, TOKEN, Encoder, error_of, still_serves
from pynq_stand_in import Pynq

from bitloom.boards.pynq_driver import wire
from bitloom.boards.pynq_driver.__main__ import main
from bitloom.boards.pynq_driver.device import Device, DeviceError
from bitloom.boards.pynq_driver.layout import Stream, pack, unpack
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.sim.hil.errors import PortError, SessionTakenError, TargetError, WrongBitstreamError
from bitloom.sim.hil.report import hil
from bitloom.sim.hil.targets import open_target


@pytest.fixture(scope="module", params=["sequence", "token"])
def either(request, tmp_path_factory) -> Encoder:
    return Encoder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return Encoder(tmp_path_factory.mktemp("encoder"), "sequence")


# --- what works


def test_sentences_equal_golden(either, serve):
    """100 sentences, alone and in packets of up to 64; the counter of 32 bits wraps."""
    running = serve(either)
    target = open_target(running.spec, either.design)
    target.open()
    assert target.identify() == either.graph.hash[:16]
    told = []
    alone = target.run(either.sentences[:32], progress=told.append)
    burst = target.run(either.sentences, burst=True)
    target.close()
    target.close()
    either.check(alone)
    either.check(burst)
    assert told == [32] and running.pynq.transfers == [1] * 32 + [64, 36]
    starts = [a.start for a in (*alone, *burst)]
    assert starts == sorted(starts) and all(a.end > a.start for a in (*alone, *burst)), "64 bits of time"
    assert starts[-1] > 1 << 32 and starts[0] < 1 << 32


def test_report(either, serve):
    """The whole check of a board: 0 mismatches, cycles as predicted alone and together."""
    running = serve(either)
    report = hil(either.design, open_target(running.spec, either.design), either.sentences[:40], either.answers[:40])
    assert report.ok and report.mismatches == 0 and report.sentences == 40
    assert report.latency.worst == 0 and report.interval.worst == 0 and report.interval.count == 31
    assert report.traffic.bytes_sent > 0 and report.traffic.frames_sent == 2


def test_pause_empties_the_encoder(either):
    """The server's pause without `burst`: a sentence that enters two latencies after another takes as long as in an empty encoder."""

    def latency(lengths, starts=None):
        return predict(Design(either.graph, either.folding), lengths, starts).latency[-1]

    for first, second in ((8, 1), (8, 8), (1, 8), (4, 2)):
        assert latency([first, second], [0, 2 * latency([first])]) == latency([second])
    assert latency([8, 1], [0, latency([8])]) >= latency([1]), "without the pause it may wait"


def test_hosts_one_after_the_other(encoder, serve):
    running = serve(encoder)
    for _ in range(3):
        still_serves(running, encoder)


# --- who may


@pytest.mark.parametrize(
    ("token", "error", "message"),
    [
        ("correct horse battery stapl3", PortError, "the board refused: the token is wrong; give both ends the same token"),
        ("short", PortError, "variable BITLOOM_TOKEN: got 5 characters, must be a token of at least 16"),
        ("", PortError, "variable BITLOOM_TOKEN: got 0 characters"),
    ],
)
def test_wrong_token(encoder, serve, monkeypatch, token, error, message):
    running = serve(encoder)
    monkeypatch.setenv("BITLOOM_TOKEN", token)
    with pytest.raises(error, match=message):
        open_target(running.spec, encoder.design).open()
    monkeypatch.setenv("BITLOOM_TOKEN", TOKEN)
    still_serves(running, encoder)


def test_token_files(encoder, serve, tmp_path, monkeypatch):
    running = serve(encoder)
    monkeypatch.delenv("BITLOOM_TOKEN")
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o644)
    with pytest.raises(PortError, match="got mode 644, must be readable for its owner alone; chmod 600"):
        open_target(running.spec, encoder.design, token_file=file).open()
    file.chmod(0o600)
    target = open_target(running.spec, encoder.design, token_file=file)
    target.open()
    target.close()
    with pytest.raises(PortError, match="No such file"):
        open_target(running.spec, encoder.design, token_file=tmp_path / "none").open()


def test_the_token_does_not_travel(encoder, serve):
    """And a proof is good for one connection only."""
    running = serve(encoder)
    first, second = running.raw(), running.raw()
    _, nonce = wire.read_frame(first, {wire.HELLO: 32}, 5)
    proof = wire.proof(TOKEN.encode(), nonce)
    assert TOKEN.encode() not in proof
    wire.read_frame(second, {wire.HELLO: 32}, 5)
    wire.send_frame(second, wire.AUTH, proof, 5)
    assert error_of(second)["code"] == "token"
    first.close()
    second.close()


def test_nothing_before_the_token(encoder, serve):
    """No request is read from a host that has not proved anything: its length is limited to that of the proof."""
    running = serve(encoder)
    with running.raw() as sock:
        wire.read_frame(sock, {wire.HELLO: 32}, 5)
        wire.send_frame(sock, wire.RUN, bytes(64), 5)
        assert "got a frame of kind 4, must be of 2" in error_of(sock)["text"]
    with running.raw() as sock:
        wire.read_frame(sock, {wire.HELLO: 32}, 5)
        sock.sendall(wire.HEADER.pack(wire.MAGIC, wire.AUTH, 1 << 30))
        assert "got a frame of 1073741824 bytes, must be at most 32" in error_of(sock)["text"]
    assert running.pynq.transfers == []
    still_serves(running, encoder)


def test_second_host(encoder, serve):
    running = serve(encoder, busy_s=0.1)
    first = open_target(running.spec, encoder.design)
    first.open()
    with pytest.raises(SessionTakenError, match="the board serves another host; end the other program, or wait"):
        open_target(running.spec, encoder.design).open()
    encoder.check(first.run(encoder.sentences[:3]))
    first.close()
    still_serves(running, encoder)


def test_hosts_without_token_take_no_place_for_long(encoder, serve):
    """More idle connections than there are places: they are sent away, and the board serves again."""
    running = serve(encoder, greet_s=0.3, connections=3)
    idle = [running.raw() for _ in range(6)]
    time.sleep(2.0)  # 0.3 s, and 1 s for what was said last
    still_serves(running, encoder)
    for sock in idle:
        sock.close()


# --- the board itself


@pytest.mark.parametrize(
    ("fault", "message"), [("hang", "DMA sendchannel, recvchannel: got no end in 0.2 s, must end"), ("error", "DMA recvchannel: got an error")]
)
def test_dma_that_does_not_end(encoder, serve, fault, message):
    """The overlay is loaded anew, the epoch says so, and the next host is served."""
    running = serve(encoder)
    target = open_target(running.spec, encoder.design)
    target.open()
    assert target.run(encoder.sentences[:1])[0].epoch == 0
    running.pynq.fault = fault
    with pytest.raises(TargetError, match=f"the board refused: ({message})"):
        target.run(encoder.sentences[:1])
    running.pynq.fault = ""
    assert running.pynq.loaded == 2
    target.open()
    answer = target.run(encoder.sentences[:1])
    encoder.check(answer)
    assert answer[0].epoch == 1
    target.close()


def test_another_graphs_bitstream(encoder, serve):
    running = serve(encoder)
    other = random_encoder(seed=8, head="sequence", **SHAPE)
    target = open_target(running.spec, Design(other, encoder.folding))
    target.open()
    with pytest.raises(WrongBitstreamError, match=f"got a bitstream of graph {encoder.graph.hash[:16]}, must be {other.hash[:16]}"):
        target.run(encoder.sentences[:1])
    target.close()


def copied(encoder: Encoder, folder: Path, change) -> Path:
    """The overlay's folder with a changed overlay.json."""
    folder.mkdir()
    for path in encoder.overlay.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((folder / "overlay.json").read_text())
    change(manifest)
    (folder / "overlay.json").write_text(json.dumps(manifest))
    return folder


def test_overlay_is_what_it_says(encoder, tmp_path):
    pynq = Pynq(encoder.graph, encoder.folding, encoder.ip)
    pynq.identity = "0123456789abcdef"
    with pytest.raises(DeviceError, match=f"the bitstream holds graph 0123456789abcdef, must be {encoder.ip.identity} as overlay.json says"):
        Device(encoder.overlay, pynq)
    pynq.identity = ""
    wide = copied(encoder, tmp_path / "wide", lambda m: m["input"].update(beat_bytes=8))
    with pytest.raises(DeviceError, match="bytes of a beat: got 0x40004, must be 0x40008"):
        Device(wide, pynq)
    for name in ("bit", "hwh"):
        changed = copied(encoder, tmp_path / name, lambda m: None)
        (changed / f"encoder.{name}").write_text("something else")
        loaded = pynq.loaded
        with pytest.raises(DeviceError, match=rf"encoder.{name}: got SHA-256 [0-9a-f]{{16}}..., must be [0-9a-f]{{16}}...; the file was changed or cut off"):
            Device(changed, pynq)
        assert pynq.loaded == loaded, "it is not loaded before it was checked"
        (changed / f"encoder.{name}").unlink()
        with pytest.raises(DeviceError, match="must be there; copy the whole folder again"):
            Device(changed, pynq)
    old = copied(encoder, tmp_path / "old", lambda m: m.update(schema="bitloom.overlay/0"))
    with pytest.raises(DeviceError, match=r"got schema 'bitloom.overlay/0', must be 'bitloom.overlay/2'"):
        Device(old, pynq)
    with pytest.raises(DeviceError, match="got no readable overlay"):
        Device(tmp_path / "nowhere", pynq)


# --- what goes to the board


def test_command_line(encoder, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("BITLOOM_TOKEN", raising=False)
    pynq = Pynq(encoder.graph, encoder.folding, encoder.ip)
    with pytest.raises(SystemExit):
        main([], pynq)
    assert "--bind" in capsys.readouterr().err, "there is no default interface"
    assert main(["--bind", "127.0.0.1", "--overlay", str(encoder.overlay)], pynq) == 2
    assert "variable BITLOOM_TOKEN: got 0 characters" in capsys.readouterr().err
    monkeypatch.setenv("BITLOOM_TOKEN", TOKEN)
    assert main(["--bind", "127.0.0.1", "--overlay", str(tmp_path)], pynq) == 2
    assert "got no readable overlay" in capsys.readouterr().err


def test_folder_stands_alone(encoder):
    """On the board there are this folder, NumPy and pynq; and Python 3.10."""
    folder = encoder.overlay.parent
    files = sorted((folder / "pynq_driver").glob("*.py"))
    assert len(files) == 10
    roots = set()
    for path in files:
        tree = ast.parse(path.read_text(), feature_version=(3, 10))
        roots |= {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        roots |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level}
    assert roots - set(sys.stdlib_module_names) == {"numpy", "pynq"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; sys.path.insert(0, sys.argv[1]); from pynq_driver.__main__ import main; main(['--help'])", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "--token-file" in done.stdout and "--token " not in done.stdout


@pytest.mark.parametrize(("signed", "size", "lanes"), [(True, 1, 3), (True, 2, 1), (True, 3, 2), (False, 1, 4), (False, 2, 2)])
def test_layout(signed, size, lanes):
    """Every element comes back, and the bytes are where the RTL has them."""
    stream = Stream(lanes=lanes, bits=8 * size, signed=signed, channels=12, kind="token", element_bytes=size, beat_bytes=8)
    low, high = (-(1 << 8 * size - 1), 1 << 8 * size - 1) if signed else (0, 1 << 8 * size)
    codes = np.random.default_rng(1).integers(low, high, (5, 12))
    codes[0, :2] = low, high - 1
    beats = pack(codes, stream)
    assert beats.shape == (5 * 12 // lanes, 8) and not beats[:, lanes * size :].any()
    word = int.from_bytes(bytes(beats[1]), "little")
    for lane in range(lanes):
        assert word >> 8 * size * lane & (1 << 8 * size) - 1 == int(codes.reshape(-1)[lanes + lane]) & (1 << 8 * size) - 1
    assert np.array_equal(unpack(beats.reshape(-1), stream), codes)
