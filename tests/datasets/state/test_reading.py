"""What the coordination plane says about datasets is read in few calls, all of one revision."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.overview import overview
from django_etcdaero.datasets.state.reading import TRIES, read_announcements, read_state
from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.keyvalue.values import RangeRequest, RangeResult, TxnRequest
from tests.datasets.hosting import FakeHost, follow, publish


def test_all_announcements_are_read_in_one_range(host: FakeHost, declare: Any) -> None:
    for name in ("prices", "prices.old", "cities"):
        publish(declare(name=name))
    host.kv.put("announcements/not/a/dataset", "x")
    before = host.engine.calls.copy()
    read = read_announcements(host.kv)
    assert host.engine.calls - before == {"range": 1}
    assert sorted(read.found) == [("cities", 1), ("prices", 1), ("prices.old", 1)]
    assert (read.keys, read.revision) == (4, host.kv.range("x").revision)
    for (name, _), announced in read.found.items():
        stored = host.kv.get(f"announcements/{name}/s1")
        assert stored is not None
        assert announced.mod_revision == stored.mod_revision
        assert announced.announcement is not None
        assert announced.announcement.encode() == stored.value


def test_only_what_has_changed_is_read_when_asked_for(host: FakeHost, declare: Any) -> None:
    prices = declare(name="prices")
    publish(declare(name="cities"))
    publish(prices)
    seen = read_announcements(host.kv)
    idle = read_announcements(host.kv, min_mod_revision=seen.revision + 1)
    assert (idle.found, idle.keys) == ({}, 2)
    publish(prices, {"a": 2})
    assert list(read_announcements(host.kv, min_mod_revision=seen.revision + 1).found) == [("prices", 1)]
    host.kv.delete(prices.layout("t").announcement)
    assert read_announcements(host.kv, min_mod_revision=host.kv.range("x").revision).keys == 1


def test_an_announcement_that_makes_no_sense_is_told_apart_from_none(host: FakeHost, declare: Any) -> None:
    publish(declare(name="cities"))
    revision = host.kv.put("announcements/prices/s1", "nonsense").revision
    read = read_announcements(host.kv)
    assert read.found["prices", 1].announcement is None
    assert read.found["prices", 1].mod_revision == revision
    assert read.found["cities", 1].announcement is not None


def test_a_state_is_read_in_four_ranges_of_one_revision(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices, {"a": 1})
    before = host.state(prices)
    calls = host.engine.calls.copy()

    def change() -> None:
        if (host.engine.calls - calls)["range"] == 2:  # the announcement has been read
            host.engine.before.clear()
            publish(prices, {"a": 2})
            prices.rollback(1)
            prices.request_refresh()

    host.engine.before["range"] = change
    assert read_state(host.kv, prices.layout("t")) == before
    after = read_state(host.kv, prices.layout("t"))
    assert after.pin is not None
    assert after.request is not None
    assert before.checked_revision < after.checked_revision < after.current_revision
    calls = host.engine.calls.copy()
    assert read_state(host.kv, prices.layout("t"), announcements=read_announcements(host.kv)) == after
    assert host.engine.calls - calls == {"range": 4}


@pytest.mark.parametrize("error", [Compacted("compacted"), FutureRevision("restored")])
@pytest.mark.parametrize("given", [False, True])
def test_a_revision_that_vanishes_meanwhile_is_read_anew(
    host: FakeHost, declare: Any, error: Exception, given: bool
) -> None:
    prices = declare()
    publish(prices)
    announcements = read_announcements(host.kv) if given else None
    publish(prices, {"a": 2})
    failures = [error] * (TRIES - 1)
    real = host.engine.inner.range

    def vanish(request: RangeRequest, *, timeout: float | None = None) -> RangeResult:
        if request.revision and failures:
            raise failures.pop()
        return real(request, timeout=timeout)

    host.engine.inner.range = vanish  # type: ignore[method-assign]
    read = read_state(host.kv, prices.layout("t"), announcements=announcements)
    assert failures == []
    assert read.current is not None
    assert read.current.version == 2
    failures = [error] * TRIES
    with pytest.raises(type(error)):
        read_state(host.kv, prices.layout("t"))


def test_a_real_compaction_between_two_ranges_does_no_harm(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices)
    calls = host.engine.calls.copy()

    def compact() -> None:
        if (host.engine.calls - calls)["range"] == 2:
            host.engine.before.clear()
            host.kv.compact(host.kv.put("x", "").revision)

    host.engine.before["range"] = compact
    assert read_state(host.kv, prices.layout("t")).current is not None
    assert host.engine.before == {}


def test_no_transaction_only_reads(host: FakeHost, declare: Any) -> None:
    """Servers of etcd before 3.5.5 end when such a transaction is cancelled. (The lock's own ones are not meant.)"""
    seen: list[TxnRequest] = []
    real = host.engine.inner.txn

    def record(request: TxnRequest, *, timeout: float | None = None) -> Any:
        seen.append(request)
        return real(request, timeout=timeout)

    host.engine.inner.txn = record  # type: ignore[method-assign]
    prices = declare(refresh_every=timedelta(hours=1))
    look = follow(prices, host)
    for rows in ({"a": 1}, {"a": 2}, {"a": 2}):
        publish(prices, rows)
        look.step()
    prices.refresh()
    Refresh(prices, host, dry_run=True).run()
    prices.rollback(1)
    look.step()
    prices.history()
    prices.unpin()
    prices.request_refresh()
    prices.source.error = RuntimeError("down")
    publish(prices)
    read_announcements(host.kv)
    overview(prices, host.stores("default"))
    look.close()
    done = [(*each.success, *each.failure) for each in seen]
    ours = [each for each in done if not all(b"/lock/" in getattr(one, "key", b"") for one in each)]
    assert len(ours) > 5
    for operations in ours:
        assert not all(isinstance(each, RangeRequest) for each in operations), operations
