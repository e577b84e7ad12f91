"""Every fault ends each call within its time, with the error that says what is known of the outcome."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_etcdaero.exceptions import (
    ClusterError,
    ConfigurationError,
    DeadlineExceeded,
    EtcdAeroError,
    OutcomeUnknown,
    PermissionDenied,
    ResponseError,
    StoreBusy,
    StoreFull,
    Unauthenticated,
)
from django_etcdaero.records.aerospike import connection
from django_etcdaero.records.aerospike.errors import translate
from django_etcdaero.records.aerospike.store import AerospikeStore
from django_etcdaero.records.store import Record
from django_etcdaero.stores.aerospike import address_of
from tests.records.aerospike.calls import ALL, READS, TRUNCATE, WRITES, Call, fill
from tests.records.aerospike.line import Line
from tests.records.aerospike.serving import Served
from tests.records.aerospike.standin.faults import Faults
from tests.waiting import wait_until


def error_of(call: Call, store: AerospikeStore, **options: float) -> EtcdAeroError:
    with pytest.raises(EtcdAeroError) as caught:
        call(store, **options)
    return caught.value


def works(store: AerospikeStore) -> bool:
    try:
        store.exists(b"k", timeout=1)
    except EtcdAeroError:
        return False
    return True


def in_any_order(answer: object) -> object:
    return sorted(answer) if isinstance(answer, list) else answer


def generations(store: AerospikeStore) -> dict[bytes, int]:
    return {key: meta.generation for key, meta in store.scan()}


# --- a server that does not answer -----------------------------------------------------------------------------------


def test_a_frozen_server(line: Line, distant: AerospikeStore) -> None:
    fill(distant)
    line.freeze()
    kinds = {name: type(error_of(call, distant, timeout=0.2)) for name, call in ALL.items()}
    assert kinds == {
        **dict.fromkeys(READS, DeadlineExceeded),
        **dict.fromkeys(WRITES, OutcomeUnknown),
        **dict.fromkeys(TRUNCATE, DeadlineExceeded),  # it asks before it commands
    }
    line.thaw()
    wait_until(lambda: works(distant), what="the store working again")


def test_a_call_that_may_take_no_time_at_all_ends(line: Line, distant: AerospikeStore) -> None:
    line.freeze()
    assert type(error_of(ALL["get"], distant, timeout=0)) is DeadlineExceeded
    assert type(error_of(ALL["put"], distant, timeout=0)) in (DeadlineExceeded, OutcomeUnknown)  # sent in time or not
    line.thaw()


def test_a_server_that_is_frozen_from_the_start(server: Served, line: Line) -> None:
    line.freeze()
    store = server.store(hosts=[(line.host, line.port)])
    for call in ALL.values():
        error = error_of(call, store, timeout=0.05)
        assert type(error) is DeadlineExceeded  # also of writes: none was sent
        assert f"{line.host}:{line.port}: does not answer" in str(error)
    line.thaw()
    store.put(b"k", b"v")


def test_a_slow_server(line: Line, distant: AerospikeStore) -> None:
    fill(distant)
    line.slow(0.2)
    assert type(error_of(ALL["get"], distant, timeout=0.1)) is DeadlineExceeded
    assert distant.get(b"k", timeout=10) == Record(b"v", 1, None)


# --- a server that is not there --------------------------------------------------------------------------------------


def test_a_server_that_has_just_died(line: Line, distant: AerospikeStore) -> None:
    fill(distant)
    line.refuse()
    for call in ALL.values():
        error = error_of(call, distant, timeout=1)
        assert type(error) is ClusterError  # also of writes: none was sent
        assert list(error.errors) == [f"{line.host}:{line.port}"]
    line.restore()
    wait_until(lambda: works(distant), what="the store working again")


def test_a_server_that_has_been_dead_for_long(line: Line, distant: AerospikeStore) -> None:
    fill(distant)
    line.refuse()
    wait_until(  # the client gives up the node after five attempts to reach it, one a second
        lambda: "Node not found" in str(error_of(ALL["get"], distant)), timeout=30, what="the client giving up the node"
    )
    for call in ALL.values():
        error = error_of(call, distant, timeout=1)
        assert type(error) is ClusterError
        assert list(error.errors) == [f"{line.host}:{line.port}"]
    line.restore()
    wait_until(lambda: works(distant), what="the store working again")
    assert set(distant.get_many([b"k", b"l", b"m", b"x"])) == {b"k", b"l", b"m"}


def test_no_server_from_the_start(server: Served, line: Line) -> None:
    line.refuse()
    store = server.store(hosts=[(line.host, line.port), ("no-such-host.invalid", 3000)])
    for call in ALL.values():
        error = error_of(call, store)
        assert type(error) is ClusterError
        assert set(error.errors) == {f"{line.host}:{line.port}", "no-such-host.invalid:3000"}
        assert "refused" in error.errors[f"{line.host}:{line.port}"]
    line.restore()
    store.put(b"k", b"v")
    assert works(store)


@pytest.mark.parametrize("fault", ["refuse", "freeze"])
@pytest.mark.parametrize("first", [True, False])
def test_one_host_that_answers_is_enough(server: Served, line: Line, fault: str, first: bool) -> None:
    getattr(line, fault)()
    hosts = [(server.host, server.port), (line.host, line.port)]
    store = server.store(hosts=hosts if first else hosts[::-1])
    store.put(b"k", b"v")
    assert store.get(b"k") == Record(b"v", 1, None)


def test_a_port_of_something_else(server: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        store = server.store(hosts=[other.getsockname()])
        with pytest.raises(DeadlineExceeded):
            store.get(b"k", timeout=0.2)
        connection, _ = other.accept()
        connection.close()


def test_a_server_of_something_else(server: Served) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        serving = threading.Thread(target=other.handle_request)
        serving.start()
        store = server.store(hosts=[other.server_address])
        with pytest.raises(ClusterError, match="is no Aerospike server"):
            store.get(b"k", timeout=5)
        serving.join()


def test_users_of_a_server_without_users(server: Served) -> None:
    store = server.store(user="someone", password="hunter2")
    for name in ("get", "put many"):
        error = error_of(ALL[name], store)
        assert type(error) is ConfigurationError
        assert "leave out user and password" in str(error)
        assert "hunter2" not in str(error)


# --- answers that are lost -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
def test_a_write_whose_answer_is_lost_has_an_unknown_outcome_and_is_not_repeated(
    line: Line, distant: AerospikeStore, call: Callable
) -> None:
    fill(distant)
    line.swallow_answer()
    with pytest.raises(OutcomeUnknown):
        call(distant, timeout=2)
    after = generations(distant)
    before = {b"k": 1, b"l": 1, b"m": 1, b"n": 1}
    changed = {key for key in before | after if after.get(key) != before.get(key)}
    assert changed  # it was applied
    assert all(after.get(key, 0) <= before.get(key, 0) + 1 for key in changed)  # and only once


def test_a_truncation_whose_answer_is_lost_has_an_unknown_outcome(line: Line, distant: AerospikeStore) -> None:
    fill(distant)
    line.swallow_answer(b"truncate:")
    with pytest.raises(OutcomeUnknown):
        distant.truncate(timeout=2)
    assert list(distant.scan()) == []


@pytest.mark.parametrize("call", READS.values(), ids=READS)
def test_a_read_whose_answer_is_lost_is_repeated(line: Line, distant: AerospikeStore, call: Callable) -> None:
    fill(distant)
    expected = in_any_order(call(distant))
    line.swallow_answer()
    assert in_any_order(call(distant, timeout=5)) == expected


def test_connections_that_broke_between_two_calls_are_replaced(line: Line, distant: AerospikeStore) -> None:
    fill(distant)
    for _ in range(3):
        line.cut()
        distant.put(b"k", b"w", timeout=2)
        line.cut()
        assert distant.get(b"k", timeout=2).value == b"w"


# --- answers that are refusals ---------------------------------------------------------------------------------------

RESULTS: dict[int, tuple[type[EtcdAeroError], type[EtcdAeroError]]] = {
    # result: (of reads, of writes)
    4: (ResponseError, ResponseError),
    8: (StoreFull, StoreFull),
    9: (DeadlineExceeded, OutcomeUnknown),
    11: (ClusterError, ClusterError),
    14: (StoreBusy, StoreBusy),
    18: (StoreBusy, StoreBusy),
    25: (ConfigurationError, ConfigurationError),
    80: (Unauthenticated, Unauthenticated),
    81: (PermissionDenied, PermissionDenied),
    99: (ResponseError, ResponseError),
}


@pytest.mark.parametrize("result", RESULTS)
def test_what_the_server_refuses(
    faults: Faults, store: AerospikeStore, result: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LAST_ATTEMPT", 19.8)  # of 20: what is asked for again ends soon, and in no hurry
    fill(store)
    faults.result = result
    read, write = RESULTS[result]
    for name, call in (READS | WRITES).items():
        if result == 8 and name.startswith("delete"):
            continue  # a full namespace: it tries in another way
        error = error_of(call, store)
        assert (name, type(error)) == (name, read if name in READS else write)
        assert f"Aerospike result {result})" in str(error)


def test_an_empty_cluster_is_not_a_missing_namespace() -> None:
    target = address_of([("db1", 3000)], namespace="test", set_name="s")
    empty = translate(target, 20, "Cluster is empty", in_doubt=False, ttl=None)
    assert type(empty) is ClusterError
    assert empty.errors == {"db1:3000": "Cluster is empty"}
    assert type(translate(target, 20, "Invalid namespace: test", in_doubt=False, ttl=None)) is ConfigurationError


def test_without_a_time_to_live_forbidden_means_that_the_set_is_full(faults: Faults, store: AerospikeStore) -> None:
    store.put(b"k", b"v")
    faults.result = 22
    with pytest.raises(StoreFull, match="stop-writes-count"):
        store.put(b"k", b"w")


@pytest.mark.parametrize("call", sorted({*READS, *WRITES} - {"scan"}))
def test_what_was_refused_because_too_much_is_under_way_is_asked_for_again(
    faults: Faults, store: AerospikeStore, call: str
) -> None:
    fill(store)
    expected = in_any_order(READS[call](store)) if call in READS else WRITES[call](store)
    store.truncate()
    fill(store)
    before = generations(store)
    faults.refusals = [14] * 5
    assert in_any_order((READS | WRITES)[call](store)) == expected
    assert all(generation <= before.get(key, 0) + 1 for key, generation in generations(store).items())


def test_of_a_batch_only_the_refused_rows_are_asked_for_again(faults: Faults, store: AerospikeStore) -> None:
    fill(store)
    faults.refusals = [14]
    store.put_many({b"k": b"w", b"l": b"w", b"m": b"w"})
    assert generations(store) == {b"k": 2, b"l": 2, b"m": 2, b"n": 1}
    faults.refusals = [14, 14]
    assert store.touch_many({b"k": 2, b"l": 2, b"m": None, b"n": 2}, 60) == {b"k", b"l", b"m"}
    assert generations(store) == {b"k": 3, b"l": 3, b"m": 3, b"n": 1}
    faults.refusals = [14, 14]
    assert store.delete_many([b"k", b"l", b"m", b"k", b"x"]) == 3


def test_more_threads_than_connections(line: Line, distant: AerospikeStore) -> None:
    distant.put(b"k", b"v")
    line.slow(0.2)
    with ThreadPoolExecutor(150) as pool:
        single = [pool.submit(distant.get, b"k") for _ in range(75)]
        batches = [pool.submit(distant.get_many, [b"k", b"l"]) for _ in range(75)]
        assert {each.result() for each in single} == {Record(b"v", 1, None)}
        assert all(each.result() == {b"k": Record(b"v", 1, None)} for each in batches)


def test_a_scan_gets_through_when_partitions_are_unavailable_for_a_while(faults: Faults, store: AerospikeStore) -> None:
    keys = {b"%05d" % number for number in range(2500)}
    store.put_many(dict.fromkeys(keys, 0))
    scan = store.scan()
    seen = [next(scan)[0]]
    faults.scans_cut_short = 8  # the client itself asks six times
    seen += [key for key, _ in scan]
    assert faults.scans_cut_short == 0
    assert sorted(seen) == sorted(keys)


def test_too_many_errors_open_the_clients_circuit_breaker(faults: Faults, store: AerospikeStore) -> None:
    store.put(b"k", b"v")
    faults.result = 18
    wait_until(lambda: type(error_of(ALL["get"], store)) is ClusterError, timeout=30, what="the client refusing to ask")
    faults.result = None
    wait_until(lambda: works(store), what="the store working again")


# --- rows of batches -------------------------------------------------------------------------------------------------

MANY = {name: call for name, call in (READS | WRITES).items() if name.endswith(" many") and " one " not in name}


@pytest.mark.parametrize("name", MANY)
def test_a_row_without_an_answer_is_never_a_miss(faults: Faults, store: AerospikeStore, name: str) -> None:
    fill(store)
    faults.rows_left_out = 1
    assert type(error_of(MANY[name], store)) is (ResponseError if name in READS else OutcomeUnknown)


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("result", [9, 18, 22, 80])
def test_a_row_that_fails_is_never_a_miss(faults: Faults, store: AerospikeStore, name: str, result: int) -> None:
    fill(store)
    faults.rows_failing = {1: result}
    expected = {9: DeadlineExceeded, 18: StoreBusy, 22: StoreFull, 80: Unauthenticated}[result]
    if result == 9 and name in WRITES:
        expected = OutcomeUnknown
    assert type(error_of(MANY[name], store)) is expected
