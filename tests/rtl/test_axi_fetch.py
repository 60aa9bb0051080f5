# SPDX-License-Identifier: Apache-2.0
"""axi_fetch on axi_memory: every beat to the client that asked, in the cycle that hw/parts/axi_fetch.py predicts; every error told; nothing left of a reset."""

import json
import os
import re
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from axi_bench import RTL, Setup, check_data, setups
from sweep import plain_or_slow

from bitloom.hw.errors import BitloomError
from bitloom.hw.hexfile import Hex
from bitloom.hw.parts.axi_fetch import ExternalMemory, Fetch, Request, bursts, instance, last_beats, rate
from bitloom.sim.plusargs import arguments
from bitloom.sim.runner import HDL, Model, build, check_results, needed, run
from bitloom.sim.tools import cocotb_env
from bitloom.sim.unit import UnitResult, run_units

HERE = Path(__file__).parent


def predicted(setup: Setup, result: UnitResult, saturated: bool) -> tuple[list, list]:
    """(cycles of acceptance, of the last beat) of all requests, client by client: predicted, measured."""
    requests, seen = [], []
    for client, table in enumerate(setup.requests):
        taken = result.inputs[f"s{client}"].cycle
        part = (result, *result.more)[client]
        requests += [Request(client=client, cycle=0 if saturated else int(t), address=int(a), beats=int(n)) for t, (a, n) in zip(taken, table, strict=True)]
        seen += list(zip(taken.tolist(), part.cycle[part.last].tolist(), strict=True))
    made = instance(clients=setup.clients, address_bits=32, data_bits=setup.data_bits, burst=setup.burst, outstanding=setup.outstanding)
    memory = replace(setup.memory, start=-1)  # the first request is accepted in the second cycle after reset
    return [(s.accepted, s.last) for s in last_beats(requests, made, memory)], seen


# Parameters, the code that they lead to, and the address of the burst; one client reads 128 beats from 0 on in bursts of 16.
ERRORS = [
    ({"ERROR_ADDR": 8 * 35}, 2, 8 * 32),
    ({"FAULT": 1, "FAULT_BEAT": 50}, 4, 8 * 48),
    ({"FAULT": 1, "FAULT_BEAT": 63}, 5, 8 * 48),
    ({"FAULT": 2, "FAULT_BEAT": 127}, 6, 0),
    ({"FAULT": 3, "FAULT_BEAT": 20, "QUEUE": 2}, 4, 8 * 16),
    ({"FAULT": 4, "FAULT_BEAT": 3}, 7, 0),
]


def simulate(**options) -> list[tuple[Setup, UnitResult]]:
    """All setups and all errors in one simulation (one build for this file); data are as they must be, of each error code and address. The setups."""
    which = setups()
    wrong = [Setup(clients=1, requests=(np.array([[0, 128]]),), more=more) for more, _, _ in ERRORS]
    results = run_units([s.case() for s in (*which, *wrong)], RTL, drain_cycles=300, **options)
    for number, (setup, result) in enumerate(zip(which, results, strict=False)):
        check_data(setup, result, f"setup {number}")
    for (more, code, address), setup, result in zip(ERRORS, wrong, results[len(which) :], strict=True):
        assert [(int(word) & 7, int(word) >> 3) for word in result.more[-1].beats[:, 0]] == [(code, address)], more
        good = more.get("FAULT_BEAT", 128)
        assert (result.beats[:good] == setup.want(0)[0][:good]).all(), more
    return list(zip(which, results, strict=False))


def test_beats_and_cycles():
    """Clients that always ask: data, acceptance and last beat of every request."""
    for number, (setup, result) in enumerate(simulate()):
        want, got = predicted(setup, result, True)
        assert got == want, f"setup {number}: {sum(a != b for a, b in zip(got, want, strict=True))} of {len(want)} requests at another time"


def test_cycles_of_clients_that_ask_at_random_times():
    """Where the memory has no refresh, whose phase a record does not tell."""
    for number, (setup, result) in enumerate(simulate(stall_in=0.97, seed=3)):
        if not setup.memory.refresh_every:
            want, got = predicted(setup, result, False)
            assert got == want, f"setup {number}"


def test_whatever_the_memory_does():
    """Random stalls and latencies, ARs that wait: the same beats, at other times."""
    for setup, result in simulate(stall_in=0.5, more={"memory_stall": 30000, "memory_busy": 40000, "memory_jitter": 50}):
        want, got = predicted(setup, result, False)
        assert want != got


@pytest.mark.parametrize(("outstanding", "latency", "cycles", "full"), [(4, 40, 1, True), (2, 40, 1, False), (3, 100, 2, False), (9, 100, 1, True)])
def test_rate(outstanding, latency, cycles, full):
    """Beats a cycle of a long request, and the formulas of its contract."""
    memory, made = ExternalMemory(latency=latency, cycles=cycles), instance(clients=1, address_bits=32, data_bits=64, burst=16, outstanding=outstanding)
    short, long = (last_beats([Request(client=0, cycle=0, address=0, beats=n)], made, memory)[0].last for n in (16 * outstanding * 10, 16 * outstanding * 110))
    assert Fraction(16 * outstanding * 100, long - short) == rate(16, outstanding, memory)
    assert full == (rate(16, outstanding, memory) == Fraction(1, cycles)) == (outstanding >= 1 + Fraction(latency + 2 - cycles, 16 * cycles))
    if full:
        assert short == 5 + latency + (16 * outstanding * 10 - 1) * cycles


def test_bursts():
    assert (
        bursts(0, 40, 8, 16) == [16, 16, 8]
        and bursts(8 * 13, 40, 8, 16) == [3, 16, 16, 5]
        and bursts(8 * 13, 3, 8, 16) == [3]
        and bursts(8 * 13, 2, 8, 16) == [2]
    )


@pytest.mark.parametrize("bad", [{"client": 1}, {"address": 4}, {"beats": 0}, {"beats": 65536}])
def test_a_request_that_cannot_be(bad):
    request = replace(Request(client=0, cycle=0, address=0, beats=1), **bad)
    with pytest.raises(BitloomError, match=r"fetch: got Request\(.*\), must be of client 0 .. 0, whole beats, 1 .. 65535 of them"):
        last_beats([request], instance(clients=1, address_bits=32, data_bits=64, burst=16, outstanding=2), ExternalMemory(latency=1))


def test_a_request_that_comes_between_the_bursts_of_another():
    """The unit grants no further than it is asked to: who comes then is served as if it had been known from the beginning."""
    made, memory = instance(clients=2, address_bits=32, data_bits=64, burst=16, outstanding=2), ExternalMemory(latency=20)
    long, short = Request(client=0, cycle=0, address=0, beats=160), Request(client=1, cycle=90, address=4096, beats=8)
    fetch = Fetch(made, memory)
    fetch.ask(long)
    assert fetch.step(short.cycle) is None and fetch.due > short.cycle
    fetch.ask(short)
    ended = [fetch.step(), fetch.step()]
    want = last_beats([long, short], made, memory)
    assert [(e.client, e.served) for e in ended] == [(1, want[1]), (0, want[0])]


def test_resets_while_the_memory_goes_on(tmp_path):
    """A thousand resets in mid-burst of the unit alone; the bench checks every beat itself."""
    words = np.arange(2048)
    Hex.pack(np.stack([words * 40503 + 1, words * 2654435761], axis=1) & 0xFFFFFFFF, 32).write(tmp_path / "words.hex")
    bench = HERE / "axi_reset_bench.sv"
    executable = build(Model(sources=(HDL / "bench.vlt", *needed(RTL, bench.read_text()), bench), generated={}))
    run(executable, tmp_path, {"bench_seed": 1}, wall_seconds=100)


@pytest.mark.parametrize("stalls", plain_or_slow([False, True], [True]))
def test_the_memory_of_cocotbext_axi_gives_the_same_beats(stalls, tmp_path):
    """Another model of the protocol than ours, which accepts what it should and gives the bytes that axi_memory gives."""
    pytest.importorskip("cocotbext.axi", reason="cocotbext-axi is not there; pip install cocotbext-axi==0.1.28")
    setup = replace(setups()[0], requests=tuple(table[:30] for table in setups()[0].requests))
    text = next(path for path in RTL if path.stem == "axi_fetch").read_text().replace("module axi_fetch #(", "module bench #(")
    for name, value in (("CLIENTS", setup.clients), ("BURST", setup.burst), ("OUTSTANDING", setup.outstanding), ("DATA_W", setup.data_bits)):
        text = re.sub(rf"(parameter int {name} =) \d+", rf"\1 {value}", text)
    generated = {"bench.vlt": '`verilator_config\npublic_flat_rw -module "bench" -var "*"\n', "bench.sv": text}
    executable = build(Model(sources=tuple(needed([path for path in RTL if path.stem != "axi_fetch"], text)), generated=generated))
    image = setup.words.astype("<u4").tobytes()
    job = {"seed": 1, "stalls": stalls, "beat": setup.data_bits // 8, "image": image.hex(), "requests": [table.tolist() for table in setup.requests]}
    (tmp_path / "job.json").write_text(json.dumps(job))
    env = {**os.environ, **cocotb_env("axi_cocotb", "bench", tmp_path / "results.xml")}
    env["PYTHONPATH"] = os.pathsep.join([str(HERE), env["PYTHONPATH"]])
    with (tmp_path / "sim.log").open("w") as out:
        done = subprocess.run([executable, *arguments({})], cwd=tmp_path, env=env, stdout=out, stderr=subprocess.STDOUT, timeout=300, check=False)
    check_results(tmp_path / "results.xml", tmp_path / "sim.log", done.returncode)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["error"] == 0
    for client, got in enumerate(result["got"]):
        beats, last = setup.want(client)
        assert got == [f"{row.astype('<u4').tobytes()[::-1].hex()}{int(end)}" for row, end in zip(beats, last, strict=True)], client
