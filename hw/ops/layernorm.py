# SPDX-License-Identifier: Apache-2.0
"""layernorm: exact sums, integer square root and reciprocal, gamma and beta per channel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bitloom.hw.cost.memories import Memory, index_bits
from bitloom.hw.cost.multipliers import Product, factor_bits, whole
from bitloom.hw.graph import Graph, GraphBuilder, Node, Tensor, require, signed_bits
from bitloom.hw.hexfile import Hex, fields
from bitloom.hw.instance import Fold, HlsLayer, Instance, Module, Params, Terms
from bitloom.hw.ops.common import clip, half, hls_words, largest, last_read, require_bits, round_shift, rounding, turn_params
from bitloom.hw.ops.record import ALIKE, Finn, Operator
from bitloom.hw.parts import mul, shared
from bitloom.hw.parts.banks import Banks

PARAMS = ("gamma", "beta")
ATTRS = ("eps", "recip_bits", "frac_bits", "shift")
FRAC_BITS = 10
LEAST_EXPONENT = -60  # of an input's scale
LAST_SHIFT = 30  # n at most: a finer gamma would not be seen in y
GAMMA_MAX, BETA_MAX = 1 << 20, 1 << 46  # of |g|, |b|; y is saturated long before


def isqrt(v):
    """floor(sqrt(v)) for int64 0 <= v < 2**52 (float64's sqrt is correctly rounded, so its floor is exact there)."""
    return np.floor(np.sqrt(v.astype(np.float64))).astype(np.int64)


def layernorm(x, gamma, beta, eps, recip_bits, frac_bits, shift, bits):
    """d = H*x - sum x, s = isqrt(H*sum x**2 - (sum x)**2 + eps), R = floor(2**k / s),
    u = (d*R + half(k-F)) >> (k-F), y = clip((u*gamma + beta + half(n)) >> n).

    x            int64 [N, H], signed, up to 16 bits
    gamma, beta  int64 [H]; gamma's LSB = s_y 2**F / 2**n, beta's = s_y / 2**n
    eps          int, at least 1
    returns      int64 [N, H], signed, `bits` wide, one LSB = s_y
    """
    size = x.shape[1]
    total = x.sum(axis=1, keepdims=True)
    d = size * x - total
    s = isqrt(size * (x * x).sum(axis=1, keepdims=True) - total * total + eps)
    u = round_shift(d * ((1 << recip_bits) // s), recip_bits - frac_bits)
    return clip(round_shift(u * gamma + beta, shift), bits, True)


def constants(x: Tensor, eps_float: float) -> dict[str, int]:
    """eps, recip_bits k and frac_bits F of numerics.md for an input tensor [T, H]."""
    size = x.channels
    eps = max(1, size * size // 16, math.floor(eps_float * (size / x.scale) ** 2 + 0.5))
    return {"eps": eps, "recip_bits": (size * largest(x)).bit_length() + 10, "frac_bits": FRAC_BITS}


def finest(size: int, bits: int, eps_float: float) -> int:
    """The least exponent of an input's scale, [T, size] of that many bits, at which eps has room: a finer one would drown in eps anyway."""
    room = min(1 << 2 * (size << (bits - 1)).bit_length(), (1 << 52) - variance_bound(size, bits, 0))
    exponent = LEAST_EXPONENT
    while math.floor(eps_float * (size / 2.0**exponent) ** 2 + 0.5) >= room > 0:
        exponent += 1
    return exponent


def affine(gamma: np.ndarray, beta: np.ndarray, y_scale: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Integer gamma, beta and shift n from float [H] ones: the largest |g| lies in 2**10 .. 2**11-1 where 0 <= n <= LAST_SHIFT lets it; n = F if all are 0."""
    top = float(np.abs(gamma).max()) / y_scale / (1 << FRAC_BITS)
    shift = 10 - (math.frexp(top)[1] - 1) if top > 0 else FRAC_BITS
    if math.floor(top * 2.0**shift + 0.5) > 2047:
        shift -= 1
    shift = min(max(0, shift), LAST_SHIFT)
    g = np.floor(gamma.astype(np.float64) * 2.0 ** (shift - FRAC_BITS) / y_scale + 0.5).clip(-GAMMA_MAX, GAMMA_MAX)
    b = np.floor(beta.astype(np.float64) * 2.0**shift / y_scale + 0.5).clip(-BETA_MAX, BETA_MAX)
    return g.astype(np.int64), b.astype(np.int64), shift


def u_bound(size: int, frac_bits: int) -> int:
    """The largest |u|: |d| <= s sqrt(H) up to the roundings of s and u."""
    return (math.isqrt(size) + 2) << frac_bits


def variance_bound(size: int, bits: int, eps: int) -> int:
    """The largest V + eps: codes within a range have at most a quarter of its square as variance."""
    return (size * ((1 << bits) - 1)) ** 2 // 4 + eps


@dataclass(frozen=True)
class Widths:
    """Bits inside hw/rtl/layernorm.sv: of S1, of V + eps, and of the largest R (log2 of the smallest root is `root`)."""

    total: int
    variance: int
    root: int
    recip: int

    @classmethod
    def of(cls, size: int, bits: int, eps: int, recip_bits: int, least_eps: int = 0) -> Widths:
        root = ((least_eps or eps).bit_length() - 1) // 2
        return cls(bits + (size - 1).bit_length(), variance_bound(size, bits, eps).bit_length(), root, recip_bits - root + 1)


def check(graph: Graph, node: Node) -> None:
    x, out = graph.tensor(node.inputs[0]), graph.tensor(node.name)
    gamma, beta, attrs = graph.param(node, "gamma"), graph.param(node, "beta"), node.attrs
    require(x.shape == out.shape, graph, node, f"output got shape {out.shape}, must be the input's {x.shape}")
    require(x.signed and out.signed, graph, node, "must take and make signed codes")
    require_bits(x, 2, 16, graph, node)
    require_bits(out, 2, 16, graph, node)
    require(gamma.shape == beta.shape == (x.channels,), graph, node, f"gamma, beta got {gamma.shape}, {beta.shape}, must be ({x.channels},)")
    require(2 <= x.channels <= 4096, graph, node, f"H got {x.channels}, must be 2 .. 4096")
    want = constants(x, 0.0)
    floor_eps, top = want.pop("eps"), 1 << 2 * (x.channels * largest(x)).bit_length()
    got = {key: attrs[key] for key in want}
    require(got == want, graph, node, f"constants got {got}, must be {want}")
    require(floor_eps <= attrs["eps"] < top, graph, node, f"eps got {attrs['eps']}, must be {floor_eps} .. {top - 1}")
    reach = variance_bound(x.channels, x.bits, attrs["eps"])
    require(
        reach < 1 << 52, graph, node, f"variance * H**2 + eps reaches {reach}, must stay below 2**52 (where a root in float64 is exact); use fewer input bits"
    )
    require(0 <= attrs["shift"] <= 40, graph, node, f"shift got {attrs['shift']}, must be 0 .. 40")
    bound = u_bound(x.channels, attrs["frac_bits"]) * int(np.abs(gamma).max()) + int(np.abs(beta).max()) + half(attrs["shift"])
    require(bound < 1 << 48, graph, node, f"u*gamma + beta reaches {bound}, must stay below 2**48")


def run(graph: Graph, node: Node, inputs: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    affine_codes = (graph.param(node, key) for key in PARAMS)
    return layernorm(inputs[0], *affine_codes, *(node.attrs[key] for key in ATTRS), graph.tensor(node.name).bits)


def onnx(b, graph: Graph, node: Node, inputs: list[str]) -> str:
    x, attrs, axis = inputs[0], node.attrs, b.ints([-1])
    size = b.scalar(graph.tensor(node.inputs[0]).channels)
    total = b.op("ReduceSum", x, axis, keepdims=1)
    d = b.op("Sub", b.op("Mul", x, size), total)
    squares = b.op("Mul", b.op("ReduceSum", b.op("Mul", x, x), axis, keepdims=1), size)
    variance = b.op("Sub", squares, b.op("Mul", total, total))
    root = b.op("Floor", b.op("Sqrt", b.cast(b.op("Add", variance, b.scalar(attrs["eps"])), float)))
    recip = b.op("Div", b.scalar(1 << attrs["recip_bits"]), b.cast(root, int))
    u = b.round_shift(b.op("Mul", d, recip), attrs["recip_bits"] - attrs["frac_bits"])
    gamma, beta = (b.constant(f"{node.name}.{key}", graph.param(node, key)) for key in PARAMS)
    y = b.round_shift(b.op("Add", b.op("Mul", u, gamma), beta), attrs["shift"])
    return b.clip(y, graph.tensor(node.name), name=node.name)


def _eps(graph: Graph, node: Node) -> tuple[int, int]:
    """The least and the largest of all turns."""
    found = [n.attrs["eps"] for _, n in graph.turns(node)]
    return min(found), max(found)


def serial_cycles(x: Tensor, least_eps: int, eps: int, recip_bits: int) -> tuple[int, int]:
    """Cycles from one root to the next, and from one division to the next: a digit each, and one to begin."""
    widths = Widths.of(x.channels, x.bits, eps, recip_bits, least_eps)
    return (widths.variance + 1) // 2 + 1, widths.recip + 1


def timing(graph: Graph, node: Node, fold: Fold, ins, out):
    """Sums, root, division and scaling, each on a token of its own; the numbers are those of hw/rtl/layernorm.sv."""
    root, divide = serial_cycles(graph.tensor(node.inputs[0]), *_eps(graph, node), node.attrs["recip_bits"])
    tokens, root_free, divider_free = Banks(ins[0], 4), 0, 0
    done = moved = -1  # when a token was read for the last time, and its last beat left
    yield ins[0].beside(tokens.each())
    while True:
        whole, beats, end = yield tokens.whole.get()
        root_free = max(max(whole + 11, root_free) + root, divider_free)  # the root waits for the divider
        divider_free = root_free + divide
        read = max(divider_free, done) + 1
        last, before = read + beats + 12, moved
        _, moved = yield out.put(read + 13, last, beats, end)
        done = last_read(13, beats, last, moved, before)
        tokens.done(done)


def _words(graph: Graph, node: Node) -> list[list[int]] | None:
    """Of each turn eps, limits, by how much `recip_bits` exceed the turn's own, and shift (hw/ops/common.py: Rounding); None where they are alike."""
    turns, y, rounds, (least, eps) = graph.turns(node), graph.tensor(node.name), rounding(graph, node), _eps(graph, node)
    less = [node.attrs["recip_bits"] - n.attrs["recip_bits"] for _, n in turns]
    if not rounds.words and least == eps and not any(less):
        return None
    words = rounds.words or [[y.low, y.high, 0]] * len(turns)
    return [[n.attrs["eps"], low, high, bits, more] for (low, high, more), bits, (_, n) in zip(words, less, turns, strict=True)]


def rtl(graph: Graph, node: Node, fold: Fold) -> Instance:
    x, y, attrs, lanes = graph.tensor(node.inputs[0]), graph.tensor(node.name), node.attrs, fold.lanes_in
    layout, turns, rounds, (least, eps) = fold.into(x.channels), graph.turns(node), rounding(graph, node), _eps(graph, node)
    params = {
        "H": x.channels,
        "WIDTH": layout.width,
        "LANES": lanes,
        "IN_W": x.bits,
        "OUT_W": y.bits,
        "EPS": eps,
        "RECIP_BITS": attrs["recip_bits"],
        "FRAC_BITS": attrs["frac_bits"],
        "SHIFT": rounds.shift,
    }
    placed = [[layout.place(g.param(n, key)) for key in PARAMS] for g, n in turns]
    banks = shared.banks(graph, placed)
    for place, key in enumerate(PARAMS):
        values = np.concatenate([placed[turn][place] for turn in banks.first])
        width = signed_bits(int(np.abs(values).max()))
        params |= {f"{key.upper()}_W": width, f"{key.upper()}_FILE": Hex.pack(values.reshape(-1, lanes), width)}
    if words := _words(graph, node):
        file = Hex.pack(fields(words, (eps.bit_length(), y.bits, y.bits, 6, 6)), 1)
        params |= {"EPS_LEAST": least, "MORE": rounds.more, "ROUND_FILE": file}
    return Instance(module="layernorm", params=params | turn_params(graph, node, fold) | banks.params())


def hls(graph: Graph, node: Node, fold: Fold) -> HlsLayer:
    x, attrs, turns, layout = graph.tensor(node.inputs[0]), node.attrs, graph.turns(node), fold.into(graph.tensor(node.inputs[0]).channels)
    gammas, betas = ([g.param(n, key) for g, n in turns] for key in PARAMS)
    most_gamma, most_beta = (max(int(np.abs(own).max()) for own in codes) for codes in (gammas, betas))
    u, reach, (_, eps) = u_bound(x.channels, attrs["frac_bits"]), x.channels * largest(x), _eps(graph, node)
    recips, words = [n.attrs["recip_bits"] for _, n in turns], _words(graph, node)
    by_turn = {}
    if words:  # one memory for each process of the header that reads one
        by_turn = hls_words("roots", [[own, recip - min(recips)] for (own, *_), recip in zip(words, recips, strict=True)])
        by_turn |= hls_words("rounds", [[low, high, more, recip - min(recips)] for (_, low, high, _, more), recip in zip(words, recips, strict=True)])
    return HlsLayer(
        constants={
            "features": x.channels,
            "eps": eps,
            "recip_bits": max(recips),
            "recip_least": min(recips),
            "frac_bits": attrs["frac_bits"],
            "shift": rounding(graph, node).shift,
            "more": rounding(graph, node).more,
            "sum_bits": signed_bits(reach),
            "square_bits": (reach * largest(x)).bit_length(),
            "variance_bits": variance_bound(x.channels, x.bits, eps).bit_length(),
            "size_bits": x.channels.bit_length(),
            "eps_bits": eps.bit_length(),
            "u_bits": signed_bits(u),
            "affine_bits": signed_bits(u * most_gamma + most_beta),
            "recip_width": max((1 << n.attrs["recip_bits"]) // math.isqrt(n.attrs["eps"]) for _, n in turns).bit_length(),
        },
        memories={
            "gamma": shared.codes([layout.place(own) for own in gammas], signed_bits(most_gamma)),
            "beta": shared.codes([layout.place(own) for own in betas], signed_bits(most_beta)),
        }
        | by_turn,
    )


def holds(graph: Graph, node: Node, fold: Fold, port: int) -> int:
    """Its banks."""
    return 4


def append(b: GraphBuilder, name: str, x: Tensor, gamma: np.ndarray, beta: np.ndarray, *, eps: int, shift: int, bits: int, scale: float = 1.0) -> Tensor:
    """The node of integer gamma, beta and shift (`affine`) and eps (`constants`)."""
    out = Tensor(name=name, shape=x.shape, bits=bits, signed=True, scale=scale)
    attrs = {"eps": eps, "recip_bits": constants(x, 0.0)["recip_bits"], "frac_bits": FRAC_BITS, "shift": shift}
    return b.add("layernorm", out, (x.name,), attrs, gamma=gamma, beta=beta)


def _widths(p: Params) -> Widths:
    return Widths.of(p["H"], p["IN_W"], p["EPS"], p["RECIP_BITS"], p.get("EPS_LEAST", 0))


def memories(p: Params) -> list[Memory]:
    beats, widths, turns = p.get("WIDTH", p["H"]) // p["LANES"], _widths(p), p.get("TURNS", 1)  # WIDTH: elements of a token in its stream
    rounds = [Memory("round", p["EPS"].bit_length() + 2 * p["OUT_W"] + 12, turns, rom=True)] * 3 if "ROUND_FILE" in p else []
    return rounds + [
        Memory("x", p["LANES"] * p["IN_W"], 4 << index_bits(beats)),
        Memory("sum1", widths.total, 4, direct=True),
        Memory("var", widths.variance, 4, direct=True),
        Memory("recip", widths.recip, 4, direct=True),
        Memory("gamma", p["LANES"] * p["GAMMA_W"], shared.count(p) * beats, rom=True),
        Memory("beta", p["LANES"] * p["BETA_W"], shared.count(p) * beats, rom=True),
    ]


def products(p: Params) -> list[Product]:
    """As hw/rtl/layernorm*.sv: squares, H * x, d * R, u * gamma, S1 * S1, H * S2 (unsigned)."""
    h, lanes, bits, widths = p["H"], p["LANES"], p["IN_W"], _widths(p)
    root_h, zeros = ((h - 1).bit_length() + 1) // 2, (h & -h).bit_length() - 1
    u_bits = p["FRAC_BITS"] + 2 + root_h
    scaled = mul.products(widths.total + 1, widths.recip + 1, p["RECIP_BITS"] + 2 + root_h, held=True)
    per_lane = [whole(1, bits, bits), whole(1, bits, factor_bits(h)), *scaled, whole(1, u_bits, p["GAMMA_W"])]
    squares = bits + widths.total  # of S2
    sized = mul.products(squares, factor_bits(h), min(widths.variance - zeros, squares - 2 + factor_bits(h)))
    return [
        *(Product(lanes * n, a, b, used) for n, a, b, used in per_lane),
        *mul.products(widths.total, widths.total, widths.variance, square=True),
        *(Product(n, a - 1, b - 1, used) for n, a, b, used in sized),
    ]


def terms(p: Params) -> Terms:
    widths, lanes = _widths(p), p["LANES"]
    return {
        "serial_bits": widths.variance + widths.recip,
        "sum_bits": widths.total,
        "square_bits": lanes * 2 * p["IN_W"],
        "product_bits": lanes * (widths.total + widths.recip),
        "scaled_bits": lanes * (p["GAMMA_W"] + p["SHIFT"]),
        "lane_bits": lanes * p["IN_W"],
    }


MODULE = Module(name="layernorm", turned=True, terms=terms, memories=memories, products=products)


def finn(b, graph: Graph, node: Node) -> None:
    """float32: (x - mean) / sqrt(var + eps), times gamma, plus beta, in units of the output's LSB; one rounding at the end."""
    x, out, attrs = graph.tensor(node.inputs[0]), graph.tensor(node.name), node.attrs
    unit = min(x.scale, 0.5)  # a LayerNorm does not see it, but an integer would make FINN's multiplication an integer one
    real = b.value("Mul", x.name, unit, f"{node.name}.real")
    ones, zeros = np.ones(x.channels), np.zeros(x.channels)
    plain = [b.constant(f"{node.name}.{key}", value) for key, value in (("one", ones), ("zero", zeros))]
    epsilon = attrs["eps"] * (unit / x.channels) ** 2
    normal = b.op("LayerNormalization", [real, *plain], f"{node.name}.normal", axis=-1, epsilon=epsilon)
    lsb = 2.0 ** -attrs["shift"]
    scaled = b.value("Mul", normal, graph.param(node, "gamma") * lsb * (1 << attrs["frac_bits"]), f"{node.name}.scaled")
    shifted = b.value("Add", scaled, graph.param(node, "beta") * lsb, f"{node.name}.shifted")
    b.rounded(shifted, 1.0, out)


def finn_values(b, graph: Graph, node: Node, inputs: list):
    x, attrs = graph.tensor(node.inputs[0]), node.attrs
    lsb = graph.tensor(node.name).scale / 2.0 ** attrs["shift"]
    gamma, beta = graph.param(node, "gamma") * lsb * (1 << attrs["frac_bits"]), graph.param(node, "beta") * lsb
    return b.layer_norm(inputs[0], gamma, beta, attrs["eps"] * (x.scale / x.channels) ** 2)


OP = Operator(
    name="layernorm",
    params=PARAMS,
    attrs=ATTRS,
    packs=ALIKE,
    check=check,
    run=run,
    onnx=onnx,
    observed=True,
    gives_zeros=lambda graph, node, zeros: True,
    elementwise=True,
    holds=holds,
    hls_array=True,
    timing=timing,
    rtl=rtl,
    module=MODULE,
    hls=hls,
    hls_turns=True,
    finn=Finn(nodes=finn, values=finn_values, quant=True, exact=False),
)
