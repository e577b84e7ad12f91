"""When a dataset is to be loaded: decisions over what the coordination plane says; and how a load is asked for.

A load is due when 0.9 periods have passed since the last successful one *began* (so that a cron job of the same period
never skips every other run), when there never was one, or when somebody asked after it began. Who asks again and again
gets a load each ``request_every``: what came in between is answered by one. After a failure the ``attempt`` key holds
all nodes back, longer with each failure, so that a broken source is not hammered by one node after the other.

How long ago something was is what this process has seen of it (:mod:`.sightings`), so nodes whose clocks differ agree
on it. Only of a load that it did not see arrive a process knows no more than what the clocks say. One that began in the
future, by less than a period, then counts as one of this moment: it is loaded again too late, at most by a period, and
not by two nodes in turn. What lies further ahead is due.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from datetime import timedelta
from typing import Any, NamedTuple

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.keyvalue.ops import mod_revision, put
from django_etcdaero.keyvalue.values import KeyValue

from .sightings import Ages
from .stored_state import Checked, LoadRequest, StoredState

EARLY = 0.9
"""Fraction of the period after which a load is due."""
REQUEST_EVERY = 5.0
"""Seconds that a service leaves between the beginnings of two loads that were asked for, where the dataset does not
say; twice as long as the last one took, if that is longer: so the source is busy half of the time at most."""
LONGEST_APART = 3600.0
"""The most that this is: how long the last one took may make no sense."""
FIRST_BACKOFF = 5.0
"""Seconds to hold back after one failure; doubled with each further one."""
LONGEST_BACKOFF = 300.0


def next_due(state: StoredState, declared: Declared[Any, Any], ages: Ages, *, serving: bool = False) -> float | None:
    """Return when the next load is due, seconds since the epoch on this host's clock; ``None``: only on request.

    ``serving``: to a process that refreshes whenever it is due, not to one that was called to refresh once.
    """
    age, times = ages.load, []
    if state.checked is None or age is None:
        return None
    if declared.refresh_every is not None:
        period = declared.refresh_every.total_seconds()
        unknown = not age.arrived and age.skew > period
        times.append(ages.now if unknown else age.began + EARLY * period)
    if state.pending is not None:
        apart = _request_every(declared, state.checked, serving) if state.checked.request_id else 0.0
        times.append(age.began + apart)
    return min(times, default=None)


def is_due(state: StoredState, declared: Declared[Any, Any], ages: Ages, *, serving: bool = False) -> bool:
    """Tell whether a load is due, failures left aside; ``serving`` as in :func:`next_due`."""
    if state.current is None or state.checked is None or ages.load is None:
        return True
    due = next_due(state, declared, ages, serving=serving)
    return due is not None and ages.now >= due


def held_back_until(
    state: StoredState, declared: Declared[Any, Any], ages: Ages, *, serving: bool = False
) -> float | None:
    """Return until when the last failure forbids another load, seconds since the epoch on this host's clock.

    ``None``: it does not. A repair is held back (readers ask by themselves). A person's request that came after the
    load that failed began is not, or if that load was asked for as well, only as long as any second request is.
    ``serving`` as in :func:`next_due`.
    """
    attempt, age = state.attempt, ages.failure
    if attempt is None or age is None:
        return None
    pause, pending = min(attempt.next_at - attempt.at, LONGEST_BACKOFF), state.pending
    if pending is not None and pending.by_person and attempt.person != pending.person:
        apart = _request_every(declared, state.checked, serving) if attempt.person else 0.0
        pause = min(pause, apart)
    # What makes no sense holds nobody back for long; what does is told to the last digit.
    until = attempt.next_at - age.skew if pause == attempt.next_at - attempt.at else age.began + pause
    unknown = not age.arrived and age.skew > pause
    return None if unknown or ages.now >= until else until


def _request_every(declared: Declared[Any, Any], last: Checked | None, serving: bool) -> float:
    if declared.request_every is not None:
        return declared.request_every.total_seconds()
    if not serving:  # whoever called will not call again as soon as somebody asks
        return 0.0
    return max(REQUEST_EVERY, min(2 * last.load_seconds, LONGEST_APART) if last else 0.0)


def backoff(failures: int, period: timedelta | None) -> float:
    """Return the seconds to hold back after so many failures in a row: never longer than the period itself."""
    delay: float = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (min(failures, 20) - 1))
    return delay if period is None else min(delay, period.total_seconds())


MOST_KEYS = 200
"""Keys of one request."""


class Asked(NamedTuple):
    """A request as it stands in the store."""

    id: str
    revision: int
    """Of the store, when the request was written: what has a greater one came later."""


def request_load(dataset: Declared[Any, Any], stores: Stores, *, repair: bool, keys: Collection[str] = ()) -> Asked:
    """Ask for a load, and return the request that will do.

    ``repair``: a reader does, because stored blocks are to be checked. A pending repair stays one. ``keys``: their rows
    are to be loaded besides what has changed, where only that is loaded; with more than ``MOST_KEYS`` of all requests
    that are pending everything is.

    A reader leaves it at the repair that is pending already. A person's request is always a new one: what is pending
    may be under way, and would not show what has changed since. But one that was made since this call began will do.
    Raises what the store raises.
    """
    layout, lost = dataset.layout(stores.prefix), False
    while True:
        before = stores.kv.get(layout.request)
        pending = _unanswered(stores, layout.checked, before)
        known = dict.fromkeys((pending.keys or ()) if pending is not None else ())
        if (
            before is not None
            and pending is not None
            and _will_do(pending, repair=repair, lost=lost)
            and (pending.full or known.keys() >= set(keys))
        ):
            return Asked(pending.id, before.mod_revision)
        wanted = [*known, *(key for key in keys if key not in known)]
        full = len(wanted) > MOST_KEYS or (pending is not None and pending.full)
        id_ = secrets.token_hex(8)
        request = LoadRequest(
            at=time.time(),
            repair=repair or (pending is not None and pending.repair),
            wanted=not repair or (pending is not None and pending.by_person),
            id=id_,
            person=id_ if not repair else pending.person if pending is not None else "",
            keys=None if full else wanted or None,
            full=full,
        )
        seen = before.mod_revision if before else 0
        same = mod_revision(layout.request) == seen
        done = stores.kv.txn().when(same).then(put(layout.request, request.encode())).commit()
        if done.succeeded:
            return Asked(id_, done.revision)
        lost = True


def answers(checked: Checked | None, asked: Asked) -> bool:
    """Tell whether the last load began after the request, so that it answers it.

    It says which request it found. If that was answered before, and it found none, its lock still tells: that was taken
    after the request.
    """
    if checked is None:
        return False
    if checked.request_id == asked.id:
        return True
    return max(checked.request_revision, checked.lock_token) >= asked.revision


def _will_do(pending: LoadRequest, *, repair: bool, lost: bool) -> bool:
    return pending.repair if repair else lost and pending.by_person


def _unanswered(stores: Stores, checked: str, request: KeyValue | None) -> LoadRequest | None:
    """Return the request, unless the last load has answered it and its removal is still to come."""
    found = LoadRequest.believe(request)
    if found is None or request is None:
        return None
    last = Checked.believe(stores.kv.get(checked))
    return StoredState(request=found, request_revision=request.mod_revision, checked=last).pending
