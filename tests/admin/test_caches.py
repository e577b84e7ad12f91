"""The section of caches: what is told, a look at an entry, and what makes entries go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import caches
from django.test import Client

from django_etcdaero.exceptions import ClusterError
from django_etcdaero.inspection import caches as inspected
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("caches_kept", "closing")

LIST = "/admin/django_etcdaero/cache/"
PAGE = f"{LIST}default/change/"
Staff = Callable[..., Client]


def text(answer: Any) -> str:
    content: str = answer.content.decode()
    return content


@pytest.fixture
def entry() -> None:
    caches["default"].set("book", {"title": "Emma"}, 300, tags=["books"])
    caches["texts"].set("page", {"title": "Landing"}, 300)


def test_the_list_has_the_caches_of_this_package(staff: Staff, entry: None) -> None:
    listed = text(staff("view_cache").get(LIST))
    for alias in ("default", "texts", "again"):
        assert f"{LIST}{alias}/change/" in listed
    assert "elsewhere" not in listed
    assert "mem:pages" in listed


def test_a_page_tells_what_is_set_and_whose_counts_these_are(staff: Staff, entry: None) -> None:
    page = text(staff("view_cache").get(f"{LIST}texts/change/"))
    for words in ("about 1, of all versions", "COMPRESSOR", "What this process has counted", "in the memory of each"):
        assert words in page
    assert "again" in text(staff("view_cache").get(PAGE))  # of the same place and key prefix


def test_an_entry_is_found_and_its_value_takes_a_permission(staff: Staff, entry: None) -> None:
    page = text(staff("view_cache").get(f"{LIST}texts/change/", {"key": "page"}))
    assert "texts:1:page" in page
    assert "Landing" not in page
    assert "takes the permission" in page
    assert "delete-entry" not in page
    assert "Landing" in text(staff("view_cache", "reveal_entry").get(f"{LIST}texts/change/", {"key": "page"}))


def test_a_pickle_is_shown_as_bytes(staff: Staff, entry: None) -> None:
    page = text(staff("view_cache", "reveal_entry").get(PAGE, {"key": "book"}))
    assert "A pickle is not unpickled here" in page
    assert "00000000  80 05" in page


def test_looking_counts_nothing(staff: Staff, entry: None) -> None:
    before = caches["default"].stats()
    client = staff("view_cache", "reveal_entry", "delete_entry")
    for key in ("book", "missing", " ", "a b\n"):
        assert client.get(PAGE, {"key": key}).status_code == 200
    client.get(f"{LIST}default/delete-entry/", {"key": "book"})
    assert caches["default"].stats() == before


def test_a_key_that_cannot_be_says_so(staff: Staff) -> None:
    client = staff("view_cache")
    assert "There is no such entry" in text(client.get(PAGE, {"key": "missing"}))
    assert "This field is required" in text(client.get(PAGE, {"key": ""}))
    assert "Enter a whole number" in text(client.get(PAGE, {"key": "a", "version": "new"}))


def test_an_entry_is_deleted_when_it_was_named_and_confirmed(staff: Staff, entry: None) -> None:
    client = staff("view_cache", "delete_entry")
    asked = client.get(f"{LIST}default/delete-entry/", {"key": "book"})
    assert "“book” of version 1" in text(asked)
    assert "shop:1:book" in text(asked)
    assert caches["default"].get("book") is not None
    answer = client.post(f"{LIST}default/delete-entry/", {"key": "book"}, follow=True)
    assert answer.redirect_chain == [(PAGE, 302)]
    assert "The entry “book” was deleted." in text(answer)
    assert caches["default"].get("book") is None
    assert "book" in LogEntry.objects.get().get_change_message()


def test_another_version_is_another_entry(staff: Staff, entry: None) -> None:
    caches["default"].set("book", 1, version=2)
    client = staff("view_cache", "delete_entry")
    answer = client.post(f"{LIST}default/delete-entry/", {"key": "book", "version": "2"}, follow=True)
    assert "Version 2." in text(answer)
    assert (caches["default"].get("book", version=2), caches["default"].has_key("book")) == (None, True)


def test_a_tag_is_invalidated(staff: Staff, entry: None) -> None:
    client = staff("view_cache", "delete_entry")
    address = f"{LIST}default/invalidate-tag/"
    asked = text(client.get(address, {"tag": "books"}))
    assert "with the tag “books”" in asked
    assert "“shop”" in asked
    client.post(address, {"tag": "books"})
    assert caches["default"].get("book") is None
    assert "invalidated by a tag" in text(client.get(PAGE, {"key": "book"}))
    assert "books" in LogEntry.objects.get().get_change_message()
    assert client.post(address, {}).status_code == 200
    assert LogEntry.objects.count() == 1
    refused = client.post(address, {"tag": "é" * 999})
    assert (refused.status_code, "is too long" in text(refused)) == (409, True)


def test_clearing_names_its_scope_and_wants_the_name(staff: Staff, entry: None, settings: Any) -> None:
    settings.SESSION_CACHE_ALIAS = "again"
    client = staff("view_cache", "clear_cache")
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    question = inspected_words("default")
    for words in (
        "All entries of the cache “default”", "key prefix “shop”", "mem:pages", "There is about 1.", "again",
        "everybody is logged out", "only those of this one", "all else in the store, stay",
    ):  # fmt: skip
        assert words in question
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    address = f"{LIST}default/clear/"
    assert "key prefix “shop”" in text(client.get(address))
    assert "This is not the name" in text(client.post(address, {"name": "texts"}))
    assert caches["default"].has_key("book")
    client.post(address, {"name": "default"})
    assert not caches["default"].has_key("book")
    assert caches["texts"].has_key("page")
    assert "The cache was cleared: " in LogEntry.objects.get().get_change_message()


def inspected_words(alias: str) -> str:
    from django_etcdaero.management.cache_words import scope_of_clear

    return " ".join(scope_of_clear(inspected.read_caches(5, [alias]).caches[0]))


def test_a_page_is_whole_when_the_store_is_away(root: Client, entry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise ClusterError("no host answers")

    store = caches["texts"].get_client()
    for name in ("get", "peek", "fill", "put", "exists", "get_many", "delete_many"):
        monkeypatch.setattr(store, name, fail)
    for address in (LIST, PAGE, f"{PAGE}?key=book", f"{LIST}default/clear/", f"{LIST}default/delete-entry/?key=book"):
        answer = root.get(address)
        assert answer.status_code == 200
        assert "cache default: ClusterError: no host answers" in text(answer)
    answer = root.post(f"{LIST}default/delete-entry/", {"key": "book"})
    assert answer.status_code == 503
    assert "no host answers" in LogEntry.objects.get().get_change_message()


def test_an_outage_is_told_with_what_is_to_be_repeated(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise ClusterError("no host answers")

    cache = caches["texts"]  # which ignores errors
    with monkeypatch.context() as patch:
        for name in ("get", "get_many", "exists", "peek"):
            patch.setattr(cache.get_client(), name, fail)
        assert cache.get("page") is None
        cache.delete("page")
        page = text(staff("view_cache").get(f"{LIST}texts/change/"))
        assert "The store is away since" in page
        assert "1 deletion, 0 times everything" in page
        assert "away</td>" in text(staff("view_cache").get(LIST))
    wait_until(lambda: cache.get("page") is None and inspected.read_caches(5, ["texts"]).caches[0].away is None)


def test_a_near_cache_is_told(staff: Staff, settings: Any) -> None:
    near = {**settings.CACHES["texts"], "OPTIONS": {"NEAR": {"max_entries": 5}}}
    settings.CACHES = {**settings.CACHES, "near": near}
    caches["near"].set("a", "b")
    client = staff("view_cache")

    def told() -> bool:
        assert caches["near"].get("a") == "b"  # what is held is dropped when the first notices come in
        return "1 entry, " in text(client.get(f"{LIST}near/change/"))

    wait_until(told)


def test_wrong_settings_are_told_without_passwords(root: Client, settings: Any) -> None:
    wrong = {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": "nonsense://user:secret@host/"}
    settings.CACHES = {**settings.CACHES, "wrong": wrong}
    for address in (LIST, f"{LIST}wrong/change/", f"{LIST}wrong/clear/", f"{LIST}wrong/invalidate-tag/?tag=x"):
        answer = root.get(address)
        assert answer.status_code == 200
        assert "cache wrong: ConfigurationError" in text(answer)
        assert "secret" not in text(answer)
