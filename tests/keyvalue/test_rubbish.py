"""What the client says to arguments that make no sense: an error of its own that names the argument, at once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_etcdaero.exceptions import Cancelled, ConfigurationError, EtcdAeroError, FutureRevision, InvalidRequest
from django_etcdaero.keyvalue import KV, Engine, ops
from django_etcdaero.keyvalue.values import DeleteRequest, PutRequest, RangeRequest, WatchLost, WatchRequest
from tests.keyvalue.recording import Recording
from tests.paths import ROOT

At = Callable[[str], bytes]
Call = Callable[[KV], Any]

LONE_SURROGATE = "a\ud800"
TEN_MB = b"x" * 10_000_000


@pytest.fixture
def kv(engine: Engine, at: At) -> Iterator[KV]:
    client = KV(engine, prefix=at("rubbish/"))
    yield client
    client.close()


CALLS_WITH_A_KEY: dict[str, Callable[[KV, Any], Any]] = {
    "get": lambda kv, key: kv.get(key),
    "put": lambda kv, key: kv.put(key, "1"),
    "delete": lambda kv, key: kv.delete(key),
    "range": lambda kv, key: kv.range(key),
    "delete_range": lambda kv, key: kv.delete_range(key),
    "watch": lambda kv, key: kv.watch(key),
    "condition": lambda kv, key: kv.txn().when(ops.version(key) == 0),
    "ops.get": lambda kv, key: kv.txn().then(ops.get(key)),
    "ops.put": lambda kv, key: kv.txn().then(ops.put(key)),
    "ops.delete": lambda kv, key: kv.txn().otherwise(ops.delete(key)),
}


@pytest.mark.parametrize("call", CALLS_WITH_A_KEY)
@pytest.mark.parametrize("key", ["", b"", None, 1, 1.5, True, ["a"], bytearray(b"a"), LONE_SURROGATE], ids=repr)
def test_what_is_no_key_is_refused(kv: KV, call: str, key: Any) -> None:
    with pytest.raises(InvalidRequest, match="key"):
        CALLS_WITH_A_KEY[call](kv, key)


WRONG_ARGUMENTS: dict[str, tuple[str, Call]] = {
    "range_end of the wrong type": ("range_end", lambda kv: kv.range("a", 1)),  # type: ignore[arg-type]
    "empty range_end": ("range_end", lambda kv: kv.range("a", "")),
    "range_end that is no text": ("range_end", lambda kv: kv.delete_range("a", LONE_SURROGATE)),
    "range_end and prefix": ("range_end", lambda kv: kv.range("a", "b", prefix=True)),
    "value of None": ("value", lambda kv: kv.put("a", None)),  # type: ignore[arg-type]
    "value that is a number": ("value", lambda kv: kv.put("a", 1)),  # type: ignore[arg-type]
    "value that is no text": ("value", lambda kv: kv.put("a", LONE_SURROGATE)),
    "value given and ignored": ("value", lambda kv: kv.put("a", "1", ignore_value=True)),
    "lease given and ignored": ("lease", lambda kv: kv.put("a", lease=7, ignore_lease=True)),
    "lease of the wrong type": ("lease", lambda kv: kv.put("a", lease="7")),  # type: ignore[arg-type]
    "lease of 65 bits": ("lease", lambda kv: kv.put("a", lease=1 << 64)),
    "compared value that is a number": ("VALUE", lambda kv: ops.value("a") == 1),
    "compared value that is no text": ("value", lambda kv: ops.value("a") == LONE_SURROGATE),
    "compared version that is a text": ("VERSION", lambda kv: ops.version("a") > "1"),
    "limit that is a text": ("limit", lambda kv: kv.range("a", limit="1")),  # type: ignore[arg-type]
    "limit that is a fraction": ("limit", lambda kv: kv.range("a", limit=1.5)),  # type: ignore[arg-type]
    "limit of 65 bits": ("limit", lambda kv: kv.range("a", "b", limit=1 << 64)),
    "revision that is a text": ("revision", lambda kv: kv.get("a", revision="1")),  # type: ignore[arg-type]
    "revision of 65 bits": ("revision", lambda kv: kv.get("a", revision=1 << 64)),
    "negative revision": ("revision", lambda kv: kv.get("a", revision=-1)),
    "bound that is a fraction": ("min_mod_revision", lambda kv: kv.range("a", min_mod_revision=0.5)),  # type: ignore[arg-type]
    "order that does not exist": ("sort_order", lambda kv: kv.range("a", "b", sort_order=9)),  # type: ignore[arg-type]
    "target that does not exist": ("sort_target", lambda kv: kv.range("a", "b", sort_target=9)),  # type: ignore[arg-type]
    "start that is a text": ("start_revision", lambda kv: kv.watch("a", start_revision="1")),  # type: ignore[arg-type]
    "start of 65 bits": ("start_revision", lambda kv: kv.watch("a", start_revision=1 << 64)),
    "nothing may be pending": ("max_pending", lambda kv: kv.watch("a", max_pending=0)),
    "watched range that is inverted": ("range_end", lambda kv: kv.watch("b", "a")),
    "compaction at a text": ("revision", lambda kv: kv.compact("1")),  # type: ignore[arg-type]
    "compaction at a negative revision": ("revision", lambda kv: kv.compact(-1)),
    "id of a lease that is a text": ("id", lambda kv: kv.lease(5, id="1")),  # type: ignore[arg-type]
    "id of a lease of 65 bits": ("id", lambda kv: kv.lease(5, id=1 << 64)),
    "no condition": ("when", lambda kv: kv.txn().when(True)),  # type: ignore[arg-type]
    "no operation": ("transaction", lambda kv: kv.txn().then("put")),  # type: ignore[arg-type]
    "prefix of a client": ("prefix", lambda kv: KV(kv.engine, prefix=LONE_SURROGATE)),
    "name of a lock": ("name", lambda kv: kv.lock(LONE_SURROGATE)),
    "name of an election": ("name", lambda kv: kv.election(LONE_SURROGATE)),
    "value of a candidate": ("value", lambda kv: kv.election("E", value=LONE_SURROGATE)),
    "prefix of a view": ("prefix", lambda kv: kv.namespace(LONE_SURROGATE)),
    "page of nothing": ("page_size", lambda kv: list(kv.iterate("a", page_size=0))),
    "start of pages": ("key", lambda kv: list(kv.iterate(LONE_SURROGATE))),
    "delta that is a fraction": ("delta", lambda kv: kv.increment("a", 1.5)),  # type: ignore[arg-type]
    "initial that is a text": ("initial", lambda kv: kv.increment("a", initial="1")),  # type: ignore[arg-type]
    "incremented key": ("key", lambda kv: kv.increment(LONE_SURROGATE)),
    "expected value": ("expected", lambda kv: kv.test_and_set("a", LONE_SURROGATE, "1")),
    "isolation that does not exist": ("isolation", lambda kv: kv.stm(len, isolation="none")),  # type: ignore[arg-type]
    "value of a temporary key": ("value", lambda kv: kv.temporary_key("t", 1)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", WRONG_ARGUMENTS)
def test_the_error_names_the_argument_that_is_wrong(kv: KV, case: str) -> None:
    name, call = WRONG_ARGUMENTS[case]
    with pytest.raises(InvalidRequest, match=name):
        call(kv)


CALLS_WITH_A_TTL: dict[str, Callable[[KV, Any], Any]] = {
    "lease": lambda kv, ttl: kv.lease(ttl),
    "session": lambda kv, ttl: kv.session(ttl),
    "lock": lambda kv, ttl: kv.lock("L", ttl=ttl).acquire(timeout=5),
    "election": lambda kv, ttl: kv.election("E", ttl=ttl).campaign(timeout=5),
    "temporary key": lambda kv, ttl: kv.temporary_key("t", ttl=ttl),
}


@pytest.mark.parametrize("ttl", [-1, 0, 1, 1.5, float("inf"), "5", None, True, 9_000_000_001, 10**30], ids=repr)
@pytest.mark.parametrize("of", CALLS_WITH_A_TTL)
def test_a_time_to_live_is_a_whole_number_of_seconds_that_the_store_can_count(kv: KV, of: str, ttl: Any) -> None:
    with pytest.raises(InvalidRequest, match="ttl"):
        CALLS_WITH_A_TTL[of](kv, ttl)


def test_the_longest_time_to_live_is_granted(kv: KV) -> None:
    with kv.lease(9_000_000_000) as lease:
        assert lease.ttl == 9_000_000_000


CALLS_WITH_A_TIMEOUT: dict[str, Callable[[KV, Any], Any]] = {
    "get": lambda kv, timeout: kv.get("t", timeout=timeout),
    "range": lambda kv, timeout: kv.range("t", timeout=timeout),
    "put": lambda kv, timeout: kv.put("t", timeout=timeout),
    "delete": lambda kv, timeout: kv.delete("t", timeout=timeout),
    "txn": lambda kv, timeout: kv.txn().then(ops.put("t")).commit(timeout=timeout),
    "increment": lambda kv, timeout: kv.increment("n", timeout=timeout),
    "stm": lambda kv, timeout: kv.stm(lambda t: t.put("t", "1"), timeout=timeout),
    "compact": lambda kv, timeout: kv.compact(kv.put("t").revision, physical=True, timeout=timeout),
    "lease": lambda kv, timeout: kv.lease(60, timeout=timeout).revoke(timeout=timeout),
    "session": lambda kv, timeout: kv.session(60, timeout=timeout),
    "watch": lambda kv, timeout: kv.watch("t", timeout=timeout).cancel(),
    "next": lambda kv, timeout: kv.watch("t", start_revision=kv.put("t").revision).next(timeout=timeout),
    "wait_for_change": lambda kv, timeout: kv.wait_for_change(
        "t", start_revision=kv.put("t").revision, timeout=timeout
    ),
    "lock": lambda kv, timeout: kv.lock("L", timeout=timeout).acquire(),
    "try_acquire": lambda kv, timeout: kv.lock("L").try_acquire(timeout=timeout),
    "campaign": lambda kv, timeout: kv.election("E").campaign(timeout=timeout),
    "temporary key": lambda kv, timeout: kv.temporary_key("k", timeout=timeout).close(),
    "aget": lambda kv, timeout: asyncio.run(kv.aget("t", timeout=timeout)),  # type: ignore[arg-type]
    "aput": lambda kv, timeout: asyncio.run(kv.aput("t", timeout=timeout)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("timeout", [float("nan"), "5", True, [1]], ids=repr)
@pytest.mark.parametrize("call", CALLS_WITH_A_TIMEOUT)
def test_a_timeout_is_a_number_of_seconds(kv: KV, call: str, timeout: Any) -> None:
    with pytest.raises(InvalidRequest, match="timeout"):
        CALLS_WITH_A_TIMEOUT[call](kv, timeout)


@pytest.mark.parametrize("timeout", [float("inf"), 1e18, 10**30, 1e9], ids=repr)
@pytest.mark.parametrize("call", CALLS_WITH_A_TIMEOUT)
def test_a_timeout_may_be_as_long_as_one_likes(kv: KV, call: str, timeout: float) -> None:
    CALLS_WITH_A_TIMEOUT[call](kv, timeout)


TOO_LARGE: dict[str, Call] = {
    "value": lambda kv: kv.put("a", TEN_MB),
    "key": lambda kv: kv.put(TEN_MB, "1"),
    "deleted key": lambda kv: kv.delete(TEN_MB),
    "read key": lambda kv: kv.get(TEN_MB),
    "read range": lambda kv: kv.range("a", TEN_MB),
    "value in a transaction": lambda kv: kv.txn().then(ops.put("a", TEN_MB)).commit(),
    "value of a branch not taken": lambda kv: kv.txn().otherwise(ops.put("a", TEN_MB)).commit(),
    "compared value": lambda kv: kv.txn().when(ops.value("a") == TEN_MB).then(ops.put("a")).commit(),
    "many values": lambda kv: kv.txn().then(*[ops.put(f"{n}", TEN_MB[:100_000]) for n in range(20)]).commit(),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_what_is_too_large_is_refused_and_nothing_is_written(kv: KV, case: str) -> None:
    with pytest.raises(InvalidRequest, match="too large"):
        TOO_LARGE[case](kv)
    assert kv.range("", prefix=True).kvs == ()


def test_any_byte_may_be_in_keys_and_values(kv: KV) -> None:
    names = [b"\0", b"\0\0", b"a", b"a\0", b"a\0b", b"\xff", b"\xff\xff"]
    for name in names:
        kv.put(name, b"\0" + name + b"\0")
    found = kv.range(b"", prefix=True).kvs
    assert [(each.key, each.value) for each in found] == [(name, b"\0" + name + b"\0") for name in names]
    assert [each.key for each in kv.range(b"a", prefix=True).kvs] == [b"a", b"a\0", b"a\0b"]


def test_the_future_is_refused(kv: KV) -> None:
    future = kv.put("a").revision + 1000
    for call in (
        lambda: kv.get("a", revision=future),
        lambda: kv.compact(future),
        lambda: kv.txn().then(ops.get("a", revision=future)).commit(),
    ):
        with pytest.raises(FutureRevision, match="future"):
            call()


ALL_CALLS: dict[str, Call] = {
    "get": lambda kv: kv.get("a"),
    "put": lambda kv: kv.put("a"),
    "delete": lambda kv: kv.delete("a"),
    "range": lambda kv: kv.range("a", prefix=True),
    "delete_range": lambda kv: kv.delete_range("a", prefix=True),
    "txn": lambda kv: kv.txn().then(ops.get("a")).commit(),
    "compact": lambda kv: kv.compact(1),
    "watch": lambda kv: kv.watch("a"),
    "lease": lambda kv: kv.lease(10),
    "session": lambda kv: kv.session(10),
    "lock": lambda kv: kv.lock("L").acquire(timeout=10),
}


@pytest.mark.parametrize("call", ALL_CALLS)
def test_a_closed_client_says_so(kv: KV, call: str) -> None:
    kv.close()
    with pytest.raises(Cancelled, match="closed"):
        ALL_CALLS[call](kv)


@pytest.mark.parametrize("call", ALL_CALLS)
def test_a_client_of_a_closed_engine_says_so(kv: KV, engine: Engine, call: str) -> None:
    engine.close()
    with pytest.raises(Cancelled, match="closed"):
        ALL_CALLS[call](kv)


def test_a_closed_engine_says_so(engine: Engine, at: At) -> None:
    engine.close()
    for call in (
        lambda: engine.range(RangeRequest(at("a"))),
        lambda: engine.delete_range(DeleteRequest(at("a"))),
        lambda: engine.put(PutRequest(at("a"))),
        lambda: engine.compact(1),
        lambda: engine.lease_revoke(7),
        lambda: engine.lease_keep_alive(7),
        lambda: engine.lease_time_to_live(7),
        lambda: engine.lease_list(),
    ):
        with pytest.raises(Cancelled, match="closed"):
            call()


def test_a_watch_with_rubbish_is_refused_before_or_after_it_has_begun(engine: Engine, at: At) -> None:
    for request in (
        WatchRequest("text"),  # type: ignore[arg-type]
        WatchRequest(at("a"), range_end=None),  # type: ignore[arg-type]
        WatchRequest(at("a"), start_revision=1 << 64),
    ):
        with pytest.raises(InvalidRequest, match=r"key|range_end|start_revision"):
            engine.watch(request, Recording())
    seen = Recording()
    engine.watch(WatchRequest(at("b"), at("a")), seen)
    assert seen.wait_lost() is WatchLost.REFUSED


def test_a_watch_of_a_key_that_is_too_large_is_refused_and_others_go_on(engine: Engine, at: At) -> None:
    seen = Recording()
    engine.watch(WatchRequest(at("small")), seen)
    with pytest.raises(InvalidRequest, match="too large"):
        engine.watch(WatchRequest(TEN_MB), Recording())
    engine.put(PutRequest(at("small")))
    seen.wait(1)


def _in_a_fork(call: Callable[[], object]) -> str:
    """Return the class of the error that ``call`` raises in the child of a fork; the child touches nothing else."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            call()
        except EtcdAeroError as error:
            os.write(send, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(child, 0)
    return text


def test_what_was_inherited_across_a_fork_says_so(kv: KV, engine: Engine, at: At) -> None:
    kv.put("a")
    errors = {Cancelled.__name__, ConfigurationError.__name__}
    assert _in_a_fork(lambda: kv.get("a")) in errors
    assert _in_a_fork(lambda: kv.lock("L").acquire(timeout=5)) in errors
    assert _in_a_fork(lambda: engine.put(PutRequest(at("a")))) in errors
    assert _in_a_fork(lambda: engine.range(RangeRequest(at("a")))) in errors
    assert kv.get("a") is not None


def test_rubbish_leaves_no_thread_behind(engine: Engine, at: At) -> None:
    before = set(threading.enumerate())
    client = KV(engine, prefix=at("rubbish/"))
    for _, call in WRONG_ARGUMENTS.values():
        with pytest.raises(InvalidRequest):
            call(client)
    client.close()
    engine.close()
    left = [thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("etcdaero-")]
    assert left == []


ENUMS = """
import enum
from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.administration.cluster import checked_id
from django_etcdaero.keyvalue.arguments import check_int
from django_etcdaero.keyvalue.etcd.messages.wire import range_message
from django_etcdaero.keyvalue.values import RangeRequest, SortOrder

class Number(enum.IntEnum):
    SMALL = 7
    LARGE = 1 << 64

check_int("limit", Number.SMALL)
print(checked_id(Number.SMALL))
for call in (
    lambda: check_int("limit", Number.LARGE),
    lambda: checked_id(Number.LARGE),
    lambda: range_message(RangeRequest(b"a", sort_order=SortOrder.ASCEND, min_mod_revision=1 << 64)),
):
    try:
        call()
    except InvalidRequest as error:
        print(str(error).partition(" must")[0])
"""


def test_numbers_that_are_members_of_an_enum_are_checked_in_no_time() -> None:
    # In a process of its own: Python looked for one in a range of 2**64 numbers, and no signal would have stopped it.
    done = subprocess.run([sys.executable, "-c", ENUMS], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines() == ["7", "limit", "member_id", "min_mod_revision"], done.stderr
