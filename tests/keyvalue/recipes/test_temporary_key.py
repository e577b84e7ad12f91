from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    InvalidRequest,
    KeyExists,
    OutcomeUnknown,
    PermissionDenied,
)
from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.recipes.temporary import TemporaryKey
from django_etcdaero.keyvalue.values import WatchBatch, WatchHandle, WatchRequest, WatchSink
from tests.keyvalue.conftest import ETCD
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until

AWAY = ("range", "put", "txn", "lease_grant", "lease_revoke", "lease_keep_alive", "watch")


@pytest.fixture
def others(engine: Engine, at: Callable[[str], bytes]) -> Iterator[KV]:
    """Another client of the same store."""
    client = KV(engine, prefix=at("app/"))
    yield client
    client.close()


@pytest.fixture(params=["sqlite", ETCD])
def shared_store(request: pytest.FixtureRequest, path: Path) -> Iterator[tuple[Engine, str]]:
    """A store that processes share, and its location for :mod:`tests.programs.temporary_key_holding`."""
    if request.param == "etcd":
        place = request.getfixturevalue("shared_server").endpoint
        engine: Engine = EtcdEngine([place])
    else:
        place, engine = str(path), EmbeddedEngine.file(path)
    yield engine, f"{request.param}:{place}"
    engine.close()


def value(kv: KV, key: str) -> bytes | None:
    found = kv.get(key)
    return None if found is None else found.value


def watched(store: InterposedEngine) -> bool:
    return len(store.running) == 1


# --- there and gone --------------------------------------------------------------------------------------------------


def test_a_key_is_there_from_the_first_moment_until_it_is_closed(kv: KV, others: KV) -> None:
    held = kv.temporary_key("T")
    found = others.get("T")
    assert found is not None
    assert (found.value, found.version) == (b"1", 1)
    assert others.lease_status(found.lease).granted_ttl == 10
    assert held.alive
    assert (held.key, held.value, held.ttl) == (b"T", b"1", 10)
    held.close()
    assert not held.alive
    assert others.get("T") is None
    assert others.lease_status(found.lease).ttl == -1
    held.close()


def test_a_block_holds_a_key(kv: KV, others: KV) -> None:
    def body(held: TemporaryKey) -> None:
        assert held.alive
        assert value(others, "T") == b"v"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), kv.temporary_key("T", "v") as held:
        body(held)
    assert others.get("T") is None


def test_it_stays_for_longer_than_its_ttl(kv: KV, others: KV, store: InterposedEngine) -> None:
    with kv.temporary_key("T", ttl=2):
        created = others.get("T")
        wait_until(lambda: store.calls["lease_keep_alive"] >= 4, what="more renewals than fit in one time to live")
        assert others.get("T") == created


def test_it_need_not_be_held(kv: KV, others: KV, store: InterposedEngine) -> None:
    kv.temporary_key("T")
    wait_until(lambda: watched(store), what="the watch")
    others.delete("T")
    wait_until(lambda: others.get("T"), what="the return of the key")


def test_many_keys_need_no_threads_of_their_own(kv: KV, store: InterposedEngine) -> None:
    held = [kv.temporary_key("first")]
    wait_until(lambda: watched(store), what="the watch")
    before = threading.active_count()
    held += [kv.temporary_key(f"T/{number}") for number in range(30)]
    wait_until(lambda: len(store.running) == 31, what="all watches")
    assert threading.active_count() == before
    assert all(each.alive for each in held)
    for each in held:
        each.close()
    assert list(kv.iterate("", prefix=True)) == []


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [(("",), {}, "key"), (("T", 7), {}, "value"), (("T",), {"ttl": 0}, "ttl"), (("T",), {"ttl": 1.5}, "ttl")],
)
def test_what_is_wrong_is_named(kv: KV, arguments: tuple[Any, ...], options: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        kv.temporary_key(*arguments, **options)


# --- other people's keys ---------------------------------------------------------------------------------------------


def test_a_key_that_somebody_has_is_not_taken(kv: KV, others: KV, store: InterposedEngine) -> None:
    others.put("T", "theirs")
    before = others.get("T")
    with pytest.raises(KeyExists, match="'T'"):
        kv.temporary_key("T")
    assert others.get("T") == before
    assert store.calls["lease_grant"] == store.calls["lease_revoke"]


def test_two_holders_of_one_client_are_not_the_same(kv: KV) -> None:
    with kv.temporary_key("T", "first") as first:
        with pytest.raises(KeyExists):
            kv.temporary_key("T", "second")
        assert first.alive
        assert value(kv, "T") == b"first"
    with kv.temporary_key("T", "second"):
        assert value(kv, "T") == b"second"


def test_a_key_may_be_replaced_and_comes_back_when_its_successor_goes(
    kv: KV, others: KV, store: InterposedEngine
) -> None:
    first = kv.temporary_key("T", "first")
    wait_until(lambda: watched(store), what="the watch")
    second = others.temporary_key("T", "second", replace=True)
    wait_until(lambda: not first.alive, what="the loss")
    assert value(kv, "T") == b"second"
    assert second.alive
    second.close()
    wait_until(lambda: first.alive, what="the return")
    assert value(kv, "T") == b"first"
    first.close()
    assert kv.get("T") is None


def test_a_key_that_somebody_has_overwritten_is_theirs(kv: KV, others: KV, store: InterposedEngine) -> None:
    held = kv.temporary_key("T")
    wait_until(lambda: watched(store), what="the watch")
    lease = others.range("T").kvs[0].lease
    others.put("T", "theirs")
    before = others.get("T")
    wait_until(lambda: not held.alive, what="the loss")
    assert not held.update("mine")
    assert others.get("T") == before
    others.revoke_lease(lease)
    held.update("mine")
    wait_until(lambda: store.calls["lease_grant"] == 2, what="a new lease")
    assert others.get("T") == before
    assert not held.alive
    held.close()
    assert others.get("T") == before


def test_a_change_that_keeps_the_lease_is_respected(kv: KV, others: KV, store: InterposedEngine) -> None:
    started = threading.Event()
    store.before["watch"] = lambda: started.wait(10)
    with kv.temporary_key("T", "1") as held:
        assert others.increment("T", 41) == 42
        others.compact(others.put("x", "").revision)  # so that the watch cannot tell and the key is looked at again
        started.set()
        wait_until(lambda: store.calls["watch"] == 2, what="another watch")
        assert held.alive
        assert value(others, "T") == b"42"
        assert others.increment("T") == 43
        others.delete("T")
        wait_until(lambda: value(others, "T") == b"1", what="the return of the key")
    assert others.get("T") is None


# --- put back --------------------------------------------------------------------------------------------------------


def test_a_key_that_was_deleted_is_put_back(
    kv: KV, others: KV, store: InterposedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "django_etcdaero.kv")
    with kv.temporary_key("T", "v") as held:
        lease = kv.range("T").kvs[0].lease
        wait_until(lambda: watched(store), what="the watch")
        for _ in range(3):
            others.delete("T")
            wait_until(lambda: held.alive and others.get("T"), what="the return of the key")
        found = kv.range("T").kvs[0]
        assert (found.value, found.lease) == (b"v", lease)
        wait_until(lambda: caplog.messages.count("temporary key 'T' is back") == 3, what="three returns in the log")
        assert caplog.messages.count("temporary key 'T' is lost: it was deleted") == 3


def test_a_deletion_before_the_watch_began_is_seen_too(kv: KV, others: KV, store: InterposedEngine) -> None:
    started = threading.Event()
    store.before["watch"] = lambda: started.wait(10)
    with kv.temporary_key("T") as held:
        others.delete("T")
        started.set()
        wait_until(lambda: others.get("T"), what="the return of the key")
        wait_until(lambda: held.alive, what="the return")


def test_a_deletion_that_was_compacted_before_the_watch_began_is_seen_too(
    kv: KV, others: KV, store: InterposedEngine
) -> None:
    started = threading.Event()
    store.before["watch"] = lambda: started.wait(10)
    with kv.temporary_key("T") as held:
        others.delete("T")
        others.compact(others.put("x", "").revision)
        started.set()
        wait_until(lambda: others.get("T"), what="the return of the key")
        wait_until(lambda: held.alive, what="the return")
        others.delete("T")
        wait_until(lambda: others.get("T"), what="the return of the key")


def test_a_key_whose_lease_was_revoked_is_put_back(kv: KV, others: KV, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "django_etcdaero.kv")
    with kv.temporary_key("T", "v", ttl=60) as held:
        lease = kv.range("T").kvs[0].lease
        others.revoke_lease(lease)
        wait_until(lambda: held.alive and others.get("T"), what="the return of the key")
        found = others.range("T").kvs[0]
        assert found.value == b"v"
        assert found.lease != lease
        wait_until(lambda: "temporary key 'T' is back" in caplog.messages, what="the return in the log")
    assert others.get("T") is None


def test_a_store_that_was_away_for_longer_than_the_ttl_gets_the_key_again(
    kv: KV, others: KV, store: InterposedEngine
) -> None:
    with kv.temporary_key("T", "v", ttl=2) as held:
        wait_until(lambda: watched(store), what="the watch")
        lease = others.range("T").kvs[0].lease
        for method in AWAY:
            store.break_(method, ClusterError("away"))
        wait_until(lambda: others.get("T") is None, what="the end of the key")
        assert not held.alive
        store.mend()
        wait_until(lambda: held.alive, what="the return")
        assert others.range("T").kvs[0].lease != lease
        assert value(others, "T") == b"v"


def test_a_key_still_there_on_the_lease_that_was_lost_is_moved_to_the_new_one(
    kv: KV, others: KV, store: InterposedEngine
) -> None:
    with kv.temporary_key("T", ttl=2) as held:
        wait_until(lambda: watched(store), what="the watch")
        old = others.range("T").kvs[0]
        store.break_("lease_keep_alive", ClusterError("away"))
        renewals = threading.Event()

        def renew() -> None:  # the store keeps the lease for longer than this process may count on it
            while not renewals.wait(0.2):
                store.inner.lease_keep_alive(old.lease)

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        wait_until(lambda: others.range("T").kvs[0].lease != old.lease, what="the move of the key")
        renewals.set()
        thread.join(10)
        store.mend()
        wait_until(lambda: held.alive, what="the return")
        new = others.range("T").kvs[0]
        assert (new.create_revision, new.value) == (old.create_revision, old.value)
        others.revoke_lease(old.lease)
        assert others.range("T").kvs[0].create_revision == old.create_revision


def test_what_puts_the_key_back_is_repeated_until_it_works(
    kv: KV, others: KV, store: InterposedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with kv.temporary_key("T") as held:
        wait_until(lambda: watched(store), what="the watch")
        store.fail("txn", ClusterError("away"), times=2)
        store.fail("txn", OutcomeUnknown("answer lost"), applied=True)
        others.delete("T")
        wait_until(lambda: others.get("T") and held.alive, what="the return")
        assert others.range("T").kvs[0].version == 1
        warnings = [record for record in caplog.records if "cannot be tended" in record.message]
        assert [record.levelno for record in warnings if record.levelno >= logging.WARNING] == [logging.WARNING]


class LateEngine(InterposedEngine):
    """Delivers no event before it is told to."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self.told = threading.Event()

    def watch(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
        def late(batch: WatchBatch) -> None:
            self.told.wait(10)
            sink(batch)

        return super().watch(request, late, timeout=timeout)


def test_news_of_a_deletion_that_was_made_good_already_changes_nothing(
    engine: Engine, others: KV, caplog: pytest.LogCaptureFixture
) -> None:
    late = LateEngine(engine)
    with closing(KV(late, prefix=others.prefix)) as kv, kv.temporary_key("T", "old") as held:
        wait_until(lambda: watched(late), what="the watch")
        others.delete("T")
        assert not held.update("new")
        wait_until(lambda: held.update("new"), what="the return of the key, known on this side too")
        changes = others.range("T").kvs[0].version
        late.told.set()
        wait_until(lambda: late.delivered == 1 + changes, what="the news of the deletion, the return and the updates")
        assert held.alive
        assert "temporary key 'T' is lost: it was deleted" not in caplog.messages


def test_a_refused_watch_leaves_the_lease_to_tell(kv: KV, others: KV, store: InterposedEngine) -> None:
    store.fail("watch", PermissionDenied("no"), times=1)
    with kv.temporary_key("T") as held:
        others.revoke_lease(others.range("T").kvs[0].lease)
        wait_until(lambda: others.get("T"), 20, what="the return of the key")
        wait_until(lambda: held.alive, what="the return")


# --- updates ---------------------------------------------------------------------------------------------------------


def test_an_update_changes_the_value_and_nothing_else(kv: KV, others: KV) -> None:
    with kv.temporary_key("T", "old") as held:
        before = others.range("T").kvs[0]
        assert held.update("new")
        assert held.value == b"new"
        after = others.range("T").kvs[0]
        assert (after.value, after.lease, after.create_revision) == (b"new", before.lease, before.create_revision)
        others.delete("T")
        wait_until(lambda: others.get("T"), what="the return of the key")
        assert value(others, "T") == b"new"
    with pytest.raises(InvalidRequest, match="closed"):
        held.update("more")


@pytest.mark.parametrize("applied", [False, True])
def test_an_update_that_fails_is_carried_on(kv: KV, others: KV, store: InterposedEngine, applied: bool) -> None:
    with kv.temporary_key("T", "old") as held:
        wait_until(lambda: watched(store), what="the watch")
        store.fail("txn", OutcomeUnknown("answer lost"), applied=applied)
        store.fail("txn", ClusterError("away"), times=2)
        assert not held.update("new")
        wait_until(lambda: value(others, "T") == b"new", what="the new value")
        assert held.alive


def test_an_update_that_the_store_refuses_changes_nothing(kv: KV, others: KV) -> None:
    with kv.temporary_key("T", "old") as held:
        with pytest.raises(InvalidRequest):
            held.update(bytes(4 << 20))
        assert held.value == value(others, "T") == b"old"
        assert held.alive


def test_an_update_of_a_lost_key_is_what_is_put_back(kv: KV, others: KV, store: InterposedEngine) -> None:
    with kv.temporary_key("T", "old") as held:
        wait_until(lambda: watched(store), what="the watch")
        others.put("T", "theirs")
        wait_until(lambda: not held.alive, what="the loss")
        assert not held.update("new")
        assert value(others, "T") == b"theirs"
        others.delete("T")
        wait_until(lambda: held.alive, what="the return")
        assert value(others, "T") == b"new"


# --- beginning and end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("applied", [False, True])
def test_a_key_whose_creation_has_an_unknown_outcome_is_taken_back(
    kv: KV, others: KV, store: InterposedEngine, applied: bool
) -> None:
    store.fail("txn", OutcomeUnknown("answer lost"), applied=applied)
    with pytest.raises(OutcomeUnknown):
        kv.temporary_key("T")
    assert others.get("T") is None
    assert store.calls["lease_grant"] == store.calls["lease_revoke"] == 1


def test_a_key_that_cannot_be_deleted_runs_out(
    kv: KV, others: KV, store: InterposedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    held = kv.temporary_key("T", ttl=2)
    store.break_("lease_revoke", ClusterError("away"))
    held.close()
    assert not held.alive
    assert "temporary key 'T' could not be deleted and will run out: away" in caplog.messages
    wait_until(lambda: others.get("T") is None, what="the end of the key")


@pytest.mark.parametrize("step", ["lease_grant", "txn"])
def test_a_key_closed_while_it_is_being_put_back_is_gone(
    kv: KV, others: KV, store: InterposedEngine, step: str
) -> None:
    held = kv.temporary_key("T")
    wait_until(lambda: watched(store), what="the watch")
    lease = others.range("T").kvs[0].lease
    entered, leave = threading.Event(), threading.Event()

    def hold_up() -> None:
        entered.set()
        leave.wait(10)

    store.before[step] = hold_up
    if step == "lease_grant":
        others.revoke_lease(lease)
    else:
        others.delete("T")
    assert entered.wait(10)
    held.close()
    leave.set()
    wait_until(lambda: store.calls["lease_revoke"] == 2, what="the revocations by close() and by the background")
    wait_until(lambda: others.get("T") is None, what="the end of the key")
    assert others.lease_status(lease).ttl == -1
    assert kv.temporary_key("T").alive  # it is free


def test_a_key_ends_with_its_client(others: KV, engine: Engine, at: Callable[[str], bytes]) -> None:
    client = KV(engine, prefix=at("app/"))
    held = client.temporary_key("T", ttl=2)
    client.close()
    wait_until(lambda: others.get("T") is None, what="the end of the key")
    assert not held.alive
    with pytest.raises(Cancelled):
        held.update("more")
    held.close()


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hold(shared_store: tuple[Engine, str]) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start processes that hold a key with a time to live of 2 seconds."""
    started: list[subprocess.Popen[str]] = []

    def start(key: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.programs.temporary_key_holding", shared_store[1], key, "2"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_key_of_a_killed_process_is_gone_after_its_ttl(
    shared_store: tuple[Engine, str], hold: Callable[[str], subprocess.Popen[str]], at: Callable[[str], bytes]
) -> None:
    key = at("T").decode()
    with closing(KV(shared_store[0])) as kv:
        process = hold(key)
        assert value(kv, key) == b"theirs"
        with pytest.raises(KeyExists):
            kv.temporary_key(key)
        process.kill()
        process.wait(10)
        wait_until(lambda: kv.get(key) is None, 5, what="the end of the key")
        with kv.temporary_key(key, "mine"):
            assert value(kv, key) == b"mine"


def test_the_key_of_a_process_that_ends_well_is_gone_at_once(
    shared_store: tuple[Engine, str], hold: Callable[[str], subprocess.Popen[str]], at: Callable[[str], bytes]
) -> None:
    key = at("T").decode()
    with closing(KV(shared_store[0])) as kv:
        process = hold(key)
        output, _ = process.communicate(timeout=30)
        assert output == "closed\n"
        assert kv.get(key) is None


def test_a_process_puts_its_key_back(
    shared_store: tuple[Engine, str], hold: Callable[[str], subprocess.Popen[str]], at: Callable[[str], bytes]
) -> None:
    key = at("T").decode()
    with closing(KV(shared_store[0])) as kv:
        hold(key)
        created = kv.range(key).kvs[0].create_revision
        kv.delete(key)
        wait_until(lambda: kv.get(key), what="the return of the key")
        found = kv.range(key).kvs[0]
        assert found.value == b"theirs"
        assert found.create_revision > created


def test_the_child_of_a_fork_has_no_part_in_the_key(
    shared_store: tuple[Engine, str], hold: Callable[[str], subprocess.Popen[str]], at: Callable[[str], bytes]
) -> None:
    key = at("T").decode()
    with closing(KV(shared_store[0])) as kv:
        process = hold(key)
        before = kv.get(key)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "alive: False, update: Cancelled, parent alive: True\n"
        assert kv.get(key) == before
