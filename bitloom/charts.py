# SPDX-License-Identifier: Apache-2.0
"""Charts as inline SVG text. Colours are CSS variables of the page (series-1 ..), so that light and dark both work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 12, 40  # room for the axes' texts


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line, or points where `line` is False. points: (x, y) in data units; style 1 .. 4 picks the colour."""

    name: str
    points: Sequence[tuple[float, float]]
    style: int = 1
    line: bool = True


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of a bar chart: a label, a value, the text at its end, and whether it is the one to look at."""

    label: str
    value: float
    text: str
    strong: bool = False


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers (1, 2, 5 times a power of ten apart) within low .. high, about `count` of them."""
    if high <= low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """12,300 -> '12.3k', 0.25 -> '0.25': an axis label."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / {'G': 1e9, 'M': 1e6, 'k': 1e3}[suffix]:.4g}{suffix}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def lines(series: Sequence[Series], x_label: str, y_label: str, *, from_zero: bool = False) -> Markup:
    """A chart of lines and points on common axes; empty text if there is nothing to draw."""
    points = [p for s in series for p in s.points]
    if not points:
        return Markup("")
    x_low, x_high = _span([p[0] for p in points], from_zero)
    y_low, y_high = _span([p[1] for p in points], from_zero, margin=0.06)

    def x_at(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def y_at(y: float) -> float:
        return HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    out = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_label)} against {escape(x_label)}">']
    for y in ticks(y_low, y_high):
        out.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_at(y):.1f}" y2="{y_at(y):.1f}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{y_at(y) + 4:.1f}" text-anchor="end">{short(y)}</text>'
        )
    for x in ticks(x_low, x_high, 6):
        out.append(f'<text class="tick" x="{x_at(x):.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{short(x)}</text>')
    out.append(
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
        f'<text class="label" transform="translate(13 {(HEIGHT - BOTTOM + TOP) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    for s in series:
        out.append(_drawn(s, [(x_at(x), y_at(y)) for x, y in s.points]))
    return Markup("".join(out) + "</svg>" + legend(series))


def _drawn(series: Series, at: Sequence[tuple[float, float]]) -> str:
    if series.line and len(at) > 1:
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
        return f'<path class="line s{series.style}" d="{path}"/>'
    dots = zip(at, series.points, strict=True)
    return "".join(
        f'<circle class="dot s{series.style}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{escape(series.name)}: {short(px)}, {short(py)}</title></circle>'
        for (x, y), (px, py) in dots
    )


def legend(series: Sequence[Series]) -> str:
    items = "".join(f'<span><i class="{"key" if s.line else "key dotkey"} s{s.style}"></i>{escape(s.name)}</span>' for s in series)
    return f'<div class="legend">{items}</div>'


def bars(rows: Sequence[Bar], *, style: int = 1, label_width: int = 200, row_height: int = 20, low: float = 0.0) -> Markup:
    """Horizontal bars, the strong ones in the accent colour; lengths are value - low over the largest."""
    if not rows:
        return Markup("")
    text_width = 14 + 8 * max(len(row.text) for row in rows)
    room = WIDTH - label_width - text_width
    largest = max(row.value - low for row in rows) or 1
    out = [f'<svg viewBox="0 0 {WIDTH} {len(rows) * row_height + 4}" role="img" aria-label="bar chart">']
    for index, row in enumerate(rows):
        y, length = index * row_height + 2, max((row.value - low) / largest * room, 1.0)
        weight = " strong" if row.strong else ""
        out.append(
            f'<text class="tick{weight}" x="{label_width - 8}" y="{y + row_height / 2 + 4:.1f}" text-anchor="end">'
            f'{escape(row.label)}</text><rect class="bar {"hot" if row.strong else f"s{style}"}" x="{label_width}" '
            f'y="{y + 2}" width="{length:.1f}" height="{row_height - 5}" rx="2">'
            f"<title>{escape(row.label)}: {escape(row.text)}</title></rect>"
            f'<text class="tick{weight}" x="{label_width + length + 6:.1f}" y="{y + row_height / 2 + 4:.1f}">'
            f"{escape(row.text)}</text>"
        )
    return Markup("".join(out) + "</svg>")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a heat map: a label, and by column a value with its text; a column that the row has not is left empty."""

    label: str
    cells: dict[str, tuple[float, str]]


def heat(rows: Sequence[Row], columns: Sequence[str], *, label_width: int = 170, row_height: int = 22) -> Markup:
    """Cells whose depth of colour is their value, from the least to the largest of all."""
    values = [value for row in rows for value, _ in row.cells.values()]
    if not values:
        return Markup("")
    low, high, width = min(values), max(values), (WIDTH - label_width) / len(columns)
    out = [f'<svg viewBox="0 0 {WIDTH} {(len(rows) + 1) * row_height + 4}" role="img" aria-label="heat map">']
    for j, name in enumerate(columns):
        out.append(f'<text class="tick" x="{label_width + (j + 0.5) * width:.1f}" y="{row_height - 7}" text-anchor="middle">{escape(name)}</text>')
    for i, row in enumerate(rows):
        y = (i + 1) * row_height
        out.append(f'<text class="tick" x="{label_width - 8}" y="{y + row_height / 2 + 4:.1f}" text-anchor="end">{escape(row.label)}</text>')
        for j, name in enumerate(columns):
            if name in row.cells:
                value, text = row.cells[name]
                share = (value - low) / (high - low) if high > low else 1.0
                out.append(
                    f'<rect class="cell bar s1" x="{label_width + j * width:.1f}" y="{y}" width="{width:.1f}" height="{row_height}" '
                    f'fill-opacity="{0.12 + 0.88 * share:.2f}"><title>{escape(row.label)}, {escape(name)}: {escape(text)}</title></rect>'
                    f'<text class="{"on" if share > 0.6 else "tick"}" x="{label_width + (j + 0.5) * width:.1f}" y="{y + row_height / 2 + 4:.1f}" '
                    f'text-anchor="middle">{escape(text)}</text>'
                )
    return Markup("".join(out) + "</svg>")


def _span(values: Sequence[float], from_zero: bool, margin: float = 0.0) -> tuple[float, float]:
    low, high = min(values), max(values)
    if from_zero:
        low = min(low, 0.0)
    pad = (high - low) * margin or (0.5 if high == low else 0.0)
    return (low if from_zero and low == 0 else low - pad), high + pad
