"""What no code declares any more is forgotten: keys at once, records after a while, and nothing that is used."""

from __future__ import annotations

from typing import Any

import pytest

from django_etcdaero.datasets.publish.forgetting import forget_dataset, stored_datasets
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.datasets.state.presence import Presence
from django_etcdaero.exceptions import ClusterError, InvalidRequest, KeyNotFound, LockTimeout
from tests.datasets.hosting import FakeHost, publish


@pytest.fixture
def orphan(host: FakeHost, declare: Any) -> Any:
    """A dataset with two versions that nobody declares any more."""
    made = declare(name="orphan")
    publish(made)
    publish(made, {"a": 2})
    del datasets["orphan"]
    return made


def keys(host: FakeHost) -> list[str]:
    return sorted(item.key.decode() for item in host.kv.iterate(b"\0", b"\0"))


def test_what_is_stored_is_listed(host: FakeHost, declare: Any, orphan: Any) -> None:
    publish(declare())
    publish(declare(name="stock", schema=1))
    del datasets["stock"]
    publish(declare(name="stock", schema=3))
    found = stored_datasets()
    assert [(each.name, each.schema, each.declared) for each in found] == [
        ("orphan", 1, False), ("prices", 1, True), ("stock", 1, False), ("stock", 3, True)
    ]  # fmt: skip
    assert found[0].announcement is not None
    assert found[0].announcement.version == 2


def test_keys_go_at_once_and_records_expire(host: FakeHost, declare: Any, orphan: Any) -> None:
    prices = declare()
    publish(prices)
    others = [key for key in keys(host) if "orphan" not in key]
    host.kv.put(orphan.layout("t").validator_settings, "{}")
    assert [each.name for each in forget_dataset("orphan")] == ["orphan"]
    assert keys(host) == others
    assert set(host.ttls(orphan).values()) == {24 * 3600}
    assert host.records.inner.get(orphan.layout("t").announcement_copy) is None
    assert set(host.ttls(prices).values()) == {None}
    with pytest.raises(KeyNotFound, match="nothing is stored of a dataset orphan"):
        forget_dataset("orphan")


def test_one_schema_goes_and_the_others_stay(host: FakeHost, declare: Any) -> None:
    publish(declare())
    del datasets["prices"]
    now = declare(schema=2)
    publish(now)
    host.kv.put(now.layout("t").validator_settings, "{}")
    with pytest.raises(InvalidRequest, match="'prices' with schema 2 is declared in"):
        forget_dataset("prices")
    with pytest.raises(KeyNotFound, match="prices with schema 7; schemas: 1, 2"):
        forget_dataset("prices", schema=7)
    assert [each.schema for each in forget_dataset("prices", schema=1)] == [1]
    assert [each.schema for each in stored_datasets()] == [2]
    assert host.kv.get(now.layout("t").validator_settings) is not None
    assert now.refresh(force=True).outcome == "unchanged"
    forget_dataset("prices", force=True)
    assert stored_datasets() == []
    assert publish(now).version == 1


def test_what_processes_read_stays(host: FakeHost, orphan: Any) -> None:
    presence = Presence(host.kv, ttl=30, started=1.0)
    presence.publish({"orphan": 1}, revision=0, otherwise={})
    with pytest.raises(InvalidRequest, match="is read by 1 processes, such as"):
        forget_dataset("orphan")
    presence.withdraw()
    assert forget_dataset("orphan")


def test_what_is_being_refreshed_stays(host: FakeHost, orphan: Any) -> None:
    with host.kv.lock(orphan.layout("t").lock), pytest.raises(LockTimeout):
        forget_dataset("orphan", force=True)
    assert [each.name for each in stored_datasets()] == ["orphan"]


def test_who_is_interrupted_can_do_it_again(host: FakeHost, orphan: Any) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise ClusterError("away")

    host.records.before["delete"] = fail
    with pytest.raises(ClusterError):
        forget_dataset("orphan")
    assert [each.name for each in stored_datasets()] == ["orphan"]
    del host.records.before["delete"]
    assert forget_dataset("orphan")
    assert keys(host) == []


def test_a_version_that_cannot_be_read_is_no_obstacle(host: FakeHost, orphan: Any) -> None:
    host.records.inner.truncate()
    assert forget_dataset("orphan")
    assert keys(host) == []
