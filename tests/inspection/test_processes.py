"""Processes of all aliases: what they hold, and which are not as the others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.layout import PROCESSES
from django_etcdaero.datasets.state.presence import Held, Process, Registration
from django_etcdaero.exceptions import ClusterError
from django_etcdaero.inspection.processes import ask_processes, differing, identity
from django_etcdaero.keyvalue import ops
from django_etcdaero.runtime import runtime
from tests.management.running import declare, kv_away, register


@pytest.fixture(autouse=True)
def _empty(registry: dict[str, Dataset[Any, Any]], closing: None) -> Iterator[None]:
    runtime.forget_memory()
    yield
    runtime.forget_memory()


def process(pid: int, **settings: str) -> Process:
    return Process(host="a", pid=pid, started=1.0, versions={}, states={}, schemas={}, settings=settings)


def test_the_headline_counts_who_holds_the_announced_version() -> None:
    prices = declare()
    prices.refresh()
    prices.source["b"] = 2
    assert prices.refresh(force=True).version == 2
    register(1, {"prices": 2}, {"prices": "VALID"})
    register(2, {"prices": 1}, {"prices": "VALID"})
    register(3, {"prices": None}, {})
    register(4, {"prices": 2}, {"prices": "VALID"}, schema=2)
    found = ask_processes(5.0)
    assert found.problems == []
    assert [(each.dataset, each.schema, each.version, each.holding, each.readers) for each in found.headlines] == [
        ("prices", 1, 2, 1, 3),
        ("prices", 2, None, 0, 1),
    ]
    assert [each.started for each in found.headlines[0].others] == [2.0, 3.0]


def test_settings_that_differ_from_most_are_named() -> None:
    found = [process(1, A="x", B="y"), process(2, A="x", B="y"), process(3, A="z", B="y"), process(4)]
    assert differing(found) == {identity(found[2]): ("A",)}
    assert differing(found[1:3]) == {identity(each): ("A",) for each in found[1:3]}
    assert differing(found[:2]) == {}


def test_a_store_that_is_away_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    kv_away(monkeypatch)
    found = ask_processes(5.0)
    assert (found.processes, found.headlines) == ([], [])
    assert found.problems[0].type == ClusterError.__name__


def test_a_thousand_processes_cost_three_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    prices = declare()
    prices.refresh()
    kv = runtime.stores("default").kv
    newest = kv.range("announcements/", prefix=True).kvs[0].mod_revision
    values = []
    for pid in range(1000):
        who = Registration(host="h", pid=pid, started=time.time(), schemas={"prices": 1}, program="gunicorn")
        held = Held(host="h", pid=pid, revision=newest if pid % 10 else 0, otherwise={})
        values += [(f"{PROCESSES}h-{pid}-x", who.encode()), (f"{PROCESSES}h-{pid}-x/held", held.encode())]
    for start in range(0, len(values), 100):
        kv.txn().then(*(ops.put(*each) for each in values[start : start + 100])).commit()
    calls = []
    real = kv.engine.range
    monkeypatch.setattr(kv.engine, "range", lambda *args, **options: calls.append(1) or real(*args, **options))
    found = ask_processes(10.0)
    assert (len(found.processes), found.headlines[0].holding, found.headlines[0].readers) == (1000, 900, 1000)
    assert len(calls) == 3
