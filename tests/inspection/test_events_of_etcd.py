"""What has happened, from the history of a real etcd."""

from __future__ import annotations

from django_etcdaero.inspection.events import Gap, Reason, happened
from django_etcdaero.inspection.locks import Kind, all_contended
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.keyvalue.etcd.servers import Server


def test_history_gaps_and_many_revisions(server: Server) -> None:
    engine = EtcdEngine([server.endpoint])
    kv = KV(engine, prefix="shop/")
    try:
        start = happened(kv, b"a", since=0).revision
        revisions = [kv.put(f"a{number % 7}", "x").revision for number in range(2500)]
        seen, keys = start, 0
        while (answer := happened(kv, b"a", since=seen, seen=seen)).events:
            assert answer.gap is None
            assert [each.kv.mod_revision for each in answer.events] == [*range(seen + 1, answer.seen + 1)]
            seen, keys = answer.seen, keys + len(answer.events)
        assert (keys, seen) == (2500, revisions[-1])
        kv.compact(revisions[2000])
        gap = happened(kv, b"a", since=start)
        assert gap.gap == Gap(Reason.COMPACTED, start, revisions[1999])
        assert gap.events[0].kv.mod_revision == revisions[2000]
    finally:
        kv.close()
        engine.close()


def test_locks_of_a_real_etcd_are_found(server: Server) -> None:
    engine = EtcdEngine([server.endpoint])
    kv = KV(engine, prefix="shop/")
    try:
        kv.lock("jobs/nightly").acquire()
        kv.election("leader", value="node-1").campaign()
        found = {each.label: each for each in all_contended(kv).found}
        assert {name: each.kind for name, each in found.items()} == {
            "jobs/nightly": Kind.LOCK,
            "leader": Kind.ELECTION,
        }
        assert found["leader"].holder.pid is not None
    finally:
        kv.close()
        engine.close()
