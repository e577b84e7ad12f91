"""Sessions that many ask for at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, PermissionDenied
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.client import session
from django_etcdaero.system.threads import wait
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def joined(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that have come to wait for what another one was granted."""
    threads: list[threading.Thread] = []

    def noted(event: threading.Event, timeout: float) -> bool:
        threads.append(threading.current_thread())
        return wait(event, timeout)

    monkeypatch.setattr(session, "wait", noted)
    return threads


class Asking:
    """Asks for a session in a thread of its own; ``result`` is the session or the error."""

    def __init__(self, kv: KV, store: InterposedEngine, joined: list[threading.Thread], timeout: float | None = None):
        self.result: object = None
        self._kv = kv
        self._timeout = timeout
        self.thread = threading.Thread(target=self._ask, daemon=True)
        asked = store.calls["lease_grant"]
        self.thread.start()
        wait_until(lambda: store.calls["lease_grant"] > asked or self.thread in joined, what="the thread that waits")

    def _ask(self) -> None:
        try:
            self.result = self._kv.session(30, timeout=self._timeout)
        except Exception as error:
            self.result = error

    def wait(self) -> object:
        self.thread.join(30)
        return self.result


Ask = Callable[..., Asking]


@pytest.fixture
def ask(kv: KV, store: InterposedEngine, joined: list[threading.Thread]) -> Ask:
    return lambda timeout=None: Asking(kv, store, joined, timeout)


@pytest.fixture
def answer(store: InterposedEngine) -> Iterator[threading.Event]:
    """Until it is set the store does not answer to who wants a lease."""
    event = threading.Event()
    store.before["lease_grant"] = lambda: event.wait(30)
    yield event
    event.set()


def test_all_who_wait_for_a_session_get_it(kv: KV, store: InterposedEngine, ask: Ask, answer: threading.Event) -> None:
    asking = [ask() for _ in range(5)]
    answer.set()
    assert len({each.wait() for each in asking}) == 1
    assert store.calls["lease_grant"] == 1
    assert kv.session(30) is asking[0].result


@pytest.mark.parametrize("timeout", [None, 20])
def test_all_who_wait_for_a_session_get_the_refusal(
    kv: KV, store: InterposedEngine, ask: Ask, answer: threading.Event, timeout: float | None
) -> None:
    store.fail("lease_grant", PermissionDenied("not you"))
    asking = [ask(timeout) for _ in range(5)]
    answer.set()
    errors = [each.wait() for each in asking]
    assert {(type(error), str(error)) for error in errors} == {(PermissionDenied, "not you")}
    assert len(set(errors)) == 5
    assert store.calls["lease_grant"] == 1


def test_who_has_time_left_after_an_error_that_may_pass_asks_again(
    kv: KV, store: InterposedEngine, ask: Ask, answer: threading.Event
) -> None:
    store.fail("lease_grant", ClusterError("away"))
    first, *others = [ask(20) for _ in range(5)]
    answer.set()
    assert isinstance(first.wait(), ClusterError)
    assert {each.wait() for each in others} == {kv.session(30)}
    assert store.calls["lease_grant"] == 2


def test_nobody_waits_longer_than_he_wanted_to(
    kv: KV, store: InterposedEngine, ask: Ask, answer: threading.Event
) -> None:
    first = ask(20)
    with pytest.raises(DeadlineExceeded, match="in time"):
        kv.session(30, timeout=0.1)
    assert store.calls["lease_grant"] == 1
    answer.set()
    assert first.wait() is kv.session(30)
