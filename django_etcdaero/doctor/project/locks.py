"""Locks and elections that are held for long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.datasets.publish.limit import load_limit
from django_etcdaero.datasets.registry import datasets as declared
from django_etcdaero.doctor.checking import Facts, Verdict, check, info, not_visible, ok, warning
from django_etcdaero.doctor.subjects import Alias
from django_etcdaero.doctor.words import some, span
from django_etcdaero.keyvalue.queue.holder import Holder

from .state import DATASETS, QUEUES

LONG: Final = 24 * 3600.0
"""Seconds for which a lock of the project may be held without a word."""
CROWD: Final = 100
"""How many may wait without a word."""


def held_for(holder: Holder, now: float) -> float | None:
    """Return for how many seconds, by the holder's own clock; ``None``: it does not say."""
    since = holder.since
    return None if since is None else max(0.0, (datetime.fromtimestamp(now, UTC) - since).total_seconds())


@check(
    "locks.refresh",
    "locks of refreshes that are held for too long",
    of=Alias,
    needs=(DATASETS,),
    why=gettext_noop(
        "While somebody has the lock of a dataset nobody else refreshes it. A holder that dies loses it after "
        "LOCK_TTL; "
        "one that hangs keeps it until load_timeout."
    ),
)
def refresh(facts: Facts) -> Iterator[Verdict]:
    found = facts[DATASETS]
    for each in found.overviews:
        dataset = declared.get(each.name)
        if each.holder is None or dataset is None:
            continue
        seconds, limit = held_for(each.holder, found.at), load_limit(dataset)
        if seconds is not None and limit is not None and seconds > limit:
            yield warning(
                f"{each.name} is being refreshed by {each.holder.host}/{each.holder.pid} for {span(seconds)}; its "
                f"load_timeout is {span(limit)}",
                f"see what that process does; restart it, and the lock is free "
                f"{facts.subject.settings.options.LOCK_TTL}"
                " s later",
            )
    yield ok("none")


@check(
    "locks.held",
    "locks and elections of the project",
    of=Alias,
    needs=(QUEUES,),
    why=gettext_noop(
        "A lock that is held for days is usually one that somebody forgot; a long queue waits for one holder."
    ),
)
def held(facts: Facts) -> Iterator[Verdict]:
    queues = facts[QUEUES]
    for each in queues.found:
        seconds, who = held_for(each.holder, queues.at), f"{each.holder.host or 'unknown'}/{each.holder.pid or '?'}"
        if len(each.waiters) > CROWD:
            yield warning(
                f"{len(each.waiters)} wait for {each.label!r}, which {who} holds", _release(facts, each.label)
            )
        elif seconds is not None and seconds > LONG:
            yield info(f"{each.label!r} is held by {who} for {span(seconds)}", _release(facts, each.label))
    if queues.left_out:
        yield not_visible(f"{queues.left_out:,} keys were not looked through for locks, for there was no more time")
    names = [each.label for each in queues.found]
    yield ok(f"{len(names)} held{f': {some(names)}' if names else ''}")


def _release(facts: Facts, name: str) -> str:
    return (
        f"if it is not meant: kvs[{facts.subject.settings.alias!r}].lock({name!r}).force_release(), in manage.py shell"
    )
