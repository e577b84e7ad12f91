"""A signal handler may raise anywhere: what it interrupts leaves no lock that nobody holds, and no useless object."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any

import pytest

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.queue.contender import Contender
from django_etcdaero.keyvalue.queue.guard import Guard
from django_etcdaero.keyvalue.queue.place import Place
from tests.waiting import wait_until


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


def interrupt_at_the_end(block: Callable[[], Any], inside: Callable[[Any], object]) -> None:
    """Enter and leave it by ``with``; whatever that calls in the end is interrupted before its first instruction."""

    def interrupt(frame: FrameType, event: str, argument: object) -> None:
        sys.settrace(None)
        raise KeyboardInterrupt

    tracing = sys.gettrace()
    try:
        with block() as entered:
            inside(entered)
            sys.settrace(interrupt)
    except KeyboardInterrupt:
        return
    finally:
        sys.settrace(tracing)
    raise AssertionError("nothing was interrupted")


@pytest.mark.parametrize("kept", [False, True], ids=["the object is freed", "the object is kept"])
def test_a_lock_whose_release_could_not_begin_is_free(kv: KV, kept: bool) -> None:
    objects: list[object] = []

    def inside(lock: Any) -> None:
        assert lock.held
        objects.extend([lock] * kept)

    interrupt_at_the_end(lambda: kv.lock("L"), inside)
    with kv.lock("L", timeout=10):
        pass


@pytest.mark.parametrize("kind", ["temporary_key", "lease", "election"])
def test_other_blocks_whose_end_could_not_begin_end(kv: KV, kind: str) -> None:
    def block() -> Any:
        return kv.lease(2) if kind == "lease" else getattr(kv, kind)("name", ttl=2)

    def inside(entered: Any) -> None:
        if kind == "lease":
            kv.put("name", lease=entered)
        assert kv.range("name", prefix=True).kvs

    interrupt_at_the_end(block, inside)
    wait_until(lambda: not kv.range("name", prefix=True).kvs, 20, "an end of it")


def test_asking_for_the_end_of_a_block_ends_none(kv: KV) -> None:
    lock = kv.lock("L")
    with lock:
        assert callable(lock.__exit__)
        assert lock.held
    with ExitStack() as stack:
        assert stack.enter_context(lock).held
    assert not lock.held
