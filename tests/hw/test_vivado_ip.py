# SPDX-License-Identifier: Apache-2.0
"""The IP that Vivado gets, simulated: streams padded for a DMA against golden, registers and counters against the timing model."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from encoders import random_encoder, random_sentences
from ip_bench import prepare
from sweep import plain_or_slow
from yosys import run_yosys

from bitloom.boards.pynq_driver.layout import Stream, packet, unpack
from bitloom.hw import golden, image
from bitloom.hw.board import Board
from bitloom.hw.build import build
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import predict
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig
from bitloom.hw.vivado.ip import read_ip
from bitloom.hw.vivado.project import write_project
from bitloom.sim.encoder import Options, run_encoder
from bitloom.sim.runner import check_results
from bitloom.sim.tools import find_verilator

pytest.importorskip("cocotbext.axi", reason="cocotbext-axi is not there; pip install cocotbext-axi==0.1.28")
HERE = Path(__file__).parent
RTL = HERE.parents[1] / "hw" / "vivado" / "rtl"
LIBRARY = HERE.parents[1] / "hw" / "rtl"
LENGTHS = [3, 8, 1, 5, 8, 2]
MAGIC = 0x424C4D31
WRITES = {"answers": [0] * 16, "early": 0, "aw": 16, "w": 16, "b": 16}  # each is answered OKAY, once, behind its address and data
# lanes and head differ: padded and unpadded beats, one answer a sentence and one a token
SHAPES = {
    "sequence": (dict(hidden=24, heads=2, intermediate=20, labels=3, head="sequence"), 12),
    "token": (dict(hidden=16, heads=2, intermediate=24, labels=2, head="token"), 200),
}


class Built:
    """A small encoder, its project for a board, its sentences and their golden answers."""

    def __init__(self, name: str, folder: Path, memory: MemoryConfig | None = None):
        shape, multipliers = SHAPES[name]
        self.graph = random_encoder(seed=5, layers=1, max_tokens=8, **shape)
        self.build = folder / "build"
        self.build.mkdir(parents=True)
        self.folding = build(self.graph, HardwareConfig(multipliers=multipliers, memory=memory), self.build)
        self.ip = read_ip(self.build)
        self.project = write_project(self.build, Board.load("pynq_z2"), folder / "project")
        values = golden.run(self.graph, *random_sentences(self.graph, LENGTHS))
        self.sentences = np.split(values[self.graph.entry], np.cumsum(LENGTHS)[:-1])
        out = values["logits"]
        self.answers = np.split(out, np.cumsum(LENGTHS)[:-1]) if self.ip.output.kind == "token" else [row[None] for row in out]
        self.input, self.output = Stream(**self.ip.as_dict()["input"]), Stream(**self.ip.as_dict()["output"])

    def simulate(self, folder: Path, *, packets: list[int], stalls: bool = False, **more) -> dict:
        """What tests/hw/vivado_cocotb.py saw. packets: sentences in each. more: of the job."""
        folder.mkdir()
        command, env = prepare(self.project, folder, HERE / "vivado_cocotb.py")
        job = {"seed": 1, "stalls": stalls, "packets": self.packets(packets), **more}
        (folder / "ip.json").write_text(json.dumps(job))
        log = folder / "sim.log"
        with log.open("w") as out:
            done = subprocess.run(command, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT, timeout=300, check=False)
        check_results(folder / "results.xml", log, done.returncode)
        return json.loads((folder / "result.json").read_text())

    def packets(self, sizes: list[int]) -> list[str]:
        """What the DMA sends, in hex; sizes: sentences in each packet."""
        ends = np.cumsum(sizes)
        return [packet(self.sentences[end - size : end], self.input).tobytes().hex() for size, end in zip(sizes, ends, strict=True)]

    def check(self, frames: list[str], packets: list[int]) -> None:
        """Each frame holds just the answers of its packet."""
        assert len(frames) == len(packets) and sum(packets) == len(self.answers) == len(LENGTHS)
        for index, (frame, end) in enumerate(zip(frames, np.cumsum(packets), strict=True)):
            got = unpack(np.frombuffer(bytes.fromhex(frame), dtype=np.uint8), self.output)
            assert np.array_equal(got, np.concatenate(self.answers[end - packets[index] : end])), index


@pytest.fixture(scope="module", params=plain_or_slow(SHAPES, ["sequence"]))
def built(request, tmp_path_factory) -> Built:
    return Built(request.param, tmp_path_factory.mktemp(request.param))


def test_alone(built, tmp_path):
    """Sentence after sentence, each into an empty encoder: its cycles are the predicted ones, exactly what a target with a DMA reports."""
    seen = built.simulate(tmp_path / "run", packets=[1] * len(LENGTHS))
    built.check(seen["frames"], [1] * len(LENGTHS))
    before, identity = seen["before"], int(built.graph.hash[:16], 16)
    sizes = built.ip.output.beat_bytes << 16 | built.ip.input.beat_bytes
    assert before == [MAGIC, 2, identity & 0xFFFFFFFF, identity >> 32, 0, 0, 0, 0, sizes, 0, 1, *[0] * (32 - 11), *before[32:44], 0, 0]
    assert seen["writes"] == WRITES
    for index, words in enumerate(seen["after"]):
        start, stop = words[32 + 2 * index : 34 + 2 * index]
        assert words[4] == index + 1 and words[5] == stop - start
        predicted = predict(Design(built.graph, built.folding), [LENGTHS[index]]).latency[0]
        assert abs(words[5] - predicted) <= 0.01 * predicted, (words[5], predicted)
        assert words[6:8] == [0, 0], "nobody waited"


@pytest.mark.slow
def test_together(built, tmp_path):
    """One packet: the log has every sentence's cycles on one clock, those of the encoder without the IP around it but for the headers' cycles."""
    seen = built.simulate(tmp_path / "run", packets=[len(LENGTHS)])
    built.check(seen["frames"], [len(LENGTHS)])
    end = seen["after"][-1]
    log = np.array(end[32:44]).reshape(-1, 2)
    assert end[4] == len(LENGTHS)
    bare = run_encoder(built.build, built.sentences, Options(taps=False))
    late = log - log[0, 0] - np.stack([bare.in_first_cycle, bare.out_last_cycle], axis=1)
    assert late.min() >= 0 and late.max() <= len(LENGTHS), late


def test_stalls(built, tmp_path):
    """Half of the time a DMA that offers nothing and takes nothing: the same answers, and the waiting is counted."""
    packets = [2, 1, 3]
    seen = built.simulate(tmp_path / "run", packets=packets, stalls=True)
    built.check(seen["frames"], packets)
    assert seen["writes"] == WRITES
    assert seen["before"][:3] == [MAGIC, 2, int(built.graph.hash[8:16], 16)]
    assert seen["after"][-1][6] > 0 and seen["after"][-1][7] > 0


def test_weights_in_memory(tmp_path):
    """The encoder waits until it is let go, reads the image at the base register, tells its graph, and refuses one that is none; a second one replaces the first."""
    memory = MemoryConfig(data_bits=64, block=8, outstanding=4)
    built = Built("sequence", tmp_path, memory)
    good = (built.build / image.FILE).read_bytes()
    shape, multipliers = SHAPES["sequence"]
    foreign = random_encoder(seed=6, layers=1, max_tokens=8, **shape)
    other = turned(built)
    answers = golden.run(other, *random_sentences(other, LENGTHS))["logits"]
    assert not np.array_equal(answers, np.concatenate(built.answers)), "the two images' answers differ"
    made = tmp_path / "foreign"
    made.mkdir()
    build(foreign, HardwareConfig(multipliers=multipliers, memory=memory), made)
    tiles = [image.HEADER, image.begin(Design(built.graph, built.folding))]  # of the image
    packets = built.packets([1] * len(LENGTHS))
    images = [
        {"base": 0x10000, "data": b"no image".ljust(len(good), b"\0").hex()},
        {"base": 0x40000, "data": (made / image.FILE).read_bytes().hex()},
        {"base": 0x80000, "data": good.hex(), "packets": packets},
        {"base": 0xC0000, "data": image.make(Design(other, built.folding)).hex(), "packets": packets},
        {"base": 0x80000, "data": good.hex(), "faulty": [0, 4096]},
        {"base": 0x80000, "data": good.hex(), "faulty": tiles, "packets": packets[:1]},
        {"base": 0x80000, "data": good.hex(), "packets": packets},
    ]
    seen = built.simulate(tmp_path / "run", packets=[], images=images)
    assert seen["held"] == {"state": 0, "control": 0, "reads": 0, "taken": 0, "bits": 64}
    bad, second, third, fourth, header, tile, last = seen["images"]
    assert (bad["base"], bad["state"] & 3, bad["state"] >> 4, bad["address"]) == (0x10000, 2, 8, 0x10000)
    assert (second["base"], second["state"], second["hash"]) == (0x40000, 0x82, foreign.hash[:16]), "of other shapes"
    assert (third["base"], third["state"], third["hash"]) == (0x80000, 1, built.graph.hash[:16])
    assert (fourth["base"], fourth["state"], fourth["hash"]) == (0xC0000, 1, other.hash[:16])
    assert (header["state"], header["address"]) == (0x22, 0x80000), "SLVERR: the image is not accepted"
    assert tile["state"] == 1 and (tile["end"]["state"], tile["end"]["address"]) == (0x23, 0x80000 + tiles[0]), "SLVERR in the first tile"
    assert (last["state"], last["end"]["state"]) == (1, 1), "let go anew the error is gone"
    count = len(LENGTHS)
    built.check(seen["frames"][:count], [1] * count)
    built.check(seen["frames"][-count:], [1] * count)
    got = [unpack(np.frombuffer(bytes.fromhex(frame), dtype=np.uint8), built.output) for frame in seen["frames"][count : 2 * count]]
    assert np.array_equal(np.concatenate(got), answers)
    assert [words[4] for words in seen["after"]] == [*range(1, count + 1), *range(1, count + 1), 1, *range(1, count + 1)], "held, it counts anew"


def turned(built: Built) -> Graph:
    """The same shapes and constants, other weights in the memory."""
    units = Design(built.graph, built.folding).fetching
    return replace(built.graph, params=built.graph.params | {f"{u.name}.weight": built.graph.params[f"{u.name}.weight"][:, ::-1].copy() for u in units})


@pytest.mark.parametrize("module", sorted(path.stem for path in RTL.glob("*.sv")))
def test_lint(module):
    verilator = find_verilator()
    command = [verilator.command, "--lint-only", "-Wall", "--quiet", "--top-module", module, "-y", str(RTL), "-y", str(LIBRARY), str(RTL / f"{module}.sv")]
    done = subprocess.run(command, env=verilator.env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_yosys_reads_all(tmp_path):
    modules = sorted(path.stem for path in RTL.glob("*.sv"))
    for module in modules:
        shutil.copy(RTL / f"{module}.sv", tmp_path)
    shutil.copy(LIBRARY / "fifo.sv", tmp_path)
    files = " ".join(f"{m}.sv" for m in (*modules, "fifo"))
    tops = "".join(f"design -load all\nhierarchy -check -top {m}\nproc\ncheck -assert\n" for m in modules)
    (tmp_path / "read.ys").write_text(f"read_verilog -sv {files}\ndesign -save all\n{tops}")
    done = run_yosys(tmp_path, "-q", "read.ys")
    assert (done.returncode, (done.stdout + done.stderr).strip()) == (0, "")
