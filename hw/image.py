# SPDX-License-Identifier: Apache-2.0
"""The image of a design's parameters in external memory.

A header of 4096 bytes, then each unit's tiles (hw/rtl/tiles.sv), turn after turn, in the order of the units, then what the memories on the chip are loaded
with (hw/rtl/rom.sv). All numbers little-endian:
  0  "bitloomW", 8 bytes        8  version 2, 4 bytes        12  bytes of a beat, 4
 16  bytes of the image, 8     24  number of units, 4       28  CRC-32 of all that is behind the header, 4
 32  SHA-256 of the graph, 32  64  SHA-256 of the shapes, 32: what any image must have that this hardware can work with
    The hardware reads what is above (hw/rtl/image_loader.sv)
 96  per unit, 24 bytes: where its weights begin, 8; how many bytes they have, 8; their CRC-32, 4; 0, 4
4084 where the structure begins, 8
4092 CRC-32 of the 4092 bytes before
Behind the last unit, words of 32 bits: for each memory, in the order of the units and their parameters, its number (from 1 on) with bit 31 set, then its
words from address 0 on, each in as many parts of 31 bits as it needs, the lowest first; numbers 0 up to whole chunks of 16 beats. Where memories are loaded
by turn (hw/rtl/by_turn.sv), these come behind the others: those of turn 0, in whole chunks, then of turn 1, ... At the end the structure,
whose SHA-256 is that of the shapes: JSON, compressed, with its length in 4 bytes in front; the hardware does not read it.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitloom.boards.pynq_driver.header import FIRST, MAGIC, VERSION, parse
from bitloom.hw import pack
from bitloom.hw.errors import BitloomError
from bitloom.hw.hexfile import Hex
from bitloom.hw.instance import Instance
from bitloom.hw.parts import image_loader, tiles, weights
from bitloom.hw.parts.axi_fetch import ExternalMemory
from bitloom.hw.plan import streamed
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.streamed import HEADER
from bitloom.hw.plan.units import Unit

NUMBER, PART = 1 << 31, 31  # of the words of parameters: what marks a memory's number, and bits of a part
FILE = "weights.bin"
GRAPH = slice(32, 64)  # its place in the header
TAIL, BEAT = 4084, 64  # of the header, where the place of the structure is; bytes of the widest beat
ENTRY = struct.Struct("<QQII")
MOST_UNITS = (TAIL - FIRST.size) // ENTRY.size


class ImageError(BitloomError):
    """A file that is no image of weights, or another design's."""


@dataclass(frozen=True)
class Image:
    """What a header says. units: (begin, bytes, CRC-32) of each; structure: what `shapes` is the SHA-256 of."""

    beat_bytes: int
    size: int
    checksum: int
    graph: str
    shapes: str
    units: tuple[tuple[int, int, int], ...]
    structure: str


def shapes(design: Design) -> str:
    """SHA-256 of the structure, 64 hex digits."""
    return hashlib.sha256(structure(design).encode()).hexdigest()


def structure(design: Design) -> str:
    """All that an image must fit to: every unit's parameters (of memories words and parts of a word) and inputs, where weights lie. JSON."""
    units = {u.name: {"module": u.instance.module, "inputs": list(u.node.inputs)} for u in design.units}
    for unit in design.units:
        units[unit.name] |= {key: _told(value) for key, value in unit.instance.params.items()}
    whole = {"data_bits": design.folding.memory.data_bits, "outputs": list(design.graph.outputs)}
    loop = {"loop": dict(design.loop.instance.params)} if design.loop and design.loop.logits else {}  # the rule by which sentences leave
    return json.dumps({"memory": whole, **units, **loop})


def difference(got: str, want: str) -> str:
    """The first place where two structures differ, of which unit, in words; "" if they do not."""
    one, other = json.loads(got), json.loads(want)
    for name in {**other, **one}:
        a, b = one.get(name, {}), other.get(name, {})
        for key in {**b, **a}:
            if a.get(key) != b.get(key):
                return f"{name}: {key} {a.get(key, 'none')}, must be {b.get(key, 'none')}"
    return "" if list(one) == list(other) else "units in another order"


def _told(value: int | str | Hex) -> int | str | list[int]:
    return list(value.parts(PART).shape) if isinstance(value, Hex) else value


def memories(design: Design) -> list[tuple[str, Hex]]:
    """What is loaded on the chip, (name, contents) in the order of the numbers from 1 on."""
    return [
        (f"{u.name}.{key.removesuffix('_FILE').lower()}", value) for u in design.units for key, value in u.instance.params.items() if isinstance(value, Hex)
    ]


@dataclass(frozen=True)
class Load:
    """What one memory is loaded with at one time: words `first` .. of it, in their parts, uint32 [words, parts]."""

    number: int
    name: str
    first: int
    parts: np.ndarray


def sections(design: Design) -> list[list[Load]]:
    """What is loaded after reset; then, where memories are loaded by turn, for each turn."""
    turns = design.loop.instance.params["TURNS"] if design.by_turn else 0
    found: list[list[Load]] = [[] for _ in range(1 + turns)]
    by_turn = [u.by_turn for u in design.units for value in u.instance.params.values() if isinstance(value, Hex)]
    for number, ((name, memory), own) in enumerate(zip(memories(design), by_turn, strict=True), 1):
        parts = memory.parts(PART)
        each = len(parts) // turns if own else len(parts)
        for turn in range(turns if own else 1):
            found[1 + turn if own else 0].append(Load(number, name, turn * each, parts[turn * each :][:each]))
    return found


def _section(loads: list[Load], data_bits: int) -> bytes:
    """In whole chunks, one at least."""
    words = [word for load in loads for word in (np.array([NUMBER | load.number], dtype="<u4"), load.parts.reshape(-1))]
    data, chunk = np.concatenate([np.zeros(0, "<u4"), *words]).astype("<u4").tobytes(), image_loader.CHUNK * data_bits // 8
    return data + struct.pack("<I", NUMBER) * ((-len(data) % chunk or chunk * (not data)) // 4)


def parameters(design: Design) -> bytes:
    """What the memories on the chip are loaded with, in whole chunks."""
    return b"".join(_section(loads, design.folding.memory.data_bits) for loads in sections(design))


def begin(design: Design) -> int:
    """Where they begin: behind the last unit's weights."""
    return max(unit.fold.base + streamed.size(unit.graph, unit.node, unit.fold) for unit in design.fetching)


def chunks(design: Design) -> tuple[int, int]:
    """Chunks of them: for all turns, and for each."""
    bits = design.folding.memory.data_bits
    sizes = [8 * len(_section(loads, bits)) // (image_loader.CHUNK * bits) for loads in sections(design)]
    return sizes[0], max(sizes[1:], default=0)


def loader(design: Design) -> Instance:
    """What reads it after reset."""
    common, turn = chunks(design)
    sizes = {"begin": begin(design), "chunks": common, "turn_chunks": turn}
    return image_loader.instance(data_bits=design.folding.memory.data_bits, version=VERSION, shapes=shapes(design), **sizes)


def load_cycles(design: Design) -> int:
    """Cycles from reset until the encoder takes beats, where the memory is as planned."""
    memory = design.folding.memory
    return image_loader.load_cycles(memory.data_bits, chunks(design)[0], ExternalMemory.planned(memory))


def turn_loads(design: Design, client) -> image_loader.TurnLoads:
    """The timing of what is loaded by turn; client: the loader as one of external memory (hw/plan/predict.py)."""
    memory, (common, turn) = design.folding.memory, chunks(design)
    address = begin(design) + common * image_loader.CHUNK * memory.data_bits // 8
    return image_loader.TurnLoads(client, address, turn, memory.data_bits, ExternalMemory.planned(memory))


def make(design: Design) -> bytes:
    """The image of a design with weights in external memory."""
    parts = [_tiles(unit, design.folding.memory.data_bits) for unit in design.fetching]
    body = b"".join([*parts, parameters(design)])
    tail = HEADER + len(body)
    body += _tail(design)
    entries, place = [], HEADER
    for part in parts:
        entries.append((place, len(part), zlib.crc32(part)))
        place += len(part)
    if [entry[0] for entry in entries] != [unit.fold.base for unit in design.fetching] or len(entries) > MOST_UNITS:
        raise ImageError(f"weights: got {len(entries)} units, must be at most {MOST_UNITS}, one behind the other")
    sums = bytes.fromhex(design.graph.hash), bytes.fromhex(shapes(design))
    head = FIRST.pack(MAGIC, VERSION, design.folding.memory.data_bits // 8, HEADER + len(body), len(entries), 0, *sums)
    head += b"".join(ENTRY.pack(*entry, 0) for entry in entries)
    return sealed(head.ljust(TAIL, b"\0") + struct.pack("<QI", tail, 0) + body)


def _tail(design: Design) -> bytes:
    packed = zlib.compress(structure(design).encode(), 9)
    packed = struct.pack("<I", len(packed)) + packed
    return packed + bytes(-len(packed) % BEAT)


def sealed(data: bytes) -> bytes:
    """An image with the checksums of its body and its header."""
    head = data[:28] + struct.pack("<I", zlib.crc32(data[HEADER:])) + data[32 : HEADER - 4]
    return head + struct.pack("<I", zlib.crc32(head)) + data[HEADER:]


def _tiles(unit: Unit, data_bits: int) -> bytes:
    """A unit's weights as they lie in memory."""
    every, bits = unit.op.weights(unit.graph, unit.node, unit.fold), unit.op.element_bits(unit.graph, unit.node, unit.fold)
    found = weights.of_banks(every, weights.tile_banks(unit.graph, unit.node))
    elements = found[0].shape[1]
    columns, in_beat, _ = tiles.shape(bits * elements, 1, data_bits)
    words = np.concatenate([np.pad(tile, ((0, -len(tile) % in_beat), (0, 0))) for tile in found])  # to whole beats
    digits = np.empty((*words.shape, bits), dtype=np.uint8)
    for place in range(bits):
        digits[..., place] = words >> place & 1
    digits = digits.reshape(len(words) // in_beat, in_beat * elements * bits)
    digits = np.pad(digits, ((0, 0), (0, columns * data_bits - digits.shape[1])))
    return np.packbits(digits, axis=1, bitorder="little").tobytes()


def reads(design: Design, lengths: Sequence[int], exits: Sequence[int] | None = None, left_out: Sequence[int] | None = None) -> np.ndarray:
    """How often each beat of the image is fetched for sentences of these lengths: header and parameters once, or those of a turn once for each sentence (or
    pack) that passes it, every tile once a block. int64 [beats].

    exits     the off-ramp at which each sentence leaves; None: there are none
    left_out  of an encoder that keeps first sentences: tokens of each, of all its `lengths`, that were not sent (hw/recall.py); None: all were
    """
    packs = pack.packs_of(lengths, design.graph.max_tokens) if design.graph.packed else None
    lengths = lengths if packs is None else [sum(own) for own in packs]
    beat = design.folding.memory.data_bits // 8
    first, end = begin(design) // beat, (begin(design) + len(parameters(design))) // beat
    counts = np.zeros(end + len(_tail(design)) // beat, dtype=np.int64)
    common, turn = (count * image_loader.CHUNK for count in chunks(design))
    counts[first : first + common] = 1
    for number, begins in enumerate(range(first + common, end, turn or 1)):
        counts[begins : begins + turn] = len(lengths) if exits is None else sum(number <= exit for exit in exits)
    counts[: image_loader.beats(8 * beat)] = 1
    sent = np.asarray(lengths, dtype=np.int64) - (0 if left_out is None else np.asarray(left_out, dtype=np.int64))
    layers = [unit.name for unit in design.units if unit.turns > 1]
    in_front = {unit.name for unit in design.units[: design.units.index(design.unit(layers[0]))]} if layers else set()
    for unit in design.fetching:
        begins = streamed.begins(unit.graph, unit.node, unit.fold)
        for turn, size in enumerate(streamed.sizes(unit.graph, unit.node, unit.fold)):
            first = (unit.fold.base + begins[turn]) // beat
            kept = turn < design.graph.recall if unit.turns > 1 and left_out is not None else unit.name in in_front
            came = unit.out.sizes(lengths, packs) if packs else sent if kept else lengths
            carried = unit.out.carries(came, turn) if unit.out.kind == "token" else np.ones(len(lengths), dtype=np.int64)
            inside = [n for i, n in enumerate(carried.tolist()) if exits is None or exits[i] >= turn]
            counts[first : first + size // beat] += sum(-(-n // unit.fold.block) for n in inside)
    return counts


def read(path: Path) -> Image:
    """The header of an image that is whole.

    Raises ImageError: it is none, is cut, or was changed.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: got no file that can be read ({error.strerror}), must be an image of weights; run `bitloom build`") from error
    again = "write it again with `bitloom build`"
    try:
        head = parse(data)
    except ValueError as error:
        raise ImageError(f"{path}: {error}; {again}") from error
    if len(data) != head.size:
        raise ImageError(f"{path}: got {len(data):,} bytes, must be {head.size:,}: the file is cut; {again}")
    units = tuple(ENTRY.unpack_from(data, FIRST.size + i * ENTRY.size)[:3] for i in range(head.units))
    for number, (place, length, crc) in enumerate(units):
        if zlib.crc32(data[place : place + length]) != crc:
            raise ImageError(f"{path}: got weights of unit {number} whose CRC-32 is wrong, must be as they were written; {again}")
    if zlib.crc32(data[HEADER:]) != head.checksum:
        raise ImageError(f"{path}: got parameters whose CRC-32 is wrong, must be as they were written; {again}")
    tail = struct.unpack_from("<Q", data, TAIL)[0]
    told = zlib.decompress(data[tail + 4 : tail + 4 + struct.unpack_from("<I", data, tail)[0]]).decode()
    return Image(head.beat_bytes, head.size, head.checksum, head.graph, head.shapes, units, told)


def check(path: Path, design: Design) -> Image:
    """The header of a whole image of this design, every bit as the graph says.

    Raises ImageError: it is another design's, or the first unit or word that differs.
    """
    image = read(path)
    if image.shapes != shapes(design):
        where = difference(image.structure, structure(design))
        raise ImageError(f"{path}: got an image of other shapes or bits, {where}; take the one of this build, or build hardware for it")
    if image.graph != design.graph.hash:
        raise ImageError(f"{path}: got an image of graph {image.graph[:16]}, must be of {design.graph.hash[:16]}; take the one of this build")
    data, again = Path(path).read_bytes(), "write it again with `bitloom build`"
    for unit, (place, length, _) in zip(design.fetching, image.units, strict=True):
        if data[place : place + length] != _tiles(unit, design.folding.memory.data_bits):
            raise ImageError(f"{path}: got weights of {unit.name} that are not the graph's, must be; {again}")
    at = begin(design)
    for loads in sections(design):
        size = len(_section(loads, design.folding.memory.data_bits))
        _check_section(np.frombuffer(data[at : at + size], dtype="<u4"), loads, path)
        at += size
    return image


def _check_section(got: np.ndarray, loads: list[Load], path: Path) -> None:
    at, again = 0, "write it again with `bitloom build`"
    for load in loads:
        part, number = got[at + 1 : at + 1 + load.parts.size].reshape(load.parts.shape), NUMBER | load.number
        if got[at] != number or (wrong := np.flatnonzero((part != load.parts).any(axis=1))).size:
            where = (
                f"number {got[at] & ~NUMBER}, must be {load.number}" if got[at] != number else f"word {load.first + wrong[0]} that is not the graph's, must be"
            )
            raise ImageError(f"{path}: {load.name}: got {where}; {again}")
        at += 1 + load.parts.size
    if (got[at:] != NUMBER).any():
        raise ImageError(f"{path}: got parameters behind the last memory's, must be none; {again}")
