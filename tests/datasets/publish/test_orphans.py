"""Records that nothing names: found, told from all that is needed, and let go."""

from __future__ import annotations

import pytest

from django_etcdaero.datasets.publish.orphans import Orphans, orphans
from django_etcdaero.runtime import runtime
from tests.management.running import declare

pytestmark = pytest.mark.usefixtures("registry")


def records() -> dict[bytes, int | None]:
    """Return the records with their times to live, the announcement copies left out."""
    stores = runtime.stores("default")
    return {key: meta.ttl for key, meta in stores.records.scan() if not key.endswith(b"current")}


def test_what_versions_need_is_no_orphan() -> None:
    prices = declare("prices", keep=2)
    for number in range(4):
        prices.source["a"] = number
        prices.refresh(force=True)
    prices.pin(3)
    (found,) = orphans(runtime.stores("default"), expire=True)
    assert (found.name, found.records, found.declared, found.left_alone) == ("prices", 0, True, "")
    assert prices.diff(3, 4).changed


def test_what_a_publication_noted_and_did_not_announce_is_no_orphan() -> None:
    """The next publication sees to it."""
    prices, stores = declare(), runtime.stores("default")
    prices.refresh()
    layout = prices.layout(stores.prefix)
    announcement = stores.kv.get(layout.announcement)
    assert announcement is not None
    stores.kv.put(layout.intended(2, "x"), announcement.value)
    stores.kv.delete_range(layout.history(), prefix=True)
    stores.kv.delete(layout.announcement)
    stores.records.delete(layout.announcement_copy)
    assert [each.records for each in orphans(stores)] == [0]
    stores.kv.delete_range(layout.retired(), prefix=True)
    assert [each.records for each in orphans(stores)] == [len(records())]


def test_what_readers_hold_after_the_keys_were_lost_is_no_orphan() -> None:
    declare().refresh()
    stores = runtime.stores("default")
    stores.kv.delete_range("", prefix=True, everything=True)
    assert [each.records for each in orphans(stores)] == [0]


def test_orphans_expire_and_are_not_found_again() -> None:
    prices, stores = declare("prices"), runtime.stores("default")
    prices.refresh()
    lost = set(records())
    stores.kv.delete_range("", prefix=True, everything=True)
    stores.records.delete(prices.layout(stores.prefix).announcement_copy)
    prices.source["b"] = 2
    prices.refresh()
    needed = set(records()) - lost
    dry = orphans(stores)
    assert dry == [
        Orphans(name="prices", schema=1, declared=True, records=dry[0].records),
    ]
    assert 0 < dry[0].records <= len(lost)
    assert set(records().values()) == {None}
    (done,) = orphans(stores, expire=True)
    assert done.expiring == done.records == dry[0].records
    ttls = records()
    assert all(ttls[key] is None for key in needed)
    assert [each.records for each in orphans(stores)] == [0]
    prices.refresh(force=True)
    assert prices["b"] == 2


def test_a_record_that_was_taken_into_use_meanwhile_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    prices, stores = declare("prices"), runtime.stores("default")
    prices.refresh()
    stores.kv.delete_range("", prefix=True, everything=True)
    stores.records.delete(prices.layout(stores.prefix).announcement_copy)
    touched = next(iter(records()))
    scan = stores.records.scan

    def then_touch(*args: object) -> object:
        found = list(scan(*args))  # type: ignore[arg-type]
        stores.records.touch(touched, None)
        return iter(found)

    monkeypatch.setattr(stores.records, "scan", then_touch)
    (done,) = orphans(stores, expire=True)
    monkeypatch.undo()
    assert done.expiring == done.records - 1
    assert records()[touched] is None


def test_a_version_that_cannot_be_read_keeps_everything() -> None:
    prices, stores = declare("prices"), runtime.stores("default")
    prices.refresh()
    layout = prices.layout(stores.prefix)
    entry = stores.kv.get(layout.announcement)
    assert entry is not None
    stores.kv.put(layout.announcement, b"no announcement")
    (found,) = orphans(stores, expire=True)
    assert found.records == found.expiring == 0
    assert "makes no sense" in found.left_alone
    stores.kv.put(layout.announcement, entry.value)
    for key in records():
        if len(records()) > 1:
            stores.records.delete(key)
    (found,) = orphans(stores, expire=True)
    assert "version 1 is kept and cannot be read" in found.left_alone


def test_a_dataset_that_is_being_refreshed_is_left_alone() -> None:
    prices, stores = declare("prices"), runtime.stores("default")
    prices.refresh()
    with stores.kv.lock(prices.layout(stores.prefix).lock):
        (found,) = orphans(stores, expire=True)
        assert found.left_alone == "it is being refreshed at this moment"
        assert [each.left_alone for each in orphans(stores)] == [""]
