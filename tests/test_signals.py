"""What datasets tell becomes signals and log lines, and no receiver can harm the reader."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.dispatch import Signal

from django_etcdaero import dataset, kv
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.status import RefreshResult
from django_etcdaero.exceptions import ClusterError
from django_etcdaero.listener import SignalListener
from django_etcdaero.runtime import runtime
from django_etcdaero.signals import dataset_failed, dataset_loaded, dataset_published, lock_lost, refresh_ended
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("closing")

SIGNALS = {"published": dataset_published, "loaded": dataset_loaded, "failed": dataset_failed, "lock_lost": lock_lost}

Received = list[tuple[str, Any, dict[str, Any]]]


@pytest.fixture
def received(registry: object) -> Iterator[Received]:
    """What was sent: name, sender, arguments."""
    found: Received = []
    receivers: list[tuple[Signal, Callable[..., None]]] = []
    for name, signal in SIGNALS.items():

        def receive(sender: Any, *, name: str = name, **arguments: Any) -> None:
            del arguments["signal"]
            found.append((name, sender, arguments))

        signal.connect(receive)
        receivers.append((signal, receive))
    yield found
    for signal, receive in receivers:
        signal.disconnect(receive)


@pytest.fixture
def prices(received: Received) -> Any:
    @dataset
    def prices() -> dict[str, int]:
        if error:
            raise error[0]
        return {"a": 1}

    error: list[Exception] = []
    prices.error = error  # type: ignore[attr-defined]
    return prices


def test_a_publication_and_its_arrival_are_sent(prices: Any, received: Received) -> None:
    prices.refresh()
    assert prices["a"] == 1
    wait_until(lambda: len(received) == 2, what="both signals")
    (first, sender, published), (second, _, loaded) = received
    assert (first, second, sender) == ("published", "loaded", type(prices))
    assert set(published) == {"dataset", "announcement"}
    assert (published["dataset"], published["announcement"].version) == (prices, 1)
    assert set(loaded) == {"dataset", "snapshot"}
    assert loaded["snapshot"] is prices.snapshot()


def test_a_failed_refresh_is_sent_and_logged_once(
    prices: Any, received: Received, caplog: pytest.LogCaptureFixture
) -> None:
    prices.error.append(RuntimeError("down"))
    prices.refresh()
    ((name, _, arguments),) = received
    assert name == "failed"
    assert (arguments["dataset"], arguments["error"], arguments["phase"]) == (prices, prices.error[0], "refresh")
    (record,) = [record for record in caplog.records if "refresh failed" in record.message]
    assert (record.levelno, record.message) == (logging.ERROR, "dataset prices: refresh failed: down")
    assert record.exc_info is not None  # of a foreign error the traceback is wanted


def test_our_own_errors_are_warnings_without_a_traceback(
    prices: Any, received: Received, caplog: pytest.LogCaptureFixture
) -> None:
    SignalListener().failed(prices, ClusterError("away"), "load")
    SignalListener().failed(prices, ClusterError(""), "load")
    assert [(record.levelno, record.message, record.exc_info) for record in caplog.records] == [
        (logging.WARNING, "dataset prices: load failed: away", None),
        (logging.WARNING, "dataset prices: load failed: ClusterError", None),
    ]
    assert [arguments["phase"] for _, _, arguments in received] == ["load", "load"]


def test_a_lost_lock_is_sent(prices: Any, received: Received, caplog: pytest.LogCaptureFixture) -> None:
    stores = runtime.stores("default")

    def lose_the_lock(self: Any) -> Any:
        kv.delete_range(self.layout(stores.prefix).lock + "/", prefix=True)
        return {"a": 1}

    type(prices).load = lose_the_lock
    assert prices.refresh().ok
    assert [name for name, _, _ in received] == ["lock_lost", "published"]
    assert received[0][2] == {"dataset": prices}
    assert "the lock was lost while refreshing" in caplog.text


def test_a_receiver_that_raises_harms_nobody(prices: Any, received: Received) -> None:
    def bad(**arguments: Any) -> None:
        raise RuntimeError("a bad receiver")

    for signal in SIGNALS.values():
        signal.connect(bad)
    try:
        assert prices.refresh().ok
        assert prices["a"] == 1
        assert prices.status().error is None
    finally:
        for signal in SIGNALS.values():
            signal.disconnect(bad)


def test_the_end_of_a_refresh_is_sent_whatever_it_is(prices: Any) -> None:
    ended: list[RefreshResult] = []

    def receive(sender: Any, result: RefreshResult, **arguments: Any) -> None:
        assert (sender, arguments["dataset"]) == (type(prices), prices)
        ended.append(result)

    refresh_ended.connect(receive)
    try:
        done = [prices.refresh(), prices.refresh(), prices.refresh(force=True)]
        prices.error.append(RuntimeError("down"))
        done.append(prices.refresh(force=True))
        Refresh(prices, runtime, dry_run=True, force=True).run()
    finally:
        refresh_ended.disconnect(receive)
    assert ended == done
    assert [each.outcome for each in ended] == ["refreshed", "fresh", "unchanged", "failed"]
