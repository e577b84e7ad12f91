"""When a dataset is to be loaded: decisions over what the coordination plane says; and how a load is asked for.

A load is due when 0.9 periods have passed since the last successful one *began* (so that a cron job of the same period
never skips every other run), when that beginning lies in the future (a clock was wrong), when there never was one, or
when somebody asked after it began. After a failure the ``attempt`` key holds all nodes back, longer with each failure,
so that a broken source is not hammered by one node after the other.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.keyvalue.txn import mod_revision, put

from .stored_state import LoadRequest, StoredState

EARLY = 0.9
"""Fraction of the period after which a load is due."""
FIRST_BACKOFF = 5.0
"""Seconds to hold back after one failure; doubled with each further one."""
LONGEST_BACKOFF = 300.0


def next_due(state: StoredState, period: timedelta | None) -> float | None:
    """Return when the next scheduled load is due, seconds since the epoch; ``None``: only on request."""
    if period is None or state.checked is None:
        return None
    return state.checked.load_started + EARLY * period.total_seconds()


def is_due(state: StoredState, period: timedelta | None, *, now: float) -> bool:
    """Tell whether a load is due at ``now`` (seconds since the epoch), failures left aside."""
    if state.current is None or state.checked is None or state.pending is not None:
        return True
    due = next_due(state, period)
    return due is not None and (state.checked.load_started > now or now >= due)


def held_back_until(state: StoredState, *, now: float) -> float | None:
    """Return until when the last failure forbids another load, or ``None``.

    A request of a person that is newer than the failure is not held back; a repair is (readers ask by themselves).
    """
    attempt = state.attempt
    if attempt is None or not attempt.at <= now < attempt.next_at:
        return None
    pending = state.pending
    if pending is not None and not pending.repair and state.request_revision > state.attempt_revision:
        return None
    return attempt.next_at


def backoff(failures: int, period: timedelta | None) -> float:
    """Return the seconds to hold back after so many failures in a row: never longer than the period itself."""
    delay: float = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (min(failures, 20) - 1))
    return delay if period is None else min(delay, period.total_seconds())


def request_load(dataset: Declared[Any, Any], stores: Stores, *, repair: bool) -> None:
    """Put a request for a load; a pending request for a repair stays one."""
    key = dataset.layout(stores.prefix).request
    while True:
        before = stores.kv.get(key)
        pending = LoadRequest.believe(before)
        request = LoadRequest(
            at=time.time(),
            repair=repair or (pending is not None and pending.repair),
            wanted=not repair or (pending is not None and pending.by_person),
        )
        seen = before.mod_revision if before else 0
        done = stores.kv.txn().when(mod_revision(key) == seen).then(put(key, request.encode())).commit()
        if done.succeeded:
            return
