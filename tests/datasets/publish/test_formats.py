"""No version is announced in a form that a process of the dataset cannot read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from django_etcdaero.datasets.blocks.assembly import assemble
from django_etcdaero.datasets.blocks.codec import CODEC_VERSION
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.manifest_records import FORMAT_VERSION, ORDERED_FORMAT
from django_etcdaero.datasets.state import formats
from django_etcdaero.datasets.state.formats import allowed
from django_etcdaero.datasets.state.overview import overview
from django_etcdaero.datasets.state.presence import Presence
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.exceptions import PermissionDenied
from tests.datasets.hosting import FakeHost, many

from .changing import declared


@pytest.fixture(autouse=True)
def _no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LOOK_EVERY", 0.0)


def register(host: FakeHost, name: str, schemas: dict[str, int], **told: Any) -> str:
    """Register a process by hand, as code of another version does."""
    key = f"processes/{name}-7-abcd"
    value = {"host": name, "pid": 7, "started": 1.0, "schemas": schemas, **told}
    host.kv.put(key, json.dumps(value).encode())
    host.kv.put(f"{key}/held", b'{"revision": 0, "otherwise": {}}')
    return key


def newest(host: FakeHost, dataset: Any) -> Manifest:
    current = host.state(dataset).current
    assert current is not None
    return Manifest.load(host.blocks(dataset).fetch, bytes.fromhex(current.root))


@pytest.fixture
def prices(host: FakeHost, declare: Any) -> Iterator[Any]:
    dataset = declared(declare, many(200))
    dataset.refresh()
    return dataset


def test_it_knows_what_this_code_reads() -> None:
    assert (FORMAT_VERSION, CODEC_VERSION) == formats.READ
    assert formats.OLDEST == (ORDERED_FORMAT, 1)


def test_the_oldest_reader_of_the_dataset_decides(host: FakeHost) -> None:
    assert allowed(host.kv, "prices", 1) == (formats.READ, "")
    Presence(host.kv, ttl=30, started=1.0).publish({"prices": 1}, revision=0, otherwise={})
    register(host, "elsewhere", {"other": 1, "prices": 2})
    host.kv.put("processes/senseless-7-abcd", b"{}")
    assert allowed(host.kv, "prices", 1) == (formats.READ, "")
    register(host, "newer", {"prices": 1}, formats={"format": 9, "codec": 9, "more": "x"})
    assert allowed(host.kv, "prices", 1) == (formats.READ, "")
    register(host, "between", {"prices": 1}, formats={"format": 4, "codec": 1})
    found = allowed(host.kv, "prices", 1)
    assert (found.deltas, found.by_fields, found.why) == (True, False, "between/7 reads up to format 4 and codec 1")
    old = register(host, "old", {"prices": 1})
    found = allowed(host.kv, "prices", 1)
    assert (found.forms, found.why) == (formats.OLDEST, "old/7 reads up to format 2 and codec 1")
    host.kv.delete(old)
    register(host, "odd", {"prices": 1}, formats={"format": "x"})
    assert allowed(host.kv, "prices", 1).forms == formats.OLDEST


def test_the_alias_may_allow_less(host: FakeHost) -> None:
    assert allowed(host.kv, "prices", 1, newest=2) == (formats.OLDEST, "OPTIONS has NEWEST_FORMAT = 2")


def test_who_may_not_know_writes_what_all_can_read(host: FakeHost) -> None:
    host.engine.break_("range", PermissionDenied("no"))
    found = allowed(host.kv, "prices", 1)
    assert (found.forms, found.why) == (formats.OLDEST, "what processes read cannot be read: no")


def test_the_processes_are_looked_at_once_in_a_while(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LOOK_EVERY", 1000.0)
    assert allowed(host.kv, "prices", 1).deltas
    register(host, "old", {"prices": 1})
    assert allowed(host.kv, "prices", 1).deltas


def test_while_old_code_reads_changes_go_into_blocks(
    host: FakeHost, prices: Any, caplog: pytest.LogCaptureFixture
) -> None:
    old = register(host, "old", {"prices": 1})
    for number in range(2):
        prices.table.put(k1={"n": -number - 1})
        result = prices.refresh(force=True)
        assert (newest(host, prices).deltas, newest(host, prices).codec) == ((), 1)
    assert "old/7 reads up to format 2" in result.validators[0].text
    assert caplog.text.count("versions are written in an older form: old/7") == 1
    told = overview(prices, host.stores("default")).warnings
    assert told == ["versions are written in an older form: old/7 reads up to format 2 and codec 1"]
    host.kv.delete(old)
    prices.table.put(k1={"n": -9})
    assert prices.refresh(force=True).changes
    assert len(newest(host, prices).deltas) == 1


def test_when_old_code_comes_back_the_same_rows_are_published_for_it(host: FakeHost, prices: Any) -> None:
    prices.table.put(k1={"n": -1})
    assert prices.refresh(force=True).changes
    assert newest(host, prices).deltas
    register(host, "old", {"prices": 1})
    result = prices.refresh(force=True)
    assert (result.outcome, result.version) == (Outcome.REFRESHED, 3)
    assert (newest(host, prices).deltas, newest(host, prices).codec) == ((), 1)
    assert prices.refresh(force=True).outcome is Outcome.UNCHANGED


def test_deltas_are_written_as_all_who_read_them_can(host: FakeHost, prices: Any) -> None:
    rows = {f"k{number}": {"n": -number} for number in range(20)}
    before = register(host, "before", {"prices": 1}, formats={"format": 4, "codec": 3})
    prices.table.put(**rows)
    assert prices.refresh(force=True).changes
    assert (len(newest(host, prices).deltas), newest(host, prices).codec) == (1, 3)
    host.kv.delete(before)
    prices.table.put(**{key: {"n": row["n"] - 1} for key, row in rows.items()})
    assert prices.refresh(force=True).changes
    assert (len(newest(host, prices).deltas), newest(host, prices).codec) == (2, 4)
    fetch = host.blocks(prices).fetch
    assert dict(assemble(3, newest(host, prices), fetch, rows="plain", before=None).rows) == prices.table.rows
    register(host, "before", {"prices": 1}, formats={"format": 4, "codec": 3})
    assert prices.refresh(force=True).outcome is Outcome.REFRESHED
    assert newest(host, prices).codec == 3


def test_what_a_host_holds_once_is_changed_row_by_row(host: FakeHost, declare: Any) -> None:
    dataset = declared(declare, many(200), shared=True)
    dataset.refresh()
    dataset.table.put(**{f"k{number}": {"n": -number} for number in range(20)})
    assert dataset.refresh(force=True).changes
    assert (len(newest(host, dataset).deltas), newest(host, dataset).codec) == (1, 3)


def test_the_way_back_is_an_option(host: FakeHost, prices: Any) -> None:
    prices.table.put(k1={"n": -1})
    prices.refresh(force=True)
    alias = host.aliases["default"]
    alias.stores = dataclasses.replace(alias.stores, newest_format=2)
    assert prices.refresh(force=True).outcome is Outcome.REFRESHED
    assert (newest(host, prices).deltas, newest(host, prices).codec) == ((), 1)
