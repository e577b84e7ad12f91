"""What the store in Aerospike promises beyond the contract."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import aerospike
import pytest

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    ConfigurationError,
    DeadlineExceeded,
    RecordTooBig,
    ResponseError,
    StoreFull,
    VersionConflict,
)
from django_etcdaero.records.aerospike.store import AerospikeStore
from django_etcdaero.records.store import Meta, Record
from tests.records.aerospike.calls import ALL, fill
from tests.records.aerospike.line import Line
from tests.records.aerospike.serving import SET, Served
from tests.records.aerospike.standin import Standin
from tests.records.aerospike.standin.faults import Faults
from tests.waiting import wait_until


def test_making_a_store_imports_no_client_and_asks_no_server() -> None:
    code = (
        "import sys; from django_etcdaero.records.aerospike.store import AerospikeStore;"
        "store = AerospikeStore([('192.0.2.1', 3000)], namespace='test', set_name='s');"
        "print(store.info.location, 'aerospike' in sys.modules); store.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["aerospike://192.0.2.1:3000/test/s", "False"]


def test_without_the_client_package_the_first_call_says_so() -> None:
    code = (
        "import sys; sys.modules['aerospike'] = None\n"
        "from django_etcdaero.exceptions import ConfigurationError\n"
        "from django_etcdaero.records.aerospike.store import AerospikeStore\n"
        "store = AerospikeStore([('192.0.2.1', 3000)], namespace='test', set_name='s')\n"
        "try: store.get(b'k')\n"
        "except ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "the Python package aerospike cannot be imported" in done.stdout


def test_a_generation_beyond_16_bits_fits_no_record(store: AerospikeStore) -> None:
    store.put(b"k", b"v")
    beyond = 0x10000 + 1
    for call in (
        lambda: store.put(b"k", b"w", generation=beyond),
        lambda: store.touch(b"k", 60, generation=beyond),
        lambda: store.delete(b"k", generation=beyond),
    ):
        with pytest.raises(VersionConflict):
            call()
    assert store.touch_many({b"k": beyond}, 60) == set()
    assert store.get(b"k") == Record(b"v", 1, None)


@pytest.mark.parametrize(("start", "delta"), [(2**63 - 3, 1), (-(2**63) + 2, -1)])
def test_threads_that_increment_past_the_limit_never_wrap(store: AerospikeStore, start: int, delta: int) -> None:
    store.put(b"n", start)

    def increment(_: int) -> int | None:
        try:
            return store.increment(b"n", delta)
        except OverflowError:
            return None

    with ThreadPoolExecutor(8) as pool:
        sums = [total for total in pool.map(increment, range(40)) if total is not None]
    assert sorted(sums) == sorted([start + delta, start + 2 * delta])
    assert store.get(b"n") == Record(start + 2 * delta, 3, None)


def test_an_increment_keeps_the_largest_time_to_live(store: AerospikeStore) -> None:
    store.put(b"n", 0, ttl=315_360_000)
    store.increment(b"n", -5)
    assert store.get(b"n") == Record(-5, 2, 315_360_000)


def test_without_nsup_a_time_to_live_is_a_configuration_error_that_says_what_to_do(
    server: Served, store: AerospikeStore
) -> None:
    store.put(b"k", b"v")
    with server.configured("nsup-period", "0"):
        for call in (
            lambda: store.put(b"k", b"w", ttl=60),
            lambda: store.put_many({b"k": b"w", b"l": b"w"}, ttl=60),
            lambda: store.touch(b"k", 60),
            lambda: store.touch_many({b"k": None, b"l": None}, 60),
        ):
            with pytest.raises(ConfigurationError, match=r"nsup-period 120.*allow-ttl-without-nsup true"):
                call()
        assert store.get(b"k") == Record(b"v", 1, None)
        store.put(b"k", b"w")
        assert store.touch(b"k", None) is True
        store.put(b"n", 1)
        assert store.increment(b"n", 1) == 2


def test_a_full_set_takes_no_new_records_and_does_not_blame_the_time_to_live(
    server: Served, store: AerospikeStore
) -> None:
    store.put_many({b"k": b"v", b"l": b"v"}, ttl=600)
    with server.limited(2):
        for call in (
            lambda: store.put(b"new", b"v"),
            lambda: store.put(b"new", b"v", ttl=600),
            lambda: store.put_many({b"k": b"w", b"new": b"v"}, ttl=600),
        ):
            with pytest.raises(StoreFull, match="stop-writes-count"):
                call()
        store.put(b"k", b"x", ttl=600)
        assert store.touch(b"l", 600) is True
    store.put(b"new", b"v", ttl=600)
    assert {key for key, _ in store.scan()} == {b"k", b"l", b"new"}


def test_a_record_that_the_server_finds_too_big(server: Served, store: AerospikeStore) -> None:
    with server.configured("max-record-size", "131072"):
        for call in (
            lambda: store.put(b"k", bytes(150_000)),
            lambda: store.put_many({b"k": bytes(150_000), b"l": bytes(150_000)}),
        ):
            with pytest.raises(RecordTooBig, match="max-record-size"):
                call()
    assert store.get_many([b"k", b"l"]) == {}


@pytest.mark.parametrize("call", ALL.values(), ids=ALL)
def test_a_namespace_that_the_cluster_does_not_have_is_named(server: Served, call: Callable) -> None:
    store = server.store(namespace="nonesuch")
    with pytest.raises(ConfigurationError, match="'nonesuch'"):
        call(store)


@pytest.mark.parametrize("call", ALL.values(), ids=ALL)
def test_a_namespace_that_the_cluster_does_not_have_any_more_is_named(
    standin: Standin, store: AerospikeStore, call: Callable
) -> None:
    fill(store)
    standin.namespace.name = "another"
    with pytest.raises(ConfigurationError, match="the cluster has no namespace 'test'"):
        call(store)


def test_a_truncation_spares_nothing_written_before_it(server: Served, store: AerospikeStore) -> None:
    for _ in range(100):
        store.put(b"k", b"v")
        store.truncate()
        assert store.exists(b"k") is None
        store.put(b"after", b"v")
        assert store.exists(b"after") is not None


def test_truncating_a_set_that_nobody_has_written_to(server: Served) -> None:
    store = server.store(set_name="never_written")
    store.truncate()
    assert list(store.scan()) == []


def test_a_set_of_its_own_for_each_store(server: Served, store: AerospikeStore) -> None:
    other = server.store(set_name=f"{SET}2")
    store.put(b"k", b"mine")
    other.put(b"k", b"other")
    other.truncate()
    assert store.get(b"k") == Record(b"mine", 1, None)
    assert [key for key, _ in store.scan()] == [b"k"]


def test_records_of_other_writers_are_told_apart(server: Served, store: AerospikeStore) -> None:
    client = aerospike.client({"hosts": [(server.host, server.port)]})
    send = {"key": aerospike.POLICY_KEY_SEND}
    client.put((server.namespace, SET, bytearray(b"no bin")), {"other": 1}, {}, send)
    client.put((server.namespace, SET, bytearray(b"text")), {"v": "text"}, {}, send)
    client.put((server.namespace, SET, "str key"), {"v": 1}, {}, send)
    client.put((server.namespace, SET, bytearray(b"key not sent")), {"v": 1})
    client.close()
    for key in (b"no bin", b"text"):
        with pytest.raises(ResponseError, match="bin 'v'"):
            store.get(key)
        with pytest.raises(ResponseError, match="bin 'v'"):
            store.get_many([key, b"key not sent"])
    assert {key for key, _ in store.scan()} == {b"no bin", b"text"}


def test_a_scan_reads_page_by_page(line: Line, distant: AerospikeStore) -> None:
    distant.put_many({b"%05d" % number: 0 for number in range(3000)})
    scan = distant.scan(timeout=2)
    seen = [next(scan)]
    line.refuse()
    with pytest.raises(ClusterError):
        seen.extend(scan)
    assert 0 < len(seen) < 3000


def test_a_full_namespace_takes_no_writes_and_lets_go_of_records(faults: Faults, store: AerospikeStore) -> None:
    fill(store)
    faults.full = True
    for call in (
        lambda: store.put(b"x", b""),
        lambda: store.put_many({b"x": b"", b"y": b""}),
        lambda: store.touch(b"k", 60),
        lambda: store.touch_many({b"k": None, b"l": None}, 60),
        lambda: store.increment(b"n", 1),
    ):
        with pytest.raises(StoreFull):
            call()
    assert store.get(b"k") == Record(b"v", 1, None)
    with pytest.raises(VersionConflict):
        store.delete(b"k", generation=2)
    assert store.delete(b"k", generation=1) is True
    assert store.delete(b"k") is False
    assert store.delete_many([b"k", b"l", b"m"]) == 2
    store.truncate()
    assert list(store.scan()) == []


def test_a_server_that_lost_everything_is_empty(standin: Standin, store: AerospikeStore) -> None:
    fill(store)
    standin.namespace.forget()
    assert store.get_many([b"k", b"l"]) == {}
    assert store.touch(b"k", 60) is False
    with pytest.raises(VersionConflict):
        store.put(b"k", b"w", generation=1)
    store.put(b"k", b"w", create_only=True)
    assert store.get(b"k") == Record(b"w", 1, None)


def test_threads_that_call_first_together(server: Served) -> None:
    store = server.store()
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: store.exists(b"k"), range(64))) == {None}
    store.put(b"k", b"v")
    assert store.exists(b"k") == Meta(1, None)


def test_closing_under_threads_that_call(server: Served) -> None:
    for _ in range(5):
        store = server.store()
        store.put(b"k", b"v")

        def read_until_closed(store: AerospikeStore) -> None:
            while True:
                assert store.get(b"k") == Record(b"v", 1, None)

        with ThreadPoolExecutor(8) as pool:
            readers = [pool.submit(read_until_closed, store) for _ in range(8)]
            assert store.get(b"k") is not None
            store.close()
            assert {type(reader.exception(30)) for reader in readers} == {Cancelled}
        server.store().delete(b"k")


def test_closing_while_a_call_hangs(line: Line, distant: AerospikeStore) -> None:
    distant.put(b"k", b"v")
    line.freeze()
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(distant.get, b"k", timeout=2)
        wait_until(hanging.running, what="the call being under way")
        distant.close()
        with pytest.raises(Cancelled):
            distant.get(b"k")
        line.thaw()
        assert isinstance(hanging.exception(30), (Cancelled, DeadlineExceeded, type(None)))
    wait_until(lambda: line.connections == 0, what="the connections being closed by the call that ended last")


def test_a_process_ends_though_the_server_is_frozen(server: Served, line: Line) -> None:
    code = (
        "import sys; from django_etcdaero.records.aerospike.store import AerospikeStore\n"
        "store = AerospikeStore([('127.0.0.1', int(sys.argv[1]))], namespace=sys.argv[2], set_name='s')\n"
        "store.get(b'k'); print('ready', flush=True); sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", code, str(line.port), server.namespace]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        line.freeze()
        process.communicate("\n", timeout=60)
        assert process.returncode == 0
    line.thaw()
