"""A signal handler may raise anywhere: what it interrupts leaves no lock that nobody holds, and no useless object."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.queue.contender import Contender
from django_etcdaero.keyvalue.queue.guard import Guard
from django_etcdaero.keyvalue.queue.place import Place


@pytest.fixture
def interrupt_at_the_end_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], None]:
    """Let the next call of a method end in Ctrl-C."""

    def arrange(owner: type, name: str) -> None:
        method: Any = getattr(owner, name)

        def interrupted(*args: Any, **options: Any) -> Any:
            monkeypatch.setattr(owner, name, method)
            method(*args, **options)
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(owner, name, interrupted)

    return arrange


@pytest.mark.parametrize(("owner", "name"), [(Guard, "stop"), (Place, "_free"), (Place, "_leave_in_background")])
def test_an_interrupted_release_frees_the_lock(
    kv: KV, interrupt_at_the_end_of: Callable[[type, str], None], owner: type, name: str, store: Any
) -> None:
    lock = kv.lock("L")
    lock.acquire()
    if name == "_leave_in_background":  # the way for a store that does not answer
        store.fail("txn", TimeoutError("interrupted call"), times=1)
    interrupt_at_the_end_of(owner, name)
    with pytest.raises((KeyboardInterrupt, TimeoutError)):
        lock.release()
    assert not lock.held
    with pytest.raises(InvalidRequest, match="not held"):
        lock.release()
    other = kv.lock("L")
    other.acquire(timeout=10)
    other.release()
    lock.acquire(timeout=10)
    lock.release()


@pytest.mark.parametrize("name", ["_make_place", "_hold"])
def test_an_interrupted_acquire_leaves_the_object_usable_and_the_lock_free(
    kv: KV, interrupt_at_the_end_of: Callable[[type, str], None], name: str
) -> None:
    lock = kv.lock("L")
    interrupt_at_the_end_of(Contender if name == "_hold" else type(lock), name)
    with pytest.raises(KeyboardInterrupt):
        lock.acquire()
    assert not lock.held
    other = kv.lock("L")
    other.acquire(timeout=10)
    other.release()
    lock.acquire(timeout=10)
    lock.release()
