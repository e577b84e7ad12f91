"""How an engine begins and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from django_etcdaero.exceptions import Cancelled, ConfigurationError, EtcdAeroError, InvalidRequest, OutcomeUnknown
from django_etcdaero.keyvalue.engine import EngineInfo
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import (
    Compare,
    CompareOp,
    CompareTarget,
    PutRequest,
    RangeRequest,
    SortOrder,
    TxnRequest,
    WatchLost,
    WatchRequest,
)
from tests.keyvalue.etcd.servers import Server, free_ports
from tests.keyvalue.recording import Recording
from tests.paths import ROOT
from tests.waiting import wait_until

Connect = Callable[..., EtcdEngine]
Started = Callable[[], set[str]]


def run(code: str, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code, *arguments],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_making_an_engine_connects_to_nothing_and_tells_where_it_will(connect: Connect, started: Started) -> None:
    engine = connect([f"127.0.0.1:{free_ports(1)[0]}", "[::1]:2379", "Etcd.Example:2379"], user="u", password="secret")
    assert engine.info == EngineInfo("etcd", engine.info.location)
    assert engine.info.location.endswith(",[::1]:2379,etcd.example:2379")
    assert "secret" not in f"{engine!r} {engine.info!r} {engine.__dict__!r}"
    assert started() == set()


@pytest.mark.parametrize(
    "endpoints",
    [[], "127.0.0.1:2379", ["127.0.0.1"], ["h:0"], ["h:99999"], ["h:x"], ["::1:2379"], ["[::zz]:1"], ["a b:1"], [":1"]],
)
def test_bad_endpoints_are_refused(endpoints: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="endpoint"):
        EtcdEngine(endpoints)


def test_a_member_is_named_once_and_a_user_has_a_password() -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        EtcdEngine(["h:1", "H:1"])
    with pytest.raises(ConfigurationError, match="password"):
        EtcdEngine(["h:1"], user="me")


def test_host_names_and_ipv6_addresses_work(shared_server: Server, connect: Connect) -> None:
    engine = connect([f"localhost:{shared_server.client_port}"])
    assert engine.put(PutRequest(b"life/a")).revision > 1


def test_close_leaves_no_thread_behind_and_tells_watches(
    shared_server: Server, connect: Connect, started: Started
) -> None:
    engine = connect([shared_server.endpoint])
    before = threading.active_count()
    seen = Recording()
    engine.watch(WatchRequest(b"life/a"), seen)
    engine.put(PutRequest(b"life/a"))
    seen.wait(1)
    assert started() == {"etcdaero-watch", "etcdaero-watch-sinks"}
    engine.close()
    assert seen.lost is WatchLost.CLOSED
    assert started() == set()
    wait_until(lambda: threading.active_count() <= before, what="the end of gRPC's threads")


def test_close_ends_calls_that_wait(server: Server, connect: Connect, started: Started) -> None:
    engine = connect([server.endpoint])
    engine.put(PutRequest(b"a"))
    server.signal(signal.SIGSTOP)
    errors: list[EtcdAeroError] = []

    def call(what: Callable[[], object]) -> None:
        try:
            what()
        except EtcdAeroError as error:
            errors.append(error)

    calls = [
        lambda: engine.range(RangeRequest(b"a"), timeout=60),
        lambda: engine.put(PutRequest(b"a"), timeout=60),
        lambda: engine.watch(WatchRequest(b"a"), Recording(), timeout=60),
    ]
    threads = [threading.Thread(target=call, args=(what,)) for what in calls]
    for thread in threads:
        thread.start()
    wait_until(lambda: "etcdaero-watch" in started(), what="the calls under way")
    engine.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert all(isinstance(error, Cancelled | OutcomeUnknown) for error in errors)
    assert len(errors) == 3


def test_close_inside_a_sink_is_allowed(shared_server: Server, connect: Connect, started: Started) -> None:
    engine = connect([shared_server.endpoint])
    closed = threading.Event()

    def sink(batch: object) -> None:
        engine.close()
        closed.set()

    engine.watch(WatchRequest(b"life/b"), sink)
    with suppress(Cancelled, OutcomeUnknown):  # the sink may be faster than the answer
        engine.put(PutRequest(b"life/b"))
    assert closed.wait(10)
    wait_until(lambda: started() == set(), what="the end of the threads")


USE = """
import sys
from django_etcdaero.keyvalue.values import PutRequest, WatchRequest
from django_etcdaero.keyvalue.etcd import EtcdEngine
engine = EtcdEngine([sys.argv[1]])
engine.watch(WatchRequest(b"exit/a"), lambda batch: None)
engine.put(PutRequest(b"exit/a"))
"""


@pytest.mark.parametrize("ending", ["engine.close()", "", "del engine", "sys.exit(0)"])
def test_the_interpreter_exits_in_silence(shared_server: Server, ending: str) -> None:
    done = run(USE + ending, shared_server.endpoint, options=("-W", "error", "-X", "dev"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_client_of_etcd3_serves_what_the_waist_does_not_have(engine: EtcdEngine) -> None:
    first = engine.put(PutRequest(b"client/a", b"1")).revision
    engine.put(PutRequest(b"client/a", b"2"))
    client = engine.client()
    assert [member.name for member in client.members] == ["shared"]
    assert client.status().version.startswith("3.")
    assert list(client.list_alarms()) == []
    assert client.get("client/a")[0] == b"2"
    assert client.get_range_response("client/a", "client/b", revision=first).kvs[0].value == b"1"
    assert client.transaction(
        compare=[client.transactions.version("client/a") > 0],
        success=[client.transactions.put("client/a", "3")],
        failure=[],
    )[0]


def test_enums_that_do_not_exist_never_reach_the_server(engine: EtcdEngine) -> None:
    bad = [
        TxnRequest([Compare(b"a", 9, CompareOp.EQUAL, 0)]),  # type: ignore[arg-type]
        TxnRequest([Compare(b"a", CompareTarget.MOD, 9, 0)]),  # type: ignore[arg-type]
        TxnRequest([Compare(b"a", CompareTarget.VALUE, CompareOp.EQUAL, 0)]),
        TxnRequest([Compare(b"a", CompareTarget.MOD, CompareOp.EQUAL, b"0")]),
        TxnRequest(success=[RangeRequest(b"a", sort_order=SortOrder.ASCEND, sort_target=9)]),  # type: ignore[arg-type]
        TxnRequest(success=["put"]),  # type: ignore[list-item]
    ]
    for request in bad:
        with pytest.raises(InvalidRequest):
            engine.txn(request)
    with pytest.raises(InvalidRequest, match="value must be bytes"):
        engine.put(PutRequest(b"a", "text"))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="start_revision"):
        engine.watch(WatchRequest(b"a", start_revision=1 << 70), Recording())
    with pytest.raises(InvalidRequest, match="request is too large"):
        engine.put(PutRequest(b"a", bytes(3 << 20)))
