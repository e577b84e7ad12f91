"""Charts of how versions of a dataset compare, as SVG in the page: no script, no style, and a text beside each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero.datasets.publish.history import Version
from django_etcdaero.inspection.localized import count, size, span

WIDTH, HEIGHT, LABELS = 300, 96, 18
"""Of a chart, in its own units: bars are HEIGHT at most, numbers of versions below take LABELS."""
MOST = 40
"""Versions in a chart: the newest."""
_LABELLED = 12
"""Versions with so many bars or fewer have their number below."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One version."""

    version: int
    x: float
    y: float
    width: float
    height: float
    middle: float
    value: str
    current: bool
    label: str
    """Below the bar; empty where there is no room."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure over the versions."""

    name: str
    """Of the figure, for ids."""
    title: Any
    summary: str
    """What it shows, in words."""
    most: str
    bars: list[Bar]
    width: int = WIDTH
    height: int = HEIGHT + LABELS
    base: int = HEIGHT


def charts(versions: Sequence[Version]) -> list[Chart]:
    """Return the charts of rows, size and duration, from the oldest version to the newest; none for one version."""
    shown = sorted(versions, key=lambda each: each.version)[-MOST:]
    if len(shown) < 2:
        return []
    return [
        _chart("rows", _("Rows"), shown, lambda each: each.rows, lambda value: count(int(value))),
        _chart("size", _("Stored size"), shown, lambda each: each.stored_bytes, lambda value: size(int(value))),
        _chart("duration", _("Duration of the load"), shown, lambda each: each.load_seconds, span),
    ]


def _chart(
    name: str,
    title: Any,
    versions: Sequence[Version],
    figure: Callable[[Version], float],
    say: Callable[[float], str],
) -> Chart:
    most = max(map(figure, versions)) or 1
    step = WIDTH / len(versions)
    width = min(step * 0.7, 48)
    bars = []
    for index, each in enumerate(versions):
        height = max(1.0, figure(each) / most * (HEIGHT - 2))
        middle = step * (index + 0.5)
        bars.append(
            Bar(
                version=each.version,
                x=round(middle - width / 2, 1),
                y=round(HEIGHT - height, 1),
                width=round(width, 1),
                height=round(height, 1),
                middle=round(middle, 1),
                value=say(figure(each)),
                current=each.current,
                label=str(each.version) if len(versions) <= _LABELLED or index in (0, len(versions) - 1) else "",
            )
        )
    first, last = versions[0], versions[-1]
    summary = gettext("From version %(first)d to %(last)d: %(before)s to %(after)s; at most %(most)s.") % {
        "first": first.version,
        "last": last.version,
        "before": say(figure(first)),
        "after": say(figure(last)),
        "most": say(most),
    }
    return Chart(name, title, summary, say(most), bars)
