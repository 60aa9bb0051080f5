# SPDX-License-Identifier: Apache-2.0
"""lstm: one layer of a recurrent network, forward or backward over a sentence's tokens; all its states, or the last one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.cost.multipliers import Operands, Product, style_params
from bitloom.hw.divisors import divisors
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require, signed_bits
from bitloom.hw.hexfile import Hex
from bitloom.hw.instance import Codes, Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops import linear, requant, table
from bitloom.hw.ops.common import clip, exact_matmul, largest, require_bits, require_range, round_shift
from bitloom.hw.ops.record import Operator
from bitloom.hw.parts import lstm_cell, mac_array, places
from bitloom.hw.parts.mac_array import mac_latency
from bitloom.hw.plan.folding import FoldingError

PARAMS = ("weight", "bias", "mult", "gates", "tanh")
ATTRS = ("weight_bits", "direction", "shift", "gate_bits", "act_bits", "cell_bits", "keep", "write", "cell_shift", "tanh_bits", "tanh_shift", "out_shift")
GATES = 4  # i, f, g, o
CANDIDATE = 2  # the place of g among them
DIRECTIONS = ("forward", "backward")
SHIFTS = {"shift": requant.SHIFT_MAX, "keep": 16, "write": 16, "cell_shift": 40, "tanh_shift": 15, "out_shift": 15}
FILES, TANH_FILE = ("INPUT_FILE", "FORGET_FILE", "CANDIDATE_FILE", "OUTPUT_FILE"), "TANH_FILE"  # parameters of the RTL that name the tables
HLS_TABLES = ("input", "forget", "candidate", "output")  # of the gates
TAIL = 8 + lstm_cell.LATENCY  # cycles from the sums of a beat to its h: bias 2, requant 6, the cell
FEWEST, MOST = 3, 8  # sentences in flight


def lstm(x, lengths, weight, bias, mult, gates, tanh, k: Mapping[str, int | str], x_max: int, bits: int, seen: dict | None = None):
    """All states of every sentence (formula: docs/numerics.md).

    x        int64 [N, X], |x| <= x_max, one LSB = s_x; lengths int64 [S], its sentences one behind the other
    weight   int64 [4H, X + H], gates i, f, g, o of all channels one behind the other, one LSB = s_w[c] for x, s_w[c] s_x / s_h for h
    bias, mult  int64 [4H], one LSB = s_w[c] s_x, s_w[c] s_x / (s_z 2**shift)
    gates    int64 [4, 2**gate_bits], one LSB = 2**-act_bits of i, f, o, 2**(1-act_bits) of g; index 0 belongs to the smallest code
    tanh     int64 [2**tanh_bits], one LSB = 2**(1-act_bits)
    k        the attributes
    bits     of h; seen: gets the entries of the tables that are read, by the parameter that names their file
    returns  int64 [N, H], one LSB = s_h; in the order of the tokens, backward as well
    """
    hidden, begins = len(weight) // GATES, np.cumsum(lengths) - lengths
    bound = linear.bound(weight, bias, max(x_max, 1 << (bits - 1)))
    h, c = (np.zeros((len(lengths), hidden), dtype=np.int64) for _ in range(2))
    out = np.zeros((len(x), hidden), dtype=np.int64)
    zero, u_min = 1 << (k["gate_bits"] - 1), 1 << (k["tanh_bits"] - 1)
    for step in range(int(max(lengths, default=0))):
        own = np.flatnonzero(lengths > step)
        at = begins[own] + (step if k["direction"] == "forward" else lengths[own] - 1 - step)
        acc = exact_matmul(np.concatenate([x[at], h[own]], axis=1), weight.T, bound) + bias
        z = requant.requant(acc, mult, k["shift"], k["gate_bits"]).reshape(len(own), GATES, hidden)
        index = z + zero
        i, f, g, o = (gates[gate][index[:, gate]] for gate in range(GATES))
        c[own] = clip(round_shift((f * c[own] << k["keep"]) + (i * g << k["write"]), k["cell_shift"]), k["cell_bits"], True)
        u = clip(round_shift(c[own], k["tanh_shift"]), k["tanh_bits"], True)
        if seen is not None:
            for file, entries in zip((*FILES, TANH_FILE), (*index.swapaxes(0, 1), u + u_min), strict=True):
                seen.setdefault(file, []).append(entries.ravel())
        h[own] = out[at] = clip(round_shift(o * tanh[u + u_min], k["out_shift"]), bits, True)
    return out


def last_token(lengths, direction: str):
    """int64 [S]: the row of each sentence's last state."""
    ends = np.cumsum(lengths)
    return ends - 1 if direction == "forward" else ends - lengths


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    out, x = graph.tensor(node.name), graph.tensor(node.inputs[0])
    states = lstm(inputs[0], lengths, *(graph.param(node, key) for key in PARAMS), node.attrs, largest(x), out.bits)
    return states if out.kind == "token" else states[last_token(lengths, node.attrs["direction"])]


def check(graph: Graph, node: Node) -> None:
    x, out, k = graph.tensor(node.inputs[0]), graph.tensor(node.name), node.attrs
    weight, bias, mult, gates, tanh = (graph.param(node, key) for key in PARAMS)
    rows, bits = GATES * out.channels, k["weight_bits"]
    require(x.kind == "token", graph, node, f"input got shape {x.shape}, must be ('T', X)")
    require(out.kind != "row" and out.signed, graph, node, f"output got shape {out.shape}, signed {out.signed}, must be ('T', H) or (1, H), signed")
    require(k["direction"] in DIRECTIONS, graph, node, f"direction got {k['direction']!r}, must be {' or '.join(DIRECTIONS)}")
    require(1 <= bits <= 8, graph, node, f"weight_bits got {bits}, must be 1 .. 8")
    require_bits(x, 1, 16, graph, node)
    require_bits(out, 2, 16, graph, node)
    for key, low, high in (("gate_bits", 2, 10), ("act_bits", 2, 8), ("cell_bits", 2, 16), ("tanh_bits", 2, 10)):
        require(low <= k[key] <= high, graph, node, f"{key} got {k[key]}, must be {low} .. {high}")
    for key, most in SHIFTS.items():
        require(0 <= k[key] <= most, graph, node, f"{key} got {k[key]}, must be 0 .. {most}")
    shapes = ((rows, x.channels + out.channels), (rows,), (rows,), (GATES, 1 << k["gate_bits"]), (1 << k["tanh_bits"],))
    for key, value, shape in zip(PARAMS, (weight, bias, mult, gates, tanh), shapes, strict=True):
        require(value.shape == shape, graph, node, f"{key} got shape {value.shape}, must be {shape}")
    require_range(weight, *linear.weight_range(bits), graph, node, "weight")
    require(bits > 1 or bool((weight != 0).all()), graph, node, "weight got a 0, must be -1 or +1 where weight_bits is 1")
    require_range(mult, 1, requant.MULT_MAX, graph, node, "mult")
    high = (1 << k["act_bits"]) - 1
    require_range(np.delete(gates, CANDIDATE, axis=0), 0, high, graph, node, "gates i, f, o")
    for name, values in (("gate g", gates[CANDIDATE]), ("tanh", tanh)):
        require_range(values, -(high + 1) // 2, high // 2, graph, node, name)
        middle = int(values[len(values) // 2])
        require(middle == 0, graph, node, f"{name} got {middle} at code 0, must be 0: channels that are filled up stay 0")
    need = acc_bits(graph, node)
    require(need + 16 <= 53, graph, node, f"accumulator needs {need} bits, must be at most 37")


def multiplies(graph: Graph, node: Node) -> Operands:
    """A code of x, or of h, by a weight."""
    x, h = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    return Operands(max(x.bits + (not x.signed), h.bits), True, node.attrs["weight_bits"], graph.narrow(node))


def acc_bits(graph: Graph, node: Node) -> int:
    """Of the accumulators, as wide as the weights need."""
    x, h = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    weight = np.abs(graph.param(node, "weight"))
    reach = weight[:, : x.channels].sum(axis=1) * largest(x) + weight[:, x.channels :].sum(axis=1) * largest(h)
    return signed_bits(int((reach + np.abs(graph.param(node, "bias"))).max()))


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    """A Scan over the tokens, backward where the layer is."""
    x, out, k = graph.tensor(node.inputs[0]), graph.tensor(node.name), node.attrs
    hidden, backward = out.channels, int(k["direction"] == "backward")
    s = b.body(f"{node.name}.")
    params = {key: b.constant(f"{node.name}.{key}", graph.param(node, key).ravel()) for key in PARAMS if key != "weight"}
    one = s.op("Unsqueeze", s.op("Concat", "x", "h", axis=0), b.ints([0]))
    acc = s.matmul_integer(one, replace(out, bits=multiplies(graph, node).x_bits), graph.param(node, "weight").T, acc_bits(graph, node))
    acc = s.op("Mul", s.op("Add", s.op("Reshape", acc, b.ints([GATES * hidden])), params["bias"]), params["mult"])
    z = s.clip(s.round_shift(acc, k["shift"]), replace(out, bits=k["gate_bits"]), f"{node.name}.z")
    entries = np.arange(GATES).repeat(hidden) * (1 << k["gate_bits"]) + (1 << (k["gate_bits"] - 1))  # where each row's table has its code 0
    acts = s.op("Gather", params["gates"], s.op("Add", z, b.constant(f"{node.name}.entries", entries)))
    i, f, g, o = (s.op("Slice", acts, b.ints([gate * hidden]), b.ints([(gate + 1) * hidden])) for gate in range(GATES))
    kept = s.op("Mul", s.op("Mul", f, "c"), b.scalar(1 << k["keep"]))
    written = s.op("Mul", s.op("Mul", i, g), b.scalar(1 << k["write"]))
    c = s.clip(s.round_shift(s.op("Add", kept, written), k["cell_shift"]), replace(out, bits=k["cell_bits"]), f"{node.name}.c")
    u = s.clip(s.round_shift(c, k["tanh_shift"]), replace(out, bits=k["tanh_bits"]), f"{node.name}.u")
    t = s.op("Gather", params["tanh"], s.op("Add", u, b.scalar(1 << (k["tanh_bits"] - 1))))
    h = s.clip(s.round_shift(s.op("Mul", o, t), k["out_shift"]), out, f"{node.name}.h")
    zero = b.constant(f"_zeros{hidden}", np.zeros(hidden, dtype=np.int64))
    last, _, states = b.scan(s, (zero, zero), inputs[0], ("h", "c", "x"), (hidden, hidden, x.channels), (h, c, h), backward, f"{node.name}.scan")
    if out.kind == "token":
        return b.op("Identity", states, name=node.name)
    return b.op("Unsqueeze", last, b.ints([0]), name=node.name)


def shifts(act_bits: int, gate_bits: int, cell_bits: int, tanh_bits: int, bits: int) -> dict[str, int]:
    """The attributes of the scales in docs/numerics.md, without `shift`; bits: of h.

    Raises ValueError: h would be finer than its product.
    """
    cell, kept, made = cell_bits - 5, act_bits + cell_bits - 5, 2 * act_bits - 1  # an LSB is 2**-this: of c, of f*c, of i*g
    finest = max(kept, made)
    out_shift = made - (bits - 1)
    if out_shift < 0:
        raise ValueError(f"lstm: got h of {bits} bits with act_bits {act_bits}, must be at most {2 * act_bits}")
    return {
        "act_bits": act_bits,
        "gate_bits": gate_bits,
        "cell_bits": cell_bits,
        "tanh_bits": tanh_bits,
        "keep": finest - kept,
        "write": finest - made,
        "cell_shift": finest - cell,
        "tanh_shift": max(0, cell_bits - tanh_bits - 2),
        "out_shift": out_shift,
    }


def gate_exponents(gate_bits: int) -> tuple[int, int, int, int]:
    """Exponents of what a code of z is worth, gate by gate."""
    return 4 - gate_bits, 4 - gate_bits, 3 - gate_bits, 4 - gate_bits


def tables(k: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """gates and tanh of the scales in docs/numerics.md. k: as `shifts` gives it."""
    act, candidate = (Tensor(name="y", shape=("T", 1), bits=k["act_bits"], signed=s, scale=2.0 ** (s - k["act_bits"])) for s in (False, True))

    def made(function: str, bits: int, exponent: int) -> np.ndarray:
        z = Tensor(name="z", shape=("T", 1), bits=bits, signed=True, scale=2.0**exponent)
        return table.entries(function, z, candidate if function == "tanh" else act)

    gates = [made("tanh" if gate == CANDIDATE else "sigmoid", k["gate_bits"], e) for gate, e in enumerate(gate_exponents(k["gate_bits"]))]
    return np.stack(gates), made("tanh", k["tanh_bits"], 5 - k["cell_bits"] + k["tanh_shift"])


def append(
    b: GraphBuilder,
    name: str,
    x: Tensor,
    weight,
    bias,
    mult,
    shift: int,
    weight_bits: int,
    k: dict,
    *,
    bits: int,
    direction: str = "forward",
    last: bool = False,
) -> Tensor:
    """The node of these codes, with the tables of the scales in docs/numerics.md. k: as `shifts` gives it; last: the last state alone."""
    out = Tensor(name=name, shape=(1 if last else "T", len(weight) // GATES), bits=bits, signed=True, scale=2.0 ** (1 - bits))
    gates, tanh = tables(k)
    attrs = {"weight_bits": weight_bits, "direction": direction, "shift": shift} | k
    return b.add("lstm", out, (x.name,), attrs, weight=weight, bias=bias, mult=mult, gates=gates, tanh=tanh)


def macs(graph: Graph, node: Node, tokens: int, border: int | None = None) -> int:
    return tokens * int(graph.param(node, "weight").size)


def _widths(graph: Graph, node: Node, fold: Fold) -> tuple[int, int]:
    """Elements of an input token and of an output token in their streams."""
    return fold.into(graph.tensor(node.inputs[0]).channels).width, fold.out_of(graph.tensor(node.name).channels).width


def cycles(graph: Graph, node: Node, fold: Fold) -> tuple[int, int, int]:
    """Of a step: cycles that it takes the multipliers (S); from its last one to the first that the same sentence's next step may have, and to its last h."""
    inputs, hidden = _widths(graph, node, fold)
    steps, beats = (inputs + hidden) // fold.simd, fold.pe // GATES // fold.lanes_out
    slot = max(steps, beats)
    written = mac_latency(fold.simd) + beats + TAIL - (slot - steps)
    return GATES * hidden // fold.pe * slot, max(2, written + 1 - inputs // fold.simd), written


def in_flight(graph: Graph, node: Node, fold: Fold) -> int:
    """Places that keep the multipliers busy: those in work, one that is loaded and one that is given out."""
    step, wait, _ = cycles(graph, node, fold)
    return min(MOST, FEWEST + -(-(wait - 1) // step) - (step > 8 * wait))


def foldings(graph: Graph, node: Node, fold: Fold) -> list[Fold]:
    """PE of whole channels and beats, SIMD that divides both parts of the inputs; for each PE up to the SIMD that waits for the input stream."""
    _require_alone(graph, node)
    inputs, hidden = _widths(graph, node, fold)
    simds, found = divisors(math.gcd(inputs, hidden), math.lcm(fold.lanes_in, fold.lanes_out)), []
    for pe in (GATES * channels for channels in divisors(hidden, fold.lanes_out)):
        for simd in simds:
            made = replace(fold, pe=pe, simd=simd)
            found.append(replace(made, in_flight=in_flight(graph, node, made)))
            if cycles(graph, node, made)[0] <= inputs // fold.lanes_in:
                break
    return found


def _require_alone(graph: Graph, node: Node) -> None:
    if (count := len(graph.turns(node))) > 1:
        raise FoldingError(f"folding: {node.name}: got {count} recurrent layers in turn, must each have hardware of its own; remove hardware.layers")


def interval(graph: Graph, node: Node, fold: Fold, tokens: int) -> int:
    """Cycles a sentence of that many tokens takes in steady state, among others as long."""
    step, wait, _ = cycles(graph, node, fold)
    alone = -(-(step + wait - 1) // max(1, fold.in_flight - 2))
    return tokens * max(step, alone, _widths(graph, node, fold)[0] // fold.lanes_in)


def holds(graph: Graph, node: Node, fold: Fold, port: int) -> int:
    """The sentences of all places."""
    return fold.in_flight * graph.max_tokens


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """Places with a sentence each, whose steps take turns; the numbers are those of hw/rtl/lstm.sv."""
    step, wait, written = cycles(graph, node, fold)
    yield from places.timing(
        ins[0],
        out,
        count=fold.in_flight,
        step=step,
        wait=wait,
        written=written,
        beats=_widths(graph, node, fold)[1] // fold.lanes_out,
        backward=node.attrs["direction"] == "backward",
        every=graph.tensor(node.name).kind == "token",
    )


def _placed(graph: Graph, node: Node, fold: Fold, key: str) -> np.ndarray:
    """A parameter by channel, int64 [width of the output, 4, ...], zeros in filled places."""
    value, layout = graph.param(node, key), fold.out_of(graph.tensor(node.name).channels)
    return layout.place(value.reshape(GATES, layout.channels, *value.shape[1:]), axis=1).swapaxes(0, 1)


def words(graph: Graph, node: Node, fold: Fold) -> np.ndarray:
    """The weight memory, int64 [words, PE * SIMD]: a word a cycle. One-bit weights: 0 is -1, 1 is +1."""
    into, out_of = fold.into(graph.tensor(node.inputs[0]).channels), fold.out_of(graph.tensor(node.name).channels)
    weight = _placed(graph, node, fold, "weight").reshape(-1, into.channels + out_of.channels)
    weight = np.concatenate([into.place(weight[:, : into.channels]), out_of.place(weight[:, into.channels :])], axis=1)
    codes = (weight > 0).astype(np.int64) if node.attrs["weight_bits"] == 1 else weight
    split = codes.reshape(len(codes) // fold.pe, fold.pe, codes.shape[1] // fold.simd, fold.simd)
    return split.transpose(0, 2, 1, 3).reshape(-1, fold.pe * fold.simd)


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    _require_alone(graph, node)
    x, h, k = graph.tensor(node.inputs[0]), graph.tensor(node.name), node.attrs
    (inputs, hidden), lanes = _widths(graph, node, fold), GATES * fold.lanes_out
    width, gates = int(graph.param(node, "mult").max()).bit_length(), graph.param(node, "gates")
    return Instance(
        module="lstm",
        params={
            "X": inputs,
            "H": hidden,
            "TOKENS": graph.max_tokens,
            "IN_FLIGHT": fold.in_flight,
            "BACKWARD": int(k["direction"] == "backward"),
            "ALL": int(h.kind == "token"),
            "PE": fold.pe,
            "SIMD": fold.simd,
            "LANES_IN": fold.lanes_in,
            "LANES_OUT": fold.lanes_out,
            "X_W": x.bits,
            "X_SIGNED": int(x.signed),
            "ACC_W": acc_bits(graph, node),
            "MULT_W": width,
            "OUT_W": h.bits,
            "DELAY": cycles(graph, node, fold)[1],
            **style_params(fold, multiplies(graph, node)),
            "WEIGHT_FILE": Hex.pack(lambda: words(graph, node, fold), max(1, k["weight_bits"])),
            "BIAS_FILE": Hex.pack(_placed(graph, node, fold, "bias").reshape(-1, lanes), acc_bits(graph, node)),
            "MULT_FILE": Hex.pack(_placed(graph, node, fold, "mult").reshape(-1, lanes), width),
        }
        | {f"{key.upper()}_W": k[f"{key}_bits"] for key in ("weight", "gate", "act", "cell", "tanh")}
        | {key.upper(): k[key] for key in SHIFTS}
        | {file: Hex.pack(own.reshape(-1, 1), k["act_bits"]) for file, own in zip(FILES, gates, strict=True)}
        | {TANH_FILE: Hex.pack(graph.param(node, "tanh").reshape(-1, 1), k["act_bits"])},
    )


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    x, h, k, held = graph.tensor(node.inputs[0]), graph.tensor(node.name), node.attrs, words(graph, node, fold)
    (inputs, hidden), mult, bits = _widths(graph, node, fold), _placed(graph, node, fold, "mult").ravel(), acc_bits(graph, node)
    constants: dict[str, int | bool] = {"in_features": inputs, "hidden": hidden, "pe": fold.pe, "simd": fold.simd, "acc_bits": bits}
    constants |= {"operand_bits": max(x.bits + (not x.signed), h.bits), "backward": k["direction"] == "backward", "every": h.kind == "token"}
    constants |= {"block_ram": len(held) >= linear.BLOCK_RAM_WORDS} | {key: k[key] for key in (*SHIFTS, "gate_bits", "act_bits", "cell_bits", "tanh_bits")}
    memories = {
        "weight": Codes(data=held.ravel(), bits=k["weight_bits"], signed=k["weight_bits"] > 1),
        "bias": Codes(data=_placed(graph, node, fold, "bias").ravel(), bits=bits),
        "mult": Codes(data=mult, bits=int(mult.max()).bit_length(), signed=False),
    }
    tables = zip(HLS_TABLES, graph.param(node, "gates"), strict=True)
    memories |= {name: Codes(data=own, bits=k["act_bits"], signed=gate == CANDIDATE) for gate, (name, own) in enumerate(tables)}
    memories["tanh"] = Codes(data=graph.param(node, "tanh"), bits=k["act_bits"])
    return HlsLayer(constants=constants, memories=memories, interval=graph.max_tokens * (len(held) + hidden // fold.lanes_out))


def memories(p: Params) -> list[Memory]:
    """Weights and constants; of each place the tokens, two halves of h, the cell, and what leaves."""
    steps, folds, beats = (p["X"] + p["H"]) // p["SIMD"], GATES * p["H"] // p["PE"], p["H"] // p["LANES_OUT"]
    lanes, count = p["LANES_OUT"], p["IN_FLIGHT"]
    return [
        Memory("x", p["SIMD"] * p["X_W"], count * p["TOKENS"] * p["X"] // p["SIMD"], checked=False),
        Memory("h", p["SIMD"] * p["OUT_W"], 2 * count * p["H"] // p["SIMD"], checked=False),
        Memory("c", lanes * p["CELL_W"], count * beats, checked=False),
        Memory("out", lanes * p["OUT_W"], count * beats * (p["TOKENS"] if p["ALL"] else 1), checked=False),
        Memory("weight", p["PE"] * p["SIMD"] * p["WEIGHT_W"], folds * steps, rom=True),
        Memory("bias", GATES * lanes * p["ACC_W"], beats, rom=True),
        *lstm_cell.memories(p) * lanes,
        *requant.memories(_requant(p)),
    ]


def _requant(p: Params) -> Params:
    """Parameters of the `requant` inside."""
    return {
        "C": GATES * p["H"],
        "LANES": GATES * p["LANES_OUT"],
        "IN_W": p["ACC_W"],
        "OUT_W": p["GATE_W"],
        "MULT_W": p["MULT_W"],
        "SHIFT": p["SHIFT"],
        "PER_CHANNEL": 1,
    }


def _operand_bits(p: Params) -> int:
    return max(p["X_W"] + (not p["X_SIGNED"]), p["OUT_W"])


def products(p: Params) -> list[Product]:
    """The matrix unit's, those of `requant`, and three a channel: f*c, i*g, o*tanh."""
    matrix = mac_array.products(p, pe=p["PE"], simd=p["SIMD"], x_bits=_operand_bits(p), x_signed=True, w_bits=p["WEIGHT_W"])
    return [*matrix, *requant.products(_requant(p)), *lstm_cell.products(p) * p["LANES_OUT"]]


def terms(p: Params) -> Terms:
    lanes, count = p["LANES_OUT"], p["IN_FLIGHT"]
    simd = p["SIMD"]
    x_bits, o_bits = (index_bits(n) for n in (count * p["TOKENS"] * p["X"] // simd, count * (p["TOKENS"] if p["ALL"] else 1) * p["H"] // lanes))
    tags = (index_bits(count) + 3) * (mac_latency(simd) + TAIL) + 2 * TAIL
    return mac_array.terms(p | {"OUT_W": p["ACC_W"]}, pe=p["PE"], simd=simd, x_bits=_operand_bits(p), w_bits=p["WEIGHT_W"]) | {
        "part_bits": (simd - p["LANES_IN"]) * p["X_W"] + (simd - lanes) * p["OUT_W"],
        "in_bits": GATES * lanes * 2 * p["ACC_W"],
        "sum_bits": lanes * lstm_cell.register_bits(p),
        "out_bits": lanes * (p["OUT_W"] + GATES * p["GATE_W"]),
        "multiplied_bits": GATES * lanes * (p["ACC_W"] + p["MULT_W"]),
        "count_bits": places.count_bits(count, p["TOKENS"]) + count * (x_bits + 2 * o_bits) + 3 * x_bits + 4 * o_bits + tags,
    }


MODULE = Module(name="lstm", turned=True, terms=terms, memories=memories, products=products)


def looked_up(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Entries of the tables that these codes read."""
    seen: dict[str, list[np.ndarray]] = {}
    x, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    lstm(inputs[0], lengths, *(graph.param(node, key) for key in PARAMS), node.attrs, largest(x), out.bits, seen)
    return {key: np.concatenate(found) for key, found in seen.items()}


OP = Operator(
    name="lstm",
    observed=True,
    params=PARAMS,
    attrs=ATTRS,
    check=check,
    run=run,
    onnx=onnx,
    macs=macs,
    multiplies=multiplies,
    foldings=foldings,
    interval=interval,
    holds=holds,
    wants_zeros=lambda graph, node: node.attrs["weight_bits"] == 1,
    gives_zeros=lambda graph, node, zeros: True,
    timing=timing,
    rtl=rtl,
    looked_up=looked_up,
    module=MODULE,
    hls=hls,
)
