# SPDX-License-Identifier: Apache-2.0
"""The HLS project folder: what is in it comes from the graph, the folding and the timing model, and is code that a synthesizer takes."""

import math
import re
import subprocess
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
import yaml
from encoders import ALL_BITS, random_encoder, random_sentences

from bitloom.hls import csim, pad, to_hls4ml
from bitloom.hls.dataflow import PARALLEL
from bitloom.hls.layers import HEADERS, cpp_name
from bitloom.hw import golden, graph_file
from bitloom.hw.ops import OPS, layernorm
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, solve
from bitloom.hw.plan.streams import io_bits
from bitloom.sim.errors import SimulationError, ToolError

SHAPE = dict(layers=1, hidden=24, heads=3, intermediate=40, max_tokens=12, labels=3, activation="relu", **ALL_BITS)
GRAPH = random_encoder(7, **SHAPE)
FOLDING = solve(GRAPH, HardwareConfig(target_cycles=440))
DESIGN = Design(GRAPH, FOLDING)
NODES = [n for n in GRAPH.nodes if n.op != "embed"]
PARAMS_WITH_SIGN = ("gamma", "beta")
SYNTHESIZED = sorted(path for path in HEADERS.glob("*.h") if path.name != "csim.h")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    to_hls4ml(DESIGN, "pynq_z2", folder, clock_mhz=125.0).write()
    return folder


@pytest.fixture(scope="module")
def top(project) -> str:
    return (project / "firmware" / "encoder.cpp").read_text()


@pytest.fixture(scope="module")
def typedefs(project) -> dict[str, str]:
    return {name: text for text, name in re.findall(r"typedef (.+) (\w+);", (project / "firmware" / "defines.h").read_text())}


@pytest.fixture(scope="module")
def configs(project) -> dict[str, dict[str, int]]:
    """struct -> constant -> value."""
    text = (project / "firmware" / "parameters.h").read_text()
    structs = re.findall(r"struct (\w+) \{(.*?)\n\};", text, re.DOTALL)
    values = {"true": 1, "false": 0}
    return {name: {k: values[v] if v in values else int(v) for k, v in re.findall(r"static const [\w ]+ (\w+) = (\w+);", body)} for name, body in structs}


def code(bits: int, signed: bool) -> str:
    return f"ap_int<{bits}>" if signed else f"ap_uint<{bits}>"


def test_every_operator_is_a_call_of_its_name(top):
    calls = re.findall(r"bitloom::(\w+)<.*, config_(\w+)>\((.*)\); // (\S+)", top)
    made = {name: (stem, config, arguments.split(", ")) for stem, config, arguments, name in calls}
    assert [name for name in made if name in GRAPH.tensors and name != GRAPH.entry] == [n.name for n in NODES]
    for node in NODES:
        stem, config, arguments = made[node.name]
        layer = OPS[node.op].hls(GRAPH, node, FOLDING.folds[node.name])
        assert (stem, config) == (node.op, cpp_name(node.name))
        inputs = [cpp_name(name) if len(GRAPH.readers(name)) == 1 else cpp_name(f"{name}.to.{node.name}.{port}") for port, name in enumerate(node.inputs)]
        assert arguments == [*inputs, cpp_name(node.name), *(f"{cpp_name(node.name)}_{key}" for key in layer.memories)]
    assert [made[name][0] for name in (GRAPH.entry, "m_axis")] == ["from_axis", "to_axis"]


def test_the_top_is_a_free_running_dataflow_of_axi_streams(top, project):
    body = top[top.index("void encoder(") :]
    assert body.startswith("void encoder(\n    hls::stream<s_axis_t> &s_axis,\n    hls::stream<result_t> &m_axis\n)")
    for pragma in ("INTERFACE axis port=s_axis,m_axis", "INTERFACE ap_ctrl_none port=return", "DATAFLOW"):
        assert re.search(rf"^ *#pragma HLS {pragma} *$", body, re.MULTILINE), pragma
    assert {p.name for p in SYNTHESIZED} <= {p.name for p in (project / "firmware" / "nnet_utils").glob("*.h")}


def test_stream_depths_are_those_of_the_fifos(top):
    written = {name: int(depth) for name, depth in re.findall(r"#pragma HLS STREAM variable=(\w+) depth=(\d+)", top)}
    expected = {}
    for node, port, depth in ((p.unit, p.index, p.depth) for unit in Design(GRAPH, FOLDING).units for p in unit.ports):
        tensor = GRAPH.node(node).inputs[port]
        alone = len(GRAPH.readers(tensor)) == 1
        expected[cpp_name(tensor) if alone else cpp_name(f"{tensor}.to.{node}.{port}")] = depth
    forked = {cpp_name(name) for name in GRAPH.tensors if len(GRAPH.readers(name)) > 1}
    expected |= dict.fromkeys(forked | {"logits"}, 2)
    assert written == expected
    assert max(written.values()) > 100 and len(forked) >= 2


def test_widths_of_all_types_are_the_graphs(typedefs):
    expected = {}
    for name in [GRAPH.entry, *(n.name for n in NODES)]:
        t = GRAPH.tensor(name)
        expected[f"{cpp_name(name)}_t"] = f"bitloom::{'row_beat' if t.kind == 'row' else 'beat'}<{code(t.bits, t.signed)}, {FOLDING.lanes[name]}>"
    for node in NODES:
        for key, codes in OPS[node.op].hls(GRAPH, node, FOLDING.folds[node.name]).memories.items():
            expected[f"{cpp_name(node.name)}_{key}_t"] = code(codes.bits, codes.signed)
    for port, name in (("s_axis_t", GRAPH.entry), ("result_t", "logits")):
        t = GRAPH.tensor(name)
        expected[port] = f"hls::axis<nnet::array<{code(io_bits(t.bits), t.signed)}, {FOLDING.lanes[name]}>, 0, 0, 0>"
    assert typedefs == expected
    assert {FOLDING.lanes[GRAPH.entry], FOLDING.lanes["logits"]} == {1, 2}
    weights = {typedefs[f"{cpp_name(n.name)}_weight_t"] for n in NODES if n.op == "linear"}
    assert weights == {code(n.attrs["weight_bits"], n.attrs["weight_bits"] > 1) for n in NODES if n.op == "linear"} and len(weights) > 3


def test_memories_are_as_narrow_as_the_graph_allows():
    """Weights, biases and tables have the widths that the graph gives them; of all others, one bit less would not hold the largest."""
    for node in NODES:
        for key, codes in OPS[node.op].hls(GRAPH, node, FOLDING.folds[node.name]).memories.items():
            low, high = int(codes.data.min()), int(codes.data.max())
            assert -(1 << codes.bits - 1) * codes.signed <= low and high < 1 << (codes.bits - codes.signed), (node.name, key)
            y = GRAPH.tensor(node.name)
            given = {"weight": (node.attrs.get("weight_bits"), node.attrs.get("weight_bits") != 1), "bias": (y.bits, True), "table": (y.bits, y.signed)}
            assert (codes.bits, codes.signed) == given.get(key, (max(-low, high).bit_length() + (key in PARAMS_WITH_SIGN), key in PARAMS_WITH_SIGN)), (
                node.name,
                key,
            )


def test_constants_are_those_of_the_graph_and_the_folding(configs):
    for node in NODES:
        config, fold, x = configs[f"config_{cpp_name(node.name)}"], FOLDING.folds[node.name], GRAPH.tensor(node.inputs[0])
        tokens = 1 if x.kind == "sentence" else GRAPH.max_tokens
        assert config["max_tokens"] == tokens
        rows = int(x.shape[1]) if x.kind == "row" else 1
        elements = tokens * tokens * rows if x.kind == "row" else tokens * x.channels
        assert config["max_beats"] * FOLDING.lanes[x.name] == elements
        for attr, value in node.attrs.items():
            assert attr == "weight_bits" or config[attr] == value, (node.name, attr)
        for key in {"linear": ("pe", "simd"), "scores": ("simd",), "context": ("pe",)}.get(node.op, ()):
            assert config[key] == getattr(fold, key), (node.name, key)
    shapes = {(configs[f"config_{cpp_name(n.name)}"]["pe"], configs[f"config_{cpp_name(n.name)}"]["simd"]) for n in NODES if n.op == "linear"}
    assert len(shapes) > 2, "the folding has too little variety to show anything"


def test_more_readers_than_a_fork_has_branches(tmp_path):
    """A second fork behind the first one's last branch; FIFO depths stay those of the readers."""
    graph = random_encoder(3, layers=6, hidden=8, heads=2, intermediate=8, max_tokens=6, keys="segment")
    design = Design(graph, solve(graph, HardwareConfig(multipliers=60)))
    to_hls4ml(design, "pynq_z2", tmp_path).write()
    text = (tmp_path / "firmware" / "encoder.cpp").read_text()
    calls = re.findall(r"bitloom::fork<border_t, \w+>\((.*)\);", text)
    taken = [f"border_to_layer_{i}_scores_acc_2" for i in range(6)]
    assert [call.split(", ") for call in calls] == [["border", *taken[:3], "border_fork_more"], ["border_fork_more", *taken[3:]]]
    wanted = {f"#pragma HLS STREAM variable={name} depth={port.depth}" for name, port in zip(taken, design.readers["border"], strict=True)}
    assert wanted <= {line.strip() for line in text.splitlines()}


def test_synthesis_reads_the_same_weights_as_the_simulation(project):
    """Vitis HLS takes the lists in the .h files, C simulation the .txt files."""
    numbers = re.compile(r"-?\d+")
    files = sorted((project / "firmware" / "weights").glob("*.h"))
    assert len(files) == sum(len(OPS[n.op].hls(GRAPH, n, FOLDING.folds[n.name]).memories) for n in NODES)
    for path in files:
        synthesis = path.read_text().split("#else")[1]
        count, values = int(re.search(r"\[(\d+)\] = ", synthesis)[1]), numbers.findall(synthesis[synthesis.index("{") : synthesis.index("}")])
        assert len(values) == count and values == numbers.findall(path.with_suffix(".txt").read_text()), path.name
    for node in NODES:
        for key, codes in OPS[node.op].hls(GRAPH, node, FOLDING.folds[node.name]).memories.items():
            written = np.loadtxt(project / "firmware" / "weights" / f"{cpp_name(node.name)}_{key}.txt", delimiter=",", dtype=np.int64, ndmin=1)
            assert np.array_equal(written, codes.data), (node.name, key)


def test_part_clock_and_configuration(project):
    tcl = (project / "project.tcl").read_text()
    for line in ('set project_name "encoder"', 'set backend "vitis"', 'set part "xc7z020clg400-1"', "set clock_period 8.0"):
        assert re.search(f"^{line}$", tcl, re.MULTILINE), line
    config = yaml.safe_load((project / "hls4ml_config.yml").read_text())
    assert {key: config[key] for key in ("Backend", "IOType", "Part", "ClockPeriod", "ProjectName", "InputShapes", "OutputShapes")} == {
        "Backend": "Vitis", "IOType": "io_stream", "Part": "xc7z020clg400-1", "ClockPeriod": 8.0, "ProjectName": "encoder",
        "InputShapes": {"s_axis": [12, 24]}, "OutputShapes": {"m_axis": [3]}}  # fmt: skip
    assert set(config["HLSConfig"]["LayerName"]) == {GRAPH.entry, *(n.name for n in NODES)}


def test_layers_carry_hls4mls_reuse_factor(tmp_path, project):
    model = to_hls4ml(DESIGN, "pynq_z2", tmp_path)
    factors = {layer.name: layer.get_attr("reuse_factor") for layer in model.get_layers()}
    written = yaml.safe_load((project / "hls4ml_config.yml").read_text())["HLSConfig"]["LayerName"]
    for node in NODES:
        assert factors[node.name] == written[node.name]["ReuseFactor"]
        if node.op == "linear":
            fold = FOLDING.folds[node.name]
            assert factors[node.name] * fold.pe * fold.simd == GRAPH.param(node, "weight").size, node.name


def test_the_project_is_cpp11(project):
    """build_prj.tcl says -std=c++0x."""
    assert '-cflags "-std=c++0x"' in (project / "build_prj.tcl").read_text()
    command = ["g++", "-std=c++11", "-pedantic-errors", "-Wno-unknown-pragmas", "-fsyntax-only", "-isystem", "firmware/ap_types", '-DWEIGHTS_DIR=""']
    done = subprocess.run([*command, "firmware/encoder.cpp"], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]


PRAGMAS = {
    "linear": ("DATAFLOW", "PIPELINE II=1", "UNROLL", "ARRAY_RESHAPE variable=weight cyclic factor=weight_words", "AGGREGATE variable=token",
               "ARRAY_RESHAPE variable=bias cyclic factor=bias_words", "BIND_STORAGE variable=weight type=rom_1p impl=bram",
               "BIND_STORAGE variable=token type=ram_s2p impl=lutram", "ARRAY_PARTITION variable=acc.data.data complete"),
    "scores": ("DATAFLOW", "PIPELINE II=1", "UNROLL", "AGGREGATE variable=bank", "BIND_STORAGE variable=bank type=ram_s2p impl=bram"),
    "context": ("DATAFLOW", "PIPELINE II=1", "UNROLL", "AGGREGATE variable=bank", "BIND_STORAGE variable=bank type=ram_s2p impl=bram"),
    "softmax": ("DATAFLOW", "PIPELINE II=1", "STREAM variable=held depth=rows", "STREAM variable=terms depth=rows"),
    "layernorm": ("DATAFLOW", "PIPELINE II=1", "UNROLL", "ARRAY_RESHAPE variable=gamma cyclic factor=lanes", "STREAM variable=held depth=held_beats"),
    "requant": ("PIPELINE II=1", "UNROLL", "ARRAY_RESHAPE variable=mult cyclic factor=lanes"),
    **dict.fromkeys(("add", "table"), ("PIPELINE II=1", "UNROLL")),
    "first_token": ("PIPELINE II=1",),
    **dict.fromkeys(("concat", "border"), ("PIPELINE II=1",)),
    "pattern": ("PIPELINE II=1", "UNROLL", "ARRAY_RESHAPE variable=weight cyclic factor=words", "ARRAY_PARTITION variable=line complete dim=1"),
    "keep_tokens": ("DATAFLOW", "PIPELINE II=1", "UNROLL", "BIND_STORAGE variable=bank type=ram_s2p impl=bram"),
    **dict.fromkeys(("token_window", "window_max", "window_mean"), ("INLINE", "UNROLL")),
    "off_ramps": ("PIPELINE II=1", "UNROLL"),
    "upsample": ("PIPELINE II=1", "UNROLL", "AGGREGATE variable=token"),
    **dict.fromkeys(("token_max", "token_mean"), ("DATAFLOW", "INLINE")),
    "lstm": ("DATAFLOW", "PIPELINE II=1", "UNROLL", "ARRAY_RESHAPE variable=weight cyclic factor=weight_words", "ARRAY_RESHAPE variable=bias cyclic factor=rows",
             "BIND_STORAGE variable=weight type=rom_1p impl=bram", "ARRAY_PARTITION variable=h cyclic factor=words", "ARRAY_PARTITION variable=acc complete"),
}  # fmt: skip


@pytest.mark.parametrize("stem", [stem for stem, op in OPS.items() if op.hls])
def test_headers_tell_the_synthesizer_what_the_folding_means(stem):
    """On the very memories and loops that pe, simd and lanes are about."""
    pragmas = {line.strip().removeprefix("#pragma HLS ").split(" style=")[0] for line in _code(HEADERS / f"{stem}.h").splitlines() if "#pragma HLS" in line}
    assert set(PRAGMAS[stem]) <= pragmas
    if stem == "linear":  # on streams and on arrays
        text = _code(HEADERS / "linear.h")
        for line in (
            "weight_words = CONFIG::pe * CONFIG::simd, bias_words = CONFIG::pe;",
            *(f"#pragma HLS {pragma}" for pragma in PRAGMAS[stem] if "RESHAPE" in pragma),
        ):
            assert text.count(line) == 2, line


def _code(path: Path) -> str:
    return re.sub(r"//.*", "", path.read_text())


@pytest.mark.parametrize("path", SYNTHESIZED, ids=lambda path: path.name)
def test_headers_are_synthesizable(path):
    """Every loop is a `for` with a bound that is fixed when compiled; no floating point, no memory from the heap, no standard containers, no recursion."""
    text = _code(path)
    assert not re.findall(r"\b(double|float|half|new|delete|malloc|free|while|goto|virtual|throw|try|std)\b", text)
    loops = re.findall(r"for \((\w+) (\w+) = (.*?); (.*?); (\S+)\)", text)
    assert len(loops) == len(re.findall(r"\bfor\b", text))
    fixed = {"size", "lanes", "steps", "folds", "groups", "parts", "digit", "W", "MAX_BEATS", "MAX_TOKENS", "WORDS", "CONFIG", "value_type"}
    fixed |= {"in_T", "out_T", "a_T", "sum_T", "word_T", "p_T", "state_T", "own", "gates", "kernel", "beats", "behind", "reach", "passes"}
    for _, variable, start, bound, _ in loops:
        words = set(re.findall(r"[A-Za-z_]\w*", f"{start} {bound}")) - {variable}
        assert words <= fixed | set(re.findall(r"CONFIG::(\w+)", bound)), bound
    calls = _calls(text)
    tuple(TopologicalSorter(calls).static_order())  # raises CycleError


def _calls(text: str) -> dict[str, set[str]]:
    """function -> functions of the same file that it calls."""
    bodies: dict[str, str] = {}
    for found in re.finditer(r"\b(\w+)\(([^;{}]*)\) (?:const )?\{", text):
        if found[1] not in ("for", "if"):
            end, open_braces = found.end(), 1
            while open_braces:
                open_braces += {"{": 1, "}": -1}.get(text[end], 0)
                end += 1
            bodies[found[1]] = bodies.get(found[1], "") + text[found.end() : end]
    return {name: {other for other in bodies if re.search(rf"\b{other}(<[^;()]*>)?\([^\"]", body)} for name, body in bodies.items()}


def test_the_search_for_recursion_finds_it():
    with pytest.raises(ValueError, match="cycle"):
        tuple(TopologicalSorter(_calls("int f(int x) { return g<3>(x); }\nint g(int x) { return f(x - 1); }")).static_order())


@pytest.fixture
def unoptimized(monkeypatch):
    """hls4ml compiles its library in a third of the time: it runs a moment."""
    from hls4ml.writer.vivado_writer import VivadoWriter

    write = VivadoWriter.write_build_script

    def quick(writer, model):
        write(writer, model)
        script = Path(model.config.get_output_dir()) / "build_lib.sh"
        assert "-O3" in script.read_text()
        script.write_text(script.read_text().replace("-O3", "-O0"))

    monkeypatch.setattr(VivadoWriter, "write_build_script", quick)


def test_predictions_and_traces_are_the_golden_models(unoptimized, tmp_path):
    """hls4ml's own API: sentences of any length side by side, NaN behind their tokens; here with an output for each token."""
    graph, lengths = random_encoder(8, layers=1, hidden=8, heads=2, intermediate=12, max_tokens=6, head="token"), [6, 1, 3]
    model = to_hls4ml(Design(graph, solve(graph, HardwareConfig(multipliers=20))), "pynq_z2", tmp_path)
    want = golden.run(graph, *random_sentences(graph, lengths, 1))
    sentences = np.split(want[graph.entry], np.cumsum(lengths)[:-1])
    predicted, traced = model.trace(pad(sentences, graph.max_tokens))
    assert predicted.shape == (3, 6 * 2) and set(traced) == {graph.entry, *want}
    for name, made in (traced | {"logits": predicted}).items():
        flat = np.concatenate([sentence[~np.isnan(sentence)] for sentence in made.reshape(3, -1)])
        assert np.array_equal(flat, want[name].ravel()), name
    again = model.predict(pad(sentences[1:2], graph.max_tokens))
    assert np.array_equal(again[:2], want["logits"][6]) and np.isnan(again[2:]).all()  # hls4ml drops the axis of one sentence


def test_operators_on_arrays(unoptimized, tmp_path):
    """io_parallel, with each operator that has it."""
    part = graph_file.extract(GRAPH, "layer.0.attention.norm", "layer.0.ffn.norm")
    assert {n.op for n in part.nodes} == set(PARALLEL)
    model = to_hls4ml(Design(part, FOLDING), "pynq_z2", tmp_path, io_type="io_parallel")
    model.compile()
    entry = part.tensor(part.entry)
    x = np.random.default_rng(0).integers(entry.low, entry.high + 1, (2, part.max_tokens, entry.channels))
    want = golden.evaluate(part, {part.entry: x.reshape(-1, entry.channels)}, np.array([part.max_tokens] * 2))[part.outputs[0]]
    assert np.array_equal(model.predict(x.astype(np.float64)).reshape(want.shape), want)
    top = (tmp_path / "firmware" / "encoder.cpp").read_text()
    assert "hls::stream" not in top and top.count("bitloom::") == len(part.nodes)


def test_the_variance_is_as_wide_as_its_bound():
    """A width that the header takes from Python, against the hardest token."""
    for size, bits in ((2, 2), (24, 8), (384, 16)):
        x = replace(GRAPH.tensor("embeddings.norm"), shape=("T", size), bits=bits)
        codes = np.where(np.arange(size) % 2, x.low, x.high)
        reach = size * int((codes**2).sum()) - int(codes.sum()) ** 2
        assert math.ceil(reach) <= layernorm.variance_bound(size, bits, 0)


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (-9, ToolError, "C simulation: got signal 9 from outside, must run to its end; there may be too little memory"),
        (-11, SimulationError, "C simulation: got a process that died (signal 11), must end; the code reads or writes past an array"),
    ],
)
def test_only_a_death_of_its_own_is_a_finding_about_the_code(tmp_path, monkeypatch, code, kind, message):
    (tmp_path / "firmware").mkdir()
    (tmp_path / "firmware" / "none.so").touch()
    monkeypatch.setattr(csim.process, "run", lambda command, **_: subprocess.CompletedProcess(command, code, "", ""))
    sentence = np.zeros((2, GRAPH.tensor(GRAPH.entry).channels), np.int64)
    with pytest.raises(SimulationError) as caught:
        csim.simulate(DESIGN, csim.Library(folder=tmp_path, seconds=0.0), [sentence])
    assert (caught.type, str(caught.value)) == (kind, message)
