from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero.exceptions import Cancelled, Compacted, InvalidRequest, LeaseNotFound
from django_etcdaero.keyvalue import KV, Engine, SortOrder, SortTarget
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.keys import Namespace, prefix_end, span
from django_etcdaero.keyvalue.values import RangeRequest

Naming = Callable[[str], bytes]


@pytest.fixture
def kv(engine: Engine, at: Naming) -> Iterator[KV]:
    client = KV(engine, prefix=at("app/"))
    yield client
    client.close()


def stored_keys(engine: Engine, start: bytes) -> list[bytes]:
    """What the store holds under ``start``, without it."""
    return [kv.key[len(start) :] for kv in engine.range(RangeRequest(start, prefix_end(start))).kvs]


def test_a_value_comes_back_as_bytes_under_the_key_it_was_put(kv: KV) -> None:
    kv.put("grüße", "hällo")
    found = kv.get("grüße".encode())
    assert found is not None
    assert (found.key, found.value) == ("grüße".encode(), "hällo".encode())
    assert kv.get("other") is None


def test_the_prefix_is_put_before_every_key_and_taken_off_every_answer(kv: KV, engine: Engine, at: Naming) -> None:
    kv.put("a", "1")
    assert stored_keys(engine, at("")) == [b"app/a"]
    previous = kv.put("a", "2", prev_kv=True).prev_kv
    assert previous is not None
    assert previous.key == b"a"
    assert [found.key for found in kv.range("a").kvs] == [b"a"]
    assert [gone.key for gone in kv.delete("a", prev_kv=True).prev_kvs] == [b"a"]


def test_clients_with_different_prefixes_do_not_see_each_other(engine: Engine, at: Naming) -> None:
    for prefix in (b"a", b"b", b"b\xff", b"c", b"\xff"):
        client = KV(engine, prefix=at("") + prefix)
        client.put("/1", prefix)
        client.put(b"/\xff", prefix)
    client = KV(engine, prefix=at("b/"))
    client.put("x", "below b")
    for start, end, is_prefix in ((b"", b"\0", False), (b"", None, True), (b"\0", b"\0", False)):
        assert [found.key for found in client.range(start, end, prefix=is_prefix).kvs] == [b"1", b"x", b"\xff"]
    assert [kv.key for kv in KV(engine, prefix=at("") + b"\xff").range("", prefix=True).kvs] == [b"/1", b"/\xff"]
    assert client.delete_range("", prefix=True, everything=True).deleted == 3
    left = [b"a/1", b"a/\xff", b"b\xff/1", b"b\xff/\xff", b"c/1", b"c/\xff", b"\xff/1", b"\xff/\xff"]
    assert stored_keys(engine, at("")) == left


def test_without_a_prefix_the_whole_store_is_there() -> None:
    engine = EmbeddedEngine.memory("whole-store")
    client = KV(engine)
    client.put("a", "1")
    client.put(b"\xff\xff", "2")
    assert [kv.key for kv in client.range("", prefix=True).kvs] == [b"a", b"\xff\xff"]
    assert [kv.key for kv in client.range(b"\xff", prefix=True).kvs] == [b"\xff\xff"]
    assert [kv.key for kv in client.range("", "b").kvs] == [b"a"]
    engine.close()
    drop_memory("whole-store")


def test_range_passes_its_options_on(kv: KV) -> None:
    for key in "abc":
        kv.put(key, key)
    last = kv.put("b", "again").revision
    assert kv.range("a", "c", count_only=True).count == 2
    assert kv.range("", prefix=True, limit=2).more
    newest = kv.range(
        "", prefix=True, sort_target=SortTarget.MOD, sort_order=SortOrder.DESCEND, keys_only=True, limit=1
    ).kvs
    assert [(found.key, found.value) for found in newest] == [(b"b", b"")]
    assert [found.key for found in kv.range("", prefix=True, min_mod_revision=last).kvs] == [b"b"]
    assert [found.key for found in kv.range("", prefix=True, max_create_revision=last - 2).kvs] == [b"a", b"b"]
    before = kv.get("b", revision=last - 1)
    assert before is not None
    assert before.value == b"b"


def test_put_can_keep_the_value_or_the_lease(kv: KV) -> None:
    lease = kv.lease(60)
    kv.put("a", "1", lease=lease)
    kv.put("a", "2", ignore_lease=True)
    kv.put("a", lease=0, ignore_value=True)
    found = kv.get("a")
    assert found is not None
    assert (found.value, found.lease) == (b"2", 0)
    lease.revoke()


def test_compacted_history_cannot_be_read(kv: KV) -> None:
    first = kv.put("a", "1").revision
    kv.compact(kv.put("a", "2").revision)
    with pytest.raises(Compacted):
        kv.get("a", revision=first)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda kv: kv.get(""), "key is empty"),
        (lambda kv: kv.put("", "x"), "key is empty"),
        (lambda kv: kv.get(7), "key must be str or bytes, not int"),
        (lambda kv: kv.put("a", None), "value must be str or bytes, not NoneType"),
        (lambda kv: kv.range("a", "b", prefix=True), "range_end and prefix=True"),
        (lambda kv: kv.range("a", ""), "range_end is empty"),
        (lambda kv: kv.watch("b", "a"), "range_end b'a' is not after key b'b'"),
        (lambda kv: kv.watch("a", max_pending=0), "max_pending"),
        (lambda kv: kv.lease(0), "ttl"),
        (lambda kv: kv.session(1.5), "ttl"),
        (lambda kv: kv.lock("a", ttl="5"), "ttl"),
        (lambda kv: kv.lock(""), "lock name is empty"),
        (lambda kv: KV(kv.engine, identity={"a": object()}), "identity"),
        (lambda kv: KV(kv.engine, prefix=3), "prefix"),
    ],
)
def test_bad_arguments_are_named(kv: KV, call, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        call(kv)


def test_a_closed_client_says_so_and_leaves_the_engine_alone(kv: KV, engine: Engine, at: Naming) -> None:
    kv.put("a", "1")
    kv.close()
    kv.close()
    with pytest.raises(Cancelled, match="closed"):
        kv.get("a")
    assert stored_keys(engine, at("")) == [b"app/a"]


def test_closing_frees_locks_and_stops_the_threads(engine: Engine, at: Naming) -> None:
    before = set(threading.enumerate())
    client = KV(engine, prefix=at(""))
    client.lock("a").acquire()
    client.watch("b", callback=lambda item: None)
    client.put("b", "1")
    client.close()
    assert stored_keys(engine, at("")) == [b"b"]
    started = {thread.name for thread in set(threading.enumerate()) - before}
    assert not started & {"etcdaero-lease", "etcdaero-lock", "etcdaero-dispatcher"}


def test_importing_the_package_imports_no_client_library() -> None:
    imported = "{'grpc', 'sqlite3', 'aerospike'} & set(sys.modules)"
    code = f"import sys; from django_etcdaero.keyvalue import KV; print({imported})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


# --- ranges ----------------------------------------------------------------------------------------------------------

few_bytes = st.binary(max_size=4) | st.lists(st.sampled_from([0, 1, 254, 255]), max_size=4).map(bytes)


def inside(key: bytes, start: bytes, end: bytes) -> bool:
    if not end:
        return key == start
    return key >= start and (end == b"\0" or key < end)


@given(few_bytes, few_bytes)
def test_the_end_of_a_prefix_includes_its_keys_and_no_other(prefix: bytes, key: bytes) -> None:
    for candidate in (key, prefix + key):
        assert inside(candidate, prefix, prefix_end(prefix)) == candidate.startswith(prefix)


@given(few_bytes, few_bytes, st.none() | few_bytes.filter(bool), few_bytes)
def test_a_range_inside_a_namespace_is_the_same_range_of_its_keys(
    namespace: bytes, start: bytes, end: bytes | None, key: bytes
) -> None:
    start, end = (start or b"s", b"") if end is None else span(start, end, prefix=False)
    full_start, full_end = Namespace(namespace).span(start, end)
    if namespace + key:
        assert inside(namespace + key, full_start, full_end) == inside(key, start, end)
    if key and not key.startswith(namespace):
        assert not inside(key, full_start, full_end)


# --- forks -----------------------------------------------------------------------------------------------------------


def test_in_the_child_of_a_fork_nothing_of_the_parent_is_touched(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.programs.client_forking", str(tmp_path / "kv.sqlite3")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "child": {
            "lease": ["lost", "not alive"],
            "lock": ["lost", "not held"],
            "release": "LockLost",
            "get": "Cancelled",
            "aget": "Cancelled",
            "acquire": "Cancelled",
            "watch": "ended",
            "its own": "1",
        },
        "parent": {"aget": "done", "held": True, "lost": False, "keys": 1},
    }


# --- reading one key -------------------------------------------------------------------------------------------------


def test_a_single_key_is_read_with_all_that_belongs_to_it(kv: KV) -> None:
    lease = kv.lease(60)
    created = kv.put("a", "1").revision
    changed = kv.put("a", "2", lease=lease).revision
    found = kv.get("a")
    assert found == kv.range("a").kvs[0]
    assert found == kv.get("a", revision=changed) == kv.get("a", serializable=True)
    assert found is not None
    assert (found.create_revision, found.mod_revision, found.version, found.lease) == (created, changed, 2, lease.id)
    kv.delete("a")
    assert kv.get("a") is None
    kv.put("a", "3")
    assert kv.get("a") == kv.range("a").kvs[0]
    lease.revoke()


def test_a_key_whose_lease_has_run_out_is_not_read_any_more() -> None:
    now = [0.0]
    engine = EmbeddedEngine.memory("leased-get", clock=lambda: now[0])
    kv = KV(engine)
    kv.put("a", "1", lease=engine.lease_grant(10).id)
    assert kv.get("a") is not None
    now[0] = 11.0
    assert kv.get("a") is None
    kv.close()
    engine.close()
    drop_memory("leased-get")


# --- leases of anybody, compaction -----------------------------------------------------------------------------------


def test_operators_see_and_revoke_any_lease(kv: KV, engine: Engine, at: Naming) -> None:
    other = KV(engine, prefix=at("other/"))
    lease = other.lease(60)
    other.put("theirs", "1", lease=lease)
    kv.put("ours", "1", lease=lease.id)
    assert lease.id in kv.leases()
    status = kv.lease_status(lease.id, keys=True)
    assert (status.id, status.granted_ttl, status.keys) == (lease.id, 60, (b"ours",))
    assert 0 < status.ttl <= 60
    kv.revoke_lease(lease.id)
    assert kv.lease_status(lease).ttl == -1
    assert lease.id not in kv.leases()
    assert kv.get("ours") is None
    with pytest.raises(LeaseNotFound):
        kv.revoke_lease(lease.id)
    other.close()


def test_a_physical_compaction_is_one_too(kv: KV) -> None:
    first = kv.put("a", "1").revision
    kv.compact(kv.put("a", "2").revision, physical=True)
    with pytest.raises(Compacted):
        kv.get("a", revision=first)
    found = kv.get("a")
    assert found is not None
    assert found.value == b"2"


def test_a_lease_may_have_any_number_of_64_bits(kv: KV) -> None:
    for number in (-5, -(1 << 63), (1 << 63) - 1):
        with kv.lease(60, id=number) as lease:
            assert lease.id == number
            kv.put("on it", lease=lease)
            assert number in kv.leases()
            assert kv.lease_status(number, keys=True).keys == (b"on it",)
            kv.revoke_lease(number)
        assert kv.get("on it") is None
