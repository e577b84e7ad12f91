"""Reads that any one member may answer, and that never go back in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from django_etcdaero.exceptions import ClusterError, FutureRevision, InvalidRequest
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.values import RangeRequest, RangeResult
from tests.keyvalue.interposed import InterposedEngine


class Cluster(InterposedEngine):
    """A store one member of which is behind: it answers all serializable reads."""

    def __init__(self, inner: EmbeddedEngine) -> None:
        super().__init__(inner)
        self.behind: int | None = None
        """The revision that this member has got to."""
        self.has_leader = True
        self.asked: list[str] = []

    def range(self, request: RangeRequest, *, timeout: float | None = None) -> RangeResult:
        self.asked.append("member" if request.serializable else "majority")
        if not request.serializable and not self.has_leader:
            raise ClusterError("no leader")
        if not request.serializable or self.behind is None:
            return super().range(request, timeout=timeout)
        if request.revision > self.behind:
            raise FutureRevision("behind")
        old = super().range(replace(request, revision=request.revision or self.behind), timeout=timeout)
        return old._replace(revision=self.behind)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    engine = EmbeddedEngine.memory("monotonic")
    yield Cluster(engine)
    engine.close()
    drop_memory("monotonic")


@pytest.fixture
def kv(cluster: Cluster) -> Iterator[KV]:
    client = KV(cluster, prefix="app/")
    yield client
    client.close()


def test_a_member_that_is_far_enough_answers_alone(kv: KV, cluster: Cluster) -> None:
    revision = kv.put("a", "1").revision
    reads = kv.monotonic_reads()
    found = reads.get("a")
    assert found is not None
    assert (found.key, found.value, reads.revision) == (b"a", b"1", revision)
    assert [each.key for each in reads.range("", prefix=True, limit=5)] == [b"a"]
    assert reads.get("nothing") is None
    assert cluster.asked == ["member"] * 3


def test_an_answer_that_is_older_than_the_one_before_is_asked_for_again(kv: KV, cluster: Cluster) -> None:
    old = kv.put("a", "old").revision
    new = kv.put("a", "new").revision
    reads = kv.monotonic_reads()
    cluster.behind = old
    found = reads.get("a")
    assert found is not None
    assert found.value == b"old", "nothing newer was seen"
    cluster.behind = None
    reads.get("a")
    assert reads.revision == new
    cluster.behind = old
    cluster.asked.clear()
    found = reads.get("a")
    assert found is not None
    assert found.value == b"new"
    assert cluster.asked == ["member", "majority"]


def test_a_write_of_ones_own_is_seen(kv: KV, cluster: Cluster) -> None:
    cluster.behind = kv.put("a", "old").revision
    reads = kv.monotonic_reads()
    reads.see(kv.put("a", "new").revision)
    reads.see(1)
    assert [each.value for each in reads.range("a")] == [b"new"]
    with pytest.raises(InvalidRequest, match="revision"):
        reads.see("1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no option"):
        reads.range("a", serializable=False)


def test_a_revision_that_the_member_does_not_have_yet_is_read_elsewhere(kv: KV, cluster: Cluster) -> None:
    cluster.behind = kv.put("a", "old").revision
    new = kv.put("a", "new").revision
    reads = kv.monotonic_reads()
    found = reads.get("a", revision=new)
    assert found is not None
    assert found.value == b"new"
    with pytest.raises(FutureRevision):
        reads.get("a", revision=new + 1)


def test_without_a_majority_nothing_older_is_shown(kv: KV, cluster: Cluster) -> None:
    old = kv.put("a", "old").revision
    kv.put("a", "new")
    reads = kv.monotonic_reads()
    reads.get("a")
    cluster.behind = old
    cluster.has_leader = False
    with pytest.raises(ClusterError):
        reads.get("a")


def test_a_store_that_was_replaced_is_read_as_it_is(kv: KV, cluster: Cluster) -> None:
    revision = kv.put("a", "1").revision
    reads = kv.monotonic_reads()
    reads.see(revision + 1000)
    found = reads.get("a")
    assert found is not None
    assert reads.revision == revision
    cluster.asked.clear()
    reads.get("a")
    assert cluster.asked == ["member"]


def test_tasks_read_likewise(kv: KV, cluster: Cluster) -> None:
    cluster.behind = kv.put("a", "old").revision

    async def play() -> None:
        reads = kv.monotonic_reads()
        reads.see((await kv.aput("a", "new")).revision)
        found = await reads.aget("a")
        assert found is not None
        assert found.value == b"new"
        assert [each.value for each in await reads.arange("a")] == [b"new"]

    asyncio.run(play())


def test_it_is_asked_as_the_client_is(kv: KV) -> None:
    kv.put("a", "1")
    reads, nothing = kv.monotonic_reads(), object()
    assert reads.get("b", nothing) is nothing
    assert reads.get("b", default=5) == 5
    assert reads.range(key="a").kvs == kv.range(key="a").kvs
