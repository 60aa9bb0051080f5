# SPDX-License-Identifier: Apache-2.0
"""Which hardware makes the products: the rule of the multiplier style, and what it costs in hard multipliers (DSPs).

A DSP multiplies two signed operands. Rows of a matrix unit share the activation, so where two weights side by side fit the wider operand of the
family's DSP, one DSP makes two products (hw/rtl/mac_array.sv says how; bit-exact). Weights of 1 or 2 bits need no multiplier.
"""

from __future__ import annotations

from bitloom.hw.instance import Fold, Instance

# Bits of the two signed operands of one DSP, the wider first; families as hw/board.py names them. Gowin halves its DSPs: two products of
# 9 x 9 bits in the place of one of 18 x 18, which is what a pair would bring, without its additions.
OPERANDS = {
    None: (18, 18),
    "ecp5": (18, 18),
    "gw2a": (9, 9),
    "ice40up": (16, 16),
    "artix-7": (25, 18),
    "zynq-7000": (25, 18),
    "zynq-ultrascale+": (27, 18),
    "virtex-ultrascale+": (27, 18),
    "versal": (27, 24),
}
# Yosys leaves products with a narrower operand, or of which fewer bits are used, to LUTs.
LEAST = dict.fromkeys(OPERANDS, 2) | {"gw2a": 4}
LEAST_USED = dict.fromkeys(OPERANDS, 9) | {None: 1, "ecp5": 1, "gw2a": 1, "ice40up": 11}
STYLES = ("one", "two", "lut")  # products in one multiplier, or none in it
LUT_BITS = 2  # up to this many bits, a product is one addition


def pair_bits(x_bits: int, w_bits: int) -> tuple[int, int]:
    """Signed operands of two products in one multiplier: the two weights, and the activation (which may be unsigned)."""
    return 2 * w_bits + x_bits + 1, x_bits + 1


def multiplier_style(x_bits: int, w_bits: int, family: str | None = None, pe: int = 2) -> str:
    """How mac_array multiplies activations of x_bits by weights of w_bits in PE rows: `one`, `two` or `lut`.

    family   of the board (hw/board.py); None: a choice that every family with 18 x 18 multipliers takes well
    """
    if w_bits <= LUT_BITS:
        return "lut"
    wide, narrow = OPERANDS[family]
    pair, x = pair_bits(x_bits, w_bits)
    return "two" if pe > 1 and pair <= wide and x <= narrow else "one"


def fold_style(fold: Fold, x_bits: int, w_bits: int) -> str:
    """The style of a folded matrix operator: what its folding says, else the rule."""
    return fold.multiplier or multiplier_style(x_bits, w_bits, pe=fold.pe)


def dsps(made: Instance, family: str | None = None) -> int:
    """Hard multipliers of one instance, in the unit that the family's boards count (Gowin: 18 x 18, two of 9 x 9 in each).

    Exact for what Yosys makes of hw/rtl, flattened, so that constants are known (tests/rtl/test_synthesis.py); for ice40up no less than that.
    """
    wide, narrow = OPERANDS[family]
    whole = halves = 0
    for count, a, b, used in products(made):
        if min(a, b) < LEAST[family] or used < LEAST_USED[family]:
            continue
        if family == "gw2a" and max(a, b) <= 9:
            halves += count
        else:
            whole += count * (1 if family == "gw2a" else _parts(max(a, b), wide) * _parts(min(a, b), narrow))
    return whole + (halves + 1) // 2


def products(made: Instance) -> list[tuple[int, int, int, int]]:
    """Multiplications of an instance of hw/rtl: (how many, bits of one signed operand, bits of the other, bits of the product that are used)."""
    p = made.params
    match made.module:
        case "linear":
            return _mac(p, p["PE"], p["SIMD"], p["IN_W"], p["IN_SIGNED"], p["WEIGHT_W"])
        case "scores":
            return _mac(p, 1, p["SIMD"], p["Q_W"], True, p["K_W"])
        case "context_op":
            return _mac(p, p["PE"], 1, p["P_W"], False, p["V_W"])
        case "requant":
            return _requant(p)
        case "softmax":
            return _mul(p["EXP_W"] + 1, p["RECIP_BITS"] - p["EXP_W"] + 3)
        case "layernorm":
            return _layernorm(p)
        case "add":
            return [_whole(p["LANES"], p[f"{i}_W"] + (not p[f"{i}_SIGNED"]), _factor(p[f"MULT_{i}"])) for i in "AB"]
    return []


def _whole(count: int, a: int, b: int) -> tuple[int, int, int, int]:
    """Products of which all bits are used."""
    return count, a, b, a + b


def _mac(p: dict, pe: int, simd: int, x_bits: int, signed: bool, w_bits: int) -> list[tuple[int, int, int, int]]:
    if p["MUL_STYLE"] == "lut" or w_bits == 1:
        return []
    x = x_bits + (not signed)
    return [_whole((pe + 1) // 2 * simd, pair_bits(x_bits, w_bits)[0], x)] if p["MUL_STYLE"] == "two" else [_whole(pe * simd, x, w_bits)]


def _requant(p: dict) -> list[tuple[int, int, int, int]]:
    """As hw/rtl/requant.sv cuts its accumulators."""
    lanes, acc = p["LANES"], p["IN_W"]
    m = p["MULT_W"] + 1 if p["PER_CHANNEL"] else _factor(p["MULT"])
    return [_whole(lanes, min(acc, 18), m)] if acc <= 22 else [_whole(lanes, acc - 17, m), _whole(lanes, 18, m)]


def _layernorm(p: dict) -> list[tuple[int, int, int, int]]:
    """As hw/rtl/layernorm*.sv: squares, S1 * S1, H * S2 (unsigned), H * x, d * R, u * gamma."""
    h, lanes, bits = p["H"], p["LANES"], p["IN_W"]
    log_h = (h - 1).bit_length()
    widest = h * ((1 << bits) - 1)
    var_bits = (widest * widest // 4 + p["EPS"]).bit_length()
    root_bits = (p["EPS"].bit_length() - 1) // 2  # the smallest root's log2
    root_h, zeros = (log_h + 1) // 2, (h & -h).bit_length() - 1
    u_bits = p["FRAC_BITS"] + 2 + root_h
    scaled = _mul(bits + log_h + 1, p["RECIP_BITS"] - root_bits + 2, p["RECIP_BITS"] + 2 + root_h, held=True)
    per_lane = [_whole(1, bits, bits), _whole(1, bits, _factor(h)), *scaled, _whole(1, u_bits, p["GAMMA_W"])]
    return [
        *((lanes * n, a, b, used) for n, a, b, used in per_lane),
        *_mul(bits + log_h, bits + log_h, var_bits, square=True),
        *((n, a - 1, b - 1, used) for n, a, b, used in _mul(2 * bits + log_h, _factor(h), min(var_bits - zeros, 2 * bits + log_h - 2 + _factor(h)))),
    ]


def _mul(a: int, b: int, used: int | None = None, *, square: bool = False, held: bool = False) -> list[tuple[int, int, int, int]]:
    """hw/rtl/mul.sv: unsigned parts of 17 bits and a signed rest of at most 18.

    used    low bits of the product that are used; None: all
    square  both operands are one: of two equal products one is made
    held    an enable stops it: Yosys then keeps all bits of a part of which any is used (hw/rtl/product_reg.sv)
    """
    used = a + b if used is None else min(used, a + b)
    return [
        (1, x, y, x + y if held else min(used - 17 * (i + j), x + y))
        for i, x in enumerate(_cut(a))
        for j, y in enumerate(_cut(b))
        if used > 17 * (i + j) and not (square and j < i)
    ]


def _cut(bits: int) -> list[int]:
    parts = 1 if bits <= 18 else 1 + (bits - 2) // 17
    return [18] * (parts - 1) + [bits - 17 * (parts - 1)]


def _factor(value: int) -> int:
    """Signed bits of a constant factor: what is left of it when its power of two is wires; 1 (no product) for a power of two."""
    odd = value // (value & -value)
    return odd.bit_length() + 1 if odd > 1 else 1


def _parts(bits: int, most: int) -> int:
    """Pieces of an operand, all but the highest unsigned and so one bit narrower."""
    return 1 if bits <= most else 1 + -(-(bits - most) // (most - 1))
