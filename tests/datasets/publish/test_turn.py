"""Whether a load by somebody else began after a refresh got in line for the lock."""

from __future__ import annotations

from typing import Any

import pytest

from django_etcdaero.datasets.publish.turn import Turn
from django_etcdaero.datasets.state.stored_state import Checked
from tests.datasets.hosting import FakeHost, in_thread
from tests.waiting import wait_until


def checked(token: int) -> Checked:
    return Checked(id=str(token), load_started=0.0, load_seconds=0.0, version=1, request_revision=0, lock_token=token)


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
    assert turn.loaded_since(None, checked(token + later)) is expected
    assert not turn.loaded_since(checked(token + later), checked(token + later))
    lock.release()
