"""What has happened under a prefix, from the store's history: whole, or with a gap that says so."""

from __future__ import annotations

import pytest

from django_etcdaero.exceptions import PermissionDenied
from django_etcdaero.inspection import events
from django_etcdaero.inspection.events import Gap, Happened, Reason, happened
from django_etcdaero.keyvalue import KV, ops
from django_etcdaero.keyvalue.values import EventType, WatchLost
from tests.keyvalue.interposed import InterposedEngine


@pytest.fixture(autouse=True)
def _prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "QUIET", 0.1)


def told(answer: Happened) -> list[tuple[str, int]]:
    return [(each.kv.key.decode(), each.kv.mod_revision) for each in answer.events]


def test_events_are_told_once_in_their_order(kv: KV, store: InterposedEngine) -> None:
    begin = happened(kv, b"a", since=0)
    assert (begin.events, begin.gap, begin.more) == ((), None, False)
    kv.put("a1", "x")
    kv.put("b", "not wanted")
    kv.delete("a1")
    KV(store, prefix="other/").put("a", "not ours")
    first = happened(kv, b"a", since=begin.revision)
    assert told(first) == [("a1", begin.revision + 1), ("a1", begin.revision + 3)]
    assert [each.type for each in first.events] == [EventType.PUT, EventType.DELETE]
    assert (first.gap, first.more, first.seen) == (None, False, begin.revision + 3)
    kv.put("a2", "y")
    again = happened(kv, b"a", since=begin.revision, seen=first.seen)
    assert told(again) == [("a2", again.revision)]
    assert happened(kv, b"a", since=begin.revision, seen=again.seen).events == ()


def test_where_nothing_has_happened_no_watch_is_opened(kv: KV, store: InterposedEngine) -> None:
    revision = kv.put("a", "x").revision
    store.calls.clear()
    answer = happened(kv, b"", since=revision)
    assert answer == Happened((), None, revision, revision, more=False)
    assert dict(store.calls) == {"range": 1}


def test_a_compaction_leaves_a_gap_that_says_what_is_missing(kv: KV) -> None:
    revisions = [kv.put("a", str(number)).revision for number in range(5)]
    kv.compact(revisions[3])
    answer = happened(kv, b"a", since=revisions[0])
    assert answer.gap == Gap(Reason.COMPACTED, revisions[0], revisions[2])
    assert told(answer) == [("a", revisions[3]), ("a", revisions[4])]
    assert happened(kv, b"a", since=revisions[0], seen=revisions[2]).gap is None


def test_a_store_that_is_less_far_was_replaced(kv: KV) -> None:
    revision = kv.put("a", "x").revision
    answer = happened(kv, b"a", since=1, seen=revision + 5)
    assert (answer.gap, answer.seen) == (Gap(Reason.RESET, revision + 5, revision), revision)


def test_an_answer_is_bounded_and_the_next_one_goes_on(kv: KV) -> None:
    start = kv.put("x", "").revision
    for number in range(5):
        kv.txn().then(ops.put(f"a{number}", ""), ops.put(f"b{number}", "")).commit()
    first = happened(kv, b"", since=start, most=5)
    assert [key for key, _ in told(first)] == ["a0", "b0", "a1", "b1"]
    assert (first.more, first.gap) == (True, None)
    second = happened(kv, b"", since=first.seen, seen=first.seen, most=6)
    assert [key for key, _ in told(second)] == ["a2", "b2", "a3", "b3", "a4", "b4"]
    kv.txn().then(*(ops.put(f"c{number}", "") for number in range(10))).commit()
    large = happened(kv, b"", since=second.seen, most=4)
    assert len(large.events) == 4
    assert large.gap == Gap(Reason.TOO_MANY, large.revision - 1, large.revision)
    assert happened(kv, b"", since=large.seen).events == ()


def test_an_answer_goes_back_only_so_far(kv: KV, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_BACK", 5)
    start = kv.put("a", "1").revision
    for _ in range(10):
        last = kv.put("a", "2").revision
    answer = happened(kv, b"a", since=start)
    assert answer.gap == Gap(Reason.TOO_FAR, start, last - 5)
    assert [revision for _, revision in told(answer)] == [*range(last - 4, last + 1)]
    kv.compact(start + 3)
    assert happened(kv, b"a", since=start).gap == Gap(Reason.TOO_FAR, start, last - 5)
    for _ in range(10):
        kv.put("b", "")
    quiet = happened(kv, b"a", since=answer.revision, seen=answer.seen)
    assert (quiet.events, quiet.gap, quiet.more) == ((), None, False)


def test_what_must_still_come_is_not_taken_for_nothing(kv: KV, monkeypatch: pytest.MonkeyPatch) -> None:
    start = kv.put("a", "1").revision
    kv.put("a", "2")
    kv.put("b", "")
    with monkeypatch.context() as patch:
        patch.setattr(events._Collecting, "__call__", lambda self, batch: None)  # the store is still going through it
        late = happened(kv, b"a", since=start, longest=0.0)
        assert (late.events, late.more, late.seen) == ((), True, start)
        assert happened(kv, b"c", since=start).more is False
    found = happened(kv, b"a", since=late.seen, seen=late.seen)
    assert (told(found), found.more) == ([("a", start + 1)], False)
    kv.delete("a")
    kv.put("b", "")
    monkeypatch.setattr(events._Collecting, "__call__", lambda self, batch: None)
    assert happened(kv, b"a", since=found.seen, longest=0.0).more is True


def test_a_watch_that_the_store_refuses_is_an_error(kv: KV, monkeypatch: pytest.MonkeyPatch) -> None:
    start = kv.put("x", "").revision
    kv.put("x", "")
    monkeypatch.setattr(events, "_Collecting", _lost(WatchLost.REFUSED))
    with pytest.raises(PermissionDenied, match="refused to watch"):
        happened(kv, b"x", since=start)
    monkeypatch.setattr(events, "_Collecting", _lost(WatchLost.COMPACTED))
    assert happened(kv, b"x", since=start).gap == Gap(Reason.COMPACTED, start, start + 1)


_Collecting = events._Collecting


def _lost(why: WatchLost) -> type[_Collecting]:
    class Lost(_Collecting):
        def __init__(self) -> None:
            super().__init__()
            self.batches.append(events.WatchBatch((), 0, why))

    return Lost
