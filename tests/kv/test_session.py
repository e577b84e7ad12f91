"""Sessions that many ask for at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, PermissionDenied
from django_etcdaero.kv import KV, Engine
from tests.kv.interposed import InterposedEngine
from tests.waiting import wait_until


@pytest.fixture
def store(engine: Engine) -> InterposedEngine:
    return InterposedEngine(engine)


@pytest.fixture
def kv(store: InterposedEngine, at: Callable[[str], bytes]) -> Iterator[KV]:
    client = KV(store, prefix=at("app/"))
    yield client
    client.close()


class Asking:
    """Asks for a session in a thread of its own; ``result`` is the session or the error."""

    def __init__(self, kv: KV, timeout: float | None = None) -> None:
        self.result: object = None
        self._kv = kv
        self._timeout = timeout
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()
        wait_until(self._stands_still, what="the thread that waits")

    def _ask(self) -> None:
        try:
            self.result = self._kv.session(30, timeout=self._timeout)
        except Exception as error:
            self.result = error

    def _stands_still(self) -> bool:
        frame = sys._current_frames().get(self.thread.ident or 0)
        return self.result is not None or (frame is not None and frame.f_code.co_name == "wait")

    def wait(self) -> object:
        self.thread.join(30)
        return self.result


@pytest.fixture
def answer(store: InterposedEngine) -> Iterator[threading.Event]:
    """Until it is set the store does not answer to who wants a lease."""
    event = threading.Event()
    store.before["lease_grant"] = lambda: event.wait(30)
    yield event
    event.set()


def test_all_who_wait_for_a_session_get_it(kv: KV, store: InterposedEngine, answer: threading.Event) -> None:
    asking = [Asking(kv) for _ in range(5)]
    answer.set()
    assert len({each.wait() for each in asking}) == 1
    assert store.calls["lease_grant"] == 1
    assert kv.session(30) is asking[0].result


@pytest.mark.parametrize("timeout", [None, 20])
def test_all_who_wait_for_a_session_get_the_refusal(
    kv: KV, store: InterposedEngine, answer: threading.Event, timeout: float | None
) -> None:
    store.fail("lease_grant", PermissionDenied("not you"))
    asking = [Asking(kv, timeout) for _ in range(5)]
    answer.set()
    errors = [each.wait() for each in asking]
    assert {(type(error), str(error)) for error in errors} == {(PermissionDenied, "not you")}
    assert len(set(errors)) == 5
    assert store.calls["lease_grant"] == 1


def test_who_has_time_left_after_an_error_that_may_pass_asks_again(
    kv: KV, store: InterposedEngine, answer: threading.Event
) -> None:
    store.fail("lease_grant", ClusterError("away"))
    first, *others = [Asking(kv, 20) for _ in range(5)]
    answer.set()
    assert isinstance(first.wait(), ClusterError)
    assert {each.wait() for each in others} == {kv.session(30)}
    assert store.calls["lease_grant"] == 2


def test_nobody_waits_longer_than_he_wanted_to(kv: KV, store: InterposedEngine, answer: threading.Event) -> None:
    first = Asking(kv, 20)
    with pytest.raises(DeadlineExceeded, match="in time"):
        kv.session(30, timeout=0.1)
    assert store.calls["lease_grant"] == 1
    answer.set()
    assert first.wait() is kv.session(30)
