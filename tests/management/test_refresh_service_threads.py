"""The refresh service serves many datasets with few threads, and nothing of one stops another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from django_etcdaero import dataset
from django_etcdaero.datasets.publish import refresh
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.exceptions import ClusterError
from django_etcdaero.management import refresh_service
from django_etcdaero.management.refresh_service import RefreshService
from django_etcdaero.runtime import runtime
from tests.management.running import declare
from tests.waiting import wait_until


class Served:
    """A service that runs in a thread for as long as a block."""

    def __init__(self, loaded: list[Any], **options: Any) -> None:
        self.told: list[RefreshResult] = []
        self.service = RefreshService(loaded, runtime, self.told.append, **options)

    def __enter__(self) -> Served:
        self.thread = threading.Thread(target=self.service.run)
        self.thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.service._stopping.set()
        self.thread.join(20)

    def outcomes(self, name: str) -> list[Outcome]:
        return [result.outcome for result in self.told if result.name == name]


def test_no_more_datasets_are_loaded_at_a_time_than_there_are_threads(
    registry: object, started: Callable[[], set[str]]
) -> None:
    at_once, most, threads = 0, 0, 0
    mutex, three = threading.Lock(), threading.Event()

    def make(number: int) -> Any:
        @dataset(name=f"d{number:02}")
        def load() -> dict[str, int]:
            nonlocal at_once, most, threads
            with mutex:
                at_once += 1
                most, threads = max(most, at_once), max(threads, len(started()))
                if at_once == 3:
                    three.set()
            three.wait(20)
            with mutex:
                at_once -= 1
            return {"a": number}

        return load

    loaded = [make(number) for number in range(20)]
    with Served(loaded, threads=3) as served:
        wait_until(lambda: len(served.told) == 20, what="all datasets")
    assert most == 3
    assert threads < 20
    assert {result.outcome for result in served.told} == {Outcome.REFRESHED}


def test_a_request_is_answered_at_once_and_only_its_dataset_is_looked_at(
    registry: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {name: declare(name, refresh_every=timedelta(hours=1)) for name in ("a", "b", "c")}
    looked: list[str] = []
    look = refresh.read_state

    def read(kv: Any, layout: Any) -> Any:
        looked.append(layout.name)
        return look(kv, layout)

    with Served(list(made.values())) as served:
        wait_until(lambda: len(served.told) == 3, what="all datasets")
        wait_until(lambda: not served.service._jobs, what="a service with nothing to do")
        monkeypatch.setattr(refresh, "read_state", read)
        made["b"].source["a"] = 2
        made["b"].request_refresh()
        wait_until(lambda: served.outcomes("b") == [Outcome.REFRESHED] * 2, what="the answer")
        wait_until(lambda: not served.service._jobs, what="a service with nothing to do")
    assert set(looked) == {"b"}


def test_a_request_during_a_load_is_answered_by_another_load(registry: object) -> None:
    prices = declare(refresh_every=timedelta(hours=1))
    loads: list[int] = []

    def load(self: Any) -> dict[str, int]:
        loads.append(1)
        if len(loads) == 1:
            prices.request_refresh()
        return {"a": len(loads)}

    type(prices).load = load
    with Served([prices]) as served:
        wait_until(lambda: len(served.told) == 2, what="both loads")
    assert served.outcomes("prices") == [Outcome.REFRESHED] * 2


def test_loads_that_hang_hold_up_no_other_dataset_and_the_end_of_the_service_neither(registry: object) -> None:
    hangs, go = threading.Semaphore(0), threading.Event()

    def hang(self: Any) -> dict[str, int]:
        hangs.release()
        go.wait(60)
        return {"a": 1}

    hanging = [declare(f"a{number}", load_timeout=timedelta(seconds=0.2)) for number in range(2)]
    for each in hanging:
        type(each).load = hang
    others = [declare(f"b{number}") for number in range(3)]
    with Served([*hanging, *others], threads=2) as served:
        wait_until(lambda: len(served.told) == 5, what="a word of each")
        assert served.outcomes("a0") == served.outcomes("a1") == [Outcome.FAILED]
        assert all(
            str(result.error).startswith("LoadOverdue: the load has not ended")
            for result in served.told
            if not result.ok
        )
        assert all(served.outcomes(each.name) == [Outcome.REFRESHED] for each in others)
    go.set()
    assert all(hangs.acquire(timeout=20) for _ in hanging)
    assert not served.thread.is_alive()


def test_who_finds_a_lock_taken_takes_over_when_it_is_free_while_others_are_loaded(registry: object) -> None:
    made = [declare(f"d{number}", refresh_every=timedelta(hours=1)) for number in range(6)]
    stores = runtime.stores("default")
    locks = [stores.kv.lock(each.layout(stores.prefix).lock) for each in made[:5]]
    for lock in locks:
        lock.acquire()
    with Served(made, threads=1) as served:
        wait_until(lambda: served.outcomes("d5") == [Outcome.REFRESHED], what="the one that nobody has the lock of")
        wait_until(lambda: sorted(len(lock.queue()) for lock in locks) == [1, 1, 1, 2, 2], what="some in line")
        for lock in locks:
            lock.release()
        wait_until(lambda: len(served.told) == 6, what="all datasets")
    assert {result.outcome for result in served.told} == {Outcome.REFRESHED}


def test_a_store_that_is_away_holds_up_its_own_datasets_only(
    registry: object, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh_service, "SETTLE", 0.01)
    settings.ETCDAERO = {"default": {"PREFIX": "one"}, "away": {"PREFIX": "two"}}
    frozen = [declare(f"a{number}", using="away") for number in range(8)]
    others = [declare(f"b{number}") for number in range(8)]
    thawed = threading.Event()
    asking: list[int] = []
    engine = runtime.stores("away").kv.engine
    read = engine.range

    def freeze(*args: Any, **options: Any) -> Any:
        if thawed.is_set():
            return read(*args, **options)
        asking.append(1)
        try:
            thawed.wait(0.5)
            raise ClusterError("frozen")
        finally:
            most.append(len(asking))
            asking.pop()

    most: list[int] = []
    monkeypatch.setattr(engine, "range", freeze)
    with Served([*frozen, *others], threads=4) as served:
        wait_until(lambda: sum(result.ok for result in served.told) == 8, what="those whose stores answer")
        wait_until(lambda: len(most) >= 8, what="some tries")
        assert most[4:] == [1] * len(most[4:])  # one at a time, once it is known
        thawed.set()
        wait_until(lambda: sum(result.ok for result in served.told) == 16, what="all datasets")
    assert {each.name for each in others} < {result.name for result in served.told if result.ok}
