"""Revisions that are too big for one message of the server: put together again, or delivered piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_etcdaero.keyvalue import KV, Event, ops
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.keyvalue.etcd.watches.watching import EtcdWatch
from django_etcdaero.keyvalue.values import PutRequest, WatchBatch, WatchRequest
from tests.keyvalue.recording import Recording

At = Callable[[str], bytes]


@pytest.mark.parametrize("fragment", [False, True])
def test_a_very_big_revision_comes_whole_or_in_pieces_as_asked(engine: EtcdEngine, at: At, *, fragment: bool) -> None:
    seen = Recording()
    lease = engine.lease_grant(60).id
    for number in range(10):
        engine.put(PutRequest(at(f"{number}"), bytes(1 << 20), lease=lease))
    engine.watch(WatchRequest(at(""), at("~"), prev_kv=True, fragment=fragment), seen)
    engine.lease_revoke(lease)
    assert [event.kv.key for event in seen.wait(10)] == [at(f"{number}") for number in range(10)]
    assert (len(seen.batches) > 1) is fragment
    assert len({event.kv.mod_revision for event in seen.events}) == 1


def test_a_client_sees_every_event_of_it_once(engine: EtcdEngine, at: At) -> None:
    kv = KV(engine, prefix=at(""))
    with kv.watch("", prefix=True, prev_kv=True, fragment=True, max_pending=10_000) as watch:
        for _ in range(2):
            kv.txn().then(*(ops.put(f"{number:03}", b"x" * 11_000) for number in range(120))).commit()
        items = [watch.next(timeout=20) for _ in range(240)]
    keys = [item.kv.key for item in items if isinstance(item, Event)]
    assert keys == [b"%03d" % number for number in range(120)] * 2
    kv.close()


def message(revision: int, keys: str, *, fragment: bool) -> Any:
    """An answer of the server with one event for each letter of ``keys``."""
    kvs = [rpc.KeyValue(key=key.encode(), mod_revision=revision, version=1) for key in keys]
    return rpc.WatchResponse(
        header=rpc.ResponseHeader(revision=revision), fragment=fragment, events=[rpc.Event(kv=kv) for kv in kvs]
    )


class Pieces:
    """A watch of pieces that is told what the server sends."""

    def __init__(self) -> None:
        self.watch = EtcdWatch(WatchRequest(b"a", b"z", fragment=True), lambda batch: None, lambda watch: None)
        self.watch.accept(4)

    def send(self, revision: int, keys: str, *, fragment: bool) -> str:
        batch: WatchBatch | None = self.watch.receive(message(revision, keys, fragment=fragment))
        return "" if batch is None else b"".join(event.kv.key for event in batch.events).decode()


def test_pieces_are_delivered_as_they_come() -> None:
    pieces = Pieces()
    assert pieces.send(5, "abc", fragment=True) == "abc"
    assert pieces.send(5, "def", fragment=True) == "def"
    assert pieces.send(5, "g", fragment=False) == "g"
    assert pieces.watch.next_revision == 6
    assert pieces.send(6, "a", fragment=False) == "a"


@pytest.mark.parametrize(
    ("again", "seen"),
    [
        ([("abcdefg", False)], ["fg"]),
        ([("abc", True), ("defg", False)], ["", "fg"]),
        ([("abcde", True), ("fg", False)], ["", "fg"]),
        ([("abcdef", True), ("g", False)], ["f", "g"]),
    ],
)
def test_a_stream_that_broke_within_a_revision_goes_on_within_it(
    again: list[tuple[str, bool]], seen: list[str]
) -> None:
    pieces = Pieces()
    pieces.send(5, "abc", fragment=True)
    pieces.send(5, "de", fragment=True)
    assert pieces.watch.next_revision == 5  # where the next stream begins
    pieces.watch.accept(5)
    assert [pieces.send(5, keys, fragment=fragment) for keys, fragment in again] == seen
    assert pieces.watch.next_revision == 6


def test_a_stream_may_break_within_one_revision_twice() -> None:
    pieces = Pieces()
    pieces.send(5, "abc", fragment=True)
    pieces.watch.accept(5)
    assert pieces.send(5, "abcd", fragment=True) == "d"
    pieces.watch.accept(5)
    assert pieces.send(5, "ab", fragment=True) == ""
    pieces.watch.accept(5)
    assert pieces.send(5, "abcde", fragment=False) == "e"


def test_whole_messages_count_nothing_twice() -> None:
    pieces = Pieces()
    pieces.send(5, "abc", fragment=False)
    pieces.watch.accept(6)
    assert pieces.send(6, "abc", fragment=False) == "abc"
