"""Old versions go, and nothing that a kept version needs goes with them, whoever is slow or dies."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from typing import Any

import pytest

from django_etcdaero.datasets.blocks import block_store as blockstore
from django_etcdaero.datasets.blocks import manifest_records
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.layout import GARBAGE_TTL
from django_etcdaero.datasets.publish import expiry
from django_etcdaero.datasets.publish.expiry import MOST, choose
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.overview import overview
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.exceptions import ClusterError
from tests.datasets.hosting import FakeHost, follow, many, publish


def entry(version: int) -> Announcement:
    return Announcement(
        id=str(version), version=version, epoch=1, root="00", rows=1, stored_bytes=1, load_started=0.0,
        load_seconds=0.0, published_at=0.0, host="h", pid=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("versions", "keep", "held", "leaving"),
    [
        ([], 1, set(), []),
        ([1], 2, set(), []),
        ([1, 2], 2, set(), [1]),
        ([3, 1, 2], 2, set(), [1, 2]),
        ([1, 2, 3], 1, set(), [1, 2, 3]),
        ([1, 2, 3], 2, {1}, [2]),
        ([1, 2, 3], 5, {1}, []),
        (list(range(1, 101)), 1, set(), list(range(1, MOST + 1))),
    ],
)
def test_the_oldest_leave_unless_they_are_held(
    versions: list[int], keep: int, held: set[int], leaving: list[int]
) -> None:
    chosen = choose([entry(version) for version in versions], keep=keep, held=held)
    assert [each.version for each in chosen] == leaving


# --- what is kept ----------------------------------------------------------------------------------------------------


def names(host: FakeHost, dataset: Any, announcement: Announcement) -> set[bytes]:
    manifest = Manifest.load(host.blocks(dataset).fetch, bytes.fromhex(announcement.root))
    return set(manifest.digests())


def needed(host: FakeHost, dataset: Any) -> set[bytes]:
    """Return the records of all kept versions and of the one that is current."""
    kept = [each.announcement for each in dataset.history()]
    current = host.state(dataset).current
    assert current is not None
    return set().union(*(names(host, dataset, each) for each in [*kept, current]))


def assert_kept_for_ever(host: FakeHost, dataset: Any) -> None:
    ttls = host.ttls(dataset)
    assert {ttls.get(digest, "gone") for digest in needed(host, dataset)} == {None}


def versions(dataset: Any) -> list[int]:
    return [each.announcement.version for each in dataset.history()]


def retired(host: FakeHost, dataset: Any) -> list[bytes]:
    return [item.key.rpartition(b"/")[2] for item in host.kv.range(dataset.layout("t").retired(), prefix=True).kvs]


def test_the_history_keeps_so_many_versions(host: FakeHost, declare: Any) -> None:
    prices = declare(keep=3)
    for value in range(6):
        publish(prices, {"a": value})
    assert versions(prices) == [6, 5, 4]
    assert retired(host, prices) == []


def test_keeping_one_version_keeps_the_current_one(host: FakeHost, declare: Any) -> None:
    prices = declare(keep=1)
    for value in range(3):
        publish(prices, {"a": value})
    assert versions(prices) == [3]
    assert_kept_for_ever(host, prices)


def test_only_what_no_kept_version_names_expires(host: FakeHost, declare: Any) -> None:
    rows = many(2000)
    prices = declare(rows, keep=2)
    publish(prices)
    first = names(host, prices, prices.history()[0].announcement)
    publish(prices, rows | {"k1": {"n": -1}})
    publish(prices, rows | {"k1": {"n": -2}})
    stays = needed(host, prices)
    ttls = host.ttls(prices)
    exclusive = first - stays
    assert len(exclusive) == 3  # one block, its page, the root
    assert {ttls[digest] for digest in exclusive} == {GARBAGE_TTL}
    assert first & stays
    assert_kept_for_ever(host, prices)


def test_kept_versions_outlive_the_garbage(host: FakeHost, declare: Any) -> None:
    rows = many(500)
    prices = declare(rows, keep=2)
    for value in range(5):
        publish(prices, rows | {"k1": {"n": -value}})
    host.aliases["default"].now += GARBAGE_TTL + 1
    assert set(host.ttls(prices)) == needed(host, prices)
    prices.rollback(4)
    follow(prices, host).step()
    assert prices["k1"] == {"n": -3}
    assert len(prices) == 500


def test_a_pinned_version_stays_besides_those_to_keep(host: FakeHost, declare: Any) -> None:
    prices = declare(keep=2)
    publish(prices, {"a": 1})
    publish(prices, {"a": 2})
    prices.rollback(1)
    for value in (3, 4, 5):
        publish(prices, {"a": value})
    assert versions(prices) == [5, 4, 1]
    assert_kept_for_ever(host, prices)


def test_rows_that_come_back_are_kept_again(host: FakeHost, declare: Any) -> None:
    prices = declare(keep=1)
    publish(prices, many(100))
    publish(prices, {"a": 1})
    result = publish(prices, many(100))
    assert result.bytes_written == 0
    assert_kept_for_ever(host, prices)


def test_fewer_versions_to_keep_are_reached_step_by_step(host: FakeHost, declare: Any) -> None:
    prices = declare(keep=MOST + 10)
    for value in range(MOST + 10):
        publish(prices, {"a": value})
    type(prices).keep = 2
    publish(prices, {"a": "x"})
    assert len(versions(prices)) == 11
    publish(prices, {"a": "y"})
    assert versions(prices) == [MOST + 12, MOST + 11]


# --- before the announcement -----------------------------------------------------------------------------------------


def test_new_records_expire_unless_the_version_is_announced(host: FakeHost, declare: Any) -> None:
    seen: list[set[int | None]] = []

    def look(*args: Any, **options: Any) -> None:
        if host.records.calls["put_many"] and args[1] is None:
            seen.append(set(host.ttls(prices).values()))

    host.records.before["touch_many"] = look
    prices = declare(many(100))
    publish(prices)
    assert seen[-1] == {GARBAGE_TTL}
    assert set(host.ttls(prices).values()) == {None}


def test_a_refresh_that_fails_leaves_nothing_for_good(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blockstore, "PATIENCE", 0.0)

    def fail(*args: Any, **options: Any) -> None:
        raise ClusterError("away")

    prices = declare(many(100))
    host.records.before["touch_many"] = fail
    assert publish(prices).outcome is Outcome.FAILED
    ttls = host.ttls(prices)
    assert ttls
    assert set(ttls.values()) == {GARBAGE_TTL}


def test_a_version_that_no_process_could_load_leaves_nothing_for_good(host: FakeHost, declare: Any) -> None:
    def prepare(self: Any, rows: Any) -> None:
        raise ValueError("no index")

    prices = declare(many(100), prepare=prepare)
    assert publish(prices).outcome is Outcome.FAILED
    assert set(host.ttls(prices).values()) == {GARBAGE_TTL}


def test_records_that_the_store_lost_before_the_announcement_stop_it(host: FakeHost, declare: Any) -> None:
    prices = declare(many(100))
    host.records.after["put_many"] = lambda *args, **options: host.records.inner.truncate()
    result = publish(prices)
    assert result.outcome is Outcome.FAILED
    assert "lost" in str(result.error)
    assert host.state(prices).current is None


# --- the slow and the dead -------------------------------------------------------------------------------------------


def when_clean_up_begins(host: FakeHost, action: Any) -> None:
    """Call ``action`` once, in the moment before records are given a time to live."""

    def arrive(*args: Any, **options: Any) -> None:
        if args[1] is not None:
            host.records.before.pop("touch_many")
            action()

    host.records.before["touch_many"] = arrive


def test_a_slow_clean_up_does_not_take_blocks_of_a_newer_version(host: FakeHost, declare: Any) -> None:
    prices = declare(keep=1)
    publish(prices, many(100))
    other = host.other()
    outcomes: list[Outcome] = []
    lock_key = prices.layout("t").lock + "/"

    def meanwhile() -> None:
        host.kv.delete_range(lock_key, prefix=True)
        outcomes.append(publish(prices, many(100), host=other).outcome)

    when_clean_up_begins(host, meanwhile)
    assert publish(prices, {"a": 1}).outcome is Outcome.REFRESHED
    assert outcomes == [Outcome.REFRESHED]
    assert versions(prices) == [3]
    assert_kept_for_ever(host, prices)


def test_a_slow_clean_up_does_not_take_blocks_that_a_load_has_begun_to_use(host: FakeHost, declare: Any) -> None:
    prices = declare(keep=1)
    publish(prices, many(100))
    other = host.other()
    lock_key = prices.layout("t").lock + "/"
    resume, arrived = threading.Event(), threading.Event()
    slow: list[Outcome] = []

    def pause() -> None:
        arrived.set()
        assert resume.wait(20)

    when_clean_up_begins(host, pause)
    prices.source.rows = {"a": 1}
    thread = threading.Thread(target=lambda: slow.append(prices.refresh(force=True).outcome))
    thread.start()
    assert arrived.wait(20)
    host.kv.delete_range(lock_key, prefix=True)

    def clean_up_now(*args: Any, **options: Any) -> None:
        host.records.after.pop("touch_many")
        resume.set()
        thread.join(20)

    host.records.after["touch_many"] = clean_up_now  # the blocks have been touched, and are not announced yet
    assert publish(prices, many(100), host=other).outcome is Outcome.REFRESHED
    thread.join(20)
    assert slow == [Outcome.REFRESHED]
    assert_kept_for_ever(host, prices)


def test_a_clean_up_that_fails_is_finished_by_the_next_publication(host: FakeHost, declare: Any) -> None:
    rows = many(500)
    prices = declare(rows, keep=1)
    publish(prices)
    first = names(host, prices, prices.history()[0].announcement)

    def fail() -> None:
        raise ClusterError("away")

    when_clean_up_begins(host, fail)
    assert publish(prices, rows | {"k1": {"n": -1}}).outcome is Outcome.REFRESHED
    assert retired(host, prices) == [b"000000000001"]
    assert set(host.ttls(prices).values()) == {None}

    publish(prices, rows | {"k1": {"n": -2}})
    assert retired(host, prices) == []
    assert {host.ttls(prices)[digest] for digest in first - needed(host, prices)} == {GARBAGE_TTL}
    assert_kept_for_ever(host, prices)


def test_nothing_expires_when_a_kept_version_cannot_be_read(host: FakeHost, declare: Any) -> None:
    prices = declare(keep=2)
    publish(prices, many(100))
    publish(prices, many(200))
    kept = host.state(prices).current
    assert kept is not None
    host.records.inner.delete(prices.layout("t").record(bytes.fromhex(kept.root)))
    publish(prices, many(300))
    assert versions(prices) == [3, 2]
    assert set(host.ttls(prices).values()) == {None}


def test_a_retired_version_that_cannot_be_read_is_let_alone(host: FakeHost, declare: Any) -> None:
    prices = declare(keep=1)
    publish(prices, many(100))
    first = host.state(prices).current
    assert first is not None
    root = bytes.fromhex(first.root)
    others = names(host, prices, first) - {root}
    host.records.inner.delete(prices.layout("t").record(root))
    assert publish(prices, many(200)).outcome is Outcome.REFRESHED
    assert retired(host, prices) == []
    assert {host.ttls(prices)[digest] for digest in others} == {None}
    assert_kept_for_ever(host, prices)


def test_an_entry_that_makes_no_sense_stops_no_publication(host: FakeHost, declare: Any) -> None:
    prices = declare(keep=2)
    publish(prices, {"a": 1})
    host.kv.put(prices.layout("t").history(7), b"{")
    assert publish(prices, {"a": 2}).version == 2
    assert publish(prices, {"a": 3}).version == 3


def when_announced(host: FakeHost, action: Any) -> None:
    """Call ``action`` once, in the moment after a version was announced."""

    def arrive(*args: Any, **options: Any) -> None:
        if args[0].endswith(b"/current") and len(versions_announced(host)) > before:
            host.records.before.pop("get")
            action()

    before = len(versions_announced(host))
    host.records.before["get"] = arrive


def versions_announced(host: FakeHost) -> list[tuple[str, int]]:
    return host.listener.publications


@pytest.mark.parametrize("stands", ["the machine", "the process"])
def test_whoever_was_suspended_longer_than_records_live_lets_nothing_expire(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch, stands: str
) -> None:
    # Records that went and came back have the generations of before.
    prices = declare(keep=1)
    publish(prices, many(100))
    before = host.blocks(prices).exists(needed(host, prices))
    other = host.other()

    def a_day_passes() -> None:
        host.kv.delete_range(prices.layout("t").lock + "/", prefix=True)
        assert publish(prices, {"a": 2}, host=other).outcome is Outcome.REFRESHED
        host.aliases["default"].now += GARBAGE_TTL + 1
        assert publish(prices, many(100), host=other).outcome is Outcome.REFRESHED
        real = expiry.elapsed if stands == "the process" else time.time
        where: Any = expiry if stands == "the process" else time
        monkeypatch.setattr(where, real.__name__, lambda: real() + GARBAGE_TTL + 1)

    when_announced(host, a_day_passes)
    assert publish(prices, {"a": 1}).outcome is Outcome.REFRESHED
    assert "get" not in host.records.before
    assert host.blocks(prices).exists(before) == before
    assert_kept_for_ever(host, prices)


def lose_a_page(host: FakeHost, dataset: Any) -> None:
    current = host.state(dataset).current
    assert current is not None
    page = Manifest.load(host.blocks(dataset).fetch, bytes.fromhex(current.root)).pages[0]
    assert host.records.inner.delete(dataset.layout("t").record(page))


def test_a_version_that_stays_unreadable_holds_nothing_back_for_ever(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = many(300)
    prices = declare(rows, keep=2)
    publish(prices)
    prices.rollback(1)
    lose_a_page(host, prices)
    for number in range(4):
        publish(prices, rows | {"k1": {"n": -number}})
    assert len(retired(host, prices)) == 2
    assert set(host.ttls(prices).values()) == {None}
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + GARBAGE_TTL + 10)
    publish(prices, rows | {"k1": {"n": -10}})
    assert len(retired(host, prices)) == 1  # the one that went just now
    assert GARBAGE_TTL in set(host.ttls(prices).values())
    for each in prices.history()[:2]:
        assert {host.ttls(prices)[digest] for digest in names(host, prices, each.announcement)} == {None}


def test_a_publication_reads_no_more_of_kept_versions_than_differs(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_records, "PAGE_BLOCKS", 64)  # pages enough without a hundred thousand rows
    rows = {k: {"n": 0} for k in range(12_500)}
    prices = declare(rows, keep=8)
    for number in range(9):
        publish(prices, rows | {7: {"n": number}})
    read: list[int] = []
    host.records.before["get_many"] = lambda keys, **options: read.append(len(keys))
    publish(prices, rows | {7: {"n": 10}})
    pages = len(Manifest.load(host.blocks(prices).fetch, bytes.fromhex(host.state(prices).current.root)).pages)  # type: ignore[union-attr]
    assert pages > 6
    # The announced manifest, the roots of nine versions, and the one page in which each differs.
    assert sum(read) <= (1 + pages) + 9 + 9 + (1 + pages)


def test_what_waits_to_expire_is_known_and_told_when_it_becomes_much(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(expiry, "FEW_BYTES", 0)
    prices = declare(keep=2)
    sizes = []
    for number in range(20):
        publish(prices, {f"{number}-{key}": key for key in range(200)})
        sizes.append(host.state(prices).current.stored_bytes)  # type: ignore[union-attr]
    seen = overview(prices, host.stores("default"))
    assert seen.expiring_bytes == sum(sizes[:-2])
    told = [each.getMessage() for each in caplog.records if "GARBAGE_TTL" in each.getMessage()]
    assert len(told) == 1
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + GARBAGE_TTL + 3600)
    assert overview(prices, host.stores("default")).expiring_bytes == 0


def test_the_time_that_replaced_versions_stay_is_the_alias_s(host: FakeHost, declare: Any) -> None:
    alias = host.aliases["default"]
    alias.stores = dataclasses.replace(alias.stores, garbage_ttl=7200)
    prices = declare(keep=1)
    publish(prices, {"a": 1})
    publish(prices, {"a": 2})
    assert set(host.ttls(prices).values()) == {None, 7200}


class Killed(BaseException):
    """What a test raises where the process dies."""


def kill_at(host: FakeHost, call: int) -> None:
    """Let the process die at its ``call``-th use of a store, and do nothing more from then on."""
    left = [call]

    def count(*args: Any, **options: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            left[0] -= 1
            if left[0] < 0:
                raise Killed

    for method in ("range", "put", "delete_range", "txn", "lease_grant", "lease_revoke"):
        host.engine.before[method] = count
    for method in ("get", "put", "get_many", "put_many", "exists_many", "touch_many"):
        host.records.before[method] = count


def revive(host: FakeHost, dataset: Any) -> None:
    host.engine.before.clear()
    host.records.before.clear()
    host.kv.delete_range(dataset.layout("t").lock + "/", prefix=True)  # as the dead one's lease does when it runs out


@pytest.mark.parametrize("source_changes", [False, True])
def test_whenever_a_publisher_dies_the_next_one_finishes_its_work(
    host: FakeHost, declare: Any, source_changes: bool
) -> None:
    rows = many(60)
    prices = declare(rows, keep=2)
    publish(prices)
    died, step = 0, 0
    while True:
        rows = rows | {"k1": {"n": -step}}
        kill_at(host, step)
        try:
            result = publish(prices, rows)
        except Killed:
            died += 1
        else:
            revive(host, prices)
            assert result.outcome is Outcome.REFRESHED
            break
        revive(host, prices)
        held = versions(prices)
        assert_kept_for_ever(host, prices)
        if source_changes:
            rows = rows | {"k1": {"changed after": step}}
        assert publish(prices, rows).outcome in (Outcome.REFRESHED, Outcome.UNCHANGED)
        assert len(versions(prices)) == 2
        assert max(versions(prices)) <= max(held) + 1
        assert_kept_for_ever(host, prices)
        step += 1
    assert died > 12
    publish(prices, rows | {"k2": {"n": -1}})
    publish(prices, rows | {"k2": {"n": -2}})
    assert_only_kept_versions_stay(host, prices)


def assert_only_kept_versions_stay(host: FakeHost, dataset: Any) -> None:
    assert retired(host, dataset) == []
    garbage = set(host.ttls(dataset)) - needed(host, dataset)
    assert {host.ttls(dataset)[digest] for digest in garbage} <= {GARBAGE_TTL}
    assert_kept_for_ever(host, dataset)


def test_a_fenced_refresh_leaves_nothing_behind_for_good(host: FakeHost, declare: Any) -> None:
    rows = many(500)
    prices = declare(rows, keep=2)
    publish(prices)
    publish(prices, rows | {"k1": {"n": -1}})
    prices.source.during = lambda: prices.rollback(1)
    assert publish(prices, rows | {"k1": {"n": -2}}).outcome is Outcome.FENCED
    prices.unpin()
    prices.source.during = lambda: None
    publish(prices, rows | {"k1": {"n": -3}})
    publish(prices, rows | {"k1": {"n": -4}})
    assert_only_kept_versions_stay(host, prices)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_records_made_permanent_while_another_refresh_cleans_up_do_not_stay(
    host: FakeHost, declare: Any, moment: str
) -> None:
    rows = many(500)
    prices = declare(rows, keep=1)
    publish(prices)
    other = host.other()

    hooks: dict[str, Any] = getattr(host.records, moment)

    def overtake(*args: Any, **options: Any) -> None:
        del hooks["touch_many"]
        host.kv.delete_range(prices.layout("t").lock + "/", prefix=True)
        assert publish(prices, rows | {"k1": {"n": -1}}, host=other).outcome is Outcome.REFRESHED
        prices.source.rows = rows | {"k1": {"n": -2}}

    hooks["touch_many"] = overtake  # the records of version 2 are made permanent, and it is not announced yet
    assert publish(prices, rows | {"k1": {"n": -2}}).outcome is Outcome.FENCED
    publish(prices, rows | {"k1": {"n": -3}})
    publish(prices, rows | {"k1": {"n": -4}})
    assert_only_kept_versions_stay(host, prices)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_kept_versions_can_be_read(host: FakeHost, declare: Any, seed: int) -> None:
    luck = random.Random(seed)
    prices = declare(many(50), keep=3)
    contents: dict[int, dict[str, Any]] = {}
    variants = [many(50) | {f"k{luck.randrange(50)}": luck.random()} for _ in range(4)] + [many(300), {}]
    for _ in range(60):
        action = luck.random()
        if action < 0.7:
            rows = luck.choice(variants)
            if luck.random() < 0.2:
                when_clean_up_begins(host, lambda: host.aliases["default"].records.before.clear())
            if luck.random() < 0.2:
                host.records.broken = ClusterError("away")
                assert publish(prices, rows).outcome is Outcome.FAILED
                host.records.broken = None
            result = publish(prices, rows)
            host.records.before.clear()
            if result.outcome is Outcome.REFRESHED:
                assert result.version is not None
                contents[result.version] = rows
        elif action < 0.85 and versions(prices):
            prices.rollback(luck.choice(versions(prices)))
        else:
            prices.unpin()
        host.aliases["default"].now += luck.choice([0, 0, GARBAGE_TTL / 2, GARBAGE_TTL + 1])
        if versions(prices):
            assert_kept_for_ever(host, prices)
            follower = follow(prices, host)
            follower.step()
            follower.close()
            state = host.state(prices)
            assert state.current is not None
            assert dict(prices) == contents[state.current.version]
            assert len(versions(prices)) <= 4  # three, and a pinned one
    assert len(contents) > 10
