"""``etcdaero_cache``: what it prints, asks, and answers when something is in the way."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command

from django_etcdaero.exceptions import ClusterError
from tests.management.running import run, untimed

pytestmark = pytest.mark.usefixtures("kept", "closing")

BACKEND = "django_etcdaero.cache.EtcdAeroCache"


@pytest.fixture
def kept(settings: Any) -> None:
    settings.CACHES = {
        "default": {"BACKEND": BACKEND, "LOCATION": "etcdaero:default", "KEY_PREFIX": "shop"},
        "texts": {"BACKEND": BACKEND, "LOCATION": "mem:texts", "OPTIONS": {"SERIALIZER": "json", "NEAR": {}}},
        "elsewhere": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    caches["default"].set("book", {"title": "Emma"}, 300, tags=["books"])
    caches["texts"].set("page", {"title": "Home"}, 300, version=2)


def refusal(*arguments: str) -> tuple[str, int]:
    with pytest.raises(CommandError) as caught:
        call_command("etcdaero_cache", *arguments, stdout=io.StringIO())
    return str(caught.value), caught.value.returncode


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


def test_statistics_in_words() -> None:
    code, text = run("etcdaero_cache", "stats")
    assert code == 0
    assert "default\n  place: etcdaero:default (mem:)" in text
    assert "key prefix 'shop', version 1, entries live 300 s" in text
    assert "entries: about 1; whole store: " in text
    assert "counted in this process: " in text
    assert "elsewhere" not in text
    assert "texts\n" not in run("etcdaero_cache", "stats", "--alias", "default")[1]


def test_statistics_as_json() -> None:
    document = json.loads(run("etcdaero_cache", "stats", "--alias", "texts", "--json")[1])
    assert document["errors"] == []
    [cache] = document["caches"]
    assert (cache["alias"], cache["settings"]["options"]["SERIALIZER"]) == ("texts", "json")
    assert cache["fill"]["matching"] == 1
    assert cache["near"] == {"entries": 0, "size": 0, "following": False}
    assert cache["counts"]["sets"] >= 1


def test_an_entry_in_words() -> None:
    code, text = run("etcdaero_cache", "get", "page", "--alias", "texts", "--version", "2")
    assert code == 0
    assert "stored as   :2:page\nstate       valid\n" in text
    assert '"title": "Home"' in text
    _, text = run("etcdaero_cache", "get", "book")
    assert "serializer  pickle, signed\ntag         books\nvalue       a pickle, which is not unpickled, " in text
    assert "00000000  80 05" in text


def test_an_entry_as_json() -> None:
    entry = json.loads(run("etcdaero_cache", "get", "book", "--json")[1])["entry"]
    assert (entry["state"], entry["tags"], entry["pickle"]) == ("fresh", {"books": True}, True)
    assert entry["content"]["form"] == "hex"


@pytest.mark.parametrize("act", ["get", "delete"])
def test_what_is_not_there_is_exit_code_1(act: str) -> None:
    assert run("etcdaero_cache", act, "missing") == (1, "")
    code, text = run("etcdaero_cache", act, "missing", "--json")
    assert (code, next(iter(json.loads(text).values()))) == (1, None if act == "get" else False)


def test_an_entry_is_deleted() -> None:
    assert run("etcdaero_cache", "delete", "book") == (0, "deleted: 'book' in the cache default\n")
    assert caches["default"].get("book") is None
    caches["default"].set("book", 1)
    assert json.loads(run("etcdaero_cache", "delete", "book", "--json")[1]) == {"deleted": True}


def test_tags_are_invalidated() -> None:
    code, text = run("etcdaero_cache", "invalidate", "books", "films")
    assert code == 0
    assert "one of the tags “books”, “films”" in text
    assert "key prefix “shop”" in text
    assert caches["default"].get("book") is None


def test_clearing_says_what_it_would_do_and_does_nothing_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    said, code = refusal("clear")
    assert code == 1
    for words in ("“default”", "key prefix “shop”", "There is about 1.", "stay", "Nothing was done: say --yes."):
        assert words in said
    assert caches["default"].has_key("book")


def test_clearing_asks_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda prompt: "no")
    assert refusal("clear") == ("cancelled", 1)
    assert caches["default"].has_key("book")
    monkeypatch.setattr("builtins.input", lambda prompt: "yes")
    code, text = run("etcdaero_cache", "clear")
    assert code == 0
    assert "There is about 1.\n" in text
    assert text.endswith("cleared: the cache default\n")
    assert not caches["default"].has_key("book")


def test_clearing_without_asking() -> None:
    code, text = run("etcdaero_cache", "clear", "--yes", "--alias", "texts", "--json")
    assert code == 0
    assert json.loads(text)["cleared"] == "texts"
    assert (caches["texts"].has_key("page", version=2), caches["default"].has_key("book")) == (False, True)
    assert "without a key prefix" in run("etcdaero_cache", "clear", "--yes", "--alias", "texts")[1]


def test_an_unknown_cache_and_nonsense_are_exit_code_2() -> None:
    for alias in ("missing", "elsewhere"):
        said, code = refusal("get", "a", "--alias", alias)
        assert code == 2
        assert said.endswith("there are: default, texts")
    assert "is too long" in refusal("invalidate", "é" * 2000)[0]
    with pytest.raises(CommandError, match="invalid choice"):
        call_command("etcdaero_cache", "nonsense")
    with pytest.raises(CommandError, match="above 0"):
        call_command("etcdaero_cache", "get", "a", "--timeout", "0")


def test_a_cache_of_this_process_alone_is_told() -> None:
    errors = io.StringIO()
    call_command("etcdaero_cache", "get", "page", "--alias", "texts", "--version", "2", stdout=errors, stderr=errors)
    assert "in the memory of each process" in errors.getvalue()


def test_a_store_that_is_away_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise ClusterError("no host answers")

    store = caches["default"].get_client()
    for name in ("peek", "fill", "get", "get_many", "put", "exists"):
        monkeypatch.setattr(store, name, fail)
    for arguments in (("get", "a"), ("delete", "a"), ("clear", "--yes"), ("invalidate", "t")):
        said, code = refusal(*arguments)
        assert code == 1
        assert untimed(said).endswith("ClusterError: no host answers")
    code, text = run("etcdaero_cache", "stats")
    assert code == 1
    assert "cache default: ClusterError: no host answers" in text
    assert "texts" in text
