"""An Aerospike that is killed, frozen, full, started anew, lets nothing expire, or has a node back with old copies.

Whatever happens: nobody is given the value of another key, and who has logged out is not logged in again.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.sessions.backends.cache import SessionStore

from django_etcdaero.cache import EtcdAeroCache
from django_etcdaero.exceptions import ClusterError, ConfigurationError, DeadlineExceeded, EtcdAeroError, StoreFull
from tests.records.aerospike.line import Line
from tests.records.aerospike.serving import REAL, SET
from tests.records.aerospike.standin import Standin
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(REAL is not None, reason="a real server has no switches for these faults")

NEAR = {"max_entries": 1000, "max_bytes": 1_000_000, "max_age": 600}


@pytest.fixture
def standin() -> Iterator[Standin]:
    with Standin() as standin:
        yield standin


@pytest.fixture
def line(standin: Standin) -> Iterator[Line]:
    with Line((standin.host, standin.port)) as line:
        yield line


Make = Callable[..., EtcdAeroCache]


@pytest.fixture
def make(line: Line) -> Make:
    """Makes caches whose server is reached through ``line``."""

    def make(**options: Any) -> EtcdAeroCache:
        location = f"aerospike://{line.host}:{line.port}/test/{SET}"
        return EtcdAeroCache(location, {"OPTIONS": {"CALL_TIMEOUT": 0.5, "RETRY_INTERVAL": 0.05, **options}})

    return make


def session(cache: EtcdAeroCache, key: str | None = None) -> SessionStore:
    store = SessionStore(key)
    store._cache = cache  # what its constructor takes from CACHES
    return store


def log_in(cache: EtcdAeroCache, user: str) -> SessionStore:
    """Return a session that was stored, and loaded again by a request."""
    new = session(cache)
    new["user"] = user
    new.save()
    loaded = session(cache, new.session_key)
    assert loaded["user"] == user
    return loaded


def is_logged_in(cache: EtcdAeroCache, key: str | None) -> bool:
    return bool(session(cache, key).load())


def wait_for(cache: EtcdAeroCache) -> None:
    """Wait until the store is asked again."""

    def answers() -> bool:
        try:
            cache.set("probe", "answer")
            return bool(cache.get("probe") == "answer")
        except EtcdAeroError:
            return False

    wait_until(answers, what="the store being asked again")


FAULTS = {
    "frozen": (Line.freeze, Line.thaw),
    "killed": (Line.refuse, Line.restore),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_who_logs_out_while_the_store_is_away_is_told_or_logged_out_when_it_is_back(
    make: Make, line: Line, fault: str
) -> None:
    begin, end = FAULTS[fault]
    strict, ignoring = make(), make(IGNORE_EXCEPTIONS=True)
    told, remembered, other = log_in(strict, "a"), log_in(ignoring, "b"), log_in(strict, "c")
    keys = [told.session_key, remembered.session_key, other.session_key]
    begin(line)
    with pytest.raises((ClusterError, DeadlineExceeded)):
        told.flush()
    remembered.flush()
    end(line)
    wait_for(ignoring)
    wait_for(strict)
    assert [is_logged_in(ignoring, key) for key in keys] == [True, False, True]
    assert session(strict, keys[2]).load() == {"user": "c"}


@pytest.mark.parametrize("fault", FAULTS)
def test_nobody_logs_in_while_the_store_is_away(make: Make, line: Line, fault: str) -> None:
    begin, end = FAULTS[fault]
    caches = [make(), make(IGNORE_EXCEPTIONS=True)]
    keys = [log_in(cache, "a").session_key for cache in caches]
    begin(line)
    for cache, key in zip(caches, keys, strict=True):
        with pytest.raises(EtcdAeroError):
            log_in(cache, "b")
        assert not is_logged_in(cache, key)  # Django takes an error for a session that is not there
    end(line)
    for cache, key in zip(caches, keys, strict=True):
        wait_for(cache)
        assert is_logged_in(cache, key)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        pytest.param(lambda cache: cache.delete("k"), None, id="delete"),
        pytest.param(lambda cache: cache.set("k", "new"), None, id="set"),
        pytest.param(lambda cache: cache.touch("k", 0), None, id="touch"),
        pytest.param(lambda cache: cache.clear(), None, id="clear"),
        pytest.param(lambda cache: cache.invalidate_tags("t"), None, id="invalidate_tags"),
        pytest.param(lambda cache: cache.get("other"), "old", id="get"),
    ],
)
def test_a_near_copy_ends_with_what_its_own_process_says_in_an_outage(
    make: Make, line: Line, change: Any, left: Any
) -> None:
    cache = make(IGNORE_EXCEPTIONS=True, NEAR=NEAR, STAMP_MAX_AGE=600, RETRY_INTERVAL=600)
    wait_until(lambda: cache.get("absent") is None and cache._core.entries._notices.following)  # type: ignore[attr-defined]
    cache.set("k", "old", tags=["t"])

    def is_near() -> bool:
        before = cache.stats()["near_hits"]
        return cache.get("k") == "old" and cache.stats()["near_hits"] > before

    wait_until(is_near, what="a near copy")
    line.refuse()
    assert cache.get("other") is None  # it is known to be away
    assert cache.get("k") == "old"
    change(cache)
    assert cache.get("k") == left
    line.restore()


def test_a_server_that_was_started_anew_is_an_empty_cache(make: Make, standin: Standin, line: Line) -> None:
    caches = [make(STAMP_MAX_AGE=0.05), make(STAMP_MAX_AGE=0.05, IGNORE_EXCEPTIONS=True)]
    sessions = [log_in(cache, "a").session_key for cache in caches]
    for cache in caches:
        cache.set_many({f"k{number}": number for number in range(50)})
        cache.set("tagged", 1, tags=["t"])
    line.refuse()
    standin.namespace.forget()
    line.restore()
    for cache, key in zip(caches, sessions, strict=True):
        wait_for(cache)
        assert cache.get_many([f"k{number}" for number in range(50)]) == {}
        assert cache.get("tagged") is None
        assert not is_logged_in(cache, key)
    for cache in caches:
        values = {f"k{number}": -number for number in range(50)}

        def stored(cache: EtcdAeroCache = cache, values: dict[str, int] = values) -> bool:
            cache.set_many(values)
            cache.set("tagged", 2, tags=["t"])
            return cache.get_many([*values, "tagged"]) == values | {"tagged": 2}

        wait_until(stored, what="the stamps of before being forgotten")


def test_a_full_namespace_says_so_and_lets_entries_go(make: Make, standin: Standin) -> None:
    cache = make(STAMP_MAX_AGE=0)
    user, other = log_in(cache, "a"), log_in(cache, "b")
    cache.set_many({"k": "old", "gone": 1})
    cache.set("tagged", 1, tags=["t"])
    key, others = user.session_key, other.session_key
    standin.faults.full = True
    for refused in (cache.set, cache.add):
        with pytest.raises(StoreFull):
            refused("k" if refused == cache.set else "new", "new")
    assert cache.get("k") == "old"
    assert cache.delete("gone")
    user.flush()
    cache.invalidate_tags("t")
    assert cache.get_many(["gone", "tagged"]) == {}
    assert not is_logged_in(cache, key)
    assert is_logged_in(cache, others)
    standin.faults.full = False
    assert not is_logged_in(cache, key)
    cache.set("k", "new")
    assert cache.get("k") == "new"


def test_a_full_namespace_is_not_away_where_errors_are_ignored(
    make: Make, standin: Standin, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make(IGNORE_EXCEPTIONS=True, RETRY_INTERVAL=600, STAMP_MAX_AGE=0)
    cache.set_many({"k": "old", "kept": "kept"})
    user = log_in(cache, "a")
    key = user.session_key
    standin.faults.full = True
    with caplog.at_level(logging.WARNING, "django_etcdaero.cache"):
        cache.set("k", "new")
        cache.set("k2", "new")
    assert [record.message.partition(",")[0] for record in caplog.records] == ["the store of the cache is full"]
    assert cache.get_many(["k", "kept", "k2"]) == {"kept": "kept"}
    user.flush()
    assert not is_logged_in(cache, key)
    standin.faults.full = False
    cache.set("k", "newer")
    assert cache.get("k") == "newer"


def test_a_namespace_in_which_nothing_expires_is_named_and_read(make: Make, standin: Standin) -> None:
    cache = make()
    user = log_in(cache, "a")
    key = user.session_key
    cache.set("k", "old")
    standin.namespace.nsup_period = 0
    for refused in (cache.set, cache.add):
        with pytest.raises(ConfigurationError, match="nsup-period"):
            refused("k2", "new", 60)
    assert cache.get("k") == "old"
    cache.set("lasting", 1, None)
    assert cache.get("lasting") == 1
    user.flush()
    assert not is_logged_in(cache, key)
    standin.namespace.nsup_period = 120
    cache.set("k2", "new", 60)
    assert cache.get("k2") == "new"


def test_a_namespace_in_which_nothing_expires_leaves_nothing_old_where_errors_are_ignored(
    make: Make, standin: Standin, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make(IGNORE_EXCEPTIONS=True)
    cache.set("k", "old")
    standin.namespace.nsup_period = 0
    with caplog.at_level(logging.ERROR, "django_etcdaero.cache"):
        cache.set("k", "new")
    assert "nsup-period" in caplog.text
    assert cache.get("k") is None
    standin.namespace.nsup_period = 120
    wait_for(cache)
    assert cache.get("k") is None
    cache.set("k", "newer")
    assert cache.get("k") == "newer"


def test_a_node_that_comes_back_with_old_copies_brings_nothing_back(make: Make, standin: Standin) -> None:
    cache = make(STAMP_MAX_AGE=0)
    users = [log_in(cache, name) for name in "ab"]
    keys = [user.session_key for user in users]
    cache.set_many({"deleted": "old", "replaced": "old", "kept": "kept"})
    cache.set("tagged", "old", tags=["t"])
    with standin.namespace.lock:
        before = copy.deepcopy(standin.namespace.records)
    users[0].flush()
    cache.delete("deleted")
    cache.set("replaced", "new")
    cache.invalidate_tags("t")
    standin.faults.old_copies = before
    wanted = {"replaced": "new", "kept": "kept"}
    assert {key: value for key in ("deleted", "replaced", "kept", "tagged") if (value := cache.get(key))} == wanted
    assert cache.get_many(["deleted", "replaced", "kept", "tagged"]) == wanted
    assert [is_logged_in(cache, key) for key in keys] == [False, True]


def test_a_counter_that_is_not_there_is_no_error(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    cache = make(IGNORE_EXCEPTIONS=True)
    with pytest.raises(ValueError, match="nothing"):
        cache.incr("nothing")
    assert cache.stats()["errors"] == 0
    assert not caplog.records
