"""Watches that are open, and the page that follows events."""

from __future__ import annotations

import html
import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from django_etcdaero import kv, kvs
from django_etcdaero.admin.watch_purpose import purpose
from django_etcdaero.datasets.state import watching
from django_etcdaero.datasets.state.presence import Presence
from django_etcdaero.datasets.state.watching import Watched
from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.inspection import events
from django_etcdaero.keyvalue.client.open_watches import Use
from django_etcdaero.testing import failing_kv
from tests.waiting import wait_until

LIST = "/admin/django_etcdaero/watch/"
FOLLOW = f"{LIST}follow/"
EVENTS = f"{LIST}events/"

pytestmark = pytest.mark.usefixtures("closing")


@pytest.fixture(autouse=True)
def _prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "QUIET", 0.1)


def asked(client: Client, **query: Any) -> Any:
    answer = client.get(EVENTS, query)
    return answer.status_code, json.loads(answer.content)


def test_open_watches_are_listed(staff: Callable[..., Client]) -> None:
    with kv.watch("config/", prefix=True), kv.watch("flags/beta"):
        Presence(kvs["default"], ttl=30, started=1.0).publish({}, revision=0, otherwise={})
        listed = staff("view_watch").get(LIST).content.decode()
    assert "config/*" in listed
    assert "flags/beta" in listed
    assert FOLLOW not in listed
    assert FOLLOW in staff("view_watch", "follow_events", "view_key").get(LIST).content.decode()


def test_those_of_the_package_are_marked_and_can_be_filtered_out(
    staff: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "TELL_EVERY", 0.0)
    monkeypatch.setattr(watching, "MOST_WATCHES", 2)
    client = staff("view_watch", "view_process")
    with kv.watch("config/", prefix=True), kv.watch("announcements/", prefix=True), kv.watch("caches/", prefix=True):
        Presence(kvs["default"], ttl=30, started=1.0).publish({}, revision=0, otherwise={})
        listed = client.get(LIST).content.decode()
        own, others = (client.get(LIST, {"own": own}).content.decode() for own in ("True", "False"))
        client.get(LIST, {"own": "rubbish", "_facets": "True"})
    assert "package: versions of the datasets" in listed
    assert "project: follows changes" in listed
    assert "1 of " in listed, "the third one is left out"
    assert ("config/*" in own, "announcements/*" in own) == (False, True)
    assert ("config/*" in others, "announcements/*" in others) == (True, False)
    (address,) = re.findall(rf'href="({LIST}[^"]*announcements[^"]*/change/)', own)
    page = client.get(html.unescape(address)).content.decode()
    assert "of the package itself" in page
    assert "versions of the datasets" in page
    assert "/admin/django_etcdaero/process/" in page
    (address,) = re.findall(r'href="(/admin/django_etcdaero/process/[^"]*/change/)', page)
    process = client.get(address).content.decode()
    assert "1 more is left out" in process
    assert "package: versions of the datasets" in process


def test_what_watches_are_for_is_said(staff: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LASTING", 0.0)
    client = staff("view_watch", "view_process")
    waits, woken = kv.election("chief"), threading.Event()
    waiting = threading.Thread(target=lambda: (waits.campaign(), waits.resign(), woken.set()))
    with kv.mirror("config/"), kvs["default"].election("chief") as leads, kv.election("<b>").observe():
        waiting.start()
        uses = {Use.ELECTION, Use.PLACE, Use.MIRROR, Use.OBSERVER}
        wait_until(lambda: {each.use for each in kv.open_watches()} >= uses, what="all watches")
        Presence(kvs["default"], ttl=30, started=1.0).publish({}, revision=0, otherwise={})
        listed = client.get(LIST).content.decode()
        leads.resign()
        waiting.join(10)
    assert woken.is_set()
    for words in ("mirror", "stands for election in chief", "observes the election &lt;b&gt;", "guards its place in"):
        assert f"project: {words}" in listed
    (address,) = set(re.findall(rf'href="({LIST}[^"]*config[^"]*/change/)', listed))
    assert "mirror" in client.get(html.unescape(address)).content.decode()
    every = [each for each in Use if purpose(Watched("k", 1.0, 0, 0, 1.0, each, "n")) == each]
    assert every == [Use.MIRROR], "each has words, and one word is the same"
    assert purpose(Watched("k", 1.0, 0, 0, 1.0, "of tomorrow", "n")) == "of tomorrow"


def test_events_are_followed_without_values_unless_they_may_be_seen(staff: Callable[..., Client]) -> None:
    client = staff("view_watch", "follow_events", "view_key")
    assert staff("view_watch").get(FOLLOW).status_code == 403
    assert asked(staff("view_watch", "follow_events", "view_key"), prefix="a")[0] == 200
    start = kv.put("x", "").revision
    kv.put("a<b>", "s3cret")
    kv.delete("a<b>")
    status, told = asked(client, prefix="a", since=start)
    assert status == 200
    assert [(each["word"], each["key"], each["size"], each["value"]) for each in told["rows"]] == [
        ("created", "a<b>", 6, ""),
        ("deleted", "a<b>", "", ""),
    ]
    assert (told["gap"], told["more"], told["revision"]) == (None, False, start + 2)
    page = client.get(FOLLOW, {"prefix": "a", "since": start}).content.decode()
    assert "a&lt;b&gt;" in page
    assert "s3cret" not in page
    assert f"?alias=default&amp;prefix=a&amp;since={start}" in page
    sees = staff("view_watch", "follow_events", "view_key", "reveal_value")
    assert "s3cret" in sees.get(FOLLOW, {"prefix": "a", "since": start}).content.decode()
    assert asked(sees, prefix="a", since=start)[1]["rows"][0]["value"] == "s3cret"


def test_a_gap_is_a_row(staff: Callable[..., Client]) -> None:
    client = staff("view_watch", "follow_events", "view_key")
    start = kv.put("a", "1").revision
    kv.put("a", "2")
    kv.compact(kv.put("a", "3").revision)
    _, told = asked(client, prefix="a", since=start)
    assert f"Events after revision {start} up to {start + 1} are missing" in told["gap"]
    assert len(told["rows"]) == 1
    page = client.get(FOLLOW, {"prefix": "a", "since": start}).content.decode()
    assert "etcdaero-gap" in page
    assert "wiped" in asked(client, prefix="a", since=start + 100)[1]["gap"]


def test_what_cannot_be_asked_is_told(root: Client) -> None:
    with failing_kv(DeadlineExceeded("range: the server is away")):
        status, told = asked(root, prefix="a", since=1)
        page = root.get(FOLLOW, {"prefix": "a", "since": 1})
    assert (status, page.status_code) == (503, 200)
    assert "the server is away" in told["problems"][0]
    assert "the server is away" in page.content.decode()
    assert asked(root, alias="nowhere")[0] == 400
    assert asked(root, prefix="\\q")[0] == 400
    status, told = asked(root, since="-1", seen="9" * 30)
    assert (status, len(told["problems"])) == (400, 2)


def test_values_are_shown_in_short_as_text_or_digits(root: Client) -> None:
    start = kv.put("x", "").revision
    kv.put("a1", b"\xff\x00")
    kv.put("a2", "y" * 500)
    kv.put("a3", "\u202e\x00")
    rows = asked(root, prefix="a", since=start)[1]["rows"]
    assert [each["value"] for each in rows] == ["ff 00", "y" * 200 + "…", "\ufffd\ufffd"]
