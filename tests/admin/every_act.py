"""How each act of the pages is done: a new one cannot be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.core.cache import caches

from django_etcdaero import kv

from .every_page import THINGS, addresses


def second_version(cities: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a version to go back to."""
    rows = {"1": {"name": "Bern", "population": 1}, "2": {"name": "Wien", "population": 2}}
    monkeypatch.setattr(cities, "load", lambda: rows, raising=False)
    monkeypatch.setattr(type(cities), "load", lambda self: rows)
    assert cities.refresh(force=True).ok


@dataclass(frozen=True)
class Filled:
    """How an act is done in a test."""

    form: dict[str, Any]
    before: Callable[[], object] = bool
    """What comes before it."""
    query: str = ""
    thing: str = ""
    """To what, if not to what all tests have."""


def forms(cities: Any) -> dict[str, Filled]:
    """Return how each act is done."""
    reason = {"reason": "x"}
    kv.put("prices/8", "old")
    old = kv.put("prices/8", "older").revision
    newest = kv.put("prices/8", "new").revision
    removed = kv.put("prices/6", "").revision
    edited = kv.range("prices/7").kvs[0].mod_revision
    lease = kv.lease(60)
    kv.put("prices/leased", "", lease=lease)
    holder, waiter = kv.lock("jobs/nightly").queue()
    cache: Any = caches["default"]
    value = {"form": "text", "value": "another", "save": ""}
    restored = {"thing": quote("default/prices/8")}
    return {
        "dataset_refresh": Filled(reason),
        "dataset_pin": Filled(reason, cities.unpin),
        "dataset_unpin": Filled(reason, cities.pin),
        "dataset_rollback": Filled({"version": "1", **reason}),
        "key_new": Filled({"key": "prices/9", "seen": 0, **value}),
        "key_edit": Filled({"seen": edited, **value}),
        "key_restore": Filled({"seen": newest}, query=f"?revision={old}", **restored),
        "key_remove": Filled({"seen": removed}, thing=quote("default/prices/6")),
        "lock_remove": Filled({"waiter": waiter.token, **reason}),
        "lock_release": Filled({"name": "jobs/nightly", "token": holder.token, **reason}),
        "lease_revoke": Filled({"keys": 1, **reason}, thing=quote(f"default:{lease.id:x}")),
        "cache_delete-entry": Filled({"key": "a"}, lambda: cache.set("a", "b")),
        "cache_invalidate-tag": Filled({"tag": "t"}, lambda: cache.set("a", "b", tags=["t"])),
        "cache_clear": Filled({"name": "default"}),
    }


def acts(filled: dict[str, Filled]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield name, address and form of each act, when what comes before it has been done."""
    found = {each.name.removeprefix("django_etcdaero_"): each.path for each in addresses() if each.acts}
    assert set(filled) == set(found), "an act without a form here, or the other way round"
    for name, how in filled.items():
        how.before()
        path = found[name]
        if how.thing:
            path = path.replace(quote(THINGS[name.partition("_")[0]]), how.thing)
        yield name, path + how.query, how.form
