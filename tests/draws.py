# SPDX-License-Identifier: Apache-2.0
"""Random encoders, and networks of the other kinds, drawn whole: shape and bits, the goal of their folding, sentences, how they are simulated."""

from __future__ import annotations

import numpy as np
from encoders import ALL_BITS, coded, random_bilstm, random_cells, random_cnn, random_encoder, random_hourglass, random_hybrid

from bitloom.hw.graph import Graph
from bitloom.hw.ops import OPS
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.qat.cells import OPERATIONS, draw_cell


def draw_encoder(seed: int) -> dict:
    """A random encoder, the goal of its folding (each of the two has its share) and sentences for it: seed, hardware, lengths, shape."""
    rng = np.random.default_rng(1000 + seed)
    heads = int(rng.integers(1, 5))
    shape = dict(
        layers=int(rng.integers(1, 4)),
        heads=heads,
        hidden=heads * int(rng.integers(4, 17)),
        intermediate=int(rng.integers(5, 60)),
        max_tokens=int(rng.integers(1, 41)),
        labels=int(rng.integers(1, 5)),
        head=str(rng.choice(["sequence", "token"])),
        activation=str(rng.choice(["gelu", "relu"])),
        **ALL_BITS,
        **coded(seed),
        narrow=seed >= 20 and seed % 2 == 1,  # those of the golden digests stay as they are
    )
    graph = random_encoder(seed, **shape)
    units = sum(OPS[n.op].matrix for n in graph.nodes)
    hardware = HardwareConfig(multipliers=int(units * rng.uniform(1, 12)))
    if rng.integers(2):
        hardware = HardwareConfig(target_cycles=solve(graph, hardware).interval)
    if seed % 3 == 0:  # heads side by side: as fast as a key a cycle, where the streams are
        tokens = shape["max_tokens"]
        hardware = HardwareConfig(target_cycles=max(tokens * max(shape["hidden"], shape["intermediate"], tokens * -(-heads // 2)), 1))
    lengths = rng.integers(1, shape["max_tokens"] + 1, int(rng.integers(6, 13))).tolist()
    return {"seed": seed, "hardware": hardware, "lengths": lengths, "shape": shape}


def draw_run(seed: int) -> dict:
    """How a random encoder is simulated: stalls or none, resets in mid-run in random cycles; the seed is that of the registers at power-up too."""
    rng = np.random.default_rng(3000 + seed)
    stalls = rng.choice([0.0, 0.2, 0.5, 0.8], 2) if rng.integers(2) else (0.0, 0.0)
    return {
        "seed": seed,
        "stall_in": float(stalls[0]),
        "stall_out": float(stalls[1]),
        "resets": int(rng.integers(1, 4)),
        "reset_within": int(rng.choice([20, 300, 2000])),
    }


def draw_rolled(seed: int) -> dict:
    """A random encoder whose layers differ in all their bits, and how often each layer of hardware is used."""
    rng = np.random.default_rng(7000 + seed)
    heads, turns, layers = int(rng.integers(1, 4)), int(rng.integers(2, 6)), int(rng.integers(1, 3))
    shape = dict(
        layers=layers * turns,
        heads=heads,
        hidden=heads * int(rng.integers(4, 13)),
        intermediate=int(rng.integers(5, 48)),
        max_tokens=int(rng.integers(1, 25)),
        head=str(rng.choice(["sequence", "token"])),
        activation=str(rng.choice(["gelu", "relu"])),
        **ALL_BITS,
        **coded(seed),
    )
    lengths = rng.integers(1, shape["max_tokens"] + 1, int(rng.integers(2, 13))).tolist()
    inside = (None, 1, 2, None)[seed % 4]
    hardware = HardwareConfig(multipliers=int(layers * rng.uniform(10, 60)) + 5, layers=layers, inside=inside)
    return {"seed": seed, "hardware": hardware, "lengths": lengths, "shape": shape}


def draw_off_ramps(seed: int) -> dict:
    """A random encoder whose layers differ in all their bits, with a rule by which sentences leave here and there."""
    rng = np.random.default_rng(21_000 + seed)
    heads = int(rng.integers(1, 4))
    shape = dict(
        layers=int(rng.integers(2, 7)),
        heads=heads,
        hidden=heads * int(rng.integers(2, 13)),
        intermediate=int(rng.integers(5, 48)),
        max_tokens=int(rng.integers(1, 25)),
        labels=int(rng.integers(2, 6)),
        exits=((float(rng.uniform(0.2, 1.6)), 1), (0.0, 2), (float(rng.uniform(0.1, 0.8)), 2))[seed % 3],
        **ALL_BITS,
        **coded(seed),
    )
    lengths = rng.integers(1, shape["max_tokens"] + 1, int(rng.integers(4, 25))).tolist()
    hardware = HardwareConfig(multipliers=int(rng.uniform(12, 60)) + 5, layers=1, inside=int(rng.choice([1, 2, 3, 4, 6])))
    return {"seed": seed, "hardware": hardware, "lengths": lengths, "shape": shape}


def draw_network(seed: int) -> dict:
    """A random convolutional network, or each third a hybrid one, as a graph, the goal of its folding and sentences: seed, graph, hardware, lengths."""
    rng = np.random.default_rng(2000 + seed)
    max_tokens = int(rng.integers(2, 41))
    kernel = int(rng.integers(2, min(5, 2 * max_tokens - 1) + 1))
    most = min(6, max(1, (max_tokens - 1) // (kernel // 2)))
    both = dict(
        max_tokens=max_tokens,
        stack=tuple((kernel, int(rng.integers(1, most + 1))) for _ in range(int(rng.integers(seed % 3 == 2, 4)))),
        labels=int(rng.integers(1, 5)),
        head=str(rng.choice(["sequence", "sequence", "token"])),
        bits=ALL_BITS | coded(20 + seed),
    )
    if seed % 3 == 2:
        heads, pooling = int(rng.integers(1, 4)), str(rng.choice(["first", "max", "mean"]))
        layers = dict(layers=int(rng.integers(1, 3)), heads=heads, hidden=heads * int(rng.integers(2, 13)), intermediate=int(rng.integers(5, 40)))
        graph = random_hybrid(seed, **both, **layers, pooling=pooling)
    else:
        kernels = tuple(rng.integers(2, min(7, 2 * max_tokens - 1) + 1, int(rng.integers(not both["stack"], 4))).tolist())
        how = dict(activation=str(rng.choice(["gelu", "relu"])), pooling=str(rng.choice(["max", "mean"])))
        graph = random_cnn(seed, **both, hidden=int(rng.integers(2, 49)), kernels=kernels, filters=int(rng.integers(1, 33)), **how)
    return {"seed": seed, "graph": graph, **draw_goal(rng, graph)}


def draw_goal(rng: np.random.Generator, graph: Graph) -> dict:
    """The goal of a network's folding (each of the two has its share) and sentences for it: hardware, lengths."""
    least = solve(graph, HardwareConfig(target_cycles=1 << 30)).multipliers
    hardware = HardwareConfig(multipliers=int(least * rng.uniform(1, 12)))
    if rng.integers(2):
        hardware = HardwareConfig(target_cycles=solve(graph, hardware).interval)
    lengths = np.where(rng.integers(3, size=10), rng.integers(1, graph.max_tokens + 1, 10), rng.integers(1, 3, 10)).clip(max=graph.max_tokens)
    return {"hardware": hardware, "lengths": lengths.tolist()}


def draw_strided(seed: int) -> dict:
    """A random network of fewer tokens inside, an hourglass or each third a convolutional one with a stride, or one with convolutions beside attention:
    seed, graph, hardware, lengths.
    """
    rng = np.random.default_rng(6000 + seed)
    max_tokens, heads = int(rng.integers(6, 33)), int(rng.integers(1, 4))
    both = dict(max_tokens=max_tokens, labels=int(rng.integers(1, 5)), bits=ALL_BITS | coded(20 + seed))
    shape = dict(heads=heads, hidden=heads * int(rng.integers(2, 9)), intermediate=int(rng.integers(5, 30)))
    pooling, head = str(rng.choice(["first", "max", "mean"])), str(rng.choice(["sequence", "sequence", "token"]))
    if seed % 3 == 0:
        how = dict(kernels=tuple(rng.integers(2, 6, int(rng.integers(1, 3))).tolist()), stride=int(rng.integers(2, 6)))
        graph = random_cnn(seed, **both, **how, hidden=shape["hidden"], filters=int(rng.integers(1, 17)), pooling=str(rng.choice(["max", "mean"])))
    elif seed % 6 == 1:
        beside = tuple((int(rng.integers(2, 4)), int(rng.integers(1, 4))) for _ in range(int(rng.integers(1, 3))))
        graph = random_hybrid(seed, **both, **shape, stack=(), beside=beside, layers=len(beside), pooling=pooling, head=head)
    else:
        layers, returns = (int(rng.integers(2)), int(rng.integers(1, 3)), int(rng.integers(2))), head == "token" or bool(rng.integers(2))
        down = dict(stride=int(rng.integers(2, 6)), down=str(rng.choice(["max", "mean"])))
        graph = random_hourglass(seed, **both, **shape, **down, layers=(*layers[:2], returns * layers[2]), returns=returns, pooling=pooling, head=head)
    return {"seed": seed, "graph": graph, **draw_goal(rng, graph)}


def draw_cells(seed: int) -> dict:
    """A random network of cells as a graph, the goal of its folding and sentences for it: seed, graph, hardware, lengths."""
    rng = np.random.default_rng(5000 + seed)
    max_tokens, nodes = int(rng.integers(7, 33)), int(rng.integers(1, 5))
    cell, hidden = draw_cell(rng, nodes, tuple(OPERATIONS)), int(rng.integers(2, 25))
    graph = random_cells(
        seed,
        max_tokens=max_tokens,
        hidden=hidden,
        cells=int(rng.integers(1, 3)),
        cell=cell,
        activation=str(rng.choice(["gelu", "relu"])),
        pooling=str(rng.choice(["max", "mean"])),
        head=str(rng.choice(["sequence", "sequence", "token"])),
        bits=ALL_BITS,
    )
    least = solve(graph, HardwareConfig(target_cycles=1 << 30)).multipliers
    hardware = HardwareConfig(multipliers=int(least * rng.uniform(1, 8)))
    if rng.integers(2):
        hardware = HardwareConfig(target_cycles=max(solve(graph, hardware).interval, max_tokens * hidden))  # a cell may have no matrix unit
    lengths = np.where(rng.integers(3, size=8), rng.integers(1, max_tokens + 1, 8), rng.integers(1, 3, 8))
    return {"seed": seed, "graph": graph, "hardware": hardware, "lengths": lengths.tolist()}


def draw_bilstm(seed: int) -> dict:
    """A random recurrent network as a graph, the goal of its folding and sentences for it: seed, graph, hardware, lengths."""
    rng = np.random.default_rng(4000 + seed)
    max_tokens = int(rng.integers(1, 41))
    graph = random_bilstm(
        seed,
        max_tokens=max_tokens,
        hidden=int(rng.integers(2, 33)),
        layers=int(rng.integers(1, 3)),
        units=int(rng.integers(1, 25)),
        classifier=int(rng.integers(1, 33)),
        labels=int(rng.integers(1, 5)),
        head=str(rng.choice(["sequence", "sequence", "token"])),
        bits=ALL_BITS,
    )
    units = sum(OPS[n.op].matrix for n in graph.nodes)
    hardware = HardwareConfig(multipliers=int(units * rng.uniform(8, 60)))
    if rng.integers(2):
        hardware = HardwareConfig(target_cycles=solve(graph, hardware).interval)
    lengths = rng.integers(1, max_tokens + 1, int(rng.integers(14, 25))).tolist()
    return {"seed": seed, "graph": graph, "hardware": hardware, "lengths": lengths}
