"""The pages of keys: tree, search, values and who sees them, as of a revision, writing, deleting, restoring."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.db import DatabaseError
from django.test import Client, override_settings

from django_etcdaero import kv
from django_etcdaero.inspection.key_text import key_text
from django_etcdaero.keyvalue.values import PutRequest, TxnRequest

from .strict_policy import complaints

LIST = "/admin/django_etcdaero/key/"
SECRET = "s3cr3t-value"
ODD = [
    b"html/<script>alert(1)</script>\"'&",
    b"nul/a\0b",
    "rtl/a\u202egnp.exe".encode(),
    b"bytes/\xff\xfe\x80",
    b"back\\slash",
    b"dots/../..",
    b" space ",
    b"query?a=b#c%2F_2F",
    b"//",
    b"new",
    "Zürich/東京".encode(),
]
pytestmark = pytest.mark.usefixtures("empty")


@pytest.fixture
def empty(closing: None) -> Iterator[None]:
    kv.delete_range("", prefix=True, everything=True)
    yield
    kv.delete_range("", prefix=True, everything=True)


def page_of(key: bytes | str, name: str = "change") -> str:
    text = key_text(key.encode() if isinstance(key, str) else key)
    return f"{LIST}{quote(f'default/{text}')}/{name}/"


def text_of(answer: Any) -> str:
    return unescape(answer.content.decode())


def test_the_tree_in_the_browser(root: Client) -> None:
    for key in ("a/1", "a/2/x", "b"):
        kv.put(key, SECRET)
    answer = root.get(LIST)
    assert 'aria-expanded="false"' in text_of(answer)
    assert "2 keys" in text_of(answer)
    assert SECRET not in text_of(answer)
    (link,) = re.findall(r'href="(\?alias=default[^"]*under=a%2F[^"]*)" aria-expanded', text_of(answer))
    level = text_of(root.get(LIST + link))
    assert re.findall(r"<li class=\"(\w+)\"><a [^>]*><bdi>([^<]*)", level) == [("key", "1"), ("folder", "2/")]


def test_a_level_in_pages(root: Client) -> None:
    kv.txn_run(TxnRequest(success=[PutRequest(b"k%03d" % number, b"") for number in range(120)]))
    first = text_of(root.get(LIST))
    assert first.count('class="key"') == 100
    (link,) = re.findall(r'<li class="more"><a href="([^"]*)"', first)
    second = text_of(root.get(LIST + link))
    assert second.count('class="key"') == 20
    assert "k119" in second
    assert 'class="more"' not in second


def test_a_search_by_the_beginning(root: Client) -> None:
    for key in ("price", "prices/eu/1", "other"):
        kv.put(key, "1")
    found = text_of(root.get(LIST, {"q": "pric"}))
    assert "prices/eu/1" in found
    assert "other" not in found


@pytest.mark.parametrize("key", ODD)
def test_any_key_can_be_listed_opened_and_written(key: bytes, root: Client) -> None:
    kv.put(key, "before")
    folder = key[: key.rfind(b"/") + 1]
    listed = root.get(LIST, {"under": key_text(folder)})
    links = [unescape(each) for each in re.findall(r'href="(/admin[^"]*/change/)"', listed.content.decode())]
    assert len(links) == 1
    page = root.get(links[0])
    assert page.status_code == 200
    assert "before" in text_of(page)
    for answer in (listed, page):
        assert complaints(answer.content.decode()) == []
        assert "\u202e" not in answer.content.decode()
        assert "\0" not in answer.content.decode()
    edit = links[0].replace("/change/", "/edit/")
    seen = kv.get(key)
    assert seen is not None
    data = {"form": "text", "value": "after", "seen": seen.mod_revision}
    assert root.post(edit, {**data, "save": "1"}).status_code == 302
    after = kv.get(key)
    assert after is not None
    assert after.value == b"after"


@pytest.mark.parametrize(
    "value", [b"\xff" * 1_000_000, b"x" * 1_000_000, b"<script>alert(1)</script>", b"\0\x1b[0m", b"[" * 9000, b""]
)
def test_any_value_is_shown_escaped_and_bounded(value: bytes, root: Client) -> None:
    kv.put("a", value)
    kv.put("a", value + b"!")
    for name in ("change", "versions", "edit", "compare"):
        answer = root.get(page_of("a", name))
        assert answer.status_code == 200
        limit = 1_100_000 if name == "edit" else 200_000
        assert len(answer.content) < limit
        assert complaints(answer.content.decode()) == []
        assert b"\x1b" not in answer.content


def test_names_that_are_too_long_for_an_address_are_shown_cut(root: Client) -> None:
    for number in range(3):
        kv.put(f"{number}" + "x" * 100_000, "1")
        kv.put(f"{number}" + "y" * 100_000 + "/a", "1")
    page = root.get(LIST)
    assert len(page.content) < 50_000
    assert text_of(page).count("…</bdi>") == 6
    assert "x" * 400 not in text_of(page)


def test_a_value_in_the_form_that_is_asked_for(root: Client) -> None:
    kv.put("a", json.dumps({"price": 12}))
    assert '{\n  "price": 12\n}' in text_of(root.get(page_of("a")))
    assert "7b 22" in text_of(root.get(page_of("a"), {"form": "hex"}))


def test_facts_of_a_key(root: Client) -> None:
    lease = kv.lease(60, keep_alive=False)
    kv.put("a", "1", lease=lease)
    page = text_of(root.get(page_of("a")))
    assert f"{lease.id:x}" in page
    assert "of 60 s left" in page
    assert "etcdaero_get a" in page
    assert "kv.get('a')" in page


def test_no_value_without_the_permission(staff: Callable[..., Client], root: Client) -> None:
    """On no page: list, key, versions, comparison, what is asked before acts, conflicts, history."""
    first = kv.put("a", SECRET + "1").revision
    kv.put("a", SECRET + "2")
    kv.put("gone", SECRET)
    gone = kv.delete("gone").revision
    client = staff("view_key", "change_key", "delete_key")
    seen = kv.get("a")
    assert seen is not None
    pages = [
        client.get(LIST),
        client.get(LIST, {"q": "a"}),
        client.get(LIST + "deleted/"),
        client.get(page_of("a")),
        client.get(page_of("a"), {"form": "hex", "revision": first}),
        client.get(page_of("a", "versions")),
        client.get(page_of("gone", "versions")),
        client.get(page_of("a", "compare"), {"a": first, "b": seen.mod_revision}),
        client.get(page_of("a", "edit")),
        client.get(page_of("a", "remove")),
        client.get(page_of("a", "restore"), {"revision": first}),
        client.get(page_of("gone", "restore"), {"revision": gone - 1}),
        client.post(page_of("a", "edit"), {"form": "text", "value": "new", "seen": seen.mod_revision}),
        client.post(page_of("a", "edit"), {"form": "text", "value": "new", "seen": first, "save": "1"}),
        client.post(page_of("a", "edit"), {"form": "text", "value": "new", "seen": seen.mod_revision, "save": "1"}),
        client.post(page_of("gone", "restore") + f"?revision={gone - 1}", {"seen": 0}, follow=True),
        client.get(page_of("a", "history")),
    ]
    for page in pages:
        assert page.status_code in (200, 302, 409), page
        assert "s3cr3t" not in text_of(page)
        assert b"73 33 63" not in page.content
    assert not any("s3cr3t" in entry.get_change_message() for entry in LogEntry.objects.all())
    after = kv.get("a")
    assert after is not None
    assert after.value == b"new"
    assert SECRET in text_of(root.get(page_of("gone")))


def test_the_tree_as_of_a_revision(root: Client) -> None:
    then = kv.put("old", "1").revision
    kv.delete("old")
    kv.put("fresh", "1")
    page = text_of(root.get(LIST, {"revision": then}))
    assert "old" in page
    assert "fresh" not in page
    assert f"As of revision {then}" in page
    assert "history" in page
    (link,) = re.findall(r'href="([^"]*/change/\?revision=\d+)"', page)
    assert root.get(link).status_code == 200


def test_a_revision_that_cannot_be_read(root: Client) -> None:
    first = kv.put("a", "1").revision
    last = kv.put("a", "2").revision
    kv.open_engine().compact(last)
    assert f"Revision {first} cannot be read" in text_of(root.get(LIST, {"revision": first}))
    assert "compacted" in text_of(root.get(page_of("a"), {"revision": first}))
    assert f"reaches back to revision {last}" in text_of(root.get(LIST))
    assert f"Revision {last + 9} cannot be read" in text_of(root.get(LIST, {"revision": last + 9}))
    assert "Revision: “x” is no number" in text_of(root.get(LIST, {"revision": "x"}))
    assert "is no date" in text_of(root.get(LIST, {"time": "yesterday"}))
    assert root.get(LIST, {"under": "\\", "start": "\\q", "revision": "9" * 30, "alias": "none"}).status_code == 200


def test_the_tree_as_of_a_time(root: Client) -> None:
    """By what says of itself when it was written."""
    hour = time.time() - 3600
    kv.put("loads/cities/s1", json.dumps({"load_started": hour, "noted_after": 1.0}))
    kv.put("after", "1")
    asked = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(hour + 60))
    page = text_of(root.get(LIST, {"time": asked}))
    assert "<bdi>loads/</bdi>" in page
    assert "<bdi>after</bdi>" not in page
    assert "may have been there or not" in page
    early = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(hour - 60))
    assert "nothing is known" in text_of(root.get(LIST, {"time": early})).lower()


def test_a_key_as_of_a_time(root: Client) -> None:
    hour = time.time() - 3600
    kv.put("a", "before")
    kv.put("loads/cities/s1", json.dumps({"load_started": hour, "noted_after": 1.0}))
    kv.put("a", "after")
    asked = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(hour + 60))
    page = text_of(root.get(page_of("a"), {"time": asked}))
    assert "before" in page.split("etcdaero-value")[1]
    assert "may have been there or not" in page
    early = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(hour - 7 * 24 * 3600))
    page = text_of(root.get(page_of("a"), {"time": early}))
    assert "etcdaero-value" in page or "cannot be read" in page
    assert "is no date" in text_of(root.get(page_of("a"), {"time": "noon"}))


def test_what_was_deleted_long_ago_is_told_to_be_left_out(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    kv.put("a", "1")
    kv.delete("a")
    last = [kv.put("b", "1").revision for _ in range(5)][-1]
    monkeypatch.setattr("django_etcdaero.inspection.key_history.WINDOWS", (2,))
    page = text_of(root.get(LIST + "deleted/"))
    assert f"All deletions since revision {last - 1} are here" in page
    assert "No deleted key can be read" in page


def test_adding_a_key(root: Client) -> None:
    data = {"key": "prices/1", "form": "text", "value": "12", "comment": "asked for by Ada", "seen": 0}
    preview = root.post(LIST + "new/", data)
    assert preview.status_code == 200
    assert kv.get("prices/1") is None
    answer = root.post(LIST + "new/", {**data, "save": "1"}, follow=True)
    found = kv.get("prices/1")
    assert found is not None
    assert found.value == b"12"
    assert answer.redirect_chain[-1][0] == page_of("prices/1")
    assert "asked for by Ada" in LogEntry.objects.get().get_change_message()
    assert "asked for by Ada" in text_of(root.get(page_of("prices/1", "history")))


def test_a_key_that_exists_is_not_added_over(root: Client) -> None:
    kv.put("a", "there")
    answer = root.post(LIST + "new/", {"key": "a", "form": "text", "value": "mine", "seen": 0, "save": "1"})
    assert answer.status_code == 409
    assert "exists by now" in text_of(answer)
    found = kv.get("a")
    assert found is not None
    assert found.value == b"there"


def test_a_value_in_hexadecimal_and_one_that_is_none(root: Client) -> None:
    data = {"key": r"b\xff", "form": "hex", "value": "ff 00\r\n0D", "seen": 0, "save": "1"}
    assert root.post(LIST + "new/", data).status_code == 302
    found = kv.get(b"b\xff")
    assert found is not None
    assert found.value == b"\xff\0\r"
    assert "hexadecimal" in text_of(root.post(LIST + "new/", {**data, "value": "xyz"}))
    assert "backslash" in text_of(root.post(LIST + "new/", {**data, "key": "\\"}))
    assert root.post(page_of(b"b\xff", "edit"), {**data, "seen": "x"}).status_code == 200


def test_a_difference_is_shown_before_it_is_saved(root: Client) -> None:
    kv.put("a", json.dumps({"price": 12, "name": "tea"}), lease=kv.lease(60, keep_alive=False))
    seen = kv.get("a")
    assert seen is not None
    form = text_of(root.get(page_of("a", "edit")))
    assert '"price": 12' in form
    new = json.dumps({"price": 13, "name": "tea"})
    data = {"form": "text", "value": new, "comment": "dearer", "seen": seen.mod_revision}
    preview = text_of(root.post(page_of("a", "edit"), data))
    assert re.search(r'class="changed".*"price": 12.*"price": 13', preview, re.DOTALL)
    assert kv.get("a") == seen
    assert root.post(page_of("a", "edit"), {**data, "save": "1"}).status_code == 302
    after = kv.get("a")
    assert after is not None
    assert (after.value, after.version, after.lease) == (new.encode(), 2, seen.lease)
    entry = LogEntry.objects.get()
    assert entry.get_change_message().endswith("dearer")
    assert "tea" not in entry.get_change_message()


def test_who_loses_the_race_sees_all_three_values(root: Client) -> None:
    seen = kv.put("a", "what was seen").revision
    there = kv.put("a", "what is there").revision
    data = {"form": "text", "value": "what was meant", "seen": seen, "save": "1"}
    answer = root.post(page_of("a", "edit"), data)
    assert answer.status_code == 409
    for words in ("what was seen", "what is there", "what was meant"):
        assert words in text_of(answer)
    assert f'name="seen" value="{there}"' in text_of(answer)
    found = kv.get("a")
    assert found is not None
    assert found.value == b"what is there"
    assert not LogEntry.objects.exists()
    assert root.post(page_of("a", "edit"), {**data, "seen": there}).status_code == 302


def test_a_key_that_went_meanwhile_is_written_anew_only_when_said_again(root: Client) -> None:
    seen = kv.put("a", "1").revision
    kv.delete("a")
    answer = root.post(page_of("a", "edit"), {"form": "text", "value": "2", "seen": seen, "save": "1"})
    assert answer.status_code == 409
    assert "deleted while you wrote" in text_of(answer)
    assert kv.get("a") is None


def test_deleting_what_was_seen(root: Client) -> None:
    first = kv.put("prices/1", "1").revision
    asked = text_of(root.get(page_of("prices/1", "remove")))
    assert f'value="{first}"' in asked
    second = kv.put("prices/1", "2").revision
    answer = root.post(page_of("prices/1", "remove"), {"seen": first})
    assert answer.status_code == 409
    assert "changed meanwhile" in text_of(answer)
    assert kv.get("prices/1") is not None
    answer = root.post(page_of("prices/1", "remove"), {"seen": second, "comment": "old"})
    assert answer["Location"] == f"{LIST}?alias=default&under=prices%2F"
    assert kv.get("prices/1") is None
    assert "old" in text_of(root.get(page_of("prices/1", "history")))
    missing = root.get(page_of("prices/1"))
    assert missing.status_code == 404
    assert "There is no key" in text_of(missing)


def test_a_deleted_key_is_found_and_restored(root: Client) -> None:
    kv.put("a", "first")
    kv.put("a", "second")
    gone = kv.delete("a").revision
    listed = text_of(root.get(LIST + "deleted/"))
    (link,) = re.findall(r'href="([^"]*/restore/\?revision=\d+)"', listed)
    assert "second" in text_of(root.get(link))
    assert kv.get("a") is None
    answer = root.post(link, {"seen": 0, "comment": "was needed"}, follow=True)
    assert "was needed" in text_of(answer)
    found = kv.get("a")
    assert found is not None
    assert (found.value, found.version) == (b"second", 1)
    assert "No deleted key" in text_of(root.get(LIST + "deleted/"))
    versions = text_of(root.get(page_of("a", "versions")))
    assert f"Deleted with revision {gone}" in versions
    earlier = text_of(root.get(page_of("a", "versions"), {"revision": gone - 1}))
    assert "first" in earlier
    assert f"deleted with {gone}" in earlier


def test_a_restore_never_overwrites(root: Client) -> None:
    kv.put("a", "old")
    gone = kv.delete("a").revision
    kv.put("a", "created by somebody else")
    answer = root.post(page_of("a", "restore") + f"?revision={gone - 1}", {"seen": 0})
    assert answer.status_code == 409
    assert "exists by now" in text_of(answer)
    found = kv.get("a")
    assert found is not None
    assert found.value == b"created by somebody else"


def test_restoring_what_is_there_is_not_offered(root: Client) -> None:
    first = kv.put("a", "same").revision
    seen = kv.put("a", "same").revision
    answer = root.get(page_of("a", "restore"), {"revision": first})
    assert "has this value now" in text_of(answer)
    root.post(page_of("a", "restore") + f"?revision={first}", {"seen": seen})
    found = kv.get("a")
    assert found is not None
    assert found.mod_revision == seen


def test_two_versions_beside_each_other(root: Client) -> None:
    first = kv.put("a", "one\ntwo").revision
    second = kv.put("a", "one\n<three>").revision
    page = root.get(page_of("a", "compare"), {"a": first, "b": second})
    assert "&lt;three&gt;" in page.content.decode()
    assert f"revision {first}" in text_of(page)
    assert "Choose two versions" in text_of(root.get(page_of("a", "compare"), {"a": 10**17, "b": "x"}))


@pytest.mark.parametrize("key", ["datasets/cities/s1/pin", "announcements/x/s1", "processes/p", "caches/c"])
def test_keys_of_the_package_are_shown_and_not_changed(key: str, root: Client) -> None:
    kv.put(key, "1")
    seen = kv.get(key)
    assert seen is not None
    assert "belongs to the package" in text_of(root.get(page_of(key)))
    data = {"seen": seen.mod_revision, "form": "text", "value": "x", "save": "1", "key": key}
    for address in (page_of(key, "edit"), page_of(key, "remove"), LIST + "new/"):
        assert "belongs to the package" in text_of(root.post(address, data))
    assert kv.get(key) == seen


def test_a_place_in_a_queue_is_not_deleted(root: Client) -> None:
    lock = kv.lock("jobs")
    with lock:
        (place,) = kv.range("jobs/", prefix=True).kvs
        page = text_of(root.post(page_of(place.key, "remove"), {"seen": place.mod_revision}))
        assert "released on its own page" in page.replace("\n", " ")
        assert kv.get(place.key) is not None


def test_keys_outside_the_prefix_only_by_the_setting(root: Client, settings: Any) -> None:
    kv.put("own", "1")
    assert "tests/" not in text_of(root.get(LIST)).split("data-tree")[1]
    stores = dict(settings.ETCDAERO["default"], OPTIONS={"ADMIN_KEYS": "all"})
    with override_settings(ETCDAERO={"default": stores}):
        kv.put("own", "1")
        kv.put("datasets/x", "1")
        assert "<bdi>tests/</bdi>" in text_of(root.get(LIST))
        assert "etcdaero_get own" in text_of(root.get(page_of("tests/own")))
        assert "etcdaero_get" not in text_of(root.get(page_of("elsewhere")))
        assert "belongs to the package" in text_of(root.get(page_of("tests/datasets/x")))


def test_pages_are_whole_when_the_store_is_down(root: Client) -> None:
    from django_etcdaero.exceptions import ClusterError
    from django_etcdaero.testing import failing_kv

    seen = kv.put("a", "1").revision
    addresses = [LIST, LIST + "deleted/", LIST + "new/", page_of("a"), page_of("a", "versions"), page_of("a", "edit")]
    with failing_kv(ClusterError("nobody answers")):
        for address in addresses:
            answer = root.get(address)
            assert answer.status_code in (200, 503), address
            if "new" not in address:
                assert "nobody answers" in text_of(answer)
        data = {"key": "b", "form": "text", "value": "2", "seen": 0, "save": "1"}
        assert root.post(LIST + "new/", data).status_code == 503
        assert root.post(page_of("a", "remove"), {"seen": seen}).status_code == 503


def test_a_write_that_fails_is_told_and_logged(root: Client) -> None:
    from django_etcdaero.exceptions import OutcomeUnknown
    from django_etcdaero.testing import failing_kv

    seen = kv.put("a", "1").revision
    with failing_kv(OutcomeUnknown("the answer was lost"), calls=["txn"]):
        answer = root.post(page_of("a", "edit"), {"form": "text", "value": "2", "seen": seen, "save": "1"})
    assert answer.status_code == 503
    assert "the answer was lost" in text_of(answer)
    assert "the answer was lost" in LogEntry.objects.get().get_change_message()


def test_a_key_of_an_alias_that_is_not_there(root: Client) -> None:
    assert root.get(f"{LIST}{quote('nobody/a')}/change/").status_code == 404
    assert root.get(f"{LIST}{quote('default/')}/change/").status_code == 404
    assert root.get(f"{LIST}none/edit/").status_code == 404


def test_after_adding_a_key_that_is_too_long_for_an_address_comes_the_list(root: Client) -> None:
    data = {"form": "text", "value": "1", "seen": "0", "key": "k" * 2000, "save": "1"}
    answer = root.post(f"{LIST}new/", data, follow=True)
    assert answer.redirect_chain == [(f"{LIST}?alias=default", 302)]
    assert kv.get("k" * 2000) is not None


def test_what_was_done_is_told_though_it_cannot_be_logged(
    root: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise DatabaseError("the disk is full")

    monkeypatch.setattr(LogEntry.objects, "log_actions", fail)
    data = {"form": "text", "value": SECRET, "seen": "0", "key": "a", "save": "1"}
    page = text_of(root.post(f"{LIST}new/", data, follow=True))
    assert "Added with revision" in page
    assert "could not be written to the log of the admin" in page
    assert "root, a: Added with revision" in caplog.text
    assert SECRET not in caplog.text
