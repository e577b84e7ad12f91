"""``kv`` and ``kvs`` lead to the clients of this process."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from django_etcdaero import kv, kvs
from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.runtime import runtime

TWO = {"default": {"KV": "mem:", "RECORDS": "mem:"}, "other": {"KV": "mem:", "RECORDS": "mem:"}}


def test_kv_is_the_client_of_the_default_alias() -> None:
    kv.put("a", "1")
    item = kvs["default"].get("a")
    assert item is not None
    assert item.value == b"1"
    assert kvs["default"] is runtime.stores("default").kv
    assert kv == kvs["default"]


def test_all_threads_share_one_client() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(kvs["default"]))
    thread.start()
    thread.join(20)
    assert found == [kvs["default"]]


def test_aliases_are_apart(settings: Settings) -> None:
    settings.ETCDAERO = TWO
    kvs["other"].put("a", "other")
    assert kv.get("a") is None
    assert list(kvs) == ["default", "other"]
    assert [type(each).__name__ for each in kvs.all()] == ["KV", "KV"]
    assert kvs["other"] is not kvs["default"]


def test_an_unknown_alias_is_named(settings: Settings) -> None:
    settings.ETCDAERO = TWO
    with pytest.raises(ConfigurationError, match=r"ETCDAERO has no alias 'otter'; did you mean 'other'\?"):
        kvs["otter"]
    with pytest.raises(ImproperlyConfigured):
        kvs["nothing"]


def test_the_aliases_follow_changed_settings(settings: Settings) -> None:
    assert list(kvs) == ["default"]
    settings.ETCDAERO = TWO
    assert list(kvs) == ["default", "other"]
    settings.ETCDAERO = {"default": TWO["default"]}
    assert list(kvs) == ["default"]


def test_closing_all_connections_at_the_end_of_a_request_closes_no_client() -> None:
    client = kvs["default"]
    kvs.close_all()
    assert kvs["default"] is client
    client.put("a", "1")


def test_after_a_restart_they_lead_to_the_new_clients() -> None:
    old = kvs["default"]
    kv.put("a", "1")
    runtime.restart()
    assert kvs["default"] is not old
    item = kv.get("a")
    assert item is not None
    assert item.value == b"1"


def test_what_kv_offers_is_seen_without_opening_anything() -> None:
    runtime.restart()
    assert {"get", "aput", "lock", "objects"} <= set(dir(kv))
    assert repr(kv) == "<the KV client of the alias 'default'>"
    assert not runtime._stores._opened
