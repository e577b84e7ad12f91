"""What cannot be loaded: damage is never served and is healed, and the old version stays."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.blocks.assembly import assemble
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.read import decision, fetching
from django_etcdaero.datasets.read import follower as following
from django_etcdaero.datasets.state.status import Outcome, State
from django_etcdaero.exceptions import CorruptBlock
from tests.datasets.hosting import FakeHost, away, follow, many, publish


def damage(host: FakeHost, dataset: Any, how: str) -> bytes:
    """Damage a block that only the newest version has; return its digest."""
    newest, before = dataset.history()[:2]
    blocks = [Manifest.load(host.blocks(dataset).fetch, bytes.fromhex(each.announcement.root)) for each in
              (newest, before)]  # fmt: skip
    digest = next(each for each in blocks[0].blocks if each not in blocks[1].blocks)
    key = dataset.layout("t").record(digest)
    if how == "missing":
        host.records.inner.delete(key)
    elif how == "another":
        other = host.records.inner.get(dataset.layout("t").record(blocks[1].blocks[0]))
        assert other is not None
        host.records.inner.put(key, other.value)
    else:
        host.records.inner.put(key, b"\x10garbage")
    return digest


@pytest.mark.parametrize("how", ["missing", "damaged", "another"])
def test_damage_is_never_served_and_is_healed(
    host: FakeHost, declare: Any, step: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    rows = many(300)
    prices = declare(rows, refresh_every=timedelta(hours=1))
    look = step(prices)
    publish(prices, rows)
    look()
    changed = rows | {"k1": {"n": -1}}
    publish(prices, changed)
    damage(host, prices, how)
    look()
    assert dict(prices) == rows
    assert prices.status().state is State.INTERRUPTED
    request = host.state(prices).pending
    assert request is not None
    assert request.repair
    attempts = host.records.calls["get_many"]
    shift = [0.0]
    monkeypatch.setattr(following, "monotonic", lambda: time.monotonic() + shift[0])
    for _ in range(3):
        shift[0] += 3600.0
        look()
    assert host.records.calls["get_many"] >= attempts + 3  # it was tried again, and asked for once
    assert host.state(prices).pending == request

    result = prices.refresh()
    assert (result.outcome, result.version) == (Outcome.REFRESHED, 3)
    assert result.bytes_written > 0
    look()
    assert dict(prices) == changed
    assert prices.status().state is State.VALID
    assert host.state(prices).pending is None
    assert None in host.ttls(prices).values()
    assert set(host.ttls(prices).values()) == {None}


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_where_other_hosts_have_their_own_records_the_failure_says_so(
    host: FakeHost, declare: Any, step: Any, how: str
) -> None:
    prices = declare(many(300))
    publish(prices, many(300))
    publish(prices, many(300, k1={"n": -1}))
    damage(host, prices, how)
    alias = host.aliases["default"]
    alias.stores = replace(alias.stores, missing="RECORDS is a file of this host")
    step(prices)()
    error = prices.status().error
    assert error is not None
    if how == "missing":
        assert error.startswith("MissingRecords: 1 blocks are missing")
        assert error.endswith("; RECORDS is a file of this host")
        assert host.state(prices).pending is not None
    else:
        assert "RECORDS" not in error


def test_a_damaged_root_or_page_is_healed(host: FakeHost, declare: Any, step: Any) -> None:
    for kind in ("root", "page"):
        prices = declare({"a": 1}, name=kind, refresh_every=timedelta(hours=1))
        look = step(prices)
        publish(prices)
        current = host.state(prices).current
        assert current is not None
        manifest = Manifest.load(host.blocks(prices).fetch, bytes.fromhex(current.root))
        digest = manifest.root_digest if kind == "root" else manifest.pages[0]
        host.records.inner.put(prices.layout("t").record(digest), b"\x10garbage")
        look()
        assert prices.status().state is State.INITIALIZING
        assert prices.refresh().outcome is Outcome.REFRESHED
        look()
        assert dict(prices) == {"a": 1}


def test_a_repair_that_could_not_be_asked_for_is_asked_for_with_the_next_try(
    host: FakeHost, declare: Any, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision, "FIRST_RETRY", 0.0)
    prices = declare()
    look = step(prices)
    publish(prices, {"a": 1})
    look()
    publish(prices, {"a": 2})
    layout = prices.layout("t")
    for key, _ in list(host.records.inner.scan(layout.records)):
        if key != layout.announcement_copy:
            host.records.inner.delete(key)
    away(host)
    look()
    host.engine.mend()
    look()
    assert host.state(prices).pending is not None
    assert prices["a"] == 1


def test_a_request_of_a_person_does_not_hide_the_repair(host: FakeHost, declare: Any, step: Any) -> None:
    prices = declare(many(300))
    look = step(prices)
    publish(prices)
    publish(prices, many(300, k1=5))
    damage(host, prices, "damaged")
    prices.request_refresh()
    look()
    prices.request_refresh()
    request = host.state(prices).pending
    assert request is not None
    assert request.repair
    prices.refresh()
    look()
    assert prices["k1"] == 5


def test_when_prepare_raises_the_old_version_stays(host: FakeHost, declare: Any, step: Any) -> None:
    reading = []  # a process that reads lacks what the one that publishes has

    def prepare(self: Any, rows: Any) -> str:
        if reading and rows["a"] == 2:
            raise ValueError("cannot index 2")
        return f"index of {rows['a']}"

    prices = declare(prepare=prepare)
    look = step(prices)
    publish(prices, {"a": 1})
    look()
    publish(prices, {"a": 2})
    reading.append(True)
    look()
    assert (prices["a"], prices.index, prices.status().version) == (1, "index of 1", 1)
    assert prices.status().error == "ValueError: cannot index 2"
    assert host.listener.failures == [("prices", "load", "ValueError: cannot index 2")]
    assert host.state(prices).request is None  # nothing is broken in the stores

    attempts = host.records.calls["get_many"]
    look()
    assert host.records.calls["get_many"] == attempts  # not again before its time
    assert prices.status().state is State.INTERRUPTED

    publish(prices, {"a": 3})
    look()  # the newest is tried at once
    assert (prices["a"], prices.index, prices.status().state) == (3, "index of 3", State.VALID)


def test_a_root_that_claims_another_number_of_rows_is_refused(host: FakeHost, declare: Any) -> None:
    prices = declare({"a": 1, "b": 2})
    publish(prices)
    current = host.state(prices).current
    assert current is not None
    blocks = host.blocks(prices)
    manifest = Manifest.load(blocks.fetch, bytes.fromhex(current.root))
    object.__setattr__(manifest, "rows", 3)
    with pytest.raises(CorruptBlock, match="2 different keys, and its root says 3"):
        assemble(current.version, manifest, blocks.fetch, rows="plain")


def test_a_large_fetch_that_nobody_waits_for_is_put_off(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(fetching, "monotonic", lambda: now)
    rows = {number: random.Random(number).randbytes(4000) for number in range(700)}
    prices = declare(rows)
    follower = follow(prices, host, splay=5.0)
    publish(prices)
    follower.step()
    assert prices.status().version is None  # nobody waits for it
    assert now < follower.follower.next_at <= now + 5
    follower.follower.look_now(wanted=True)
    follower.step()
    assert prices.status().version == 1
    publish(prices, rows | {1: b"small"})
    follower.step()
    assert prices.status().version == 2
    publish(prices, {number: value[::-1] for number, value in rows.items()})
    follower.step()
    put_off = follower.follower.next_at
    assert now < put_off <= now + 5
    assert (prices.status().version, prices.status().state) == (2, State.VALID)
    follower.step()
    assert (prices.status().version, follower.follower.next_at) == (2, put_off)
    now = put_off
    follower.step()
    assert prices.status().version == 3
    follower.close()
