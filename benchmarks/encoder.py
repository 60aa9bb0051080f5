# SPDX-License-Identifier: Apache-2.0
"""Speed of the golden model and the simulation, and how busy the multipliers are, on an encoder with random weights.

The weights do not matter to any of these figures; the shape does. Each ratio is taken within one run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bitloom.hw import golden
from bitloom.hw.build import build, macs_per_sentence
from bitloom.hw.graph import Graph
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.qat.baseline import float_model
from bitloom.qat.calibrate import calibrate
from bitloom.qat.config import QuantConfig
from bitloom.qat.export import to_graph
from bitloom.qat.net.model import QuantModel
from bitloom.qat.networks import ModelConfig
from bitloom.sim.bare import run_bare
from bitloom.sim.encoder import Options, run_encoder

VOCABULARY, SENTENCES = 1000, 32
FULL = 8  # sentences of max_tokens in a simulation: enough cycles that its start does not count


def random_graph(model: ModelConfig) -> Graph:
    """The integer graph of an untrained encoder, calibrated on random tokens."""
    torch.manual_seed(0)
    ids = torch.randint(1, VOCABULARY, (8, model.max_tokens))
    quant = QuantModel.from_float(float_model(model, VOCABULARY, 2), QuantConfig(), model.max_tokens)
    calibrate(quant, [{"input_ids": ids}])
    return to_graph(quant, "benchmark")


def software(graph: Graph) -> dict[str, float]:
    """Sentences of max_tokens a second: golden model (one batch), ONNX Runtime on integer.onnx (one by one)."""
    ids = np.random.default_rng(0).integers(1, VOCABULARY, (SENTENCES, graph.max_tokens)).tolist()
    referee = OnnxReferee(to_onnx(graph))
    readers = {"golden": lambda: golden.run(graph, ids, keep_all=False), "onnxruntime": lambda: referee.run(ids)}
    return {name: SENTENCES / min(_seconds(reader) for _ in range(3)) for name, reader in readers.items()}


def simulation(graph: Graph, target_cycles: int, *, bare: bool) -> dict[str, float]:
    """Measured interval and useful share of the multipliers; with `bare`, cycles a second under cocotb and without it.

    Raises SimulationError, and AssertionError if the simulated logits are not the golden ones.
    """
    ids = np.random.default_rng(1).integers(1, VOCABULARY, (FULL, graph.max_tokens)).tolist()
    want = golden.run(graph, ids)
    sentences = np.split(want[graph.entry], FULL)
    with tempfile.TemporaryDirectory() as name:
        folding = build(graph, HardwareConfig(target_cycles=target_cycles), Path(name))
        got = run_encoder(Path(name), sentences, Options(taps=False))
        assert np.array_equal(got.outputs, want[graph.outputs[0]].ravel()), "the hardware's logits differ"
        interval = int(got.out_last_cycle[-1] - got.out_last_cycle[0]) / (FULL - 1)
        work = macs_per_sentence(graph, graph.max_tokens)
        result = {
            "target": target_cycles,
            "multipliers": folding.multipliers,
            "interval": interval,
            "mac_utilization": work / (folding.multipliers * interval),
        }
        if bare:
            plain = run_bare(Path(name), sentences)
            result |= {
                "cocotb_cycles_per_second": got.cycles / got.wall_seconds,
                "bare_cycles_per_second": plain.cycles / plain.wall_seconds,
            }
    return result


def utilization(graph: Graph, targets: Sequence[int]) -> list[dict[str, float]]:
    """`simulation` at each target; speeds at the first only, as each takes a build of its own."""
    return [simulation(graph, target, bare=index == 0) for index, target in enumerate(targets)]


def _seconds(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
