"""Records that were damaged or deleted: nobody serves them, and the next refresh repairs them."""

from __future__ import annotations

import pytest

from django_etcdaero.datasets.blocks.manifest import Manifest
from tests.processes.site import Site
from tests.waiting import wait_until


def current(site: Site) -> Manifest:
    """Return what the current version consists of."""
    announced = site.state().current
    assert announced is not None
    return site.manifest(announced.root)


def damage(site: Site, kind: str) -> None:
    """Flip a bit in the stored block, page or root of the current version; or delete the block."""
    manifest = current(site)
    digest = {"page": manifest.pages[0], "root": manifest.root_digest}.get(kind, manifest.blocks[0])
    key = site.layout().record(digest)
    with site.records() as records:
        if kind == "no block":
            assert records.delete(key)
            return
        stored = records.get(key)
        assert stored is not None
        assert isinstance(stored.value, bytes)
        records.put(key, stored.value[:-1] + bytes((stored.value[-1] ^ 0x10,)))


@pytest.mark.parametrize("kind", ["block", "page", "root", "no block"])
def test_what_is_damaged_is_never_served_and_repaired_by_the_next_refresh(site: Site, kind: str) -> None:
    veteran, newcomer, late = site.agent(), site.agent(SHOP_PATIENCE="0.5"), site.agent()
    site.publish()
    veteran.wait_for(1)
    damage(site, kind)
    refused = newcomer.ask("read")
    assert refused["raised"] == "DatasetNotReady", refused
    reason = "MissingRecords: " if kind == "no block" else "DamagedRecord: "
    wait_until(lambda: (newcomer.ask("status")["error"] or "").startswith(reason), what="the reason")
    told = newcomer.ask("status")
    assert (told["version"], told["state"], told["rows"]) == (None, "INITIALIZING", 0)
    assert told["error"] in newcomer.ask("read")["message"]

    def asked_for_repair() -> bool:
        pending = site.state().pending
        return pending is not None and pending.repair

    wait_until(asked_for_repair, what="a request for a repair")
    repaired = site.refresh()
    assert (repaired["code"], repaired["outcome"], repaired["version"]) == (0, "refreshed", 2)
    assert site.state().request is None
    for reader in (newcomer, veteran, late):
        reader.wait_for(2)
        assert reader.ask("read")["rows"] == {"a": 1, "b": {"price": 2}, "c": [3]}
        wait_until(lambda reader=reader: reader.ask("status")["state"] == "VALID", what="a valid reader")  # type: ignore[misc]
    assert site.refresh()["outcome"] == "fresh"


@pytest.mark.files_only("it is about what is compared with what, and the stores are read as in the other tests")
@pytest.mark.parametrize("kind", ["block", "root"])
def test_validators_and_the_comparison_with_the_old_version_do_not_keep_a_damaged_one(site: Site, kind: str) -> None:
    reader = site.agent()
    site.publish()
    damage(site, kind)
    assert site.publish({"a": "new"}) == 2
    assert reader.ask("read") == {"version": 2, "rows": {"a": "new"}}


@pytest.mark.files_only("what is damaged is found out as in the other tests")
@pytest.mark.parametrize("kind", ["block", "no block"])
def test_nobody_can_go_back_to_a_damaged_version(site: Site, kind: str) -> None:
    reader = site.agent()
    site.publish({"a": 1})
    damage(site, kind)
    site.publish({"a": 2})
    refused = reader.ask("rollback 1")
    assert refused["raised"] in ("CorruptBlock", "DamagedRecord")
    assert site.state().pin is None
    assert reader.ask("read") == {"version": 2, "rows": {"a": 2}}


@pytest.mark.etcd_too
def test_what_cannot_be_cleaned_up_because_a_kept_version_is_damaged_is_cleaned_up_later(site: Site) -> None:
    site.publish({"a": 1})
    first = set(current(site).digests())
    site.publish({"a": 2})
    damage(site, "page")
    site.publish({"a": 3})
    stored = site.stored()
    assert {stored[digest].ttl for digest in first} == {None}
    site.publish({"a": 4})
    stored = site.stored()
    assert None not in {stored[digest].ttl for digest in first}
    with site.kv() as kv:
        assert kv.range(site.layout().retired(), prefix=True).count == 0
