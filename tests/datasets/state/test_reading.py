"""What the coordination plane says about datasets is read in few calls, all of one revision."""

from __future__ import annotations

from typing import Any

from django_etcdaero.datasets.state.reading import read_announcements
from tests.datasets.hosting import FakeHost, publish


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
