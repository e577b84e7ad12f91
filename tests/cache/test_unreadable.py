"""Entries that cannot be read: how they are counted, and what is logged of them."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest
from django.test import override_settings

from django_etcdaero.cache.counters import Counters
from django_etcdaero.cache.unreadable import INTERVAL, Unreadable
from tests.cache.conftest import MakeCache


class Pickle:
    """Of the project: signed wherever it is used."""

    dumps = staticmethod(pickle.dumps)
    loads = staticmethod(pickle.loads)


def coded(key: str, prefix: str, version: int) -> str:
    return f"coded-{key}"


@pytest.mark.parametrize(
    ("params", "told"),
    [({"KEY_PREFIX": "shop"}, "'a:b 0'"), ({"VERSION": 7}, "'a:b 0'"), ({"KEY_FUNCTION": coded}, "'coded-a:b 0'")],
    ids=["prefix", "version", "key function"],
)
@pytest.mark.filterwarnings("ignore::django.core.cache.backends.base.CacheKeyWarning")
def test_the_first_is_told_with_the_key_that_users_know(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture, params: Any, told: str
) -> None:
    cache = make_cache(params, SERIALIZER=Pickle())
    with override_settings(SECRET_KEY="old"):
        cache.set_many({f"a:b {number}": "v" for number in range(10)})
    before = cache.stats()["unreadable"]
    with caplog.at_level(logging.WARNING, "django_etcdaero.cache"):
        for number in range(10):
            assert cache.get(f"a:b {number}") is None
            assert cache.get_or_set(f"a:b {number}", lambda: "new", 60) == "new"
    [message] = [record.getMessage() for record in caplog.records]
    assert told in message
    assert "cannot be read" in message
    assert "b'" not in message
    assert cache.stats()["unreadable"] >= before + 20


def test_a_message_a_minute_with_how_many_there_were(caplog: pytest.LogCaptureFixture) -> None:
    now = [1000.0]
    counters = Counters()
    unreadable = Unreadable(counters, str.upper, clock=lambda: now[0])
    with caplog.at_level(logging.WARNING, "django_etcdaero.cache"):
        for _ in range(50):
            unreadable.add("k", "why")
        now[0] += INTERVAL - 0.1
        unreadable.add("k", "why")
        assert [record.getMessage() for record in caplog.records] == [
            "an entry that cannot be read counts as missing: 'K': why"
        ]
        now[0] += 0.1
        unreadable.add("l", "why not")
        assert caplog.records[-1].getMessage().endswith("'L': why not (and 50 more since the last message)")
        now[0] += INTERVAL
        unreadable.add("m", "why")
        assert caplog.records[-1].getMessage().endswith("'M': why")
    assert len(caplog.records) == 3
    assert counters.unreadable == 53


def test_a_function_of_the_project_that_fails_shows_the_key_as_it_is_stored(caplog: pytest.LogCaptureFixture) -> None:
    def failing(key: str) -> str:
        raise KeyError(key)

    with caplog.at_level(logging.WARNING, "django_etcdaero.cache"):
        Unreadable(Counters(), failing).add("stored", "why")
    assert "'stored': why" in caplog.text
