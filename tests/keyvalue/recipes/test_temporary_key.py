"""Temporary keys are there from the first moment until they are closed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from django_etcdaero.exceptions import Cancelled, ClusterError, InvalidRequest, KeyExists, OutcomeUnknown
from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.recipes.temporary import TemporaryKey
from tests.keyvalue.interposed import InterposedEngine
from tests.keyvalue.recipes.looking import value, watched
from tests.waiting import wait_until

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
