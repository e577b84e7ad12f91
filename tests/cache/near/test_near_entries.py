"""Entries with a near cache: answered without the store, told to others, and never older than was promised."""

from __future__ import annotations

import itertools
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from django_etcdaero.cache.codec import Codec
from django_etcdaero.cache.envelope import unpack
from django_etcdaero.cache.lifetime import Life, life_of
from django_etcdaero.exceptions import ClusterError, OutcomeUnknown
from django_etcdaero.keyvalue.values import WatchLost
from tests.waiting import wait_until

from .conftest import EVERY_ENGINE, Process, settle

Make = Callable[..., Process]

LIFE = life_of(300)


def both(make: Make) -> tuple[Process, Process]:
    """Two processes that follow each other."""
    return make(), make()


# --- hits ------------------------------------------------------------------------------------------------------------


def test_a_hit_does_not_ask_the_store(process: Make) -> None:
    one = process()
    one.put("k", {"a": [1]})
    assert one.held("k") is None
    first = one.get("k")
    reads = one.store.reads
    second = one.get("k")
    assert first == second == {"a": [1]}
    assert one.store.reads == reads
    assert one.counters.near_hits == 1


def test_each_caller_has_a_value_of_its_own(process: Make) -> None:
    one = process()
    one.put("k", {"a": [1]})
    one.get("k")["a"].append(2)
    one.get("k")["a"].append(3)
    assert one.get("k") == {"a": [1]}


def test_signatures_are_verified_once(process: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = process()
    verified: list[bytes] = []
    plain = Codec.authentic
    monkeypatch.setattr(Codec, "authentic", lambda self, key, e: (verified.append(key), plain(self, key, e))[1])
    one.put("k", "value")
    assert [one.get("k") for _ in range(5)] == ["value"] * 5
    assert len(verified) == 1


def test_what_is_not_signed_rightly_does_not_come_in(process: Make) -> None:
    one = process()
    one.put("k", "value")
    record_key = one.entries.record_key("", "k")
    record = one.store.get(record_key)
    assert record is not None
    assert isinstance(record.value, bytes)
    one.store.put(record_key, record.value[:-1] + b"x")
    assert one.get("k") is None
    assert len(one.near) == 0


@pytest.mark.parametrize("value", [0, 5, -(2**63)])
def test_integers_of_the_store_are_not_held(process: Make, value: int) -> None:
    one, two = both(process)
    one.put("n", value)
    settle(one, two)
    assert one.get("n") == two.get("n") == value
    assert one.held("n") is None
    puts = one.speaker.wire.calls["put"] + two.speaker.wire.calls["put"]
    assert one.entries.increment("", "n", 1) == value + 1
    assert two.get("n") == value + 1
    assert two.entries.increment("", "n", 1) == value + 2
    assert one.get("n") == value + 2
    assert not one.speaker.notices._pending
    assert not two.speaker.notices._pending
    assert one.speaker.wire.calls["put"] + two.speaker.wire.calls["put"] <= puts


def test_many_are_answered_from_both(process: Make) -> None:
    one = process()
    for number in range(5):
        one.put(f"k{number}", str(number))
    one.get("k0")
    one.get("k1")
    reads = one.store.reads
    found = one.entries.look_many("", ["k0", "k1", "k2", "absent"])
    assert {key: each.value for key, each in found.items()} == {"k0": "0", "k1": "1", "k2": "2"}
    assert one.store.reads == reads + 1
    assert one.counters.near_hits == 2
    assert one.held("k2") == "2"
    assert set(one.entries.look_many("", ["k0", "k1", "k2"])) == {"k0", "k1", "k2"}
    assert one.store.reads == reads + 1


@pytest.mark.parametrize("key", ["k", "a\0b", "\ud800", "x" * 3000, "ключ"])
def test_keys_of_all_kinds(process: Make, key: str) -> None:
    one, two = both(process)
    one.put(key, "value")
    assert two.get(key) == two.held(key) == "value"
    one.put(key, "other")
    wait_until(lambda: two.held(key) is None, what="the notice")
    assert two.get(key) == "other"


def test_a_value_in_parts_is_held_whole(process: Make) -> None:
    one, two = both(process)
    value = os.urandom(30_000)
    one.put("big", value)
    assert two.get("big") == two.held("big") == value
    one.entries.touch("", "big", life_of(500))
    wait_until(lambda: two.held("big") is None, what="the notice")
    assert two.get("big") == value


def test_bounds_hold(process: Make) -> None:
    one = process(max_entries=10, max_bytes=100_000)
    for number in range(100):
        one.put(f"k{number}", str(number))
        assert one.get(f"k{number}") == str(number)
    assert len(one.near) == 10
    one.put("big", "x" * 200_000)
    assert one.get("big") == "x" * 200_000
    assert one.held("big") is None
    assert one.held("k99") == "99"


# --- times -----------------------------------------------------------------------------------------------------------


def test_an_entry_counts_until_its_header_says_so(process: Make) -> None:
    one = process()
    one.put("k", "value", seconds=5)
    assert one.get("k") == "value"
    begin = time.monotonic()
    one.near.clock = lambda: begin + 3
    assert one.held("k") == "value"
    one.near.clock = lambda: begin + 5
    assert one.held("k") is None


def test_an_entry_counts_no_longer_than_its_record(process: Make) -> None:
    one = process()
    one.put("k", "value", seconds=20)
    one.get("k")
    begin = time.monotonic()
    one.near.clock = lambda: begin + 18.5
    assert one.held("k") == "value"
    one.near.clock = lambda: begin + 19.5
    assert one.held("k") is None


def test_a_found_entry_tells_what_is_left_of_its_life(process: Make) -> None:
    one = process()
    one.put("k", "value", seconds=50)
    one.put("ever", "value", seconds=None)
    one.get("k")
    one.get("ever")
    begin = time.monotonic()
    one.near.clock = lambda: begin + 30
    found = one.entries.near("", "k")
    assert found is not None
    assert found.record.ttl in (20, 21)
    found = one.entries.near("", "ever")
    assert found is not None
    assert found.record.ttl is None


def test_without_a_kv_store_max_age_is_the_bound(process: Make) -> None:
    one, two = process(max_age=30.0, listen=False), process(listen=False)
    for each in (one, two):
        each.speaker.away = ClusterError("away")
    one.put("k", "old")
    assert one.get("k") == "old"
    two.put("k", "new")
    begin = time.monotonic()
    one.near.clock = lambda: begin + 29
    assert one.get("k") == "old"
    one.near.clock = lambda: begin + 31
    assert one.get("k") == "new"
    assert two.get("k") == "new"


def test_an_expired_entry_that_was_kept_for_a_failure_is_not_held(process: Make) -> None:
    one = process()
    one.entries.put("", "k", "stale", Life(100, time.time() - 1))
    found = one.entries.look("", "k", stale=True)
    assert found is not None
    assert not found.fresh
    assert one.held("k") is None
    assert one.entries.look("", "k") is None


# --- one's own writes ------------------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[Process], Any]] = {
    "put": lambda process: process.put("k", "new"),
    "put_many": lambda process: process.entries.put_many("", {"k": "new"}, lambda _: LIFE),
    "many": lambda process: process.entries.put_many(
        "", {"k": "new", **{f"o{n}": "" for n in range(500)}}, lambda _: LIFE
    ),
    "replace": lambda process: process.entries.replace("", "k", "new", LIFE),
    "swap": lambda process: process.entries.swap("", "k", "new", LIFE),
    "touch": lambda process: process.entries.touch("", "k", life_of(500)),
    "short touch": lambda process: process.entries.touch("", "k", life_of(1.5)),
    "touch_many": lambda process: process.entries.touch_many("", ["k"], life_of(500)),
    "increment": lambda process: process.entries.increment("", "k", 0.5),
    "move": lambda process: process.entries.move("", "k", "k2"),
    "move here": lambda process: process.entries.move("", "other", "k"),
    "delete": lambda process: process.entries.delete("", ["k"]),
    "clear": lambda process: process.entries.clear(""),
    "invalidate": lambda process: process.entries.invalidate("", ["tag"]),
}


@pytest.mark.parametrize("name", WRITES)
def test_every_change_is_seen_here_at_once_and_elsewhere_soon(process: Make, name: str) -> None:
    one, two = both(process)
    one.put("k", 1.5, tags=("tag",))
    one.put("other", "other")
    settle(one, two)
    assert one.get("k") == two.get("k") == 1.5
    two.get("other")
    WRITES[name](one)
    assert one.held("k") is None
    expected = one.get("k")
    wait_until(lambda: two.held("k") is None, what="the notice")
    assert two.get("k") == expected
    assert two.speaker.ear.everything() == 0


def test_an_entry_that_was_added_is_not_told(process: Make) -> None:
    one, two = both(process)
    assert one.entries.add("", "k", "value", LIFE)
    assert not one.entries.add("", "k", "other", LIFE)
    assert not one.speaker.notices._pending
    assert one.speaker.wire.calls["put"] == 0
    assert two.get("k") == "value"


def test_an_entry_that_replaces_an_expired_one_is_told(process: Make) -> None:
    one, two = both(process)
    one.entries.put("", "k", "expired", Life(100, time.time() - 1))
    assert one.entries.add("", "k", "value", LIFE)
    wait_until(lambda: two.speaker.ear.heard, what="the notice")


@pytest.mark.parametrize("applied", [False, True])
def test_a_write_that_failed_is_told_too(process: Make, applied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = both(process)
    one.put("k", "old")
    settle(one, two)
    assert one.get("k") == two.get("k") == "old"
    plain = one.store.put

    def fail(*args: Any, **options: Any) -> None:
        if applied:
            plain(*args, **options)
        raise OutcomeUnknown("no answer")

    monkeypatch.setattr(one.store, "put", fail)
    with pytest.raises(OutcomeUnknown):
        one.put("k", "new")
    expected = "new" if applied else "old"
    assert one.get("k") == expected
    wait_until(lambda: two.held("k") is None, what="the notice")
    assert two.get("k") == expected


def test_what_was_said_here_counts_here_though_the_store_is_away(
    process: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = process()
    one.put("k", "old")
    one.get("k")
    one.stamps.forget()

    def fail(*args: Any, **options: Any) -> None:
        raise ClusterError("away")

    with monkeypatch.context() as patched:
        patched.setattr(one.store, "get_many", fail)
        with pytest.raises(ClusterError):
            one.entries.delete("", ["k"])
    one.entries.generation("")
    assert one.held("k") is None


# --- those of others -------------------------------------------------------------------------------------------------


@EVERY_ENGINE
def test_a_change_elsewhere_is_seen_soon(process: Make) -> None:
    one, two = both(process)
    one.put("k", "old")
    one.put("other", "other")
    settle(one, two)
    assert two.get("k") == "old"
    assert two.get("other") == "other"
    one.put("k", "new")
    wait_until(lambda: two.get("k") == "new", what="the new value")
    assert two.held("other") == "other"
    two.entries.delete("", ["k"])
    wait_until(lambda: one.get("k") is None, what="the deletion")


@EVERY_ENGINE
def test_a_clear_elsewhere_is_seen_soon_however_long_stamps_are_held(process: Make) -> None:
    one, two = both(process)
    one.put("k", "value", tags=("tag",))
    one.put("n", 5)
    settle(one, two)
    assert two.get("k") == "value"
    assert two.get("n") == 5
    one.entries.clear("")
    wait_until(lambda: two.get("k") is None, what="the clearing")
    assert two.get("n") is None
    one.put("k", "next", tags=("tag",))
    assert two.get("k") == "next"
    one.entries.invalidate("", ["tag"])
    wait_until(lambda: two.get("k") is None, what="the invalidation")


def test_who_missed_a_clear_tells_of_what_it_deletes_now(process: Make) -> None:
    one, late = process(), process(listen=False)
    one.put("k", "old")
    late.entries.generation("")
    one.entries.clear("")
    one.put("k", "new")
    one.get("k")
    assert one.held("k") == "new"
    late.entries.delete("", ("k",))
    wait_until(lambda: one.held("k") is None, what="the deletion in the generation of now")
    assert one.get("k") is None


@EVERY_ENGINE
def test_a_change_during_a_fetch_drops_what_was_fetched(process: Make) -> None:
    one, two = both(process)
    one.put("k", "old")
    settle(one, two)
    two.get("elsewhere")

    def change() -> None:
        token = two.near.token
        one.put("k", "new")
        wait_until(lambda: two.near.token > token, what="the notice")

    two.store.during = change
    assert two.get("k") == "old"  # it was, when it was read
    assert two.held("k") is None
    assert two.get("k") == two.held("k") == "new"


def test_ones_own_change_during_a_fetch_drops_what_was_fetched(process: Make) -> None:
    one = process()
    one.put("k", "old")
    one.get("elsewhere")
    one.store.during = lambda: one.put("k", "new")
    assert one.get("k") == "old"
    assert one.held("k") is None
    one.store.during = lambda: one.entries.put_many("", {f"k{number}": "" for number in range(500)}, lambda _: LIFE)
    assert one.get("k") == "new"
    assert one.held("k") is None


def test_a_stamp_that_changes_while_it_is_read_is_not_held(process: Make) -> None:
    one, two = both(process)
    one.put("k", "value", tags=("tag",))
    settle(one, two)
    two.stamps.forget()

    def change() -> None:
        before = len(two.speaker.ear.heard)
        one.entries.clear("")
        wait_until(lambda: len(two.speaker.ear.heard) > before, what="the notice")

    two.store.during = change
    before = two.entries.generation("")
    assert two.entries.generation("") != before
    assert two.get("k") is None


@EVERY_ENGINE
@pytest.mark.parametrize("why", [WatchLost.COMPACTED, WatchLost.RESET])
def test_after_a_gap_everything_is_asked_for_again(process: Make, why: WatchLost) -> None:
    one, two = both(process)
    one.put("k", "old")
    settle(one, two)
    assert two.get("k") == "old"
    two.speaker.wire.sinks, sinks = [], two.speaker.wire.sinks
    two.store.put(two.entries.record_key("", "k"), b"not ours")  # a change that nobody told
    for sink in sinks:
        two.speaker.wire.sinks.append(sink)
    assert two.held("k") == "old"
    two.speaker.wire.lose(why)
    wait_until(lambda: two.held("k") is None, what="everything being dropped")
    assert two.get("k") is None


def test_what_came_in_before_the_watch_is_dropped_at_its_start(process: Make) -> None:
    one, two = process(), process(listen=False)
    two.speaker.wire.break_("watch", ClusterError("away"))
    one.put("k", "old")
    assert two.get("k") == "old"
    one.put("k", "new")
    sender = one.speaker.notices
    wait_until(lambda: not (sender._pending or sender._sending), what="the notice")
    assert two.held("k") == "old"
    two.speaker.wire.mend()

    def followed() -> bool:
        two.speaker.notices.follow()
        return two.speaker.notices.following

    wait_until(followed, what="the watch")
    wait_until(lambda: two.get("k") == "new", what="the new value")


def test_another_cache_of_the_alias_keeps_what_it_has(process: Make) -> None:
    one, two = both(process)
    for prefix in ("a", "b"):
        one.entries.put(prefix, "k", prefix, LIFE)
    settle(one, two)
    for prefix in ("a", "b"):
        assert two.entries.look(prefix, "k") is not None
    one.entries.put_many("a", {f"k{number}": "" for number in range(500)}, lambda _: LIFE)
    wait_until(lambda: two.entries.near("a", "k") is None, what="the notice")
    assert two.entries.near("b", "k") is not None


# --- stamps ----------------------------------------------------------------------------------------------------------


def test_tags_are_checked_against_the_stamps_as_they_are_known(process: Make) -> None:
    one = process()
    one.put("k", "value", tags=("a", "b"))
    one.get("k")
    reads = one.store.reads
    assert one.get("k") == "value"
    assert one.store.reads == reads
    one.stamps.forget()
    assert one.entries.near("", "k") is None
    assert one.get("k") == "value"
    assert one.store.reads == reads + 2  # the generation, and both tags: not the entry
    assert one.counters.near_hits == 2


def test_another_store_is_another_cache(process: Make) -> None:
    one = process()
    one.put("k", "value")
    one.get("k")
    one.settled = False
    assert one.entries.near("", "k") is None


def test_a_value_that_cannot_be_decoded_any_more_is_asked_for(
    process: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = process()
    one.put("k", Gone())
    assert isinstance(one.get("k"), Gone)
    monkeypatch.delitem(globals(), "Gone")
    with caplog.at_level(logging.WARNING):
        assert one.get("k") is None
    assert "cannot be read" in caplog.text


class Gone:
    """A class that a deployment takes away."""


def test_what_is_held_is_as_it_stands_in_the_store(process: Make) -> None:
    one = process()
    one.put("k", "value", tags=("tag",))
    one.get("k")
    record = one.store.get(one.entries.record_key("", "k"))
    assert record is not None
    assert isinstance(record.value, bytes)
    there = unpack(record.value)
    assert there is not None
    found = one.entries.near("", "k")
    assert found is not None
    assert found.envelope == there._replace(signature=None)


# --- all together ----------------------------------------------------------------------------------------------------


@EVERY_ENGINE
def test_when_all_is_quiet_everybody_holds_what_the_store_has(process: Make) -> None:
    keys = [f"k{number}" for number in range(4)]
    processes = [process(max_entries=3), process(), process()]
    together = threading.Barrier(6)

    def work(number: int) -> None:
        mine, choose = processes[number % 3], random.Random(number)
        together.wait()
        for step in range(150):
            key = choose.choice(keys)
            action = choose.randrange(10)
            if action < 6:
                mine.get(key)
            elif action < 8:
                mine.put(key, f"{number}/{step}", tags=("tag",))
            elif action < 9:
                mine.entries.delete("", [key])
            elif step % 5 == 0:
                mine.entries.invalidate("", ["tag"])
            elif step % 7 == 0:
                mine.entries.clear("")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    for one, two in itertools.combinations(processes, 2):
        settle(one, two)
    fresh = process()
    for key in keys:
        there = fresh.get(key)
        assert [each.get(key) for each in processes] == [there] * 3
        assert [each.get(key) for each in processes] == [there] * 3
