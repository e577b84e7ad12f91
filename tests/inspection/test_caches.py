"""What is known of caches, and a look at entries that leaves no trace."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches

from django_etcdaero.cache.stored_entry import EntryState
from django_etcdaero.exceptions import ClusterError
from django_etcdaero.inspection import caches as inspected
from django_etcdaero.inspection.cache_values import is_pickle, show_entry
from django_etcdaero.inspection.caches import CacheState
from tests.cache.conftest import aerospike_url

pytestmark = pytest.mark.usefixtures("closing")

BACKEND = "django_etcdaero.cache.EtcdAeroCache"

__all__ = ["aerospike_url"]

Configure = Callable[..., Any]


@pytest.fixture
def configure(settings: Any) -> Configure:
    """Lets there be one cache, with these settings; returns it."""

    def configured(
        location: str = "mem:looked-at", *, alias: str = "default", options: Any = None, **params: Any
    ) -> Any:
        entry = {"BACKEND": BACKEND, "LOCATION": location, "OPTIONS": options or {}, **params}
        settings.CACHES = {**getattr(settings, "CACHES", {}), alias: entry}
        return caches[alias]

    settings.CACHES = {}
    return configured


def looked(key: str, version: int | None = None, alias: str = "default") -> Any:
    found = inspected.look_up(alias, key, version, timeout=5)
    assert found.problem is None
    return found.entry


def state(alias: str = "default") -> CacheState:
    found = inspected.read_caches(5, [alias])
    assert found.problems == []
    return found.caches[0]


# --- an entry --------------------------------------------------------------------------------------------------------


def test_an_entry_is_told_in_full(configure: Configure) -> None:
    cache = configure(KEY_PREFIX="shop", VERSION=3)
    cache.set("book", {"title": "Emma"}, 300, tags=("books", "austen"))
    entry = looked("book")
    assert entry.stored_key == "shop:3:book"
    assert entry.state is EntryState.FRESH
    assert (entry.serializer, entry.compressor, entry.records, entry.loading) == ("unsigned-pickle", None, 1, False)
    assert 299 <= entry.expires_in <= 300
    assert entry.tags == {"books": True, "austen": True}
    assert looked("book", version=1) is None
    assert looked("film") is None


def test_an_entry_for_ever_says_so(configure: Configure) -> None:
    configure().set("number", 5, None)
    entry = looked("number")
    assert (entry.expires_in, entry.gone_in, entry.content, entry.serializer) == (None, None, 5, "integer")


def test_an_invalidated_entry_is_seen_as_such(configure: Configure) -> None:
    cache = configure()
    cache.set("a", "x", tags=("t", "u"))
    inspected.invalidate("default", "t")
    assert looked("a").tags == {"t": False, "u": True}
    assert looked("a").state is EntryState.INVALIDATED
    assert cache.get("a") is None

    def fail() -> str:
        raise OSError("the source is away")

    assert looked("a").stands_in
    assert cache.get_or_set("a", fail, stale=60) == "x"


def test_an_expired_entry_that_may_stand_in_says_for_how_long(configure: Configure) -> None:
    cache = configure()
    cache.get_or_set("a", lambda: "x", 0.001, stale=600)
    while cache.get("a") is not None:
        pass
    entry = looked("a")
    assert (entry.state, entry.stands_in) == (EntryState.EXPIRED, True)
    assert entry.expires_in == 0
    assert 500 < entry.gone_in <= 601


def test_a_large_entry_is_read_from_its_parts(configure: Configure) -> None:
    cache = configure(options={"SERIALIZER": "json"})
    cache.set("large", "x" * 3_000_000)
    entry = looked("large")
    assert entry.records > 3
    assert entry.size == len(entry.content) == 3_000_002


def test_what_others_have_written_is_not_shown(configure: Configure) -> None:
    cache = configure("etcdaero:default")
    cache.set("a", "x")
    assert looked("a").signed
    [key] = [key for key, _ in cache.get_client().scan(b"") if b"/cache:e" in key and key.endswith(b"a")]
    record = cache.get_client().get(key)
    cache.get_client().put(key, record.value[:-1] + b"!")
    entry = looked("a")
    assert (entry.state, entry.content) == (EntryState.UNREADABLE, None)
    assert "signature" in entry.why
    cache.get_client().put(key, b"nonsense")
    assert looked("a").state is EntryState.UNREADABLE


def test_an_entry_that_is_being_loaded_says_so(configure: Configure) -> None:
    cache = configure()
    cache.get_or_set("a", lambda: "old", 0.001, stale=600)
    while cache.get("a") is not None:
        pass
    seen: list[bool] = []

    def load() -> str:
        seen.append(looked("a").loading)
        return "new"

    assert cache.get_or_set("a", load, 600, stale=600) == "new"
    assert seen == [True]


def test_looking_leaves_no_trace(configure: Configure) -> None:
    cache = configure(options={"MAX_ENTRIES": 2, "CULL_FREQUENCY": 2})
    assert looked("nothing yet") is None
    assert list(cache.get_client().scan()) == []
    cache.set("old", 1)
    cache.set("new", 2)
    before = cache.stats()
    records = dict(cache.get_client().scan())
    for _ in range(5):
        assert looked("old").content == 1
        assert looked("missing") is None
    assert cache.stats() == before
    assert dict(cache.get_client().scan()) == records
    cache.set("newest", 3)
    assert cache.get("old") is None  # being looked at has not kept it


def test_a_pickle_is_not_unpickled(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    configure().set("a", {"x": 1})

    def refuse(data: bytes) -> Any:
        raise AssertionError("it was unpickled")

    monkeypatch.setattr(pickle, "loads", refuse)
    entry = looked("a")
    value = show_entry(entry)
    assert value is not None
    assert is_pickle(entry)
    assert value.form == "hex"
    assert value.text.startswith("00000000  80 05 ")
    assert value.size == len(entry.content)


@pytest.mark.parametrize(("serializer", "shown"), [("json", '{\n  "ä": [\n    1\n  ]\n}'), ("msgpack", "{'ä': [1]}")])
def test_values_that_run_no_code_are_text(configure: Configure, serializer: str, shown: str) -> None:
    configure(options={"SERIALIZER": serializer, "COMPRESSOR": "zlib", "COMPRESS_MIN_LENGTH": 0}).set("a", {"ä": [1]})
    value = show_entry(looked("a"))
    assert value is not None
    assert (value.form, value.text, value.is_cut) == (serializer, shown, False)
    caches["default"].set("b", "é")
    value = show_entry(looked("b"))
    assert value is not None
    assert "é" in value.text


def test_long_values_are_cut(configure: Configure) -> None:
    configure(options={"SERIALIZER": "json"}).set("a", "x" * 100_000)
    configure(alias="pickles").set("a", "x" * 100_000)
    for alias in ("default", "pickles"):
        value = show_entry(looked("a", alias=alias))
        assert value is not None
        assert value.is_cut
        assert value.size >= 100_000 > len(value.text)


def test_a_number_is_shown(configure: Configure) -> None:
    configure().set("a", 7)
    value = show_entry(looked("a"))
    assert value is not None
    assert value.text == "7"


# --- a cache ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::django.core.cache.CacheKeyWarning")
def test_what_a_cache_does_is_counted_and_what_is_in_it(configure: Configure) -> None:
    cache = configure(KEY_PREFIX="a", TIMEOUT=60)
    other = configure(KEY_PREFIX="b", alias="other")
    cache.set_many({"x": 1, "y": "z", "long" * 500: 3})
    other.set("x", 1)
    before = state()
    cache.get("x")
    cache.get("missing")
    found = state()
    assert found.settings is not None
    assert (found.settings.key_prefix, found.settings.timeout, found.settings.in_process) == ("a", 60, True)
    assert (found.counts["hits"] - before.counts["hits"], found.reads - before.reads) == (1, 2)
    assert found.entries == 3
    assert found.fill.records is not None
    assert found.fill.records >= 6
    assert found.fill.size is not None
    assert (found.away, found.near) == (None, None)
    assert found.cleared_with == ()


def test_caches_that_are_cleared_together_are_named(configure: Configure, settings: Any) -> None:
    configure(KEY_PREFIX="a")
    configure(KEY_PREFIX="a", alias="same", TIMEOUT=5)
    configure(KEY_PREFIX="b", alias="other")
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    settings.SESSION_CACHE_ALIAS = "same"
    assert state().cleared_with == ("same",)
    assert (state().sessions, state("other").sessions) == (True, False)


def test_wrong_settings_are_a_problem_and_the_others_are_read(configure: Configure) -> None:
    configure()
    configure("nonsense:secret@x", alias="wrong")
    found = inspected.read_caches(5)
    assert [each.alias for each in found.caches] == ["default", "wrong"]
    [problem] = found.problems
    assert str(problem).startswith("cache wrong: ConfigurationError: ")
    assert "secret" not in str(problem)
    assert found.caches[1].settings is None
    looked_at = inspected.look_up("wrong", "a", timeout=5)
    assert looked_at.problem is not None


def test_a_store_that_is_away_is_a_problem(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = configure(options={"IGNORE_EXCEPTIONS": True, "RETRY_INTERVAL": 600, "CALL_TIMEOUT": 5.01})

    def fail(*args: Any, **options: Any) -> Any:
        raise ClusterError("no host answers")

    with monkeypatch.context() as patch:
        for name in ("get", "peek", "fill"):
            patch.setattr(cache.get_client(), name, fail)
        assert cache.get("a") is None
        cache.delete("b")
        found = inspected.read_caches(5, ["default"])
        assert [problem.message for problem in found.problems] == ["no host answers"]
        away = found.caches[0].away
        assert away is not None
        assert "no host answers" in away.error
        assert away.deletions == 1
        assert found.caches[0].entries is None
        for act in (
            lambda: inspected.delete("default", "a"),
            lambda: inspected.clear("default"),
            lambda: inspected.invalidate("default", "t"),
        ):
            with pytest.raises(ClusterError):
                act()
        assert inspected.look_up("default", "a", timeout=5).problem is not None


def test_clearing_takes_what_it_says(configure: Configure) -> None:
    cache, other = configure(KEY_PREFIX="a"), configure(KEY_PREFIX="b", alias="other")
    cache.set("x", 1)
    cache.set("x", 2, version=7)
    other.set("x", 3)
    inspected.clear("default")
    assert (cache.get("x"), cache.get("x", version=7), other.get("x")) == (None, None, 3)
    assert state().entries == 0


def test_one_entry_is_deleted(configure: Configure) -> None:
    cache = configure()
    cache.set("x", 1)
    cache.set("x", 2, version=7)
    assert inspected.delete("default", "x", 7)
    assert not inspected.delete("default", "x", 7)
    assert cache.get("x") == 1


# --- other stores ----------------------------------------------------------------------------------------------------


@pytest.mark.etcdaero_real_stores
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "aerospike"])
def test_stores_that_are_shared(
    configure: Configure, request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    location = f"sqlite:///{tmp_path}/c.sqlite3" if kind == "sqlite" else request.getfixturevalue("aerospike_url")()
    cache = configure(location)
    cache.set("a", [1], 300, tags=["t"])
    cache.set("n", 5)
    entry = looked("a")
    assert (entry.state, entry.serializer, entry.signed, entry.tags) == (EntryState.FRESH, "pickle", True, {"t": True})
    found = state()
    assert found.fill.records is not None
    assert found.entries == (2 if kind == "sqlite" else None)
    assert inspected.delete("default", "a")
    gone = looked("a")
    assert gone is None or gone.state is EntryState.DELETED
