"""Calls where a test has replaced the clock of Python: they are answered, and end by their deadlines."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.etcd.messages.deadlines import in_real_time
from django_etcdaero.keyvalue.values import KeyValue, Renewal
from tests.keyvalue.etcd.servers import Server

YEARS_AGO, YEARS_AHEAD = 1_468_749_600.0, 4_468_749_600.0


@pytest.fixture(params=[YEARS_AGO, YEARS_AHEAD], ids=["years-ago", "years-ahead"])
def replaced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: request.param)


@pytest.mark.usefixtures("replaced")
def test_calls_of_all_kinds_are_answered(server: Server, tmp_path: Path) -> None:
    engine = EtcdEngine([server.endpoint])
    kv = KV(engine, prefix="replaced")
    renewals: list[Renewal] = []
    first, second = engine.lease_grant(60).id, engine.lease_grant(60).id

    async def awaited() -> KeyValue | None:
        await kv.aput("awaited", "2")
        return await kv.aget("awaited")

    kv.put("blocking", "1")
    assert kv.get("blocking") is not None
    assert asyncio.run(awaited()) is not None
    assert engine.lease_keep_alive(first) > 0
    engine.lease_keep_alive_many([first, second], renewals.append)
    assert [each.ttl > 0 for each in renewals] == [True, True]
    assert engine.maintenance.snapshot(tmp_path / "copy").size > 0
    engine.close()


@pytest.mark.usefixtures("replaced")
def test_calls_end_by_their_deadlines(server: Server) -> None:
    engine = EtcdEngine([server.endpoint])
    kv = KV(engine, prefix="replaced")
    kv.put("a", "1")
    server.signal(signal.SIGSTOP)
    try:
        with pytest.raises(DeadlineExceeded):
            kv.get("a", timeout=0.2)
        with pytest.raises(DeadlineExceeded):
            asyncio.run(kv.aget("a", timeout=0.2))
    finally:
        server.signal(signal.SIGCONT)
        engine.close()


@pytest.mark.parametrize("seconds", [0.001, 5.0, 1e9, None])
def test_nothing_is_corrected_where_the_clock_is_right(seconds: float | None) -> None:
    assert in_real_time(seconds) == seconds
