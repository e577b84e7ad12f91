"""The bar that shows how far a load is."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest

from django_etcdaero.datasets.publish.source import About
from django_etcdaero.management.commands.etcdaero_refresh import ProgressBar
from django_etcdaero.signals import dataset_published
from tests.management.running import declare, run

pytestmark = pytest.mark.usefixtures("registry")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "options", "shown"),
    [(Terminal(), [], True), (Terminal(), ["--json"], False), (io.StringIO(), [], False)],
    ids=["on a terminal", "with --json", "in a pipe"],
)
def test_a_bar_shows_the_phases_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, options: list[str], shown: bool
) -> None:
    declare().source.update({number: number for number in range(5000)})
    monkeypatch.setattr(sys, "stderr", stream)
    run("etcdaero_refresh", *options)
    text = stream.getvalue()
    assert ("prices: encode" in text, "prices: write" in text) == (shown, shown)
    assert bool(text) is shown


def test_the_bar_is_there_while_the_source_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, seen = Terminal(), []
    prices = declare()
    type(prices).load = lambda self: seen.append(stream.getvalue()) or {"a": 1}
    monkeypatch.setattr(sys, "stderr", stream)
    run("etcdaero_refresh")
    assert "prices: load: 0 rows since " in seen[0]


def test_no_bar_stands_beside_what_is_logged_when_a_version_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, seen = Terminal(), []
    declare()
    monkeypatch.setattr(sys, "stderr", stream)

    def published(**kwargs: Any) -> None:
        seen.append(stream.getvalue())

    dataset_published.connect(published)
    try:
        run("etcdaero_refresh")
    finally:
        dataset_published.disconnect(published)
    assert "prices: write" in seen[0]
    assert seen[0].endswith("\r")
    assert seen[0].rstrip("\r").rpartition("\r")[2].strip() == ""


def test_a_bar_tells_the_rate_and_with_a_total_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    bar = ProgressBar("prices")
    shown = []
    for done, total in [(0, None), (1000, About(4000)), (5000, About(4000)), (6000, 6000)]:
        bar("load", done, total)
        assert bar._bar is None or bar._bar.refresh()
        shown.append(stream.getvalue())
    bar.end()
    assert "prices: load: 0 rows since " in shown[0]
    assert re.search(r"load \(total as last time\): +\d+%.* 1.00k/4.00k .*<.* rows/s\]", shown[1])
    assert re.search(r"load.*: 5,000 rows since .* rows/s", shown[2])
