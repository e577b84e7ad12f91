"""``etcdaero_refresh`` without ``--loop``: whatever becomes of one dataset, the next one has its turn, and soon."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from pytest_django import Settings

from django_etcdaero import kv
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.exceptions import ClusterError
from django_etcdaero.management.commands import etcdaero_refresh
from django_etcdaero.management.one_by_one import OneByOne
from django_etcdaero.runtime import runtime
from tests.management.running import declare, run

pytestmark = pytest.mark.usefixtures("registry")


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """What a load that hangs waits for."""
    event = threading.Event()
    yield event
    event.set()


def hang(dataset: Any, go: threading.Event) -> list[str]:
    """Let the loads of a dataset hang; return the names of the threads in which they do."""
    threads: list[str] = []

    def load(self: Any) -> dict[str, int]:
        threads.append(threading.current_thread().name)
        go.wait(60)
        return {"a": 1}

    type(dataset).load = load
    return threads


def one_by_one(*datasets: Any, in_threads: bool = True, **options: Any) -> list[RefreshResult]:
    together = OneByOne(in_threads=in_threads)

    def refresh(dataset: Any) -> RefreshResult:
        return together.run(dataset, lambda overdue: Refresh(dataset, runtime, on_overdue=overdue, **options))

    return [refresh(dataset) for dataset in datasets]


def test_a_load_that_hangs_is_left_behind_and_the_next_has_its_turn(go: threading.Event) -> None:
    hanging, next_one = declare("a", load_timeout=timedelta(seconds=0.2)), declare("b")
    threads = hang(hanging, go)
    first, second = one_by_one(hanging, next_one)
    assert threads == ["etcdaero-refresh-a"]
    assert (first.outcome, str(first.error).partition(":")[0]) == (Outcome.FAILED, "LoadOverdue")
    assert second.outcome is Outcome.REFRESHED
    assert kv.lock(hanging.layout(runtime.stores("default").prefix).lock).holder() is None


def test_what_a_load_that_is_left_behind_tells_of_its_progress_is_shown_no_more() -> None:
    bar = etcdaero_refresh.ProgressBar("prices")
    bar("load", 1, 10)
    bar.end()
    bar("load", 2, 10)
    assert bar._bar is None


def test_where_others_called_the_command_it_loads_in_their_thread() -> None:
    prices = declare()
    loads: list[threading.Thread] = []

    def load(self: Any) -> dict[str, int]:
        loads.append(threading.current_thread())
        return {"a": 1}

    type(prices).load = load
    assert run("etcdaero_refresh")[0] == 0
    assert loads == [threading.current_thread()]


def test_what_interrupts_the_command_gives_the_lock_back_and_refuses_the_load(
    go: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = declare()
    threads = hang(prices, go)

    def interrupted(*args: Any) -> None:
        while not threads:
            go.wait(0.01)
        raise SystemExit(143)

    monkeypatch.setattr("django_etcdaero.management.one_by_one.wait", interrupted)
    with pytest.raises(SystemExit):
        one_by_one(prices)
    assert kv.lock(prices.layout(runtime.stores("default").prefix).lock).holder() is None
    go.set()
    assert prices.history() == []


@pytest.mark.parametrize("in_threads", [True, False])
@pytest.mark.parametrize("plane", ["kv", "records"])
def test_a_store_that_is_away_is_asked_once_for_all_datasets(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, plane: str, in_threads: bool
) -> None:
    settings.ETCDAERO = {"default": {"PREFIX": "one"}, "away": {"PREFIX": "two"}}
    away = [declare(f"a{number}", using="away") for number in range(5)]
    other = declare("b")
    asked: list[int] = []

    def fail(*args: Any, **options: Any) -> Any:
        asked.append(1)
        raise ClusterError("no endpoint answers")

    stores = runtime.stores("away")
    store, call = (stores.kv.engine, "range") if plane == "kv" else (stores.records, "exists_many")
    monkeypatch.setattr(store, call, fail)
    *results, last = one_by_one(*away, other, in_threads=in_threads)
    assert [result.outcome for result in results] == [Outcome.FAILED] * 5
    assert results[0].error == "ClusterError: no endpoint answers"
    assert {result.error for result in results[1:]} == {
        "ClusterError: no endpoint answers (alias 'away' was not asked again)"
    }
    assert last.outcome is Outcome.REFRESHED
    assert len(asked) == 1


def test_a_source_that_is_away_is_the_fault_of_its_dataset_alone() -> None:
    bad, good = declare("a"), declare("b")
    bad.errors.append(ClusterError("the source is a cluster as well"))
    first, second = one_by_one(bad, good)
    assert (first.outcome, second.outcome) == (Outcome.FAILED, Outcome.REFRESHED)


def test_the_command_exits_with_1_when_a_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    declare("a")
    declare("b")

    def fail(*args: Any, **options: Any) -> Any:
        raise ClusterError("no endpoint answers")

    monkeypatch.setattr(runtime.stores("default").kv.engine, "range", fail)
    code, text = run("etcdaero_refresh")
    assert code == 1
    assert text.splitlines() == [
        "a: failed, version unknown: ClusterError: no endpoint answers",
        "b: failed, version unknown: ClusterError: no endpoint answers (alias 'default' was not asked again)",
    ]
    with pytest.raises(SystemExit):
        call_command("etcdaero_refresh", json=True)
