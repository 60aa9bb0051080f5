# SPDX-License-Identifier: Apache-2.0
"""An encoder with its weights in external memory: its cycles, memories that are slow or fail, its image and those of others."""

import re
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from encoder_bench import TOLERANCE, Encoder, make
from encoders import random_encoder, random_sentences
from streamed_bench import check

from bitloom.hw import golden, image
from bitloom.hw.board import Board
from bitloom.hw.cost.resources import MODULES
from bitloom.hw.emit import emit
from bitloom.hw.graph import Graph, Node
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import FoldingError
from bitloom.hw.plan.predict import predict, stage_intervals
from bitloom.hw.plan.solve import HardwareConfig, MemoryConfig, solve
from bitloom.hw.plan.streamed import fetch_cycles
from bitloom.sim.encoder import Options, run_encoder
from bitloom.sim.errors import SimulationError
from bitloom.sim.memory import MemoryOptions
from bitloom.sim.verify import compare

SHAPE = dict(layers=2, hidden=64, heads=2, intermediate=128, max_tokens=16)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    """Of a size at which tiles are long beside the memory's latency."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITLOOM_BUILD", "quick")
        hardware = HardwareConfig(multipliers=200, layers=1, memory=MemoryConfig(data_bits=128, block=16, outstanding=16))
        yield make(tmp_path_factory.mktemp("streamed"), 3, hardware, [16] * 12, SHAPE)


def test_cycles(encoder):
    """Of many sentences the interval and the end, of a lone one the latency."""
    got, report = encoder.run(seed=1)
    assert report.ok
    many = encoder.cycles(got)
    lone = replace(encoder, ids=encoder.ids[:1], segments=encoder.segments[:1], want=golden.run(encoder.graph, encoder.ids[:1], encoder.segments[:1]))
    alone, _ = lone.run(seed=2)
    guess = predict(Design(encoder.graph, encoder.folding), lone.lengths).out_last[0]
    for measured, predicted in (many["interval"], many["end"], (int(alone.out_last_cycle[0]), guess)):
        assert measured > 0 and abs(measured - predicted) <= TOLERANCE * measured


@pytest.mark.parametrize("lengths", [[16], [16, 5, 1, 9]], ids=["alone", "several"])
def test_a_memory_that_cannot_keep_up(encoder, tmp_path, lengths):
    """Each sentence nearly to the cycle, a lone one and several that crowd it."""
    slow = replace(encoder.folding, memory=replace(encoder.folding.memory, cycles=9, latency=24))
    shutil.copytree(encoder.folder, tmp_path / "build")
    slow.save(tmp_path / "build" / "folding.json")
    ids, segments = random_sentences(encoder.graph, lengths, 2)
    few = replace(encoder, folder=tmp_path / "build", folding=slow, ids=ids, segments=segments, want=golden.run(encoder.graph, ids, segments))
    got, report = few.run(seed=1)
    guess = predict(Design(encoder.graph, slow), lengths)
    assert report.ok and np.abs(got.out_last_cycle - guess.out_last).max() <= 0.002 * guess.out_last[-1], (got.out_last_cycle, guess.out_last)
    assert got.out_last_cycle[-1] > 1.1 * predict(Design(encoder.graph, encoder.folding), lengths).out_last[-1], "it binds"


@pytest.mark.slow
def test_memories_that_are_moved_change_neither_bits_nor_cycles(encoder, tmp_path, monkeypatch):
    """Each memory that can be in UltraRAM or LUT RAM: the loop's, FIFOs', keys, values, blocks, tiles."""
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    design = Design(encoder.graph, encoder.folding)
    styles = {name: dict(found) for _, name, made in design.instances if (found := MODULES[made.module].styles)}
    assert {made.module for _, name, made in design.instances if name in styles} == {"fifo", "scores", "context_op", "linear_tiles", "unfold", "loop"}
    emit(Design(encoder.graph, replace(encoder.folding, styles=styles)), tmp_path)
    text = (tmp_path / "encoder.sv").read_text()
    assert text.count('.RAM_STYLE("ultra")') == len(styles) - len(design.exits) and text.count('.TILE_STYLE("distributed")') == len(design.fetching)
    ids, segments = encoder.ids[:3], encoder.segments[:3]
    few = replace(encoder, ids=ids, segments=segments, want=golden.run(encoder.graph, ids, segments))
    moved = replace(few, folder=tmp_path, folding=replace(encoder.folding, styles=styles))
    (got, report), (want, _) = (one.run(seed=2, stall_in=0.3, stall_out=0.3) for one in (moved, few))
    assert report.ok and report.mismatches == 0, str(report)
    assert np.array_equal(got.out_last_cycle, want.out_last_cycle)


@pytest.mark.parametrize(
    "memory, what",
    [
        (MemoryOptions(error_address=4096 + 160), "external memory: error 2 in the burst at byte 4"),
        (MemoryOptions(errors=0.02), "external memory: error 2 in the burst"),
    ],
    ids=["an address", "any"],
)
def test_memory_errors_are_told(encoder, memory, what):
    got, report = encoder.run(memory=memory)
    assert what in got.problem and not report.ok


def with_image(encoder: Encoder, folder, data: bytes) -> Path:
    """A copy of the build with another image."""
    shutil.copytree(encoder.folder, folder)
    (folder / image.FILE).write_bytes(data)
    return folder


def other_parameters(graph: Graph, shape: dict) -> Graph:
    """Of the same shapes, bits and constants: all parameters another encoder's, what layers say by turn exchanged between them."""
    other = random_encoder(4, **shape).params
    params = {key: other[key].copy() for key in graph.params}
    for key, values in graph.params.items():
        if key.endswith((".gamma", ".beta", ".mult")):  # as wide as before
            params[key][0] = values[np.abs(values).argmax()]
            params[key] = np.clip(params[key], -np.abs(values).max(), np.abs(values).max())
        elif key.endswith(".table"):
            params[key] = np.roll(values, 1)
        elif key.endswith(".exp_table"):
            params[key][1:] = values[1:] // 2
    exchanged = {"layer.0": "layer.1", "layer.1": "layer.0"}
    nodes = {node.name: node for node in graph.nodes}

    def turned(node: Node) -> Node:
        twin = nodes.get(exchanged.get(node.name[:7], "none") + node.name[7:])
        return replace(node, attrs=twin.attrs) if twin and node.op in ("add", "requant") else node

    return replace(graph, params=params, nodes=tuple(map(turned, graph.nodes)))


def check_other_image(encoder: Encoder, graph: Graph, folder: Path) -> None:
    """The build with the image of another graph computes that one's codes, and tells whose they are (run_encoder compares it with the image)."""
    own, design = Design(encoder.graph, encoder.folding), Design(graph, encoder.folding)
    pairs = zip(image.memories(own), image.memories(design), strict=True)
    same = [name for (name, a), (_, b) in pairs if np.array_equal(a.parts(31), b.parts(31)) and not name.endswith(".round")]
    assert not same
    folder = with_image(encoder, folder, image.make(design))
    with pytest.raises(image.ImageError, match=f"got an image of graph {graph.hash[:16]}, must be of {encoder.graph.hash[:16]}"):
        image.check(folder / image.FILE, own)
    assert image.check(folder / image.FILE, design).graph == graph.hash
    want = golden.run(graph, encoder.ids, encoder.segments)
    got = run_encoder(folder, np.split(want[graph.entry], np.cumsum(encoder.lengths)[:-1]), Options(identity=encoder.graph.hash[:16]))
    report = compare(graph, want, got)
    assert report.ok and report.mismatches == 0 and not np.array_equal(want["logits"], encoder.want["logits"]), str(report)


def test_another_image_of_the_same_shapes(encoder, tmp_path):
    """Layers in turn: every parameter from the image."""
    assert not list(encoder.folder.glob("*.hex"))
    check_other_image(encoder, other_parameters(encoder.graph, SHAPE), tmp_path / "build")


@pytest.mark.slow
def test_another_image_where_all_layers_are_hardware(tmp_path, monkeypatch):
    monkeypatch.setenv("BITLOOM_BUILD", "quick")
    hardware = HardwareConfig(multipliers=30, memory=MemoryConfig(data_bits=64, block=4))
    shape = dict(layers=1, hidden=24, heads=2, intermediate=44, max_tokens=8)
    encoder = make(tmp_path, 3, hardware, [5, 8, 1], shape)
    check(encoder)
    other = replace(other_parameters(encoder.graph, shape), nodes=encoder.graph.nodes)  # of units without turns shifts are constants
    check_other_image(encoder, other, tmp_path / "build")


def test_the_hash_of_another_image_is_read_back(encoder, monkeypatch):
    """What the hardware tells is compared: with the place of another hash it is found."""
    monkeypatch.setattr(image, "GRAPH", slice(64, 96))
    told, file = (encoder.folder / image.FILE).read_bytes()[64:72].hex(), encoder.graph.hash[:16]
    with pytest.raises(SimulationError, match=f"weights: got {file}, must be {told}; the hardware has read another image"):
        encoder.run()


def test_an_image_that_does_not_fit_is_refused(encoder, tmp_path):
    """Of another structure, of other constants of the hardware, or none: error 8, no input is taken, and image.check refuses it, too."""
    own = Design(encoder.graph, encoder.folding)
    shift = encoder.graph.node("logits").attrs["shift"]
    nodes = tuple(replace(n, attrs=n.attrs | {"shift": n.attrs["shift"] + 1}) if n.name == "logits" else n for n in encoder.graph.nodes)
    constants = image.make(Design(replace(encoder.graph, nodes=nodes), encoder.folding))
    structure = image.make(Design(encoder.graph, solve(encoder.graph, HardwareConfig(multipliers=100, layers=1, memory=MemoryConfig()))))
    whole = (encoder.folder / image.FILE).read_bytes()
    foreign = structure[:4096].ljust(len(whole), b"\0")
    for number, (data, match) in enumerate(
        [
            (constants, rf"other shapes or bits, logits: SHIFT {shift + 1}, must be {shift}; take"),
            (foreign, "the file is cut"),
            (b"bitloom\0" + whole[8:], "an image of weights"),
        ]
    ):
        folder = with_image(encoder, tmp_path / str(number), data)
        with pytest.raises(image.ImageError, match=match):
            image.check(folder / image.FILE, own)
        got, report = replace(encoder, folder=folder).run()
        assert "external memory: error 8 in the burst at byte 0" in got.problem and not report.ok
        assert not len(got.in_first_cycle)


def test_images_that_are_not_taken(encoder, tmp_path):
    design, path = Design(encoder.graph, encoder.folding), tmp_path / image.FILE
    data = (encoder.folder / image.FILE).read_bytes()
    assert image.check(encoder.folder / image.FILE, design).size == len(data)

    def refused(changed: bytes, match: str) -> None:
        path.write_bytes(changed)
        with pytest.raises(image.ImageError, match=match):
            image.check(path, design)

    refused(data[:-1], f"got {len(data) - 1:,} bytes, must be {len(data):,}: the file is cut")
    refused(data[:100], "got 100 bytes that begin with b'bitloomW', must be an image of weights")
    refused(b"x" * len(data), "must be an image of weights; write it again with `bitloom build`")
    refused(data[:5000] + bytes([data[5000] ^ 4]) + data[5001:], "got weights of unit 0 whose CRC-32 is wrong")
    refused(data[:40] + bytes([data[40] ^ 4]) + data[41:], "got a header whose CRC-32 is wrong")
    other = Design(encoder.graph, solve(encoder.graph, HardwareConfig(multipliers=100, layers=1, memory=MemoryConfig())))
    refused(image.make(other), r"got an image of other shapes or bits, [\w.]+: \w+ .*, must be .*; take the one of this build, or build hardware for it")
    with pytest.raises(image.ImageError, match="got no file that can be read"):
        image.check(tmp_path / "absent.bin", design)


def test_every_memory_of_an_image_is_compared(encoder, tmp_path):
    """A bit of the first, the last and any word of each memory, with checksums to match: it is named. Without them the checksum tells."""
    design, path, rng = Design(encoder.graph, encoder.folding), tmp_path / image.FILE, np.random.default_rng(1)
    whole, at = (encoder.folder / image.FILE).read_bytes(), image.begin(design)

    def changed(place: int) -> bytes:
        data = bytearray(whole)
        data[place] ^= 1
        return bytes(data)

    path.write_bytes(changed(at + 4))
    with pytest.raises(image.ImageError, match="got parameters whose CRC-32 is wrong"):
        image.check(path, design)
    for name, memory in image.memories(design):
        count, parts = memory.parts(31).shape
        for word in {0, count - 1, int(rng.integers(count))}:
            path.write_bytes(image.sealed(changed(at + 4 * (1 + word * parts + int(rng.integers(parts))))))
            with pytest.raises(image.ImageError, match=rf"{name}: got word {word} that is not the graph's, must be"):
                image.check(path, design)
        at += 4 * (1 + count * parts)
    place = design.fetching[1].fold.base
    data = bytearray(changed(place))
    entry = image.FIRST.size + image.ENTRY.size
    begin, length, _, _ = image.ENTRY.unpack_from(data, entry)
    image.ENTRY.pack_into(data, entry, begin, length, zlib.crc32(data[begin : begin + length]), 0)
    path.write_bytes(image.sealed(bytes(data)))
    with pytest.raises(image.ImageError, match=f"got weights of {design.fetching[1].name} that are not the graph's"):
        image.check(path, design)


def test_bad_memories():
    with pytest.raises(ValueError, match="got bursts of 256 beats of 256 bits, must be at most 4096 bytes; lower burst"):
        MemoryConfig(burst=256, data_bits=256)
    with pytest.raises(ValueError, match="got 2 beats in 1 cycles, must be at most one a cycle"):
        MemoryConfig(beats=2)
    with pytest.raises(FoldingError, match=r"got [\d,]+ bytes of weights, must be at most the memory's 8,192; lower the weights' bits or take a larger memory"):
        solve(random_encoder(hidden=64, intermediate=128), HardwareConfig(multipliers=60, memory=MemoryConfig(bytes=8192)))
    with pytest.raises(FoldingError, match="got no matrix with 1024 bits of weights or more, must be one for hardware.memory; remove the setting"):
        solve(random_encoder(hidden=8, intermediate=8, heads=1), HardwareConfig(multipliers=60, memory=MemoryConfig()))


def test_a_memory_that_the_build_does_not_name(encoder, tmp_path):
    shutil.copytree(encoder.folder, tmp_path / "build")
    replace(encoder.folding, memory=None).save(tmp_path / "build" / "folding.json")
    with pytest.raises(SimulationError, match=r"got weights.bin, but folding.json without a memory"):
        run_encoder(tmp_path / "build", [encoder.want[encoder.graph.entry][:4]])


def test_one_token(encoder, tmp_path):
    """A lone sentence of one token: each weight is fetched once for it."""
    ids, segments = random_sentences(encoder.graph, [1], 5)
    lone = replace(encoder, ids=ids, segments=segments, want=golden.run(encoder.graph, ids, segments))
    check(lone)


def test_a_memory_that_is_too_slow_says_by_how_much(encoder):
    """For a target, and on a board where not even the slowest folding can live with it."""
    graph, slow = encoder.graph, MemoryConfig(data_bits=64, block=4, cycles=2)
    text = r"folding: got a memory of 4 bytes a cycle, must be at least (\S+) for blocks of 4 tokens in 30,000 cycles a sentence \((\S+) times\); raise "
    with pytest.raises(FoldingError, match=text + "hardware.memory.block, hardware.target_cycles or the memory's rate$") as caught:
        solve(graph, HardwareConfig(layers=1, target_cycles=30_000, memory=slow))
    need, times = (float(found) for found in re.search(text, str(caught.value)).groups())
    folding = solve(graph, HardwareConfig(layers=1, target_cycles=30_000, memory=slow.model_copy(update={"cycles": 1})))
    fetched = 8 * fetch_cycles(Design(graph, folding).graph, folding)  # 8 bytes a cycle, which does
    assert need == pytest.approx(fetched / (0.85 * 30_000), rel=0.001) and times == pytest.approx(need / 4, rel=0.03)
    with pytest.raises(
        FoldingError, match=r"folding: zcu102: got a memory of 0.008 bytes a cycle, must be at least \S+ for blocks of 16 tokens in .* times\)"
    ) as caught:
        solve(graph, HardwareConfig(layers=1, board="zcu102", memory=MemoryConfig(data_bits=64, block=16, cycles=1000)))
    assert "hardware.memory.block" not in str(caught.value)  # they are the whole sentence already


@pytest.mark.slow
def test_where_nothing_fits_on_the_chip_weights_come_from_the_boards_memory():
    """With half of its block RAM the board takes one layer in turn, with a third weights from its memory; without a memory it says what is short."""
    graph, board = random_encoder(layers=4, hidden=64, intermediate=256, max_tokens=8), Board.load("ulx3s_85f")

    def smaller(share: float, **changes) -> Board:
        ram = board.resources.block_ram[0]
        few = board.resources.model_copy(update={"block_ram": (ram.model_copy(update={"count": int(ram.count * share)}),)})
        return board.model_copy(update={"resources": few, **changes})

    config = HardwareConfig(board="ulx3s_85f")
    assert solve(graph, config, smaller(0.5)).how == "1 in turn"
    assert "1 in turn, weights in memory for" in solve(graph, config, smaller(0.3)).how
    with pytest.raises(FoldingError, match="DP16KD"):
        solve(graph, config, smaller(0.3, external_memory=None))


FAULTS = {
    "layer stride of the biases": ("turns.sv", "BASE_W'(bank) * BASE_W'(STRIDE)", "BASE_W'(bank) * BASE_W'(STRIDE - 1)"),
    "layer stride of the weights": ("tiles.sv", "(TileBytes * ADDR_W'(TILES));", "(TileBytes * ADDR_W'(TILES - 1));"),
    "tiles swapped": ("tiles.sv", "wire [AddrW-1:0] read_at = (bank_q ?", "wire [AddrW-1:0] read_at = (!bank_q ?"),
    "blocks swapped": ("blocks.sv", "wire [AddrW-1:0] read_at = (read_bank_q ?", "wire [AddrW-1:0] read_at = (!read_bank_q ?"),
    "a tile asked for twice": (
        "tiles.sv",
        "offset_q <= tile_end ? '0 : offset_q + TileBytes",
        "offset_q <= tile_end ? '0 : offset_q + (offset_q == '0 ? '0 : TileBytes)",
    ),
    "a sentence a turn too few": ("loop.sv", "turn == TurnW'(TURNS - 1)", "turn == TurnW'(TURNS - 2)"),
    "another memory loaded": ("rom.sv", "load[30:0] == ItemW'(LOAD)", "load[30:0] == ItemW'(LOAD + 1)"),
    "words loaded to the next address": ("rom.sv", "at_q <= first ? '0", "at_q <= first ? ADDR_W'(1)"),
    "parameters from a chunk before": ("image_loader.sv", "offset_q <= ADDR_W'(PARAMS);", "offset_q <= ADDR_W'(PARAMS) - ADDR_W'(Chunk * DATA_W / 8);"),
    "order of what comes back": ("loop.sv", "order_q[0][TurnW-1:0] == '0", "order_q[0][TurnW-1:0] != '0"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(fault, encoder, tmp_path):
    """By values, by what was fetched, or by a turn in which no sentence can be."""
    file, right, wrong = FAULTS[fault]
    shutil.copytree(encoder.folder, tmp_path / "build")
    path = tmp_path / "build" / "rtl" / file
    assert path.read_text().count(right) == 1
    path.write_text(path.read_text().replace(right, wrong))
    faulty = replace(encoder, folder=tmp_path / "build")
    try:
        got, report = faulty.run(timeout_cycles=20_000)
    except SimulationError as error:
        assert "in which no sentence can be" in str(error)
        return
    planned = image.reads(Design(encoder.graph, encoder.folding), encoder.lengths)
    assert not report.ok or not np.array_equal(got.fetched, planned)
    assert report.first is None or report.first.tensor in encoder.want


def test_intervals_of_units_alone():
    """In the report each unit stands with the cycles of a sentence that its folding allows, folded inputs or not, of short sentences too."""
    graph = random_encoder(3, layers=2, hidden=64, heads=2, intermediate=128, max_tokens=3)
    design = Design(graph, solve(graph, HardwareConfig(multipliers=200, layers=1, memory=MemoryConfig(block=3))))
    made = stage_intervals(design, graph.max_tokens)
    assert {bool(unit.fold.folded) for unit in design.fetching} == {False, True}
    for unit in design.fetching:
        assert made[unit.name] == unit.turns * unit.op.interval(design.graph, unit.node, unit.fold, graph.max_tokens)
