# SPDX-License-Identifier: Apache-2.0
"""What a search found as a page: of bits the front, the bits of each layer, and how much each costs in accuracy; of a cell how it was learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from bitloom.charts import Bar, Row, Series, bars, heat, lines
from bitloom.report import score, template

MOST = 24  # variables in the chart of sensitivities


def render(found: dict, sensitivity: dict[str, dict[int, float]], recipe_yaml: str) -> str:
    """search.html as text.

    found        content of pareto.json
    sensitivity  by variable and bits, as it was minimized; {} where none was
    """
    chosen, front, uniform = found["chosen"], found["front"], found["uniform"]
    return template("search.html.j2").render(
        s=found,
        chosen=chosen,
        rows=[chosen | {"name": "chosen"}, *uniform, *found["rivals"]],
        front=front,
        recipe=recipe_yaml,
        cycles_chart=_points(found, "interval", "cycles between sentences"),
        ram_chart=_points(found, "block_ram", "block RAMs") if chosen["block_ram"] else _points(found, "bytes", "bytes of parameters"),
        bits_chart=heat(list(_bits(found)), list(dict.fromkeys(name.rpartition(":")[2] for name in chosen["choice"]))),
        sensitivity_chart=_sensitivities(sensitivity),
        short=_short(found),
    )


def render_cell(found: dict, recipe_yaml: str) -> str:
    """search.html as text. found: content of architecture.json."""
    history = found["history"]

    def lines_of(keys: dict[str, str]) -> list[Series]:
        return [
            Series(name=name, points=[(h["step"], h[key]) for h in history], style=style) for style, (key, name) in enumerate(keys.items(), start=1)
        ]  # fmt: skip

    figure = "block_ram" if found["real"]["figures"]["block_ram"] else "multipliers"
    rows = [
        {"name": name, "learned": history[-1][name], "predicted": found["predicted"][name], "real": value, "most": found["limits"].get(name)}
        for name, value in found["real"]["figures"].items()
        if value
    ]
    return template("search_cell.html.j2").render(
        s=found,
        rows=rows,
        recipe=recipe_yaml,
        loss_chart=lines(lines_of({"loss": "of the weights", "held_out": "of the architecture"}), "step", "loss"),
        cost_chart=lines(lines_of({figure: figure.replace("_", " ")}), "step", f"{figure.replace('_', ' ')}, mean"),
        probability_chart=heat(list(_operations(found)), found["operations"]),
    )


def _operations(found: dict) -> Iterator[Row]:
    """One row an edge, with the probability of each of its operations."""
    places = [(node, source) for node in range(1, len(found["cell"]) + 1) for source in range(node)]
    for (node, source), row in zip(places, found["probabilities"], strict=True):
        cells = {name: (p, f"{p:.2f}") for name, p in zip(found["operations"], row, strict=True)}
        yield Row(label=f"{source or 'input'} to {node}: {found['cell'][node - 1][source]}", cells=cells)


def _points(found: dict, key: str, label: str) -> Markup:
    """Score against what is taken; points that were not scored are left out."""

    def at(points: Sequence[dict]) -> list[tuple[float, float]]:
        return [(p[key], 100 * p["score"]) for p in points if p["score"] is not None]

    series = [
        Series(name="front", points=at(found["front"]), line=False),
        Series(name="all weights alike", points=at(found["uniform"]), style=2, line=False),
        Series(name="chosen", points=at([found["chosen"]]), style=3, line=False),
    ]
    return lines([s for s in series if s.points], label, f"{found['metric']}, %")


def _bits(found: dict) -> Iterator[Row]:
    """One row a tensor, in the order of computation, with the bits that were chosen for each of its settings."""
    cells: dict[str, dict[str, tuple[float, str]]] = {}
    for name, bits in found["chosen"]["choice"].items():
        for tensor in found["variables"][name]:
            cells.setdefault(tensor, {})[name.rpartition(":")[2]] = (bits, str(bits))
    for tensor, own in cells.items():
        yield Row(label=tensor, cells=own)


def _sensitivities(sensitivity: dict[str, dict[int, float]]) -> Markup:
    """Of each variable at its fewest bits, the most sensitive first."""
    worst = sorted(((values[min(values)], min(values), name) for name, values in sensitivity.items()), reverse=True)[:MOST]
    return bars([Bar(label=f"{name.replace(':', ', ')}, {bits} bits", value=value, text=f"{value:.2g}") for value, bits, name in worst], label_width=260)


def _short(found: dict) -> str:
    """The chosen point in a sentence."""
    chosen = found["chosen"]
    taken = f", {chosen['dsp']} DSPs, {chosen['block_ram']} block RAMs" if chosen["block_ram"] else ""
    trained = f"after {chosen['steps']} steps" if chosen["steps"] else "rounded, without training"
    return f"{chosen['interval']:,} cycles{taken}, {chosen['bytes']:,} bytes; {found['metric']} {score(chosen['score'])} {trained}"
