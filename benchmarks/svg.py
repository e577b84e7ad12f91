"""Plots as SVG in plain Python: lines over two axes, each of which may be logarithmic.

There is no background, and all colours are of medium brightness, so that a plot can be read on a light page and on a
dark one. Lines differ in their dashes and marks too, and each has its name at its end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 76, 190, 40, 56
TEXT, GRID = "#7d7d7d", "#7d7d7d"
FONT = f'font-family="sans-serif" font-size="12" fill="{TEXT}"'
MIDDLE = 'text-anchor="middle"'
COLOURS = ("#3b82f6", "#e5701a", "#16a34a", "#c026d3", "#b58900", "#dc2626", "#0d9488", "#7c6ff0", "#64748b")
DASHES = ("", "7 3", "2 3", "9 3 2 3")
LINE = 15
"""Pixels between the names of two lines."""


@dataclass(frozen=True)
class Series:
    """A line: its name and its points; points whose values a logarithm does not have are left out."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """An axis from the least to the largest of ``values``; a linear one begins at 0."""

    label: str
    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, label: str, values: Sequence[float], *, log: bool) -> Axis:
        low, high = min(values), max(values)
        if log:
            low, high = 10 ** math.floor(math.log10(low) + 1e-9), 10 ** math.ceil(math.log10(high) - 1e-9)
            return cls(label, low, high if high > low else low * 10, log)
        return cls(label, 0.0, high * 1.05 or 1.0, log)

    def share(self, value: float) -> float:
        """Return where a value is, from 0 to 1."""
        if self.log:
            return (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        if self.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1)]
        rough = self.high / 6
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * each for each in (1, 2, 5, 10) if unit * each >= rough)
        return [step * number for number in range(int(self.high / step) + 1)]


def shown(value: float) -> str:
    """Return a number as short as it can be read."""
    if value and not 0.001 <= abs(value) < 10_000_000:
        mantissa, _, power = f"{value:.0e}".partition("e")
        return f"{mantissa}e{int(power)}" if mantissa != "1" else f"1e{int(power)}"
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def spread(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Return places that are near the wanted ones, in their order, and a line apart."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    places = [0.0] * len(wanted)
    at = low - LINE
    for index in order:
        at = places[index] = max(wanted[index], at + LINE)
    at = high + LINE
    for index in reversed(order):
        at = places[index] = min(places[index], at - LINE)
    return places


def plot(
    title: str, x_label: str, y_label: str, series: Sequence[Series], *, log_x: bool = True, log_y: bool = True
) -> str:
    """Return an SVG document. Raises ``ValueError`` if there is no point to be shown."""
    kept = [
        Series(each.name, [(x, y) for x, y in each.points if (x > 0 or not log_x) and (y > 0 or not log_y)])
        for each in series
    ]
    kept = [each for each in kept if each.points]
    if not kept:
        raise ValueError(f"no points to plot for {title!r}")
    across = Axis.of(x_label, [x for each in kept for x, _ in each.points], log=log_x)
    up = Axis.of(y_label, [y for each in kept for _, y in each.points], log=log_y)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + across.share(x) * width, TOP + (1 - up.share(y)) * height

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" {FONT}>',
        f"<title>{escape(title)}</title>",
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>',
        f'<text x="{LEFT + width / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text x="{-TOP - height / 2:.0f}" y="16" transform="rotate(-90)" {MIDDLE}>{escape(y_label)}</text>',
    ]
    for tick in across.ticks():
        x, _ = place(tick, up.low)
        parts.append(f'<path d="M{x:.1f} {TOP}V{TOP + height}" stroke="{GRID}" stroke-opacity="0.25"/>')
        parts.append(f'<text x="{x:.1f}" y="{TOP + height + 18}" text-anchor="middle">{shown(tick)}</text>')
    for tick in up.ticks():
        _, y = place(across.low, tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{LEFT + width}" stroke="{GRID}" stroke-opacity="0.25"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{shown(tick)}</text>')
    ends = [place(*max(each.points)) for each in kept]
    names = spread([y for _, y in ends], TOP, TOP + height)
    for number, (each, (x, y), at) in enumerate(zip(kept, ends, names, strict=True)):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // 2 % len(DASHES)]
        points = [place(*point) for point in sorted(each.points)]
        path = "L".join(f"{one:.1f} {other:.1f}" for one, other in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        if len(points) <= 12:
            parts.extend(f'<circle cx="{one:.1f}" cy="{other:.1f}" r="3" fill="{colour}"/>' for one, other in points)
        parts.append(
            f'<path d="M{x + 4:.1f} {y:.1f}L{LEFT + width + 10} {at:.1f}" stroke="{colour}" stroke-opacity="0.5"/>'
        )
        parts.append(f'<text x="{LEFT + width + 14}" y="{at + 4:.1f}" fill="{colour}">{escape(each.name)}</text>')
    return "\n".join([*parts, "</svg>", ""])
