"""A live copy of a prefix: complete, in whole revisions, without a gap."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from typing import Any

import pytest

from django_etcdaero.exceptions import Cancelled, DeadlineExceeded
from django_etcdaero.keyvalue import KV, ops
from django_etcdaero.keyvalue.recipes.mirror import Change, Mirror
from django_etcdaero.keyvalue.values import WatchBatch, WatchLost
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until


def test_it_has_what_was_there_and_what_comes(kv: KV) -> None:
    kv.put("flags/a", "1")
    kv.put("other", "x")
    with kv.mirror("flags/") as flags:
        assert dict(flags) == {"a": b"1"}
        last = kv.put("flags/b", "2")
        kv.put("elsewhere", "3")
        flags.wait_for(lambda m: m.revision >= last.revision, timeout=10)
        assert (dict(flags), len(flags), "a" in flags, flags.get("c")) == ({"a": b"1", "b": b"2"}, 2, True, None)
        kv.delete("flags/a")
        flags.wait_for(lambda m: "a" not in m, timeout=10)


def test_more_keys_than_a_page_are_all_there(kv: KV) -> None:
    for number in range(1203):
        kv.put(f"many/{number:04}", str(number))
    with kv.mirror("many/", decode=int) as many:
        assert sorted(many.values()) == list(range(1203))


def test_what_one_transaction_wrote_is_seen_together(kv: KV) -> None:
    kv.put("pair/a", "0")
    kv.put("pair/b", "0")
    torn: list[Any] = []
    with kv.mirror("pair/", decode=int) as pair:
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                seen = pair.copy()
                if seen["a"] != seen["b"]:
                    torn.append(dict(seen))

        reader = threading.Thread(target=look)
        reader.start()
        for number in range(1, 101):
            kv.txn().then(ops.put("pair/a", str(number)), ops.put("pair/b", str(number))).commit()
        pair.wait_for(lambda m: m["b"] == 100, timeout=10)
        done.set()
        reader.join()
    assert torn == []


def test_callbacks_hear_of_each_change_when_it_is_there(kv: KV) -> None:
    kv.put("f/a", "1")
    with kv.mirror("f/", decode=int) as mirror:
        heard: list[Change[int]] = []
        mirror.on_change(lambda change: heard.append(change) if mirror.get(change.key) == change.new else None)
        mirror.on_change(lambda change: 1 / 0)
        revisions = []
        for key, value in (("f/b", "2"), ("f/a", "3")):
            revisions.append(kv.put(key, value).revision)
            mirror.wait_for(lambda m, key=key, value=value: m.get(key[2:]) == int(value), timeout=10)
        revisions.append(kv.delete("f/a").revision)
        wait_until(lambda: len(heard) == 3)
    first, second, third = revisions
    assert heard == [Change("b", None, 2, first), Change("a", 1, 3, second), Change("a", 3, None, third)]


def test_callbacks_that_are_slow_hear_of_each_change_in_order(kv: KV) -> None:
    with kv.mirror("f/", decode=int) as mirror:
        heard: list[tuple[str, int | None, int | None]] = []
        begun, go_on = threading.Event(), threading.Event()

        def hear(change: Change[int]) -> None:
            begun.set()
            go_on.wait(20)
            heard.append((change.key, change.old, change.new))

        mirror.on_change(hear)
        kv.put("f/first", "0")
        begun.wait(20)
        kv.put("f/b", "1")
        kv.put("f/a", "1")
        kv.put("f/b", "2")
        kv.delete("f/b")
        go_on.set()
        wait_until(lambda: len(heard) == 5)
    assert heard == [("first", None, 0), ("b", None, 1), ("a", None, 1), ("b", 1, 2), ("b", 2, None)]


def test_a_value_that_cannot_be_read_keeps_the_last_one(kv: KV, caplog: pytest.LogCaptureFixture) -> None:
    kv.put("f/a", "1")
    kv.put("f/odd", "{")
    with kv.mirror("f/", decode=json.loads) as mirror:
        assert dict(mirror) == {"a": 1}
        assert set(mirror.errors) == {"odd"}
        kv.put("f/a", "{")
        mirror.wait_for(lambda m: "a" in mirror.errors, timeout=10)
        assert mirror["a"] == 1
        kv.put("f/a", "2")
        kv.delete("f/odd")
        mirror.wait_for(lambda m: m["a"] == 2 and not mirror.errors, timeout=10)
    assert "its last value stays" in caplog.text


def test_after_lost_events_the_copy_is_a_new_snapshot(kv: KV, store: InterposedEngine) -> None:
    kv.put("f/gone", "1")
    kv.put("f/stays", "1")
    decoded: list[bytes] = []

    def decode(value: bytes) -> int:
        decoded.append(value)
        return int(value)

    mirror = kv.mirror("f/", decode=decode)
    heard: list[Change[int]] = []
    mirror.on_change(heard.append)
    sink = mirror._feed._sink
    kv.delete("f/gone")
    last = kv.put("f/new", "2")
    sink(WatchBatch(lost=WatchLost.COMPACTED))
    mirror.wait_for(lambda m: m.revision >= last.revision, timeout=10)
    assert dict(mirror) == {"stays": 1, "new": 2}
    wait_until(lambda: {change.key for change in heard} == {"gone", "new"})
    assert len(decoded) == 3, "what has not changed is not read again"
    kv.put("f/after", "3")
    mirror.wait_for(lambda m: m.get("after") == 3, timeout=10)
    mirror.close()


def test_of_a_store_that_was_replaced_the_old_revisions_say_nothing(kv: KV, store: InterposedEngine) -> None:
    kv.put("f/same", "1")
    with kv.mirror("f/", decode=int) as mirror:
        heard: list[Change[int]] = []
        mirror.on_change(heard.append)
        mirror._feed._sink(WatchBatch(lost=WatchLost.RESET))
        wait_until(lambda: heard)
        assert [(change.key, change.old, change.new) for change in heard] == [("same", 1, 1)]
        assert dict(mirror) == {"same": 1}


def test_waiting_ends_in_time_and_tells(kv: KV) -> None:
    with kv.mirror("f/") as mirror, pytest.raises(DeadlineExceeded, match="mirror of b'f/'"):
        mirror.wait_for(lambda m: "a" in m, timeout=0.05)


def test_what_is_closed_serves_nothing(kv: KV) -> None:
    kv.put("f/a", "1")
    mirror = kv.mirror("f/")
    mirror.close()
    mirror.close()
    assert mirror.closed
    for read in (lambda: mirror["a"], lambda: len(mirror), lambda: mirror.revision, lambda: list(mirror)):
        with pytest.raises(Cancelled, match="make a new one"):
            read()


def test_closing_ends_who_waits(kv: KV) -> None:
    mirror = kv.mirror("f/")
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            mirror.wait_for(lambda m: "a" in m, timeout=30)
        except Cancelled as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    mirror.close()
    thread.join(10)
    assert len(errors) == 1


def test_the_client_closes_its_mirrors(store: InterposedEngine) -> None:
    client = KV(store, prefix="mirrors/")
    mirror = client.mirror("f/")
    client.close()
    assert mirror.closed


def test_the_child_of_a_fork_is_told(kv: KV) -> None:
    with kv.mirror("f/") as mirror:
        child = os.fork()
        if not child:
            try:
                len(mirror)
            except Cancelled:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0


def test_tasks_wait_without_blocking_the_loop(kv: KV) -> None:
    async def run() -> Any:
        mirror: Mirror[int]
        async with await kv.amirror("f/", decode=int) as mirror:
            waiting = asyncio.create_task(mirror.await_for(lambda m: m.get("a"), timeout=10))
            await asyncio.sleep(0)
            await kv.aput("f/a", "7")
            found = await waiting
        assert mirror.closed
        return found

    assert asyncio.run(run()) == 7
