"""Results, sizes and moments in words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.utils import timezone
from pytest_django import Settings

from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.management.describe import describe_result, moment, size

pytestmark = pytest.mark.usefixtures("registry")


def test_sizes() -> None:
    assert [size(count) for count in (0, 999, 1000, 1_500_000, 10**9, 5 * 10**12)] == [
        "0 B", "999 B", "1.0 kB", "1.5 MB", "1.0 GB", "5000.0 GB"
    ]  # fmt: skip


def test_moments_are_in_the_current_time_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    assert moment(0.0) == "1970-01-01 09:00:00 JST"


@pytest.mark.parametrize(
    ("zone", "words"),
    [("UTC", "23:30:00 UTC"), ("Asia/Tokyo", "2001-09-10 08:30:00 JST"), ("America/Lima", "18:30:00 -05")],
)
def test_moments_of_today_need_no_date(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, zone: str, words: str
) -> None:
    settings.TIME_ZONE = zone
    today = datetime(2001, 9, 9, 12, 0, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: today)
    assert moment(today.timestamp() + 11.5 * 3600) == words


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (
            RefreshResult(
                name="p", outcome=Outcome.REFRESHED, version=7, rows=1234, bytes_written=10, bytes_total=2000
            ),
            "p: refreshed: version 7, 1,234 rows, 10 B written of 2.0 kB, 0.00 s",
        ),
        (
            RefreshResult(name="p", outcome=Outcome.REFRESHED, version=7, pinned=True, seconds=1.239),
            "p: refreshed: version 7, 0 rows, 0 B written of 0 B, 1.24 s [pinned: readers are held on their version]",
        ),
        (
            RefreshResult(name="p", outcome=Outcome.UNCHANGED, version=7, dry_run=True),
            "p: dry run, nothing written: unchanged: version 7, 0 rows, 0.00 s",
        ),
        (
            RefreshResult(
                name="p",
                outcome=Outcome.REFRESHED,
                version=8,
                rows=1234,
                bytes_written=10,
                bytes_total=2000,
                dry_run=True,
            ),
            "p: dry run, nothing written: would write 10 B of 2.0 kB as version 8, 1,234 rows, 0.00 s",
        ),
        (
            RefreshResult(name="p", outcome=Outcome.UNCHANGED, version=7, rows=2, next_due=0.0),
            "p: unchanged: version 7, 2 rows, 0.00 s; next load due 1970-01-01 00:00:00 UTC",
        ),
        (RefreshResult(name="p", outcome=Outcome.LOCKED, holder="h/1 since now"), "p: locked by h/1 since now"),
        (
            RefreshResult(name="p", outcome=Outcome.FENCED, error="overtaken"),
            "p: fenced, nothing of this load is visible: overtaken",
        ),
        (RefreshResult(name="p", outcome=Outcome.FAILED, version=7, error="X"), "p: failed, version 7 stays: X"),
        (RefreshResult(name="p", outcome=Outcome.FAILED, error="X"), "p: failed, no version yet: X"),
        (
            RefreshResult(name="p", outcome=Outcome.FAILED, version_known=False, error="X"),
            "p: failed, version unknown: X",
        ),
        (
            RefreshResult(name="p", outcome=Outcome.BACKOFF, error="X", next_due=0.0),
            "p: backing off after a failure: X; next load due 1970-01-01 00:00:00 UTC (--force loads now)",
        ),
    ],
)
def test_results_in_words(result: RefreshResult, words: str) -> None:
    assert describe_result(result) == words
