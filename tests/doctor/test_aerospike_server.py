"""The doctor on a server of Aerospike: the stand-in, whose figures a test makes up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django import Settings

from django_etcdaero.doctor import Report, Severity, examine
from tests.doctor.conftest import told
from tests.management.running import declare
from tests.records.aerospike.standin import Standin
from tests.records.aerospike.test_security import PASSWORD, USERS

OK, INFO, WARNING, ERROR = Severity.OK, Severity.INFO, Severity.WARNING, Severity.ERROR

pytestmark = pytest.mark.usefixtures("registry")


@pytest.fixture
def standin() -> Iterator[Standin]:
    with Standin() as standin:
        yield standin


def look(stores: Callable[..., None], standin: Standin, **options: Any) -> Report:
    url = f"aerospike://{standin.host}:{standin.port}/{standin.namespace.name}/records"
    stores(default={"KV": "mem:", "RECORDS": url, **options})
    return examine(skip=["project"], timeout=30)


def test_a_server_in_good_health(stores: Callable[..., None], standin: Standin) -> None:
    report = look(stores, standin)
    declare().refresh()
    report = examine(write_probe=True, timeout=30)
    aerospike = {each.check: each for each in report.findings if each.check.startswith("aerospike.")}
    assert {name: each.severity for name, each in aerospike.items() if each.severity is not OK} == {
        "aerospike.cluster": INFO,
        "aerospike.copies": INFO,
    }
    assert told(report, "records.read").severity is told(report, "records.write").severity is OK
    assert told(report, "datasets.whole").severity is OK
    assert told(report, "aerospike.version").seen == "8.1.0.3 Aerospike Community Edition"
    assert told(report, "aerospike.connections").seen == "3 of 15000"


def test_a_namespace_in_trouble(stores: Callable[..., None], standin: Standin) -> None:
    standin.namespace.figures = {"stop_writes": "true", "data_used_pct": "91", "evicted_objects": "12"}
    standin.namespace.nsup_period = 0
    report = look(stores, standin)
    for check in ("aerospike.stop_writes", "aerospike.space", "aerospike.expiry"):
        assert told(report, check).severity is ERROR
    assert told(report, "aerospike.eviction").severity is WARNING
    assert "namespace=test;nsup-period=120" in told(report, "aerospike.expiry").remedy


def test_what_a_user_may_not_ask_is_not_ok(stores: Callable[..., None], standin: Standin) -> None:
    standin.namespace.refused = {"statistics", "get-config", "best-practices"}
    report = look(stores, standin)
    for check in ("aerospike.cluster", "aerospike.heartbeat", "aerospike.practices", "aerospike.connections"):
        assert told(report, check).severity is Severity.NOT_PERMITTED
    assert told(report, "aerospike.space").severity is OK


@pytest.mark.slow
def test_users_and_passwords(stores: Callable[..., None]) -> None:
    with Standin(users=USERS) as standin:
        report = look(stores, standin, RECORDS_USER="shop", RECORDS_PASSWORD=PASSWORD)
        assert told(report, "records.read").severity is told(report, "aerospike.space").severity is OK
        report = look(stores, standin, RECORDS_USER="shop", RECORDS_PASSWORD="wrong-password")
        assert told(report, "records.read").severity is ERROR
        assert told(report, "aerospike.space").severity is Severity.NOT_PERMITTED
        assert "wrong-password" not in repr(report)


def test_commands_that_a_server_does_not_know(
    stores: Callable[..., None], standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.records.aerospike.standin import info

    monkeypatch.setattr(info, "TOLD", {})
    report = look(stores, standin)
    assert told(report, "aerospike.practices").severity is Severity.NOT_APPLICABLE
    assert told(report, "aerospike.space").severity is OK


def test_a_cache_beside_datasets(stores: Callable[..., None], standin: Standin, settings: Settings) -> None:
    address = f"aerospike://{standin.host}:{standin.port}/{standin.namespace.name}"
    backend = "django_etcdaero.cache.EtcdAeroCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": f"{address}/cache"}}
    report = look(stores, standin)
    places = {each.place for each in report.findings if each.check == "records.read"}
    assert places == {f"{address}/records", f"cache default: {address}/cache"}
    assert told(report, "aerospike.space").place == address


def test_a_server_that_is_gone(stores: Callable[..., None], standin: Standin) -> None:
    standin.stop()
    report = look(stores, standin)
    assert told(report, "records.read").severity is ERROR
    assert {each.severity for each in report.findings if each.check.startswith("aerospike.")} == {Severity.NO_ANSWER}
