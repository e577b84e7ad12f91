"""``kv`` and ``kvs`` lead to the clients of this process."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
from rlcompleter import Completer
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from django_etcdaero import kv, kvs
from django_etcdaero.connections import DefaultKV
from django_etcdaero.exceptions import ConfigurationError, InvalidRequest, NotSupported
from django_etcdaero.keyvalue import KV
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


def test_closing_the_stores_in_an_event_loop_frees_the_locks() -> None:
    client = kvs["default"]

    async def main() -> None:
        await client.lock("L").aacquire()
        with pytest.raises(InvalidRequest, match=r"close\(\) would block the event loop.*'await aclose"):
            client.close()
        assert not client.closed
        runtime.close()

    asyncio.run(main())
    assert client.closed
    assert kv.lock("L").holder() is None


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
    assert {"engine", "life", "start_watch", "txn_run"}.isdisjoint(dir(kv))
    assert not runtime._stores._opened
    assert {"engine", "life", "start_watch", "txn_run"}.isdisjoint(dir(kvs["default"]))
    assert set(dir(kv)) <= {*dir(kvs["default"])}


def test_it_says_where_it_leads_without_opening_anything_and_without_a_password(settings: Settings) -> None:
    runtime.restart()
    settings.ETCDAERO = {
        "default": {"KV": "etcds://ann:secret@h1:2379,h2:2379", "RECORDS": "mem:", "PREFIX": "shop"},
    }
    assert repr(kv) == "<kv 'default': etcds://h1:2379,h2:2379, prefix b'shop/', not opened yet>"
    assert not runtime._stores._opened
    settings.ETCDAERO = {"other": TWO["other"]}
    assert repr(kv) == "<kv 'default': its settings are wrong or missing>"
    settings.ETCDAERO = TWO
    kv.put("a", "1")
    assert re.fullmatch(r"<kv 'default': mem:\S+, prefix b'\S*/'>", repr(kv))


def test_a_shell_completes_its_names_without_opening_anything() -> None:
    runtime.restart()
    completer = Completer({"kv": kv})
    matches = {completer.complete("kv.a", number) for number in range(300)}
    assert {"kv.aget(", "kv.auth", "kv.alock("} & matches == {"kv.aget(", "kv.auth"}
    assert any(match and match.startswith("kv.put") for match in completer.attr_matches("kv."))
    with pytest.raises(AttributeError):
        kv._repr_html_  # type: ignore[attr-defined]  # noqa: B018
    assert inspect.signature(kv.put) == inspect.signature(KV(kvs["default"].engine).put)
    runtime.restart()
    assert inspect.iscoroutinefunction(kv.aget)
    assert kv.aget.__doc__ == KV.aget.__doc__
    assert not runtime._stores._opened


def test_a_method_that_was_taken_before_the_store_was_opened_works() -> None:
    runtime.restart()
    put, aget = kv.put, kv.aget
    assert not runtime._stores._opened
    put("a", "1")
    item = asyncio.run(aget("a"))
    assert item is not None
    assert item.value == b"1"


def test_what_a_completer_must_not_evaluate_is_a_property_here_too() -> None:
    def properties(cls: type) -> set[str]:
        return {name for name, member in inspect.getmembers(cls) if isinstance(member, property)}

    assert properties(DefaultKV) == properties(KV)
    assert (kv.prefix, kv.closed) == (kvs["default"].prefix, False)
    for name in ("auth", "cluster", "maintenance"):
        with pytest.raises(NotSupported):
            getattr(kv, name)
