"""The thread that keeps all datasets of a process on the announced versions."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
from collections import Counter
from typing import Any

import pytest

from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.read.reader import Reader
from django_etcdaero.datasets.state.presence import Presence, processes
from django_etcdaero.datasets.state.status import State
from django_etcdaero.exceptions import ClusterError, PermissionDenied
from tests.datasets.hosting import Alias, FakeHost, follow, in_thread, many, publish
from tests.waiting import wait_until


def test_it_follows_all_datasets_by_watching(host: FakeHost, declare: Any) -> None:
    made = [declare({"a": number}, name=f"dataset{number}") for number in range(3)]
    publish(made[0])
    host.start_reader(poll_interval=3600.0)
    assert made[0].wait_ready(20)["a"] == 0
    other = host.other()
    for number, dataset in enumerate(made):
        Refresh(dataset, other, force=True).run()
        assert dataset.wait_ready(20)["a"] == number
    made[1].source.rows = {"a": "new"}
    Refresh(made[1], other, force=True).run()
    assert made[1].wait_version(2, timeout=20)["a"] == "new"


def test_it_polls_when_the_watch_is_silent(host: FakeHost, declare: Any) -> None:
    prices = declare()
    host.engine.inner.watch = lambda request, sink, *, timeout=None: Silence()  # type: ignore[method-assign]
    host.start_reader(poll_interval=0.05)
    Refresh(prices, host.other()).run()
    wait_until(lambda: prices.status().state is State.VALID, what="the version found by polling")


class Silence:
    """A watch that never reports anything."""

    def cancel(self) -> None:
        pass


def test_it_can_be_woken_after_handlers_of_signals_have_raised_in_that(host: FakeHost, declare: Any) -> None:
    prices = declare()
    reader = host.start_reader(poll_interval=3600.0)
    raised = 0

    def handle(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, handle)
    try:
        for _ in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002)
                while True:
                    reader.wake(prices)
            except InterruptedError:
                raised += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    assert raised == 300
    Refresh(prices, host.other()).run()
    thread, _ = in_thread(lambda: reader.wake(prices))
    thread.join(10)
    assert not thread.is_alive()
    wait_until(lambda: prices.status().state is State.VALID, what="the version after waking")


def test_it_wakes_on_request(host: FakeHost, declare: Any) -> None:
    prices = declare()
    host.engine.inner.watch = lambda request, sink, *, timeout=None: Silence()  # type: ignore[method-assign]
    reader = host.start_reader(poll_interval=3600.0)
    wait_until(lambda: prices.status().error, what="the first look")
    Refresh(prices, host.other()).run()
    reader.wake(prices)
    wait_until(lambda: prices.status().state is State.VALID, what="the version after waking")


def test_a_watch_that_ended_is_started_again(host: FakeHost, declare: Any) -> None:
    prices = declare()
    reader = host.start_reader(poll_interval=3600.0)
    wait_until(lambda: prices.status().error, what="the first look")
    for _ in range(2):
        for watch in tuple(host.kv.life.callback_watches):
            watch.cancel()
        reader.wake(prices)
        wait_until(lambda: host.kv.life.callback_watches, what="another watch")
    Refresh(prices, host.other()).run()
    wait_until(lambda: prices.status().state is State.VALID, what="the version told by the new watch")


def test_one_dataset_that_fails_holds_no_other_up(host: FakeHost, declare: Any) -> None:
    published = threading.Event()

    def prepare(self: Any, rows: Any) -> None:
        if published.is_set():
            raise RuntimeError("never works")

    bad, good = declare(name="bad", prepare=prepare), declare(name="good")
    lost = declare(name="lost", using="nowhere")
    publish(bad)
    publish(good)
    published.set()
    host.start_reader()
    assert good.wait_ready(20)["a"] == 1
    wait_until(lambda: bad.status().failures and lost.status().failures, what="the failures")
    assert "never works" in str(bad.status().error)
    assert "no alias 'nowhere'" in str(lost.status().error)


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError()])
def test_what_a_project_raises_does_not_end_it(host: FakeHost, declare: Any, error: BaseException) -> None:
    broken = False

    def prepare(self: Any, rows: Any) -> None:
        if broken:
            raise error

    bad, good = declare(name="bad", prepare=prepare), declare(name="good")
    publish(bad)
    publish(good)
    broken = True
    reader = host.start_reader(poll_interval=0.05)
    wait_until(lambda: bad.status().failures >= 2, what="the failures")
    assert type(error).__name__ in str(bad.status().error)
    assert good.wait_ready(20)["a"] == 1
    broken = False
    assert bad.wait_ready(20)["a"] == 1
    wait_until(lambda: bad.status().state is State.VALID, what="the recovery")
    assert reader.alive
    assert [(name, phase) for name, phase, _ in host.listener.failures] == [("bad", "load")]


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), SystemExit(1)])
def test_an_error_nobody_foresaw_is_logged_and_does_not_end_it(
    host: FakeHost,
    declare: Any,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    raised = threading.Event()

    def fail(*arguments: Any, **options: Any) -> None:
        raised.set()
        raise error

    prices = declare()
    with monkeypatch.context() as patch:
        patch.setattr(Presence, "publish", fail)
        reader = host.start_reader(poll_interval=0.05)
        assert raised.wait(20)
        wait_until(lambda: "goes on" in caplog.text, what="the log line")
    assert type(error).__name__ in caplog.text
    publish(prices)
    assert prices.wait_ready(20)["a"] == 1
    wait_until(lambda: processes(host.kv), what="the registration")
    assert reader.alive
    assert not reader.died


def test_a_reader_that_dies_all_the_same_is_noticed_by_the_status(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = declare()
    publish(prices)
    follower = follow(prices, host)
    follower.step()
    follower.close()
    with monkeypatch.context() as patch:
        patch.setattr(Reader, "_run", lambda self: self._find_datasets())
        reader = host.start_reader()
        wait_until(lambda: reader.died, what="its end")
    assert (reader.alive, prices["a"]) == (False, 1)
    assert prices.status().state is State.INTERRUPTED
    host.start = host.start_reader
    wait_until(lambda: prices.status().state is State.VALID, what="another reader")
    assert host.reader is not reader
    publish(prices, {"a": 2})
    assert prices.wait_version(2, timeout=20)["a"] == 2


def test_it_recovers_by_itself(host: FakeHost, declare: Any) -> None:
    prices = declare({"a": 1})
    publish(prices)
    host.records.broken = ClusterError("away")
    host.start_reader(poll_interval=0.1)
    wait_until(lambda: prices.status().failures >= 2, what="failures")
    host.records.broken = None
    assert prices.wait_ready(20)["a"] == 1
    wait_until(lambda: prices.status().state is State.VALID, what="the recovery")


def test_it_stops_promptly_and_leaves_nothing(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices)
    reader = host.start_reader(poll_interval=3600.0)
    prices.wait_ready(20)
    wait_until(lambda: processes(host.kv), what="the registration")
    assert reader.alive
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("etcdaero-reader") == 1
    reader.stop(20)
    assert not reader.alive
    assert "etcdaero-reader" not in [thread.name for thread in threading.enumerate()]
    assert processes(host.kv) == []
    assert not host.kv.life.callback_watches
    assert prices["a"] == 1
    reader.stop(1)


def test_it_stops_promptly_while_it_spreads_a_fetch_out(host: FakeHost, declare: Any) -> None:
    rows = {number: random.Random(number).randbytes(4000) for number in range(700)}
    prices = declare(rows)
    publish(prices)
    reader = host.start_reader(poll_interval=3600.0, splay=3600.0)
    prices.wait_ready(20)
    fetched = host.records.calls["get_many"]
    prices.source.rows = {number: value[::-1] for number, value in rows.items()}
    Refresh(prices, host.other(), force=True).run()
    wait_until(lambda: host.records.calls["get_many"] > fetched, what="the fetch to begin")
    reader.stop(20)
    assert "etcdaero-reader" not in [thread.name for thread in threading.enumerate()]
    assert prices.snapshot().version == 1


def test_it_opens_no_store_after_it_was_stopped(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices)
    entered, proceed = threading.Event(), threading.Event()

    def prepare(self: Any, rows: Any) -> None:
        entered.set()
        assert proceed.wait(20)

    type(prices).prepare = prepare
    reader = host.start_reader()
    assert entered.wait(20)
    reader.stop(0)
    asked: list[str] = []
    real = host.stores
    host.stores = lambda alias: asked.append(alias) or real(alias)  # type: ignore[method-assign, func-returns-value]
    proceed.set()
    reader.stop(20)
    assert "etcdaero-reader" not in [thread.name for thread in threading.enumerate()]
    assert asked == []


def test_the_registration_tells_what_is_held(host: FakeHost, declare: Any) -> None:
    prices, stock = declare({"a": 1}), declare(name="stock")
    publish(prices)
    host.start_reader(poll_interval=3600.0)

    def registered() -> tuple[Any, Any]:
        (process,) = processes(host.kv) or [None]
        return (None, None) if process is None else (process.versions, process.states)

    wait_until(
        lambda: registered() == (
            {"prices": 1, "stock": None}, {"prices": "VALID", "stock": "INITIALIZING"}
        ),
        what="the registration",
    )  # fmt: skip
    publish(prices, many(3))
    publish(stock)
    wait_until(
        lambda: registered() == ({"prices": 2, "stock": 1}, {"prices": "VALID", "stock": "VALID"}), what="both versions"
    )


def test_each_alias_has_its_own_registration(host: FakeHost, declare: Any) -> None:
    host.aliases["other"] = Alias()
    here, there = declare(name="here"), declare(name="there", using="other")
    publish(here)
    publish(there)
    reader = host.start_reader()
    kvs = [host.kv, host.aliases["other"].stores.kv]
    wait_until(
        lambda: [[process.versions for process in processes(kv)] for kv in kvs] == [[{"here": 1}], [{"there": 1}]],
        what="both registrations",
    )
    reader.stop(20)
    assert [processes(kv) for kv in kvs] == [[], []]


def test_one_alias_that_is_away_holds_no_other_up(host: FakeHost, declare: Any) -> None:
    host.aliases["other"] = Alias()
    for method in ("range", "watch", "lease_grant"):
        host.aliases["other"].engine.break_(method, ClusterError("away"))
    here, there = declare(name="here"), declare(name="there", using="other")
    publish(here)
    host.start_reader(poll_interval=0.1)
    assert here.wait_ready(20)["a"] == 1
    host.aliases["other"].engine.mend()
    publish(there)
    assert there.wait_ready(20)["a"] == 1


def test_what_keeps_the_registration_from_being_written_is_told_once(
    host: FakeHost, declare: Any, caplog: pytest.LogCaptureFixture
) -> None:
    declare()
    tries = Counter[str]()

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

    def refused(text: str) -> None:
        def refuse() -> None:
            tries[text] += 1
            raise PermissionDenied(text)

        host.engine.before["put"] = refuse
        wait_until(lambda: tries[text] >= 3, what=f"three tries that end with {text!r}")

    host.start_reader(poll_interval=0.05)
    refused("permission denied")
    refused("another reason")
    assert told() == [
        "alias 'default': this process could not be registered for etcdaero_status: permission denied",
        "alias 'default': this process could not be registered for etcdaero_status: another reason",
    ]
    del host.engine.before["put"]
    wait_until(lambda: processes(host.kv), what="the registration")
    assert len(told()) == 2


@pytest.mark.parametrize("method", ["range", "put"])
def test_it_stops_even_when_the_registration_cannot_be_withdrawn(host: FakeHost, declare: Any, method: str) -> None:
    declare()
    reader = host.start_reader()
    wait_until(lambda: processes(host.kv), what="the registration")
    host.engine.break_("delete_range", ClusterError("away"))
    host.engine.break_(method, ClusterError("away"))
    reader.stop(20)
    assert "etcdaero-reader" not in [thread.name for thread in threading.enumerate()]


def test_a_dataset_that_is_declared_later_is_followed_too(host: FakeHost, declare: Any) -> None:
    first = declare(name="first")
    publish(first)
    host.start_reader(poll_interval=3600.0)
    first.wait_ready(20)
    later = declare({"a": "later"}, name="later", first_read_timeout=60.0)
    Refresh(later, host.other()).run()
    assert later["a"] == "later"
