"""A temporary key that was lost is put back."""

from __future__ import annotations

import logging
import threading
from contextlib import closing

import pytest

from django_etcdaero.exceptions import ClusterError, OutcomeUnknown, PermissionDenied
from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.values import TxnRequest, TxnResult, WatchBatch, WatchHandle, WatchRequest, WatchSink
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.recipes.looking import value, watched
from tests.waiting import wait_until

AWAY = ("range", "put", "txn", "lease_grant", "lease_revoke", "lease_keep_alive", "watch")


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


def test_an_update_that_comes_late_does_not_undo_a_later_one(
    kv: KV, others: KV, store: InterposedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given up by its caller, or its answer was lost, and it is on its way still."""
    sent: list[TxnRequest] = []
    run = kv.txn_run

    def noted(request: TxnRequest, timeout: float | None = None) -> TxnResult:
        sent.append(request)
        return run(request, timeout)

    with kv.temporary_key("T", "first") as held:
        wait_until(lambda: watched(store), what="the watch")
        monkeypatch.setattr(kv, "txn_run", noted)
        store.fail("txn", OutcomeUnknown("lost"), times=1)
        assert not held.update("late")
        late = sent[0]
        wait_until(lambda: value(others, "T") == b"late", what="the background")
        wait_until(lambda: held.update("after"), what="a later update")
        assert not run(late).succeeded
        assert value(others, "T") == b"after"
