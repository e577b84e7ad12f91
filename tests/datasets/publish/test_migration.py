"""A store that older code has written is read as it is, and its announcements are moved once."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from django_etcdaero.datasets.blocks import short_rows
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.overview import overview
from django_etcdaero.datasets.state.presence import processes
from django_etcdaero.datasets.state.status import Outcome, State
from django_etcdaero.datasets.state.stored_state import Checked
from django_etcdaero.exceptions import Fenced
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.ops import put
from django_etcdaero.keyvalue.values import KeyValue, TxnRequest
from django_etcdaero.records.sqlite.store import SqliteStore
from tests.datasets.hosting import FakeHost, InterposedStore, follow, in_thread, publish
from tests.keyvalue.etcd.servers import Server
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def _blocks_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write blocks by rows, as the older code did: other blocks would be another version."""
    monkeypatch.setattr(short_rows, "BY_FIELDS", False)


FIXTURE = Path(__file__).parents[2] / "fixtures" / "before_announcements.json"

PRICES = [
    {
        f"sku-{number}": {
            "price": Decimal(f"{number + version}.50"),
            "since": date(2026, 1, 1 + version),
            "tags": frozenset({"a", f"t{number % 3}"}),
        }
        for number in range(40)
    }
    for version in range(4)
]
HOURS = [
    {
        ("berlin", day): [
            clock_time(8 + version, 30),
            datetime(2026, 3, 1 + day, 12, tzinfo=ZoneInfo("Europe/Berlin")),
            timedelta(minutes=day),
        ]
        for day in range(7)
    }
    for version in range(3)
]


def load_fixture(host: FakeHost) -> None:
    """Write what the fixture holds: the keys in the revisions in which they were written, if the store is empty."""
    stored = json.loads(FIXTURE.read_text())
    in_order = sorted(stored["keys"], key=lambda item: item["mod_revision"])
    for revision, items in itertools.groupby(in_order, key=lambda item: item["mod_revision"]):
        while host.kv.range("x").revision < revision - 1:
            host.kv.put("a key of the user", "")
        done = host.kv.txn().then(*(put(item["key"], item["value"]) for item in items)).commit()
        assert done.revision == revision
    for record in stored["records"]:
        key = base64.b64decode(record["key"]).replace(b"shop/", b"t/", 1)
        host.records.put(key, base64.b64decode(record["value"]), ttl=record["ttl"])


def open_engine(kind: str, directory: Path) -> Iterator[Engine]:
    if kind == "etcd":
        with Server("old", directory / "old").running() as server:
            yield EtcdEngine([server.endpoint])
    else:
        yield EmbeddedEngine.file(directory / "kv.sqlite3")


@pytest.fixture(params=["mem", "sqlite", pytest.param("etcd", marks=pytest.mark.slow)])
def old(request: pytest.FixtureRequest, host: FakeHost, tmp_path: Path) -> Iterator[FakeHost]:
    """A process whose stores were written by older code."""
    alias = host.aliases["default"]
    opened: Iterator[Engine] = iter(())
    if request.param != "mem":
        alias.stores.kv.close()
        alias.engine.close()
        opened = open_engine(request.param, tmp_path)
        alias.engine = InterposedEngine(next(opened))
        alias.opened.clear()
    records = SqliteStore(tmp_path / "records.sqlite3") if request.param == "sqlite" else None
    if records is not None:
        alias.records = InterposedStore(records)  # type: ignore[arg-type]
    alias.stores = alias.another()
    load_fixture(host)
    yield host
    if records is not None:
        records.close()
    for kv in alias.opened:
        kv.kv.close()
    alias.opened.clear()
    alias.engine.close()
    next(opened, None)


@pytest.fixture
def prices(old: FakeHost, declare: Any) -> Any:
    return declare(PRICES[3], name="prices", keep=2, refresh_every=timedelta(hours=1))


@pytest.fixture
def hours(old: FakeHost, declare: Any) -> Any:
    return declare(HOURS[2], name="opening.hours", schema=3, keep=2, refresh_every=timedelta(hours=1))


def places(host: FakeHost, dataset: Any) -> tuple[KeyValue | None, KeyValue | None]:
    """Return what stands where the announcement is read now, and where it was before."""
    layout = dataset.layout("t")
    return host.kv.get(layout.announcement), host.kv.get(layout.former_announcement)


def settle(host: FakeHost, dataset: Any) -> None:
    """Let nothing be due: the last load began just now, nothing failed, and nobody asks for one."""
    layout, checked = dataset.layout("t"), host.state(dataset).checked
    assert checked is not None
    host.kv.put(layout.checked, dataclasses.replace(checked, load_started=time.time()).encode())
    host.kv.delete(layout.attempt)
    host.kv.delete(layout.request)


def test_processes_that_read_find_everything_before_any_publisher_came(old: FakeHost, prices: Any, hours: Any) -> None:
    before = old.kv.range("", prefix=True)
    for dataset, version, rows in ((prices, 4, PRICES[3]), (hours, 2, HOURS[1])):
        follower = follow(dataset, old)
        follower.step()
        assert dict(dataset) == rows
        assert (dataset.status().version, dataset.status().state) == (version, State.VALID)
        follower.close()
    assert old.kv.range("", prefix=True) == before
    of_prices, of_hours = (overview(each, old.stores("default")) for each in (prices, hours))
    assert of_prices.failure is not None
    assert of_prices.failure.error == "RuntimeError: the source is down"
    assert (of_prices.version, of_prices.due, of_prices.held_back_until) == (4, True, None)
    assert of_hours.stored.pin is not None
    assert (of_hours.version, of_hours.stored.pin.version) == (2, 2)
    assert [each.announcement.version for each in prices.history()] == [4, 3]
    assert [(each.announcement.version, each.pinned) for each in hours.history()] == [(3, False), (2, True)]
    assert Refresh(prices, old, dry_run=True).run().outcome is Outcome.UNCHANGED
    assert old.kv.range("", prefix=True) == before


def test_the_first_refresh_moves_the_announcement_and_goes_on_as_ever(old: FakeHost, prices: Any) -> None:
    _, former = places(old, prices)
    follower = follow(prices, old)
    follower.step()
    result = prices.refresh()  # which was asked for
    assert (result.outcome, result.version, result.error) == (Outcome.UNCHANGED, 4, None)
    moved, gone = places(old, prices)
    assert moved is not None
    assert former is not None
    assert Announcement.decode(moved.value) == Announcement.decode(former.value)
    assert (moved.version, gone) == (1, None)
    assert prices.source.loads == 1
    follower.step()
    copy = old.blocks(prices).read_copy()
    assert copy is not None
    assert copy.order == (1, moved.mod_revision)  # the same life of the store, later
    assert (old.listener.loads, prices.status().state) == ([("prices", 4)], State.VALID)
    result = publish(prices, PRICES[0])
    assert (result.outcome, result.version) == (Outcome.REFRESHED, 5)
    state = old.state(prices)
    assert state.current is not None
    assert (state.current.epoch, state.request, state.attempt) == (1, None, None)
    assert old.kv.range(prices.layout("t").retired(), prefix=True).kvs == ()  # the note of before was worked off
    follower.step()
    assert dict(prices) == PRICES[0]
    assert places(old, prices)[1] is None
    follower.close()


def test_it_is_moved_though_no_load_is_due_and_not_again(old: FakeHost, prices: Any) -> None:
    settle(old, prices)
    assert prices.refresh().outcome is Outcome.FRESH
    moved, gone = places(old, prices)
    assert moved is not None
    assert gone is None
    revision, calls = old.kv.range("x").revision, old.engine.calls.copy()
    assert prices.refresh().outcome is Outcome.FRESH
    assert set(old.engine.calls - calls) == {"range"}
    assert old.kv.range("x").revision == revision
    assert prices.source.loads == 0


def test_going_back_before_any_publisher_came(old: FakeHost, prices: Any) -> None:
    follower = follow(prices, old)
    follower.step()
    prices.rollback(3)
    moved, gone = places(old, prices)
    assert moved is not None
    assert gone is None
    assert Announcement.decode(moved.value).epoch == 1
    follower.step()
    assert dict(prices) == PRICES[2]
    follower.close()


def test_going_back_is_refused_when_older_code_has_published_meanwhile(old: FakeHost, prices: Any) -> None:
    _, former = places(old, prices)
    assert former is not None

    def publish_meanwhile() -> None:
        old.engine.before.clear()
        old.kv.put(former.key, former.value)

    old.engine.before["txn"] = publish_meanwhile
    with pytest.raises(Fenced):
        prices.rollback(3)
    assert places(old, prices)[0] is None
    assert old.state(prices).pin is None


def test_unpinning_before_any_publisher_came(old: FakeHost, hours: Any) -> None:
    assert hours.unpin()
    assert places(old, hours)[0] is None
    result = hours.refresh()
    assert (result.outcome, result.version) == (Outcome.REFRESHED, 4)
    moved, gone = places(old, hours)
    assert moved is not None
    assert (Announcement.decode(moved.value).version, gone) == (4, None)


def test_a_publication_while_readers_are_pinned_moves_it_all_the_same(old: FakeHost, hours: Any) -> None:
    result = publish(hours, HOURS[0])
    assert (result.outcome, result.version, result.pinned) == (Outcome.REFRESHED, 4, True)
    moved, gone = places(old, hours)
    assert moved is not None
    assert (Announcement.decode(moved.value).version, gone) == (2, None)


def test_of_two_publishers_at_once_one_moves_it(old: FakeHost, prices: Any) -> None:
    settle(old, prices)
    together = threading.Barrier(2)

    def run(host: FakeHost) -> Any:
        together.wait(20)
        return Refresh(prices, host, wait=20).run()

    others = [in_thread(lambda host=host: run(host)) for host in (old.other(), old.other())]  # type: ignore[misc]
    for thread, _ in others:
        thread.join(30)
    assert [answers[0].outcome for _, answers in others] == [Outcome.FRESH, Outcome.FRESH]
    moved, gone = places(old, prices)
    assert moved is not None
    assert (moved.version, gone) == (1, None)


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("applied", [True, False])
def test_a_publisher_that_is_killed_leaves_one_or_the_other(old: FakeHost, prices: Any, applied: bool) -> None:
    real = old.engine.inner.txn
    former_key = f"t/{prices.layout('t').former_announcement}".encode()

    def die(request: TxnRequest, *, timeout: float | None = None) -> Any:
        if not any(each.key == former_key for each in request.compares):
            return real(request, timeout=timeout)
        if applied:
            real(request, timeout=timeout)
        raise Killed

    old.engine.inner.txn = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        prices.refresh()
    old.engine.inner.txn = real  # type: ignore[method-assign]
    moved, former = places(old, prices)
    assert (moved is not None, former is not None) == (applied, not applied)
    follower = follow(prices, old)
    follower.step()
    assert dict(prices) == PRICES[3]
    follower.close()
    settle(old, prices)
    assert prices.refresh().outcome is Outcome.FRESH
    moved, former = places(old, prices)
    assert moved is not None
    assert (moved.version, former) == (1, None)


def test_what_older_code_announces_afterwards_is_followed_and_moved(old: FakeHost, prices: Any) -> None:
    follower = follow(prices, old)
    publish(prices, PRICES[0])
    follower.step()
    layout = prices.layout("t")
    moved = old.kv.get(layout.announcement)
    assert moved is not None
    # It finds nothing announced, so its epoch is a new one.
    publish(prices, PRICES[1])
    newer = old.state(prices).current
    assert newer is not None
    newer = dataclasses.replace(newer, epoch=2)
    old.kv.put(layout.announcement, moved.value)
    former = old.kv.put(layout.former_announcement, newer.encode())
    old.blocks(prices).write_copy(newer, former.revision)
    follower.step()  # the copy tells that there is something in the old place
    follower.step()
    assert dict(prices) == PRICES[1]
    settle(old, prices)
    assert prices.refresh().outcome is Outcome.FRESH
    now, gone = places(old, prices)
    assert now is not None
    assert (now.value, gone) == (newer.encode(), None)
    follower.step()
    follower.step()
    assert (dict(prices), prices.status().state) == (PRICES[1], State.VALID)
    result = publish(prices, PRICES[2])
    assert (result.outcome, result.version) == (Outcome.REFRESHED, 7)
    assert old.state(prices).current.epoch == 2  # type: ignore[union-attr]
    follower.step()
    assert dict(prices) == PRICES[2]
    follower.close()


def test_a_former_announcement_that_makes_no_sense_is_dropped(host: FakeHost, declare: Callable[..., Any]) -> None:
    prices = declare(refresh_every=timedelta(hours=1))
    publish(prices)
    moved, _ = places(host, prices)
    host.kv.put(prices.layout("t").former_announcement, "nonsense")
    assert host.state(prices).current is not None
    assert prices.refresh().outcome is Outcome.FRESH
    assert places(host, prices) == (moved, None)


def test_the_last_load_is_found_in_its_old_place_until_the_next_one_moves_it(old: FakeHost, prices: Any) -> None:
    layout = prices.layout("t")
    former = old.kv.get(layout.former_checked)
    assert former is not None
    assert old.kv.get(layout.checked) is None
    before = old.state(prices)
    assert before.checked == Checked.decode(former.value)
    assert (before.checked_revision, before.own_checked_revision) == (former.mod_revision, 0)
    assert prices.refresh(force=True).ok
    assert old.kv.get(layout.former_checked) is None
    after = old.state(prices)
    assert after.checked is not None
    assert after.checked.load_started > before.checked.load_started
    assert (after.checked_revision, after.former_checked_revision) == (after.own_checked_revision, 0)


def test_a_load_that_older_code_finishes_meanwhile_counts_and_fences(old: FakeHost, prices: Any) -> None:
    layout = prices.layout("t")
    assert prices.refresh(force=True).ok
    checked = old.state(prices).checked
    assert checked is not None
    newer = dataclasses.replace(checked, id="older-code", load_started=time.time())

    def finish() -> None:
        old.kv.put(layout.former_checked, newer.encode())

    prices.source.during = finish
    assert prices.refresh(force=True).outcome is Outcome.FENCED
    assert old.state(prices).checked == newer
    assert prices.refresh(force=True).ok
    assert old.kv.get(layout.former_checked) is None


def test_a_pin_that_makes_no_sense_hides_nothing_of_other_datasets(old: FakeHost, prices: Any, hours: Any) -> None:
    old.kv.put(hours.layout("t").pin, "nonsense")
    followers = [follow(each, old) for each in (prices, hours)]
    view = followers[0].view
    view.look([prices, hours])
    assert view.away is None
    for each in followers:
        each.step()
    assert (dict(prices), dict(hours)) == (PRICES[3], HOURS[1])
    for each in followers:
        each.close()


def test_what_a_process_holds_is_told_before_anything_was_moved(old: FakeHost, prices: Any, hours: Any) -> None:
    reader = old.start_reader(poll_interval=3600.0)
    prices.wait_ready(20)
    hours.wait_ready(20)
    expected = {prices.name: 4, hours.name: 2}
    wait_until(lambda: [each.versions for each in processes(old.kv)] == [expected], what="the registration")
    (process,) = processes(old.kv)
    assert process.states == dict.fromkeys(expected, "VALID")
    reader.stop(20)
