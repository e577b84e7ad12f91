"""Sessions in a cache, alone and before the database: nobody who has logged out is back."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

import pytest
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.models import Session

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.exceptions import ClusterError, InvalidRequest
from tests.cache.conftest import MakeCache
from tests.waiting import wait_until

ENGINES = ["cache", "cached_db"]

pytestmark = pytest.mark.django_db


class Site:
    """Processes that serve one site: each knows sessions by a cache of its own, at one location."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self._store: Any = import_module(f"django.contrib.sessions.backends.{engine}").SessionStore

    def session(self, cache: EtcdAeroCache, key: str | None = None) -> SessionBase:
        session = self._store(key)
        session._cache = cache
        return session  # type: ignore[no-any-return]


@pytest.fixture(params=ENGINES)
def site(request: pytest.FixtureRequest) -> Site:
    return Site(request.param)


def logged_in(site: Site, cache: EtcdAeroCache) -> str:
    session = site.session(cache)
    session["user"] = "ada"
    session.save(must_create=True)
    assert session.session_key is not None
    return session.session_key


def test_a_session_is_seen_by_all_until_it_is_flushed(site: Site, make_cache: MakeCache, elsewhere: MakeCache) -> None:
    one, other = make_cache(), elsewhere()
    key = logged_in(site, one)
    assert site.session(other, key)["user"] == "ada"
    changed = site.session(other, key)
    changed["cart"] = [1, 2]
    changed.save()
    assert site.session(one, key)["cart"] == [1, 2]
    site.session(other, key).flush()
    for cache in (one, other):
        assert site.session(cache, key).get("user") is None
    late = site.session(one, key)
    late._session_cache = {"user": "ada"}  # a request that had loaded it before
    with pytest.raises(UpdateError):
        late.save()
    assert site.session(other, key).get("user") is None


def test_who_logs_out_after_the_clear_of_another_process_stays_out(
    site: Site, make_cache: MakeCache, elsewhere: MakeCache
) -> None:
    one, late = make_cache(), elsewhere(STAMP_MAX_AGE=3600)
    late.set("k", "v")  # it knows the generation of before
    one.clear()
    key = logged_in(site, one)
    site.session(late, key).flush()
    assert site.session(one, key).get("user") is None
    assert site.session(late, key).get("user") is None


def test_a_new_key_is_made_when_a_session_is_cycled(site: Site, make_cache: MakeCache) -> None:
    cache = make_cache()
    key = logged_in(site, cache)
    session = site.session(cache, key)
    session.cycle_key()
    assert session.session_key != key
    assert site.session(cache, session.session_key)["user"] == "ada"
    assert site.session(cache, key).get("user") is None


def test_in_an_event_loop(site: Site, cache: EtcdAeroCache, location: str, transactional_db: None) -> None:
    if site.engine == "cached_db" and location.startswith("db:"):
        with pytest.raises(
            InvalidRequest, match="in an event loop"
        ):  # Django asks whether a key is in use as it should not
            asyncio.run(site.session(cache).asave(must_create=True))
        return

    async def main() -> None:
        session = site.session(cache)
        await session.aset("user", "ada")
        await session.asave(must_create=True)
        assert await site.session(cache, session.session_key).aget("user") == "ada"
        key = session.session_key
        await session.aflush()
        assert await site.session(cache, key).aget("user") is None

    asyncio.run(main())


def test_the_database_serves_while_the_store_is_away(make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site("cached_db")
    cache = make_cache(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=0.02)
    key = logged_in(site, cache)

    def away(*args: Any, **kwargs: Any) -> Any:
        raise ClusterError("away")

    with monkeypatch.context() as patch:
        for name in ("value", "put", "delete", "get"):
            patch.setattr(cache._core.entries, name, away)
        session = site.session(cache, key)
        assert session["user"] == "ada"
        session["user"] = "eve"
        session.save()
        assert site.session(cache, key)["user"] == "eve"
        site.session(cache, key).flush()
    assert Session.objects.count() == 0
    # What was in the cache before is not there when the store is back.
    wait_until(
        lambda: cache.get("probe", "none") == "none" and not cache._core.outage.away, what="the store being back"
    )
    assert site.session(cache, key).get("user") is None
