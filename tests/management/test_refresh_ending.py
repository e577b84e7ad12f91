"""``etcdaero_refresh`` that is told to end: by SIGTERM, in a load or in the service."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_etcdaero import kv
from django_etcdaero.exceptions import Cancelled
from django_etcdaero.management import refresh_service
from django_etcdaero.management.commands import etcdaero_refresh
from django_etcdaero.runtime import runtime
from django_etcdaero.signals import dataset_failed
from tests.management.running import declare, run
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("registry")


def test_sigterm_during_a_load_releases_the_lock() -> None:
    prices = declare()
    before = signal.getsignal(signal.SIGTERM)

    def load(self: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    type(prices).load = load
    code, _ = run("etcdaero_refresh")
    assert code == 128 + signal.SIGTERM
    assert kv.lock(prices.layout(runtime.stores("default").prefix).lock).holder() is None
    assert signal.getsignal(signal.SIGTERM) is before


def test_after_sigterm_what_a_load_iterates_over_ends_before_its_database_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    def cursor() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            events.append("cursor ended")

    def load(self: Any) -> Any:
        rows = cursor()
        next(rows)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    type(declare()).load = load
    monkeypatch.setattr(etcdaero_refresh, "close_old_connections", lambda: events.append("connection closed"))
    code, _ = run("etcdaero_refresh")
    assert (code, events) == (128 + signal.SIGTERM, ["connection closed", "cursor ended", "connection closed"])


def fail_to_watch(monkeypatch: pytest.MonkeyPatch, prices: Any, end: Callable[[], None]) -> None:
    """Let SIGTERM come right before the service watches for requests."""

    def stores(alias: str) -> Any:
        end()
        raise Cancelled("the client is closed")

    monkeypatch.setattr(runtime, "stores", stores)


def begin_late(monkeypatch: pytest.MonkeyPatch, prices: Any, end: Callable[[], None]) -> None:
    """Let SIGTERM come right before a refresh begins."""
    monkeypatch.setattr(refresh_service, "run_project_code", lambda function: (end(), function())[1])


def load_in_vain(monkeypatch: pytest.MonkeyPatch, prices: Any, end: Callable[[], None]) -> None:
    """Let SIGTERM come during a load that fails of it."""

    def load(self: Any) -> Any:
        end()
        raise OSError("cut off")

    monkeypatch.setattr(type(prices), "load", load)


@pytest.mark.parametrize("interrupt", [fail_to_watch, begin_late, load_in_vain])
def test_what_sigterm_interrupts_in_the_service_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, interrupt: Any
) -> None:
    caplog.set_level(logging.INFO)
    prices = declare()
    client = runtime.stores("default").kv
    failures: list[Any] = []
    loads: list[int] = []
    threads: list[threading.Thread] = []

    def end() -> None:
        if not threads:
            threads.append(threading.current_thread())
            os.kill(os.getpid(), signal.SIGTERM)
            wait_until(lambda: client.closed, what="the end of the service")

    def failed(**kwargs: Any) -> None:
        failures.append(kwargs)

    monkeypatch.setattr(type(prices), "load", lambda self: loads.append(1) or {"a": 1})
    interrupt(monkeypatch, prices, end)
    dataset_failed.connect(failed)
    try:
        assert run("etcdaero_refresh", "--loop") == (0, "")
        threads[0].join(20)
    finally:
        dataset_failed.disconnect(failed)
    assert not threads[0].is_alive()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    abandoned = re.findall(r"dataset prices: the load of \d{4}-\d\d-\d\d [\d:]{8} UTC is abandoned", caplog.text)
    assert len(abandoned) == (interrupt is load_in_vain)
    assert (failures, loads) == ([], [])
