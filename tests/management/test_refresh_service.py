"""The refresh service tells and logs a failure once for each reason."""

from __future__ import annotations

import _thread
import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero import dataset
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, EncodeError, ResponseError
from django_etcdaero.management import refresh_service
from django_etcdaero.management.refresh_service import RefreshService
from django_etcdaero.runtime import runtime

pytestmark = pytest.mark.usefixtures("registry")


@pytest.fixture
def prices(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(refresh_service, "SETTLE", 0.01)
    monkeypatch.setattr(refresh_service, "LONGEST_SLEEP", 0.01)

    @dataset
    def prices() -> dict[str, int]:
        return {"a": 1}

    return prices


def errors_in_turn(errors: list[Exception | None]) -> Any:
    """Return what raises one of ``errors`` at each call, and ends the service after the last."""
    left = iter(errors)
    end = iter([_thread.interrupt_main])  # once: a second one could come after the end of the service

    def fail() -> None:
        try:
            error = next(left)
        except StopIteration:
            next(end, lambda: None)()
            error = errors[-1]
        if error is not None:
            raise error

    return fail


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def away_in_other_words() -> Iterator[Exception]:
    """What a store says that is away: its servers in any order, and what each connection met."""
    for first, second in itertools.cycle([("a", "b"), ("b", "a")]):
        yield ClusterError(f"Txn: no endpoint could answer: {first}: Socket closed; {second}: connection refused")
        yield DeadlineExceeded(f"Txn: no answer in time: {second}: recvmsg: Connection reset by peer")


def test_stores_that_are_away_are_one_reason_in_whatever_words(
    prices: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    words = away_in_other_words()
    first = next(words)
    fail = errors_in_turn([first, *itertools.islice(words, 5), EncodeError("row 1"), EncodeError("row 2")])
    monkeypatch.setattr(runtime, "stores", lambda alias: fail())
    RefreshService([prices], runtime, lambda result: None).run()
    assert complaints(caplog) == [f"dataset prices: {each}" for each in (first, "row 1", "row 2")]


AWAY, DAMAGED = ClusterError("away"), ResponseError("damaged")


def test_stores_that_cannot_be_opened_are_logged_once(
    prices: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fail = errors_in_turn([AWAY, AWAY, AWAY, DAMAGED, DAMAGED, RuntimeError("odd"), RuntimeError("odd"), AWAY, AWAY])
    monkeypatch.setattr(runtime, "stores", lambda alias: fail())
    told: list[RefreshResult] = []
    RefreshService([prices], runtime, told.append).run()
    assert complaints(caplog) == [
        "dataset prices: away",
        "dataset prices: damaged",
        "dataset prices: the refresh service failed and goes on",
        "dataset prices: away",
    ]
    assert told == []


def told_of(prices: Any, fail: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[RefreshResult]:
    """Run the service over a store whose reads ``fail()``; return what it has told."""
    engine = runtime.stores("default").kv.engine
    read = engine.range

    def interposed(*args: Any, **options: Any) -> Any:
        fail()
        return read(*args, **options)

    monkeypatch.setattr(engine, "range", interposed)
    told: list[RefreshResult] = []
    RefreshService([prices], runtime, told.append).run()
    return told


def test_a_refresh_that_goes_on_failing_is_told_once(
    prices: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prices.refresh()
    fail = errors_in_turn([AWAY, AWAY, AWAY, DAMAGED, DAMAGED, *[None] * 6, DAMAGED, DAMAGED])
    told = told_of(prices, fail, monkeypatch)
    expected = ["ClusterError: away", "ResponseError: damaged", "ResponseError: damaged"]
    assert [result.error for result in told] == expected
    assert complaints(caplog) == [f"dataset prices: refresh failed: {each.partition(': ')[2]}" for each in expected]


def test_a_refresh_that_fails_in_other_words_each_time_is_told_once(
    prices: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prices.refresh()
    words = away_in_other_words()
    first = next(words)
    fail = errors_in_turn([first, *itertools.islice(words, 5), DAMAGED])
    told = told_of(prices, fail, monkeypatch)
    assert [result.error for result in told] == [f"ClusterError: {first}", "ResponseError: damaged"]
    assert complaints(caplog) == [f"dataset prices: refresh failed: {each}" for each in (first, "damaged")]


def test_whatever_a_load_or_a_receiver_of_its_signals_raises_the_service_goes_on(
    registry: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh_service, "SETTLE", 0.01)
    told: list[RefreshResult] = []
    errors: list[BaseException | None] = [SystemExit(3), asyncio.CancelledError(), None]

    @dataset(refresh_every=timedelta(seconds=1))
    def prices() -> dict[str, int]:
        error = errors.pop(0)
        if error is not None:
            raise error
        _thread.interrupt_main()
        return {"a": 1}

    def tell(result: RefreshResult) -> None:
        told.append(result)
        if result.outcome is Outcome.FAILED:
            prices.request_refresh()
            raise SystemExit("a receiver that exits")

    monkeypatch.setattr("django_etcdaero.datasets.state.schedule.backoff", lambda failures, every: 0.0)
    monkeypatch.setattr("django_etcdaero.datasets.publish.refresh.backoff", lambda failures, every: 0.0)
    RefreshService([prices], runtime, tell).run()
    assert [result.error for result in told[:2]] == [
        "RuntimeError: load() raised SystemExit: 3",
        "RuntimeError: load() raised CancelledError",
    ]
    assert errors == []
