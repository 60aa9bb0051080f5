# SPDX-License-Identifier: Apache-2.0
"""The encoder as an IP: its streams as a DMA carries them."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from bitloom.hw import image
from bitloom.hw.keys import PACK
from bitloom.hw.plan.streams import Stream, read_streams
from bitloom.hw.synth.tools import SynthError

DMA_BYTES = (4, 8, 16, 32, 64, 128)  # beats of AXI DMA's streams (AMD PG021: up to 1024 bits), from the width of its narrowest memory port


@dataclass(frozen=True, kw_only=True)
class Port:
    """A stream of the IP. A beat is `lanes` elements of `element_bytes` from bit 0 on, then zeros up to `beat_bytes`.

    kind      "token": [T, channels] a sentence; "sentence": [1, channels]; "pack": [1, channels] for each sentence of a pack (hw/pack.py)
    channels  elements of a token in its beats, zeros included that its layout fills up
    bits      of an element's code, sign-extended (or zero-extended) to whole bytes
    """

    lanes: int
    bits: int
    signed: bool
    channels: int
    kind: str
    element_bytes: int
    beat_bytes: int

    @property
    def data_bits(self) -> int:
        """Width of the encoder's own tdata."""
        return 8 * self.lanes * self.element_bytes


@dataclass(frozen=True, kw_only=True)
class Ip:
    """What a host must know about a built encoder.

    identity     16 hex digits, the first of the graph's hash
    memory_bits  of a beat at m_axi, from which the weights come; 0: they are on the chip
    image_bytes  of any image of weights that it takes
    shapes       64 hex digits that such an image's header has (hw/image.py)
    """

    identity: str
    max_tokens: int
    input: Port
    output: Port
    memory_bits: int = 0
    image_bytes: int = 0
    shapes: str = ""

    def as_dict(self) -> dict:
        return asdict(self)


def read_ip(build_dir: Path) -> Ip:
    """The IP of a folder that `bitloom.hw.build.build` wrote.

    Raises SynthError: a file is missing or malformed, a beat is wider than AXI DMA carries.
    """
    build_dir = Path(build_dir)
    try:
        streams = read_streams(build_dir)
        tokens = json.loads((build_dir / "timing.json").read_text())["max_tokens"]
        text = (build_dir / "encoder.sv").read_text()
        identity = re.search(r"identity = 64'h([0-9a-f]{16});", text)[1]
        memory = re.search(r"\[(\d+):0\] m_axi_rdata,", text)
        weights = _weights(build_dir, text, int(memory[1]) + 1) if memory else {}
        return Ip(identity=identity, max_tokens=tokens, input=_port(streams[0]), output=_port(streams[-1]), **weights)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise SynthError(
            f"vivado: {build_dir}: got no whole build ({type(error).__name__}: {error}), must hold encoder.sv, streams.json and timing.json; "
            "run `bitloom build` first"
        ) from error


def _weights(build_dir: Path, text: str, memory_bits: int) -> dict[str, int | str]:
    """What the images have in common that the hardware `text` takes.

    Raises SynthError: the image beside it is none of them, or no whole one.
    """
    try:
        made = image.read(build_dir / image.FILE)
    except image.ImageError as error:
        raise SynthError(f"vivado: {error}") from error
    digest = int.from_bytes(bytes.fromhex(made.shapes), "little")
    if not re.search(rf"\.SHAPES\(\d+'d{digest}\)", text):
        raise SynthError(f"vivado: {build_dir / image.FILE}: got an image of shapes that encoder.sv does not take, must be its own; run `bitloom build` again")
    return {"memory_bits": memory_bits, "image_bytes": made.size, "shapes": made.shapes}


def _port(stream: Stream) -> Port:
    if stream.io_width > 8 * DMA_BYTES[-1]:
        raise SynthError(
            f"vivado: {stream.tensor}: got beats of {stream.io_width // 8} bytes, must be at most {DMA_BYTES[-1]} for AXI DMA; "
            "build with fewer multipliers, which takes fewer lanes"
        )
    return Port(
        lanes=stream.lanes,
        bits=stream.bits,
        signed=stream.signed,
        channels=stream.layout.width,
        kind="pack" if stream.kind == "token" and stream.keys == PACK else stream.kind,
        element_bytes=stream.io_bits // 8,
        beat_bytes=next(size for size in DMA_BYTES if 8 * size >= stream.io_width),
    )
