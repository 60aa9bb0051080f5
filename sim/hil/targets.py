# SPDX-License-Identifier: Apache-2.0
"""The kinds of targets, and the text that names one: `sim`, `sim:loaded`, `serial:PORT`, `pynq://HOST[:PORT]`."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from bitloom.hw.image import FILE
from bitloom.hw.plan.design import Design
from bitloom.sim.hil.errors import TargetError
from bitloom.sim.hil.pynq import open_pynq
from bitloom.sim.hil.serial_target import SerialTarget
from bitloom.sim.hil.simulated import SimulatedTarget
from bitloom.sim.hil.target import Target

LOADED = "loaded"  # of a simulated board: its memory holds the image, as from an earlier session
KINDS = {"sim": "sim", "serial": "serial:/dev/ttyUSB0", "pynq": "pynq://192.168.2.99"}


def open_target(spec: str, design: Design, build_dir: Path | None = None, **options) -> Target:
    """The target that a text names, not yet opened.

    spec       `sim`, `sim:loaded` (its memory holds the image of weights from the beginning), `serial:PORT` or `pynq://HOST[:PORT]`
    design     what its bitstream must hold
    build_dir  the built encoder, which `sim` needs
    options    of the target's class
    Raises TargetError: no such kind of target, or a part of its name is missing or wrong.
    """
    kind, colon, rest = spec.partition(":")
    if kind not in KINDS or (rest != LOADED * bool(colon) if kind == "sim" else not colon):
        near = get_close_matches(kind, KINDS, n=1, cutoff=0.5)
        hint = f"did you mean '{KINDS[near[0]]}'? " if near else ""
        raise TargetError(f"hil: --target: got '{spec}', must be one of sim, serial:PORT, pynq://HOST; {hint}Example: {KINDS['serial']}")
    if kind == "sim":
        if build_dir is None:
            raise TargetError("hil: --target sim: got no build folder, must have the built encoder; run `bitloom build` first")
        if rest and design.fetch is None:
            raise TargetError(f"hil: --target: got '{spec}' for an encoder with its weights on the chip, must have them in external memory; take sim")
        return SimulatedTarget(design, build_dir, image=build_dir / FILE if rest else None, **options)
    if kind == "serial":
        if not rest:
            raise TargetError(f"hil: --target: got '{spec}', must name a port; for example {KINDS['serial']}")
        return SerialTarget(design, rest, **options)
    if not rest.startswith("//") or not rest[2:]:
        raise TargetError(f"hil: --target: got '{spec}', must be pynq://HOST or pynq://HOST:PORT; for example {KINDS['pynq']}")
    return open_pynq(design, rest[2:], **options)
