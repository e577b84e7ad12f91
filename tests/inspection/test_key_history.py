"""How far back a store can be read, what a key was before, what was deleted, when a revision was made."""

from __future__ import annotations

import json
import time

import pytest

from django_etcdaero.datasets.layout import ANNOUNCEMENTS, LOADS, PROCESSES
from django_etcdaero.exceptions import Compacted
from django_etcdaero.inspection.key_history import deletions, versions
from django_etcdaero.inspection.key_reach import Reach, reach
from django_etcdaero.inspection.revision_times import Dated, dated_revisions, span_at
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.values import PutRequest, TxnRequest
from tests.keyvalue.interposed import InterposedEngine


def check_reach(kv: KV) -> None:
    assert reach(kv).oldest == 1
    for number in range(20):
        last = kv.put("a", str(number)).revision
    assert reach(kv) == Reach(oldest=1, newest=last)
    kv.open_engine().compact(last - 7)
    assert reach(kv) == Reach(oldest=last - 7, newest=last)
    kv.open_engine().compact(last)
    assert reach(kv) == Reach(oldest=last, newest=last)


def check_history(kv: KV) -> None:
    """Two lives of a key, the second of three versions; and one key that came and went."""
    first = kv.put("a", "first").revision
    kv.put("other", "1")
    gone = kv.delete("a").revision
    second = [kv.put("a", value).revision for value in ("x", "y", "z")]
    kv.put("short", "1")
    short = kv.delete("short").revision

    seen = reach(kv)
    found = versions(kv, b"a", seen)
    assert [(each.kv.value, each.kv.mod_revision, each.until) for each in found.found] == [
        (b"z", second[2], None),
        (b"y", second[1], second[2]),
        (b"x", second[0], second[1]),
    ]
    assert (found.more, found.compacted) == (0, False)

    ended = deletions(kv, b"a", seen, prefix=False)
    assert [each.revision for each in ended.found] == [gone]
    earlier = versions(kv, b"a", seen, before=gone - 1)
    (only,) = earlier.found
    assert (only.kv.value, only.kv.mod_revision, only.until, only.deleted) == (b"first", first, gone, True)

    listed = deletions(kv, b"", seen, prefix=True)
    assert [(each.key, each.revision) for each in listed.found] == [(b"short", short)]
    assert listed.complete

    kv.open_engine().compact(second[1])
    seen = reach(kv)
    found = versions(kv, b"a", seen)
    assert [each.kv.value for each in found.found] == [b"z", b"y"]
    assert found.compacted
    assert deletions(kv, b"a", seen, prefix=False).found == []


def test_the_reach(kv: KV) -> None:
    check_reach(kv)


def test_the_reach_on_a_server(own_server: KV) -> None:
    check_reach(own_server)


def test_the_history(kv: KV) -> None:
    check_history(kv)


def test_the_history_on_a_server(own_server: KV) -> None:
    check_history(own_server)


def test_a_reach_costs_a_read_for_each_digit_where_the_store_does_not_say(
    kv: KV, store: InterposedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        last = kv.put("a", str(number)).revision
    kv.open_engine().compact(123)
    monkeypatch.setattr("django_etcdaero.inspection.key_reach._compacted_to", silent)
    store.calls.clear()
    assert reach(kv) == Reach(oldest=123, newest=last)
    assert store.calls["range"] <= 2 + last.bit_length()


def silent(kv: KV, revision: int, timeout: float | None) -> int | None:
    try:
        kv.get("a", revision=revision)
    except Compacted:
        return 0
    return None


def test_versions_are_read_in_pages(kv: KV, store: InterposedEngine) -> None:
    for number in range(7):
        kv.put("a", str(number))
    seen = reach(kv)
    store.calls.clear()
    page = versions(kv, b"a", seen, limit=3)
    assert [each.kv.value for each in page.found] == [b"6", b"5", b"4"]
    assert store.calls["get"] + store.calls["range"] == 3
    following = versions(kv, b"a", seen, before=page.more, limit=10)
    assert [each.kv.value for each in following.found] == [b"3", b"2", b"1", b"0"]
    assert following.found[0].until == page.found[-1].kv.mod_revision
    assert not following.found[0].deleted


def test_no_more_deletions_are_kept_than_may_be(kv: KV, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_etcdaero.inspection.key_history.MOST_DELETIONS", 3)
    for number in range(6):
        kv.put(f"a{number}", "1")
    for number in range(6):
        kv.delete(f"a{number}")
    found = deletions(kv, b"", reach(kv), prefix=True)
    assert [each.key for each in found.found] == [b"a5", b"a4", b"a3"]
    assert found.since == found.found[-1].revision
    assert not found.complete


def write_much(kv: KV, changes: int) -> None:
    """Make changes that no watch of deletions wants, a hundred in a revision."""
    for begin in range(0, changes, 100):
        kv.txn_run(
            TxnRequest(
                success=[PutRequest(b"much/%05d" % (number % 5000), b"1") for number in range(begin, begin + 100)]
            )
        )


def check_deletions_between_much_else(kv: KV, changes: int) -> None:
    """What comes late is waited for, whatever is between."""
    kv.put("early", "1")
    kv.delete("early")
    write_much(kv, changes)
    kv.put("late", "1")
    kv.delete("late")
    write_much(kv, changes)
    found = deletions(kv, b"", reach(kv), prefix=True, seconds=30.0)
    assert [each.key for each in found.found] == [b"late", b"early"]
    assert found.complete


def test_deletions_between_much_else(kv: KV) -> None:
    check_deletions_between_much_else(kv, 3_000)


@pytest.mark.slow
def test_deletions_between_much_else_on_a_server(own_server: KV) -> None:
    check_deletions_between_much_else(own_server, 60_000)


def test_deletions_are_found_window_by_window(kv: KV, monkeypatch: pytest.MonkeyPatch) -> None:
    kv.put("a", "1")
    kv.delete("a")
    kv.put("b", "1")
    kv.put("a", "1")
    last = kv.delete("a").revision
    monkeypatch.setattr("django_etcdaero.inspection.key_history.WINDOWS", (2, 3))
    found = deletions(kv, b"", reach(kv), prefix=True)
    assert [(each.key, each.revision) for each in found.found] == [(b"a", last)]
    assert (found.since, found.complete) == (last - 2, False)
    monkeypatch.setattr("django_etcdaero.inspection.key_history.WINDOWS", (2, 100))
    found = deletions(kv, b"", reach(kv), prefix=True)
    assert [(each.key, each.revision) for each in found.found] == [(b"a", last)]
    assert found.complete


def test_what_takes_too_long_is_not_called_complete(kv: KV) -> None:
    kv.put("a", "1")
    kv.delete("a")
    found = deletions(kv, b"", reach(kv), prefix=True, seconds=-1.0)
    assert not found.complete


def put_json(kv: KV, key: str, **value: object) -> int:
    return kv.put(key, json.dumps(value)).revision


def test_what_says_when_it_was_written(kv: KV) -> None:
    started = put_json(kv, f"{PROCESSES}web-1", started=500.0)
    load = put_json(kv, f"{LOADS}cities/s1", load_started=1000.0, noted_after=2.0)
    published = put_json(kv, "datasets/cities/s1/history/000000000001", published_at=1002.0)
    kv.put("a", "1")
    kv.put(f"{LOADS}broken", "{")
    for senseless in ("NaN", "-1", "1e300", "9" * 400, "true", '"x"', "null", "[]"):
        kv.put(f"{LOADS}senseless", f'{{"load_started": {senseless}, "noted_after": 1}}')
        kv.put(f"{LOADS}senseless", f"{senseless}")
    again = put_json(kv, f"{LOADS}cities/s1", load_started=2000.0, noted_after=2.0)
    back = put_json(kv, f"{ANNOUNCEMENTS}cities/s1", published_at=1002.0)
    seen = reach(kv)
    found = dated_revisions(kv, seen)
    assert [(each.revision, each.at, each.soon) for each in found[:-1]] == [
        (started, 500.0, False),
        (load, 1002.0, True),
        (published, 1002.0, True),
        (again, 2002.0, True),
        (back, 1002.0, False),
    ]
    span = span_at(1500.0, found, seen)
    assert span is not None
    assert (span.first, span.last, span.since, span.until) == (published, again - 1, 1002.0, 2002.0)
    assert (span_at(time.time() - 60, found, seen) or span).first == again


def test_a_time_of_which_nothing_is_known(kv: KV) -> None:
    last = kv.put("a", "1").revision
    seen = Reach(oldest=3, newest=last)
    assert span_at(1500.0, [], seen) is None
    now = [Dated(revision=last + 1, at=2000.0, soon=False)]
    span = span_at(1500.0, now, seen)
    assert span is not None
    assert (span.first, span.last) == (0, last)
    assert span_at(500.0, [Dated(revision=2, at=1000.0, soon=True)], seen) is None
