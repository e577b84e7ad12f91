"""Whether a load by somebody else began after a refresh got in line for the lock."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from django_etcdaero.datasets.publish import refresh as refreshing
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.publish.turn import Turn
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.datasets.state.stored_state import Checked, StoredState
from tests.datasets.hosting import FakeHost, in_thread
from tests.waiting import wait_until


def checked(token: int, began_after: int = 0) -> Checked:
    return Checked(
        id=str(token),
        load_started=0.0,
        load_seconds=0.0,
        version=1,
        request_revision=0,
        lock_token=token,
        began_after=began_after,
    )


@pytest.mark.parametrize(("later", "expected"), [(-1, False), (0, False), (1, True)])
def test_only_a_load_under_a_later_lock_began_later(host: FakeHost, declare: Any, later: int, expected: bool) -> None:
    key = declare().layout("t").lock
    holder, lock = host.kv.lock(key), host.other().kv.lock(key)
    holder.acquire()
    token = holder.token
    turn = Turn(lock, "prices", wait=20.0, line=None)
    thread, answers = in_thread(turn.take)
    wait_until(lambda: len(lock.queue()) == 2, what="the place in the queue")
    holder.release()
    thread.join(20)
    assert answers == [None]
    asked = StoredState(revision=token + 10)
    assert turn.loaded_since(asked, checked(token + later)) is expected
    assert not turn.loaded_since(replace(asked, checked=checked(token + later)), checked(token + later))
    # The one that had the lock may have begun to load only then.
    assert turn.loaded_since(asked, checked(token, asked.revision + 1))
    assert not turn.loaded_since(asked, checked(token, asked.revision))
    assert not turn.loaded_since(StoredState(), checked(token, 5))
    lock.release()


def test_who_asks_before_the_holder_of_the_lock_begins_to_load_does_not_load_again(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is taken, and what there is to do is still being read, when the other one gets in line."""
    prices = declare()
    other, waiting = host.other(), []
    real = refreshing.read_state

    def slowly(*args: Any, **options: Any) -> Any:
        queue = host.kv.lock(prices.layout("t").lock)
        if threading.current_thread() is first and queue.holder() is not None and not waiting:
            waiting.append(in_thread(lambda: Refresh(prices, other, force=True, wait=20).run()))
            wait_until(lambda: len(queue.queue()) == 2, what="the other refresh in the queue")
        return real(*args, **options)

    first = threading.current_thread()
    monkeypatch.setattr(refreshing, "read_state", slowly)
    assert prices.refresh(force=True).outcome is Outcome.REFRESHED
    ((thread, answers),) = waiting
    thread.join(20)
    assert answers[0].outcome is Outcome.FRESH
    assert prices.source.loads == 1
