"""Between two refreshes the service folds deltas into blocks, and whoever asks for a load goes first."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero import Changes, Dataset, dataset
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.publish import base, folding
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.management import agenda, refresh_service
from django_etcdaero.runtime import runtime
from tests.waiting import wait_until

from .test_refresh_service_threads import Served


@pytest.fixture
def prices(registry: object, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(base, "MOST_DELTAS", 8)
    monkeypatch.setattr(refresh_service, "SETTLE", 0.05)
    rows = {f"k{number}": number for number in range(1000)}

    class Prices(Dataset[str, int]):
        name = "prices"
        refresh_every = timedelta(hours=1)
        request_every = timedelta(0)

        def load(self) -> dict[str, int]:
            return rows

        def change_cursor(self) -> int:
            return 0

        def load_changes(self, since: int) -> Changes[str]:
            return Changes(rows, (), 0)

    made = dataset(Prices)
    made.rows_of_source = rows
    return made


def manifest_of(prices: Any) -> Manifest:
    stores = runtime.stores("default")
    layout = prices.layout(stores.prefix)
    current = read_state(stores.kv, layout).current
    assert current is not None
    return Manifest.load(BlockStore(stores.records, layout).fetch, bytes.fromhex(current.root))


def change(prices: Any, served: Served, number: int) -> None:
    prices.rows_of_source[f"k{number}"] = -1
    known = len(served.told)
    prices.request_refresh()
    wait_until(lambda: len(served.told) > known, what="the change")


def test_deltas_are_folded_when_nobody_wants_anything(prices: Any) -> None:
    with Served([prices]) as served:
        wait_until(lambda: len(served.told) == 1, what="the first load")
        for number in range(4):
            change(prices, served, number)
        assert manifest_of(prices).deltas
        change(prices, served, 4)
        wait_until(lambda: manifest_of(prices).deltas == (), 30, "a version without deltas")
    assert served.told[-1].changes
    assert prices.refresh(full=True).outcome is Outcome.UNCHANGED


def test_a_change_does_not_wait_for_it(prices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folded, go_on = threading.Event(), threading.Event()
    steps: list[int] = []
    step = folding.Fold._step

    def slowly(self: folding.Fold, storing: Any) -> None:
        steps.append(len(manifest_of(prices).deltas))
        folded.set()
        if len(steps) == 2:
            go_on.wait(20)
        step(self, storing)

    monkeypatch.setattr(folding, "AT_ONCE", 1)
    with Served([prices]) as served:
        wait_until(lambda: len(served.told) == 1, what="the first load")
        for number in range(4):
            change(prices, served, number)
        monkeypatch.setattr(folding.Fold, "_step", slowly)
        prices.rows_of_source["k4"] = -1
        prices.request_refresh()
        assert folded.wait(20)
        wait_until(lambda: len(steps) == 2, what="a step under way")
        prices.rows_of_source["k5"] = -1
        prices.request_refresh()
        wait_until(lambda: "prices" in served.service._agenda._again, what="word of the request")
        go_on.set()
        wait_until(lambda: len(manifest_of(prices).deltas) == 1, 30, "the change alone beside blocks")
    assert steps[1:3] == [5, 6], "the change came between two steps"
    assert prices.refresh(full=True).outcome is Outcome.UNCHANGED


def test_another_dataset_that_is_due_takes_its_place() -> None:
    plan = agenda.Agenda({"a": "default", "b": "default"}, 1)
    assert plan.begin_next(0.0) == "a"
    assert plan.is_wanted("a", 0.0)
    plan.end("a", 5.0)
    assert plan.begin_next(0.0) == "b"
    assert not plan.is_wanted("b", 4.0)
    assert plan.is_wanted("b", 5.0)
    plan.wake("b")
    assert plan.is_wanted("b", 0.0)
