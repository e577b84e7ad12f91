"""Watches go on by themselves, or say why they cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import (
    DeleteRequest,
    Event,
    PutRequest,
    RangeRequest,
    WatchBatch,
    WatchLost,
    WatchRequest,
)
from tests.keyvalue.etcd.servers import Cluster, Server
from tests.keyvalue.etcd.test_failover import put_until_known
from tests.keyvalue.recording import Recording, short
from tests.waiting import wait_until

At = Callable[[str], bytes]
Connect = Callable[..., EtcdEngine]


def restart(server: Server) -> None:
    server.kill()
    server.start()
    server.wait_ready()


def reconnect(engine: EtcdEngine) -> None:
    engine.before_fork(1.0)
    engine.after_fork_in_parent()


def test_a_watch_goes_on_after_a_restart_of_its_server(server: Server, connect: Connect, at: At) -> None:
    engine = connect([server.endpoint])
    whole, deletions = Recording(), Recording()
    engine.watch(WatchRequest(at(""), at("~")), whole)
    engine.watch(WatchRequest(at("a"), no_put=True), deletions)
    for turn in range(3):
        put_until_known(engine, at("a"), b"%d" % turn)
        whole.wait(turn + 1)
        restart(server)
    engine.delete_range(DeleteRequest(at("a")), timeout=20)
    assert short(whole.wait(4, 20)) == ["+a=0", "+a=1", "+a=2", "-a"]
    assert short(deletions.wait(1, 20)) == ["-a"]


def test_no_event_is_missed_or_doubled_while_members_are_killed_and_started(
    cluster: Cluster, connect: Connect, at: At
) -> None:
    writer, watcher = connect(cluster.endpoints), connect(cluster.endpoints)
    start = writer.put(PutRequest(at("a"), b"begin"), timeout=20).revision
    seen = Recording()
    watcher.watch(WatchRequest(at(""), at("~"), start_revision=start), seen)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            put_until_known(writer, at(f"{number % 7}"), b"%d" % number)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for member in cluster.members:
            before = len(seen.events)
            wait_until(lambda before=before: len(seen.events) > before + 20, 30, "events")
            member.kill()
            before = len(seen.events)
            wait_until(lambda before=before: len(seen.events) > before + 20, 30, "events without the member")
            member.start()
            member.wait_ready()
    finally:
        stop.set()
        thread.join(60)
    writer.put(PutRequest(at("z"), b"end"), timeout=20)
    wait_until(lambda: short(seen.events)[-1:] == ["+z=end"], 30, "the last event")
    # Keys of a put each raise the version by one: so a gap or a repetition would show here.
    last: dict[bytes, int] = {}
    for event in seen.events:
        assert event.kv.version == last.get(event.kv.key, 0) + 1
        last[event.kv.key] = event.kv.version
    stored = writer.range(RangeRequest(at(""), at("~")), timeout=20).kvs
    assert {kv.key: kv.version for kv in stored} == last


def test_history_that_was_compacted_during_an_outage_is_told(engine: EtcdEngine, connect: Connect, at: At) -> None:
    away = connect([engine.endpoint])
    seen, fresh = Recording(), Recording()
    away.watch(WatchRequest(at("a")), seen)
    engine.put(PutRequest(at("a"), b"1"))
    seen.wait(1)
    away.before_fork(1.0)  # closes its connections until it is told to go on
    for value in (b"2", b"3"):
        last = engine.put(PutRequest(at("a"), value)).revision
    engine.compact(last)
    away.after_fork_in_parent()
    assert seen.wait_lost() is WatchLost.COMPACTED
    assert short(seen.events) == ["+a=1"]
    away.watch(WatchRequest(at("a")), fresh)
    away.put(PutRequest(at("a"), b"4"))
    assert short(fresh.wait(1)) == ["+a=4"]


def test_a_wiped_store_is_told(server: Server, connect: Connect, at: At) -> None:
    engine = connect([server.endpoint])
    seen, after = Recording(), Recording()
    engine.watch(WatchRequest(at("a")), seen)
    for _ in range(5):
        engine.put(PutRequest(at("a"), b"old"))
    seen.wait(5)
    server.kill()
    server.wipe()
    server.start()
    server.wait_ready()
    assert seen.wait_lost() is WatchLost.RESET
    engine.watch(WatchRequest(at("a")), after)
    engine.put(PutRequest(at("a"), b"new"))
    assert short(after.wait(1)) == ["+a=new"]
    assert len(seen.events) == 5


def test_another_cluster_at_the_same_address_is_told_even_if_it_has_got_further(
    server: Server, connect: Connect, at: At
) -> None:
    engine = connect([server.endpoint])
    seen = Recording()
    engine.watch(WatchRequest(at("a")), seen)
    engine.before_fork(1.0)  # holds the engine until the other cluster has got further
    server.kill()
    server.wipe()
    server.options += ["--initial-cluster-token", "another"]
    server.start()
    server.wait_ready()
    other = connect([server.endpoint])
    for _ in range(20):
        other.put(PutRequest(at("a"), b"new"))
    engine.after_fork_in_parent()
    assert seen.wait_lost() is WatchLost.RESET
    assert seen.events == []


def test_a_restored_store_with_a_lower_revision_is_told(server: Server, connect: Connect, at: At) -> None:
    engine = connect([server.endpoint])
    snapshot = server.directory / "snapshot"
    engine.put(PutRequest(at("a"), b"kept"))
    server.etcdctl("snapshot", "save", str(snapshot))
    seen = Recording()
    engine.watch(WatchRequest(at("a")), seen)
    for _ in range(10):
        engine.put(PutRequest(at("a"), b"gone"))
    seen.wait(10)
    server.kill()
    server.wipe()
    server.etcdctl(
        *("snapshot", "restore", str(snapshot), "--data-dir", str(server.directory / "data"), "--name", server.name),
        *("--initial-cluster", server.initial_cluster),
        *("--initial-advertise-peer-urls", server.peer_address.partition("=")[2]),
    )
    server.start()
    assert seen.wait_lost() is WatchLost.RESET
    assert engine.range(RangeRequest(at("a")), timeout=20).kvs[0].value == b"kept"


def test_progress_is_marked_for_those_who_asked(engine: EtcdEngine, at: At) -> None:
    plain, seen = Recording(), Recording()
    engine.watch(WatchRequest(at("a")), plain)
    engine.watch(WatchRequest(at("a"), progress_notify=True), seen)
    revision = engine.put(PutRequest(at("b"))).revision
    wait_until(lambda: any(not batch.events and batch.revision >= revision for batch in seen.batches), what="a mark")
    assert seen.events == []
    assert plain.batches == []


def test_a_quiet_watch_does_not_need_history_that_was_compacted(engine: EtcdEngine, at: At) -> None:
    quiet, marked = Recording(), Recording()
    engine.watch(WatchRequest(at("a")), quiet)
    engine.watch(WatchRequest(at("a"), progress_notify=True), marked)
    for _ in range(3):
        last = engine.put(PutRequest(at("b"))).revision
    wait_until(lambda: any(batch.revision >= last for batch in marked.batches), what="a mark of progress")
    engine.compact(last)
    reconnect(engine)
    engine.put(PutRequest(at("a"), b"1"))
    assert short(quiet.wait(1)) == ["+a=1"]
    assert quiet.lost is None


def test_a_revision_of_several_megabytes_is_one_batch(engine: EtcdEngine, at: At) -> None:
    seen = Recording()
    lease = engine.lease_grant(60).id
    for number in range(10):
        engine.put(PutRequest(at(f"{number}"), bytes(1 << 20), lease=lease))
    engine.watch(WatchRequest(at(""), at("~"), prev_kv=True), seen)
    engine.lease_revoke(lease)
    seen.wait(10)
    assert len(seen.batches) == 1


def test_a_sink_that_blocks_holds_up_neither_calls_nor_new_watches(engine: EtcdEngine, at: At) -> None:
    entered, release = threading.Event(), threading.Event()

    def sink(batch: WatchBatch) -> None:
        entered.set()
        release.wait(30)

    lease = engine.lease_grant(60).id
    engine.watch(WatchRequest(at("a")), sink)
    engine.put(PutRequest(at("a")))
    assert entered.wait(10)
    try:
        assert engine.lease_keep_alive(lease) == 60
        later = Recording()
        engine.watch(WatchRequest(at("b")), later)
        engine.put(PutRequest(at("b"), b"1"))
    finally:
        release.set()
    assert short(later.wait(1)) == ["+b=1"]


def test_a_callback_that_blocks_does_not_hold_up_who_waits_for_events(engine: EtcdEngine, at: At) -> None:
    entered, release = threading.Event(), threading.Event()

    def sink(batch: WatchBatch) -> None:
        entered.set()
        release.wait(30)

    engine.watch(WatchRequest(at("a")), sink)
    engine.put(PutRequest(at("a")))
    assert entered.wait(10)
    kv = KV(engine, prefix=at(""))
    try:
        with kv.watch("b") as watch, kv.lock("lock", ttl=10) as lock:
            kv.put("b", b"1")
            event = watch.next(timeout=10)
            assert isinstance(event, Event)
            assert event.kv.value == b"1"
            waiting = threading.Thread(target=kv.lock("lock", ttl=10).acquire, kwargs={"timeout": 10})
            waiting.start()
            wait_until(lambda: len(kv.lock("lock", ttl=10).queue()) == 2, what="another one in line")
            lock.release()
            waiting.join(10)
            assert not waiting.is_alive()
    finally:
        release.set()
        kv.close()


def test_a_sink_may_start_another_watch(engine: EtcdEngine, at: At) -> None:
    inner = Recording()
    engine.watch(WatchRequest(at("a")), lambda batch: engine.watch(WatchRequest(at("b")), inner) and None)
    engine.put(PutRequest(at("a")))

    def put_and_look() -> bool:
        engine.put(PutRequest(at("b"), b"1"))
        return bool(inner.events)

    wait_until(put_and_look, what="the inner watch")


def test_a_thousand_watches_need_no_more_threads_than_one(engine: EtcdEngine, at: At) -> None:
    first = Recording()
    engine.watch(WatchRequest(at("a")), first)
    engine.put(PutRequest(at("a")))
    first.wait(1)
    threads = threading.active_count()
    sinks = [Recording() for _ in range(1000)]
    handles = [engine.watch(WatchRequest(at("a")), sink) for sink in sinks]
    engine.put(PutRequest(at("a"), b"1"))
    for sink in sinks:
        assert short(sink.wait(1)) == ["+a=1"]
    assert threading.active_count() <= threads
    reconnect(engine)
    engine.put(PutRequest(at("a"), b"2"))
    for sink in sinks:
        assert short(sink.wait(2)) == ["+a=1", "+a=2"]
    for handle in handles:
        handle.cancel()
