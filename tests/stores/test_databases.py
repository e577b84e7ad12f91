"""``db:ALIAS``: how it is written, and what is refused without a connection."""

from __future__ import annotations

import re

import pytest
from django.db import connections

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.schemes import open_engine, open_store, parse
from django_etcdaero.stores.address import Plane, Reach
from django_etcdaero.stores.database import DatabaseAddress


@pytest.fixture(autouse=True)
def _aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("shop", "Two words"):
        monkeypatch.setitem(connections.settings, name, {"ENGINE": "django.db.backends.postgresql"})
    monkeypatch.setitem(connections.settings, "gis", {"ENGINE": "django.contrib.gis.db.backends.spatialite"})
    monkeypatch.setitem(connections.settings, "nothing", {"ENGINE": "django.db.backends.dummy"})


@pytest.mark.parametrize(
    ("url", "address", "safe"),
    [
        ("db:shop", DatabaseAddress("shop"), "db:shop"),
        ("DB:shop", DatabaseAddress("shop"), "db:shop"),
        ("db:shop/records", DatabaseAddress("shop"), "db:shop"),
        ("db:shop/cache-2", DatabaseAddress("shop", "cache-2"), "db:shop/cache-2"),
        ("db:Two%20words", DatabaseAddress("Two words"), "db:Two%20words"),
    ],
)
def test_a_database_is_named_by_its_alias(url: str, address: DatabaseAddress, safe: str) -> None:
    found = parse(url, plane=Plane.RECORDS)
    assert found == address
    assert found.safe == safe
    assert found.reach is Reach.CLUSTER
    assert found.prefix_required


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("db:", "the alias of a database is missing"),
        ("db:/shop", "neither slashes before the alias"),
        ("db://shop", "neither slashes before the alias"),
        ("db:shop?room=x", "nor options after '?'"),
        ("db:shop#x", "nor options after '?' or '#'"),
        ("db:shop/", "a room has 1 to 31 lower-case letters"),
        ("db:shop/a/b", "a room has 1 to 31 lower-case letters"),
        ("db:shop/Cache", "a room has 1 to 31 lower-case letters"),
        (f"db:shop/{'x' * 32}", "a room has 1 to 31 lower-case letters"),
        ("db:shopp", "settings.DATABASES has no alias 'shopp' (it has 'default', "),
        ("db:nothing", "settings.DATABASES['nothing'] has no ENGINE"),
        ("db:default", "for records in a file use sqlite:///path"),
        ("db:gis", "for records in a file use sqlite:///path"),
    ],
)
def test_what_cannot_be_one_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(complaint)) as caught:
        parse(url, plane=Plane.RECORDS)
    assert "use db:ALIAS (an alias of settings.DATABASES) or db:ALIAS/ROOM" in str(caught.value)


def test_it_is_for_records_only() -> None:
    with pytest.raises(ConfigurationError, match="'db:shop' cannot be used as KV; use mem: "):
        parse("db:shop", plane=Plane.KV)
    with pytest.raises(ConfigurationError, match="cannot be used as KV"):
        open_engine(DatabaseAddress("shop"), timeout=5)


def test_opening_connects_to_nothing() -> None:
    store = open_store(DatabaseAddress("shop"), timeout=5)
    assert store.info.location == "db:shop"
    store.close()
