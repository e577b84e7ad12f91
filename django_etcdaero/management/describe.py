"""Results and moments in words, for commands."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from django.utils import formats, timezone

from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.datasets.state.stored_state import Pin


def count(number: int) -> str:
    """Return a number with its thousands set apart, as the language that is active does it."""
    return formats.number_format(number, use_l10n=True, force_grouping=True)


def moment(timestamp: float) -> str:
    """Say when, in Django's current time zone, and which that is; ``timestamp`` is in seconds since the epoch."""
    when = timezone.localtime(datetime.fromtimestamp(timestamp, UTC))
    day = "" if when.date() == timezone.localtime().date() else f"{when:%Y-%m-%d} "
    return f"{day}{when:%H:%M:%S %Z}"


def size(count: int) -> str:
    """Say how many bytes, in decimal units."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def span(seconds: float) -> str:
    """Say how long, in the largest unit of which there are two or more."""
    if seconds == math.inf:
        return "∞"
    if seconds < 0.9995:
        return f"{seconds * 1000:.2g} ms" if seconds < 0.0095 else f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds // 86_400:,.0f} days"


def describe_version(announcement: Announcement) -> str:
    """Say in one line what is known of a version."""
    return (
        f"version {announcement.version}: {announcement.rows:,} rows, {size(announcement.stored_bytes)},"
        f" published {moment(announcement.published_at)} by {announcement.host}/{announcement.pid}"
    )


def describe_pin(pin: Pin) -> str:
    """Say which version readers are held on, by whom and why."""
    who = f" by {pin.by} since {moment(pin.at)}" if pin.by else ""
    return f"pinned to version {pin.version}{who}{f': {pin.reason}' if pin.reason else ''}"


def describe_result(result: RefreshResult) -> str:
    """Say in one line what a refresh did."""
    due = f"; next load due {moment(result.next_due)}" if result.next_due is not None else ""
    if result.version is not None:
        version = f"version {result.version}"
    else:
        version = "no version yet" if result.version_known else "version unknown"
    written, total = size(result.bytes_written), size(result.bytes_total)
    if result.dry_run:
        refreshed = f"would write {written} of {total} as {version}, {result.rows:,} rows"
    else:
        refreshed = f"refreshed: {version}, {result.rows:,} rows, {written} written of {total}"
    if result.drift:
        refreshed += f", {count(result.drift)} rows corrected that changes had missed"
    told = "; only changes were loaded" if result.changes else ""
    words = {
        Outcome.REFRESHED: f"{refreshed}, {result.seconds:.2f} s{told}",
        Outcome.UNCHANGED: f"unchanged: {version}, {result.rows:,} rows, {result.seconds:.2f} s{told}{due}",
        Outcome.FRESH: f"fresh: {version}{due or '; loaded only on request'} (--force loads now)",
        Outcome.BACKOFF: f"backing off after a failure: {result.error}{due} (--force loads now)",
        Outcome.LOCKED: f"locked by {result.holder}",
        Outcome.FENCED: f"fenced, nothing of this load is visible: {result.error}",
        Outcome.FAILED: f"failed, {version}{' stays' if result.version is not None else ''}: {result.error}",
    }[result.outcome]
    if result.dry_run and result.ok:
        words = f"dry run, nothing written: {words}"
    if result.pinned:
        words += " [pinned: readers are held on their version]"
    return f"{result.name}: {words}"
