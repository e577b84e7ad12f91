"""Many leases are renewed together, and each one's answer is its own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import pytest

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, InvalidRequest
from django_etcdaero.keyvalue import KV, Engine, Lease
from django_etcdaero.keyvalue.client.lease import clock
from django_etcdaero.keyvalue.interception import interpose
from django_etcdaero.keyvalue.values import Renewal, RenewalSink
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until

At = Callable[[str], bytes]


class Answering(InterposedEngine):
    """Gives the answers about the leases that ``answers`` lets through, and an error for the others."""

    def __init__(self, inner: Engine, answers: Callable[[Sequence[int]], Sequence[int]]) -> None:
        super().__init__(inner)
        self._answers = answers

    def lease_keep_alive_many(
        self,
        lease_ids: Sequence[int],
        sink: RenewalSink,
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout: float | None = None,
    ) -> None:
        answered = self._answers(lease_ids)
        super().lease_keep_alive_many(answered, sink, clock=clock, timeout=timeout)
        if len(answered) < len(lease_ids):
            raise DeadlineExceeded("no answer")


def after_the_first_grants(leases: Sequence[Lease]) -> None:
    last = max(lease.deadline for lease in leases)
    wait_until(lambda: clock() > last, what="the time of all first grants")


# what an engine does -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 700])
def test_each_of_many_leases_is_renewed_and_told_once(engine: Engine, count: int) -> None:
    ids = [engine.lease_grant(60 + number % 3).id for number in range(count)]
    told: list[Renewal] = []
    times = iter(range(100_000))
    engine.lease_keep_alive_many([*ids, *ids[:1]], told.append, clock=lambda: float(next(times)), timeout=30)
    assert {renewal.id: renewal.ttl for renewal in told} == {id: 60 + n % 3 for n, id in enumerate(ids)}  # noqa: A001
    assert len(told) == count
    assert all(0 <= renewal.sent < next(times) for renewal in told)


def test_a_lease_that_there_is_not_does_not_concern_the_others(engine: Engine) -> None:
    ids = [engine.lease_grant(60).id for _ in range(5)]
    unknown = random.randrange(1, 1 << 62)
    engine.lease_revoke(ids[3])
    told: dict[int, int] = {}
    engine.lease_keep_alive_many([unknown, *ids], lambda renewal: told.update({renewal.id: renewal.ttl}))
    assert told == {unknown: 0, **dict.fromkeys(ids, 60), ids[3]: 0}
    engine.lease_keep_alive_many([unknown], lambda renewal: told.update({renewal.id: renewal.ttl - 1}))
    assert told[unknown] == -1


def test_renewing_together_keeps_leases(engine: Engine) -> None:
    ids = [engine.lease_grant(2).id for _ in range(3)]
    granted = clock()

    def renewed_for_longer_than_the_ttl() -> bool:
        told: list[Renewal] = []
        engine.lease_keep_alive_many(ids, told.append)
        assert [renewal.ttl for renewal in told] == [2, 2, 2]
        return clock() > granted + 4

    wait_until(renewed_for_longer_than_the_ttl, what="two times to live")


@pytest.mark.parametrize("wrong", ["7", None, 1 << 63, 1.0])
def test_what_is_no_id_is_refused_before_anything_is_renewed(engine: Engine, wrong: object) -> None:
    told: list[Renewal] = []
    with pytest.raises(InvalidRequest, match="lease_id"):
        engine.lease_keep_alive_many([engine.lease_grant(60).id, wrong], told.append)  # type: ignore[list-item]
    with pytest.raises(InvalidRequest, match="timeout"):
        engine.lease_keep_alive_many([engine.lease_grant(60).id], told.append, timeout=float("nan"))
    assert told == []


# what a client does with it ------------------------------------------------------------------------------------------


def test_many_leases_are_renewed_in_few_calls(engine: Engine, at: At) -> None:
    store = InterposedEngine(engine)
    kv = KV(store, prefix=at(""))
    leases = [kv.lease(2) for _ in range(100)]
    after_the_first_grants(leases)
    assert all(lease.alive for lease in leases)
    assert store.calls["lease_keep_alive"] < 50
    kv.close()


def test_only_the_lease_that_the_store_does_not_know_is_lost(engine: Engine, at: At) -> None:
    kv = KV(engine, prefix=at(""))
    leases = [kv.lease(5) for _ in range(10)]
    engine.lease_revoke(leases[4].id)
    wait_until(lambda: leases[4].lost, timeout=4.5, what="the loss, before the deadline")
    assert [lease for lease in leases if not lease.alive] == [leases[4]]
    kv.close()


def test_answers_before_an_error_count_and_the_other_leases_are_tried_again(engine: Engine, at: At) -> None:
    kv = KV(Answering(engine, lambda ids: ids[: (len(ids) + 1) // 2]), prefix=at(""))
    leases = [kv.lease(2) for _ in range(20)]
    after_the_first_grants(leases)
    assert all(lease.alive for lease in leases)
    kv.close()


def test_a_lease_without_answers_is_lost_alone(engine: Engine, at: At) -> None:
    silent: list[int] = []
    kv = KV(Answering(engine, lambda ids: [id for id in ids if id not in silent]), prefix=at(""))  # noqa: A001
    leases = [kv.lease(2) for _ in range(20)]
    silent.append(leases[0].id)
    after_the_first_grants(leases)
    assert [lease for lease in leases if not lease.alive] == [leases[0]]
    kv.close()


def test_a_lease_whose_time_is_shorter_than_that_of_an_earlier_one_is_renewed_in_time(engine: Engine, at: At) -> None:
    kv = KV(engine, prefix=at(""))
    leases = [kv.lease(60), kv.lease(2), kv.lease(60)]
    after_the_first_grants(leases[1:2])
    assert all(lease.alive for lease in leases)
    kv.close()


def test_a_late_answer_does_not_bring_a_lease_back_that_was_renewed_with_others(engine: Engine, at: At) -> None:
    store = InterposedEngine(engine)
    kv = KV(store, prefix=at(""))
    leases = [kv.lease(2) for _ in range(3)]
    store.before["lease_keep_alive"] = lambda: leases[0].end(lost=True)
    after_the_first_grants(leases)
    assert leases[0].lost
    assert leases[1].alive
    kv.close()


def test_an_id_that_is_granted_again_ends_the_lease_that_had_it(engine: Engine, at: At) -> None:
    kv = KV(engine, prefix=at(""))
    chosen = random.randrange(1, 1 << 62)
    first = kv.lease(60, id=chosen)
    engine.lease_revoke(chosen)
    second = kv.lease(60, id=chosen)
    assert first.lost
    assert second.alive
    kv.close()


def test_what_stands_before_an_engine_sees_renewals_together_by_the_name_of_one(engine: Engine) -> None:
    seen: list[tuple[str, object]] = []

    def around(call: str, argument: object) -> AbstractContextManager[None]:
        seen.append((call, argument))
        return nullcontext()

    ids = [engine.lease_grant(60).id for _ in range(2)]
    end = interpose(engine, around)
    engine.lease_keep_alive_many(ids, lambda renewal: None)
    end()
    engine.lease_keep_alive_many(ids, lambda renewal: None)
    assert seen == [("lease_keep_alive", ids)]


def test_a_store_that_is_away_for_a_while_costs_no_lease(engine: Engine, at: At) -> None:
    store = InterposedEngine(engine)
    kv = KV(store, prefix=at(""))
    store.fail("lease_keep_alive", ClusterError("away"), times=3)
    leases = [kv.lease(2) for _ in range(20)]
    after_the_first_grants(leases)
    assert store.pending_faults("lease_keep_alive") == 0
    assert all(lease.alive for lease in leases)
    kv.close()
