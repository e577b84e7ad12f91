"""Acts whose store freezes after the question was asked: the page comes in time, and says what is not known."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import caches
from django.test import Client

from django_etcdaero import kv
from django_etcdaero.admin import deadline
from django_etcdaero.keyvalue import interception as kv_interception
from django_etcdaero.records import interception as records_interception
from django_etcdaero.runtime import runtime
from tests.keyvalue.etcd.servers import Server
from tests.keyvalue.queue.queueing import Waiter
from tests.waiting import wait_until

from .every_act import acts, forms, second_version

pytestmark = pytest.mark.slow

NOT_KNOWN = "It may have been done, or be done yet"
READS = {"range", "lease_time_to_live", "lease_list", "watch", "get", "get_many", "exists", "exists_many"}


class Frozen:
    """Stores of which the next calls that may change something wait."""

    def __init__(self) -> None:
        self.flowing = threading.Event()
        self.flowing.set()
        self.waited = 0
        self.reads_too = False
        self.stops: Callable[[], None] | None = None
        """Called before the next call that may change something: it freezes the store itself."""

    @contextmanager
    def around(self, call: str, argument: object) -> Iterator[None]:
        stops = self.stops
        if stops is not None and call not in READS and threading.current_thread().name == "etcdaero-asking":
            self.stops = None
            stops()
        waits = not self.flowing.is_set() and threading.current_thread().name == "etcdaero-asking"
        if waits and (self.reads_too or call not in READS):
            self.waited += 1
            self.flowing.wait(60)
        yield

    @contextmanager
    def __call__(self, *, reads_too: bool = False) -> Iterator[None]:
        self.reads_too, self.waited = reads_too, 0
        self.flowing.clear()
        try:
            yield
        finally:
            self.flowing.set()
            wait_until(lambda: not asking(), what="what was late")


def asking() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "etcdaero-asking"]


@pytest.fixture
def on_etcd(server: Server, settings: Any) -> Iterator[None]:
    """An etcd of the test's own instead of a store in memory."""
    settings.ETCDAERO = {"default": {"KV": f"etcd://{server.endpoint}", "RECORDS": "mem:", "PREFIX": "tests"}}
    runtime.memory_only = False
    yield
    runtime.memory_only = True


@pytest.fixture
def frozen(things: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Frozen]:
    monkeypatch.setattr(deadline, "DEADLINE", 0.2)
    monkeypatch.setattr(deadline, "LEAST", 0.2)
    found = Frozen()
    ends = [kv_interception.interpose(kv.engine, found.around)]
    store: Any = caches["default"]._core.place.store()  # type: ignore[attr-defined]
    ends.append(records_interception.interpose(store, found.around))
    yield found
    for end in ends:
        end()


def test_an_act_that_is_late_says_that_it_may_have_been_done(
    cities: Any, frozen: Frozen, root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_version(cities, monkeypatch)
    waiter = Waiter(kv.lock("jobs/nightly"))
    for name, path, form in acts(forms(cities)):
        logged = LogEntry.objects.count()
        with frozen():
            answer = root.post(path, form)
        assert (answer.status_code, frozen.waited) == (503, 1), name
        assert NOT_KNOWN in answer.content.decode(), name
        assert LogEntry.objects.count() == logged + 1, name
        assert NOT_KNOWN in LogEntry.objects.latest("pk").get_change_message(), name
    assert "is lost" in str(waiter.wait())


def test_refreshes_that_are_asked_for_late_are_told_one_by_one(cities: Any, frozen: Frozen, root: Client) -> None:
    data = {"action": "refresh_several", "_selected_action": "cities", "confirmed": "yes", "reason": "x", "index": 0}
    with frozen():
        answer = root.post("/admin/django_etcdaero/dataset/", data, follow=True)
    assert "“cities”: no answer; it may have been asked for" in answer.content.decode()
    assert "no answer" in LogEntry.objects.get().get_change_message()


def test_an_act_on_a_store_that_was_frozen_before_is_answered_too(
    cities: Any, frozen: Frozen, root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_version(cities, monkeypatch)
    waiter = Waiter(kv.lock("jobs/nightly"))
    for module in ("keys", "key_pages", "key_writing", "leased", "datasets", "caches"):
        monkeypatch.setattr(f"django_etcdaero.admin.{module}.DEADLINE", 0.2)
    for name, path, form in acts(forms(cities)):
        with frozen(reads_too=True):
            answer = root.post(path, form)
        assert answer.status_code == 503, name
    kv.lock("jobs/nightly").force_release()
    assert waiter.wait() == "acquired"


def test_acts_on_an_etcd_that_freezes_in_the_middle(
    server: Server, on_etcd: None, cities: Any, frozen: Frozen, root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_version(cities, monkeypatch)
    waiter = Waiter(kv.lock("jobs/nightly"))
    for name, path, form in acts(forms(cities)):
        if not name.startswith("cache_"):
            frozen.stops = lambda: server.signal(signal.SIGSTOP)
            answer = root.post(path, form)
            server.signal(signal.SIGCONT)
            frozen.stops = None
            wait_until(lambda: not asking(), what="what was late")
            assert (answer.status_code, NOT_KNOWN in answer.content.decode()) == (503, True), name
    waiter.lock.cancel()  # what was not known may not have been done
    waiter.wait()
