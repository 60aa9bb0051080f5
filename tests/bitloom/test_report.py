# SPDX-License-Identifier: Apache-2.0
"""The report's page, from a report of made-up figures: what stands in it, and that it needs nothing from outside."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from bitloom import charts
from bitloom.report import key_figures, render

STAGES = [
    {"name": "layer.0.query", "multipliers": 8, "cycles": 4096},
    {"name": "layer.0.ffn.up", "multipliers": 32, "cycles": 5000},
    {"name": "layer.0.probs", "multipliers": 0, "cycles": 900},
]
REPORT = {
    "schema": "bitloom.report/1",
    "name": "small <b>",
    "graph_hash": "0123456789abcdef" * 4,
    "model": {"text": "1 layer of 16", "layers": 1, "hidden": 16, "heads": 2, "intermediate": 32, "max_tokens": 16},
    "accuracy": {
        "metric": "accuracy",
        "examples": 872,
        "float": 0.825,
        "qat": 0.82,
        "golden": 0.8199,
        "rtl": {"examples": 32, "value": 0.75, "golden": 0.75},
    },
    "verify": {
        "backend": "rtl",
        "sentences": 32,
        "values_compared": 1234567,
        "mismatches": 0,
        "stall_runs": 1,
        "memories": {"files": 2, "words": 1100, "read": 1050, "tables": {"probs.exp.hex": [206, 256], "act.table.hex": [256, 256]}},
        "comparisons": [{"name": "RTL = golden, back to back", "sentences": 32, "values_compared": 1234567, "mismatches": 0}],
    },
    "cycles": {
        "tokens": 16,
        "interval_predicted": 5000,
        "interval_measured": 5001.0,
        "latency_predicted": 9000,
        "latency_measured": 9000,
        "clock_mhz": 100.0,
        "latency_curve": [[1, 1000], [16, 9000]],
        "latency_points": [[4, 2500], [16, 9000]],
        "table": [
            {"name": "interval, 16 tokens", "predicted": 5000, "measured": 5001.0},
            {"name": "latency, 16 tokens", "predicted": 9000, "measured": 9000},
        ],
    },
    "hardware": {
        "multipliers": 40,
        "macs_per_sentence": 180000,
        "mac_utilization": 0.9,
        "mac_utilization_real": None,
        "weight_bits": 65536,
        "early_exit": None,
        "recall": None,
        "pack": None,
        "stages": STAGES,
        "fifos": [
            {"reader": "layer.0.scores.acc", "stream": "layer.0.query", "depth": 1026, "most": 1000},
            {"reader": "logits", "stream": "logits.acc", "depth": 2, "most": 1},
        ],
    },
    "size": {
        "float_bytes": 1 << 22,
        "quantized_bytes": 1 << 20,
        "without_embeddings": {"float_bytes": 8000, "quantized_bytes": 1000},
    },
    "backends": {},
    "board": {},
    "side_by_side": [],
    "seconds": {"train": 12.0, "verify": 3.0},
    "bits": {
        "layer.0.query": {"weights": 4, "activations": 8, "parameters": 256, "zeros": 64},
        "layer.0.ffn.up": {"weights": 2, "activations": 6, "parameters": 512, "zeros": 0},
    },
    "training": {
        "curves": [{"phase": "float", "step": s, "loss": 1 / (s + 1), "metric": None if s % 2 else 0.5 + s / 20} for s in range(5)],
        "notes": [],
        "epochs": {"float": 1, "qat": 1},
        "calibration_sentences": 64,
    },
}


@pytest.fixture(scope="module")
def page():
    return render(REPORT, "name: small\n")


def test_the_page_holds_the_figures_and_names_the_bottleneck(page):
    for text in (
        "81.99%",
        "1,234,567",
        "0123456789abcdef",
        "<b>layer.0.ffn.up</b>",
        "+0.02%",
        "exact",
        "4.0×",
        "9,000 cycles",
        ">2, outputs 6, 0% zeros<",
    ):
        assert text in page, text
    assert "mac_utilization" not in page and "development split&#39;s lengths" not in page  # not measured, so not shown


def test_names_are_escaped(page):
    assert "<h1>small &lt;b&gt;</h1>" in page


def test_what_does_not_show_as_it_is_written_is_escaped(page):
    notes = {"training": REPORT["training"] | {"notes": ["class a\x1b[31m\u202e<i>"]}}
    made = render(REPORT | notes, "name: x\n# \u202eé 中\n")
    assert "<p>Note: class a\\x1b[31m\\u202e&lt;i&gt;.</p>" in made and "<pre>name: x\n# \\u202eé 中\n</pre>" in made
    assert made.count("<svg") == page.count("<svg") == 7


def test_the_page_needs_no_network_and_no_script(page):
    assert re.search(r"https?://|<script|<link|@import|url\(", page) is None


def test_every_chart_is_well_formed_and_inside_its_frame(page):
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(drawings) == 7  # accuracy, latency, cycles, multipliers, loss, metric, bits
    for drawing in drawings:
        tree = ElementTree.fromstring(drawing)
        width, height = (float(v) for v in tree.get("viewBox").split()[2:])
        for bar in tree.iter("rect"):
            assert float(bar.get("x")) >= 0 and float(bar.get("x")) + float(bar.get("width")) <= width
        for dot in tree.iter("circle"):
            assert 0 <= float(dot.get("cx")) <= width and 0 <= float(dot.get("cy")) <= height


def test_negative_correlations_keep_their_order_and_stay_inside_the_chart():
    scores = {"metric": "pearson", "float": -0.2, "qat": -0.4, "golden": -0.3}
    drawing = re.search(r"<svg.*?</svg>", render(REPORT | {"accuracy": REPORT["accuracy"] | scores}, ""), flags=re.S)[0]
    ends, widths = [], []
    for bar in ElementTree.fromstring(drawing).iter("rect"):
        widths.append(float(bar.get("width")))
        ends.append(float(bar.get("x")) + widths[-1])
    assert widths[0] > widths[2] > widths[1] > 1 and max(ends) <= charts.WIDTH


def test_a_score_of_the_hardware_that_was_not_measured_is_not_shown():
    rtl = {"examples": 8, "value": None, "golden": None}  # spans: their answers need all windows of a context
    assert "Simulated RTL" not in render(REPORT | {"accuracy": REPORT["accuracy"] | {"rtl": rtl}}, "")


def test_the_share_of_memory_words_is_shown(page):
    said = "All 1,100 words of the 2 memory files are the graph's; the simulated sentences read 1,050 of them"
    assert f"{said}; all, but of tables: 206 of 256 entries of probs.exp.hex, 256 of 256 entries of act.table.hex." in page


def test_the_most_that_a_fifo_held_stands_beside_its_depth(page):
    assert "<td>layer.0.scores.acc</td><td>layer.0.query</td><td>1,026</td><td>1,000</td>" in page and "1 FIFOs of two beats" in page


def test_one_is_singular():
    verify = REPORT["verify"] | {"sentences": 1, "stall_runs": 1}
    note = {name: note for name, _, note in key_figures(REPORT | {"verify": verify})}["mismatches, RTL"]
    assert note.endswith(" values, 1 sentence, 1 run with stalls")


def test_a_mismatch_is_shown_as_bad(page):
    assert 'class="figure good"' in page
    bad = render(REPORT | {"verify": REPORT["verify"] | {"mismatches": 3}}, "")
    assert 'class="figure bad"' in bad and 'class="figure good"' not in bad


def test_stages_that_tie_are_counted():
    stages = [{**stage, "cycles": 5000} for stage in STAGES]
    page = render(REPORT | {"hardware": REPORT["hardware"] | {"stages": stages}}, "")
    assert "<b>layer.0.query and 2 others alike</b>" in page


def test_key_figures_are_those_of_the_report():
    figures = {name: (value, note) for name, value, note in key_figures(REPORT)}
    assert figures["cycles a sentence of 16 tokens"] == ("5,001", "5,000 predicted, 19,996 sentences/s at 100 MHz")
    assert figures["mismatches, RTL"][0] == "0"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (3, 3, [3]), (950, 2300, [1000, 1500, 2000])],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert charts.ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.25, "0.25"), (999, "999"), (1500, "1,500"), (12300, "12.3k"), (2.5e6, "2.5M"), (3e9, "3G")],
)
def test_axis_labels_are_short(value, expected):
    assert charts.short(value) == expected


def test_a_line_goes_through_its_points():
    drawing = str(charts.lines([charts.Series(name="a", points=[(0, 0), (10, 100)])], "x", "y", from_zero=True))
    assert "<circle" in charts.lines([charts.Series(name="a", points=[(1, 1)])], "x", "y")  # a single point is no line
    start, end = re.search(r'class="line s1" d="M([\d.]+) [\d.]+L([\d.]+) [\d.]+"', drawing).groups()
    assert (float(start), float(end)) == (charts.LEFT, charts.WIDTH - charts.RIGHT)
