"""What one process decides within ``STAMP_MAX_AGE`` of the ``clear()`` of another."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from django_etcdaero.cache import EtcdAeroCache
from tests.cache.calls import Awaited, Plain
from tests.cache.conftest import MakeCache


@pytest.fixture(params=[Plain, Awaited])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def one(make_cache: MakeCache) -> EtcdAeroCache:
    """The cache of a process that clears."""
    return make_cache()


@pytest.fixture
def late(elsewhere: MakeCache, one: EtcdAeroCache) -> EtcdAeroCache:
    """That of another one, which does not know yet that the first has cleared; ``k`` was there before."""
    late = elsewhere(STAMP_MAX_AGE=3600)
    one.set("k", "old", 600)
    assert late.get("k") == "old"
    one.clear()
    return late


REMOVING = {
    "delete": lambda cache: cache.delete("k"),
    "delete_many": lambda cache: cache.delete_many(["k", "none"]),
    "set with a timeout of 0": lambda cache: cache.set("k", "v", 0),
    "delete_pattern": lambda cache: cache.delete("none") or cache.delete_pattern("k"),
}


@pytest.mark.parametrize("remove", REMOVING.values(), ids=REMOVING)
@pytest.mark.parametrize("value", ["session", 5, "x" * 2_000_000], ids=["text", "number", "large"])
def test_what_was_stored_since_is_deleted(
    one: EtcdAeroCache, late: EtcdAeroCache, kind: Any, remove: Any, value: Any
) -> None:
    one.set("k", value, 600)
    remove(kind(late))
    assert one.get("k") is None
    assert late.get("k") is None


def test_it_is_counted_and_nothing_that_was_cleared(one: EtcdAeroCache, late: EtcdAeroCache, kind: Any) -> None:
    assert kind(late).delete("k") is False
    one.set("k", "new", 600)
    assert kind(late).delete("k") is True


def test_what_is_loaded_meanwhile_is_not_stored(one: EtcdAeroCache, late: EtcdAeroCache) -> None:
    def load() -> str:
        late.delete("k")
        return "loaded"

    assert one.get_or_set("k", load, 600) == "loaded"
    assert one.get("k") is None


ADDING = {
    "add": lambda cache: cache.add("k", "new", 600),
    "nx": lambda cache: cache.set("k", "new", 600, nx=True),
    "add with tags": lambda cache: cache.add("k", "new", 600, tags=["t"]),
    "add with a timeout of 0": lambda cache: cache.add("k", "new", 0),
}


@pytest.mark.parametrize("add", ADDING.values(), ids=ADDING)
def test_of_all_who_add_one_succeeds(one: EtcdAeroCache, late: EtcdAeroCache, kind: Any, add: Any) -> None:
    assert one.add("k", "first", 600) is True
    assert add(kind(late)) is False
    assert one.get("k") == late.get("k") == "first"


@pytest.mark.parametrize("add", list(ADDING.values())[:3], ids=list(ADDING)[:3])
def test_what_is_added_is_seen_by_all(one: EtcdAeroCache, late: EtcdAeroCache, kind: Any, add: Any) -> None:
    assert add(kind(late)) is True
    assert one.get("k") == late.get("k") == "new"
    assert one.add("k", "other", 600) is False


def test_what_it_costs(make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion asks in the call that it makes anyway; ``add()`` makes one small one more."""
    cache = make_cache(STAMP_MAX_AGE=3600)
    cache.set("k", "v")
    seen: Counter[str] = Counter()
    store = cache.get_client()
    inside = False

    def counting(name: str, method: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            if inside:  # what a store does by a method of its own
                return method(*args, **kwargs)
            seen[name] += 1
            inside = True
            try:
                return method(*args, **kwargs)
            finally:
                inside = False

        return counted

    for name in ("get", "get_many", "put", "delete", "delete_many", "put_many"):
        monkeypatch.setattr(store, name, counting(name, getattr(store, name)))

    def calls(call: Any) -> dict[str, int]:
        seen.clear()
        call()
        return dict(seen)

    assert calls(lambda: cache.get("k")) == {"get": 1}
    assert calls(lambda: cache.delete("none")) == {"get_many": 1}
    assert calls(lambda: cache.delete("k")).keys() <= {"get_many", "delete", "put_many"}
    assert seen.total() == 2
    assert calls(lambda: cache.set("l", "v")) == {"put": 1}
    assert calls(lambda: cache.add("m", "v")) == {"get_many": 1, "put": 1}
