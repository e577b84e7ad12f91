"""When a database will be full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Verdict, check, error, not_visible, ok, warning
from django_etcdaero.doctor.subjects import EtcdCluster
from django_etcdaero.doctor.words import size, span

from .facts import HISTORY, METRICS, STATUSES, answering
from .history import AUTOMATIC

SOON: Final = 4.0
"""Hours, as the alerts of etcd's makers have it."""
NOT_LONG: Final = 7 * 24.0
"""Hours."""
ENOUGH: Final = 0.25
"""Hours for which a member must have run to tell what is written in one."""

_WRITTEN: Final = "etcd_debugging_mvcc_total_put_size_in_bytes"


@check(
    "etcd.growth",
    "when the database will be full",
    of=EtcdCluster,
    needs=(STATUSES, METRICS, HISTORY),
    why=gettext_noop(
        "Without compaction everything that is written stays; when the quota is used up nothing is written any more."
    ),
)
def growth(facts: Facts) -> Iterator[Verdict]:
    metrics, told = facts[METRICS], []
    if facts[HISTORY].oldest > 1:
        yield ok("history is compacted: what was written does not stay")
        return
    for endpoint, status in answering(facts[STATUSES]).items():
        found = metrics.get(endpoint)
        quota = status.db_size_quota or (found.value("etcd_server_quota_backend_bytes") if found else None)
        written, hours = (found.value(_WRITTEN), found.hours()) if found else (None, None)
        if not quota or not written or not hours or hours < ENOUGH:
            continue
        hourly = written / hours
        left = max(0.0, quota - status.db_size) / hourly
        said = f"{endpoint} is full in {span(left * 3600)}, at {size(hourly)} an hour as since its start"
        told.append(said)
        if left < NOT_LONG:
            yield (error if left < SOON else warning)(said, AUTOMATIC)
    if not told:
        yield not_visible("no member has run for long enough, and tells its quota and what was written")
    yield ok("; ".join(told))
