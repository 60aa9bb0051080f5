# SPDX-License-Identifier: Apache-2.0
"""image_loader: reads the header of the weights' image after reset (hw/rtl/image_loader.sv)."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from bitloom.hw.instance import Instance, Module, Params, Terms
from bitloom.hw.parts.axi_fetch import ExternalMemory

HEADER_BITS = 768  # of the header, that are looked at


def instance(*, data_bits: int, version: int = 0, shapes: str = "") -> Instance:
    """shapes: SHA-256 that the image's header must have, in hex."""
    digest = int.from_bytes(bytes.fromhex(shapes), "little")
    return Instance(module=MODULE.name, params={"DATA_W": data_bits, "ADDR_W": 32, "VERSION": version, "SHAPES": digest})


def beats(data_bits: int) -> int:
    """Beats of the image that are read after each reset."""
    return -(-HEADER_BITS // data_bits)


def load_cycles(data_bits: int, memory: ExternalMemory) -> int:
    """Cycles from reset until the encoder takes beats, where nothing is in the way of the requests."""
    return 7 + memory.latency + ceil((beats(data_bits) - 1) * Fraction(memory.cycles, memory.beats))


def terms(p: Params) -> Terms:
    return {"compared_bits": p["DATA_W"], "hash_bits": 64}


MODULE = Module(name="image_loader", terms=terms)
