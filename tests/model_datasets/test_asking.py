"""Many changes are few requests, the last one is not lost, and a store that is away is asked again."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from django_etcdaero.exceptions import ClusterError
from django_etcdaero.model_datasets import asking
from django_etcdaero.model_datasets.asking import Asker
from tests.waiting import wait_until


def dataset(name: str, using: str = "default") -> Any:
    return SimpleNamespace(name=name, using=using)


class Store:
    """Counts who was asked for; fails for aliases that are away, and stops while ``gate`` is not set."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()
        self.away: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, dataset: Any, keys: Collection[str] = ()) -> None:
        self.keys = list(keys)
        self.tried[dataset.name] += 1
        assert self.gate.wait(10)
        if dataset.using in self.away:
            raise ClusterError("no endpoint answers")
        self.asked[dataset.name] += 1


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def asker(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asker]:
    monkeypatch.setattr(asking, "APART", 0.02)
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.02)
    made = Asker(lambda: True, store)
    yield made
    store.gate.set()
    made.close()


PRICES, STOCK = dataset("prices"), dataset("stock")


def ended(started: Callable[[], set[str]]) -> bool:
    return "etcdaero-changes" not in started()


def test_a_change_is_asked_for_at_once_and_leaves_no_thread(asker: Asker, store: Store, started: Any) -> None:
    asker.mark([PRICES, STOCK])
    wait_until(lambda: store.asked == {"prices": 1, "stock": 1})
    wait_until(lambda: ended(started))


def test_many_changes_are_few_requests_and_the_last_one_is_not_lost(asker: Asker, store: Store, started: Any) -> None:
    store.gate.clear()
    asker.mark([PRICES])
    wait_until(lambda: store.tried["prices"] == 1)
    for _ in range(1000):
        asker.mark([PRICES])
    store.gate.set()
    wait_until(lambda: ended(started))
    assert store.asked["prices"] == 2


def test_two_requests_for_a_dataset_are_some_time_apart(
    asker: Asker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "APART", 3600.0)
    asker.mark([PRICES])
    wait_until(lambda: store.asked["prices"] == 1)
    asker.mark([PRICES])
    asker.mark([STOCK])
    wait_until(lambda: store.asked["stock"] == 1)
    assert store.tried["prices"] == 1
    asker.close()  # at the end of the process nothing waits
    assert store.asked["prices"] == 2


def test_keys_are_asked_for_until_that_is_done(asker: Asker, store: Store) -> None:
    store.away.add("default")
    asker.mark([PRICES], {"prices": "a"})
    wait_until(lambda: store.tried["prices"] >= 2)
    asker.mark([PRICES], {"prices": "b"})
    store.away.clear()
    wait_until(lambda: store.asked["prices"] and set(store.keys) >= {"b"})
    asker.close()
    assert store.keys in (["a", "b"], ["b"])
    asker.mark([PRICES])
    wait_until(lambda: store.keys == [])


def test_what_could_not_be_asked_for_is_tried_again_and_told_once(
    asker: Asker, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.away = {"default"}
    with caplog.at_level(logging.INFO, "django_etcdaero.datasets"):
        asker.mark([PRICES])
        wait_until(lambda: store.tried["prices"] >= 3)
        store.away = set()
        wait_until(lambda: store.asked["prices"] == 1)
    assert caplog.messages == [
        "dataset prices: models changed, and no load could be asked for: ClusterError: no endpoint answers"
    ]


def test_an_alias_that_is_away_is_waited_for_once_and_holds_up_no_other(asker: Asker, store: Store) -> None:
    store.away = {"other"}
    store.gate.clear()
    asker.mark([STOCK])
    wait_until(lambda: store.tried["stock"] == 1)
    asker.mark([*(dataset(f"other-{number}", "other") for number in range(5)), PRICES])
    store.gate.set()
    wait_until(lambda: store.asked["prices"] == 1)
    assert sum(count for name, count in store.tried.items() if name.startswith("other")) <= 2


def test_the_end_of_the_process_does_not_try_for_ever(asker: Asker, store: Store, started: Any) -> None:
    store.away = {"default"}
    asker.mark([PRICES])
    wait_until(lambda: store.tried["prices"] >= 1)
    asker.close()
    assert ended(started)


def test_where_no_thread_may_run_it_is_done_at_once(store: Store, started: Any) -> None:
    asker = Asker(lambda: False, store)
    asker.mark([PRICES])
    assert store.asked == {"prices": 1}
    store.away = {"default"}
    asker.mark([PRICES])  # and raises nothing
    assert store.tried == {"prices": 2}
    assert ended(started)


def test_the_child_of_a_fork_leaves_to_the_parent_what_was_marked_there(asker: Asker, store: Store) -> None:
    store.gate.clear()
    asker.mark([STOCK])
    asker.mark([PRICES])
    asker.after_fork_in_child()  # as if this were the child
    store.gate.set()
    asker.mark([dataset("other")])
    wait_until(lambda: store.asked["other"] == 1)
    assert store.asked["prices"] == 0
