# SPDX-License-Identifier: Apache-2.0
"""report.json as a page and as a short table. The page is one file without scripts or anything from the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jinja2
from markupsafe import Markup

from bitloom.charts import Bar, Series, bars, lines
from bitloom.text import printable

SCHEMA = "bitloom.report/1"
TEMPLATES = Path(__file__).parent / "templates"


def key_figures(report: dict) -> Iterator[tuple[str, str, str]]:
    """(name, value, note) of the figures that matter most."""
    accuracy, verify, cycles = report["accuracy"], report["verify"], report["cycles"]
    hardware, size = report["hardware"], report["size"]
    yield (
        f"{accuracy['metric']}, integers",
        score(accuracy["golden"]),
        f"float {score(accuracy['float'])}, quantized {score(accuracy['qat'])}, {accuracy['examples']:,} sentences",
    )
    yield (
        "mismatches, RTL",
        f"{verify['mismatches']:,}",
        f"of {verify['values_compared']:,} values, {_count(verify['sentences'], 'sentence')}, {_count(verify['stall_runs'], 'run')} with stalls",
    )
    yield (
        f"cycles a sentence of {cycles['tokens']} tokens",
        f"{cycles['interval_measured']:,.0f}",
        f"{cycles['interval_predicted']:,.0f} predicted, "
        f"{1e6 * cycles['clock_mhz'] / cycles['interval_measured']:,.0f} sentences/s at {cycles['clock_mhz']:g} MHz",
    )
    yield (
        f"latency of {cycles['tokens']} tokens",
        f"{cycles['latency_measured']:,} cycles",
        f"{cycles['latency_predicted']:,} predicted, {cycles['latency_measured'] / cycles['clock_mhz']:,.1f} us",
    )
    yield (
        "multipliers",
        f"{hardware['multipliers']:,}",
        f"{hardware['mac_utilization']:.1%} of their cycles useful, {hardware['macs_per_sentence']:,} MACs",
    )
    if early := hardware["early_exit"]:
        yield (
            "cycles a sentence, early exit",
            f"{early['measured']:,.0f}",
            f"{early['predicted']:,.0f} predicted, {early['without']:,.0f} with all layers; {early['mean']:.2f} of {len(early['leaving'])} layers",
        )
    if kept := hardware["recall"]:
        yield (
            "cycles a pair, first sentence kept",
            f"{kept['measured']:,.0f}",
            f"{kept['predicted']:,.0f} predicted, {kept['whole']:,.0f} with it",
        )
    if packed := hardware["pack"]:
        yield (
            "cycles a sentence, in packs",
            f"{packed['measured']:,.0f}",
            f"{packed['predicted']:,.0f} predicted, {packed['without']:,.0f} each alone",
        )
    yield (
        "size",
        f"{size['float_bytes'] / size['quantized_bytes']:.1f}x smaller",
        f"{_bytes(size['float_bytes'])} to {_bytes(size['quantized_bytes'])}",
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def score(value: float | None) -> str:
    """A share as per cent; None is one that the metric is not defined for."""
    return "not defined" if value is None else f"{value:.2%}"


def template(name: str) -> jinja2.Template:
    """One of templates/, with the filters that the pages share."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_readable,
    )
    environment.filters |= {"score": score, "bytes": _bytes, "off": _off}
    return environment.get_template(name)


def render(report: dict, recipe_yaml: str) -> str:
    """report.html as text."""
    return template("report.html.j2").render(
        r=report,
        figures=list(key_figures(report)),
        recipe=recipe_yaml,
        accuracy_chart=_accuracy(report),
        loss_chart=_training(report, "loss"),
        metric_chart=_training(report, "metric"),
        bits_chart=_bits(report),
        cycles_chart=_stages(report, "cycles"),
        multipliers_chart=_stages(report, "multipliers"),
        latency_chart=_latency(report),
        bottleneck=_bottleneck(report),
    )


def _readable(value: object) -> object:
    """Of texts that others wrote, what does not show as it is written is escaped."""
    return printable(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value


def _accuracy(report: dict) -> str:
    """Bars that begin a little below the lowest score, so that differences of a point are seen."""
    accuracy = report["accuracy"]
    steps = [
        ("float", accuracy["float"]),
        ("quantized, in training", accuracy["qat"]),
        ("golden, integers", accuracy["golden"]),
    ]
    rows = [(name, value) for name, value in steps if value is not None]
    if not (values := [value for _, value in rows]):  # a metric that is not defined on this split
        return bars([])
    least = min(values)
    low = least - 3 * max(0.02, max(values) - least)
    low = max(0.0, low) if least >= 0 else low  # a correlation may be negative
    return bars(
        [Bar(label=name, value=value, text=score(value), strong=name.startswith("golden")) for name, value in rows],
        row_height=30,
        low=low,
    )


def _training(report: dict, key: str) -> str:
    curves = report["training"]["curves"]
    series = []
    for style, phase in enumerate(dict.fromkeys(p["phase"] for p in curves), start=1):
        points = [(p["step"], p[key]) for p in curves if p["phase"] == phase and p.get(key) is not None]
        if points:
            series.append(Series(name=phase, points=points, style=style))
    return lines(series, "training step", key if key == "loss" else report["accuracy"]["metric"])


def _bits(report: dict) -> str:
    def text(layer: dict) -> str:
        return f"{layer['weights']}, outputs {layer['activations']}, {layer['zeros'] / layer['parameters']:.0%} zeros"

    return bars([Bar(label=name, value=layer["weights"], text=text(layer)) for name, layer in report["bits"].items()], row_height=18)


def _stages(report: dict, key: str) -> str:
    """The stages that do work; those without multipliers are left out where multipliers are shown."""
    stages = [s for s in report["hardware"]["stages"] if s[key]]
    most = max(s["cycles"] for s in report["hardware"]["stages"])
    return bars(
        [Bar(label=s["name"], value=s[key], text=f"{s[key]:,}", strong=key == "cycles" and s["cycles"] == most) for s in stages],
        row_height=18,
        style=1 if key == "cycles" else 2,
    )


def _bottleneck(report: dict) -> str:
    """The slowest stage, and how many are as slow: a balanced design has many."""
    stages = report["hardware"]["stages"]
    most = max(s["cycles"] for s in stages)
    slowest = [s["name"] for s in stages if s["cycles"] == most]
    return slowest[0] + (f" and {len(slowest) - 1} others alike" if len(slowest) > 1 else "")


def _latency(report: dict) -> str:
    cycles = report["cycles"]
    return lines(
        [
            Series(name="predicted", points=cycles["latency_curve"]),
            Series(name="measured in simulation", points=cycles["latency_points"], style=3, line=False),
        ],
        "tokens in the sentence",
        "latency, cycles",
        from_zero=True,
    )


def _bytes(count: int) -> str:
    for limit, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= limit:
            return f"{count / limit:.1f} {unit}"
    return f"{count} B"


def _off(measured: float, predicted: float) -> str:
    """Deviation of a measurement from its prediction."""
    return "exact" if measured == predicted else f"{(measured - predicted) / predicted:+.2%}"
