"""The panel tells what a request did: blocking and asynchronous, at once and from the toolbar's history."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory, modify_settings, override_settings
from django.urls import include, path

from django_etcdaero import datasets, kv
from django_etcdaero.cache.backend import EtcdAeroCache
from django_etcdaero.contrib import debug_toolbar
from django_etcdaero.contrib.debug_toolbar import EtcdAeroPanel
from django_etcdaero.datasets.read.live import LiveDataset
from django_etcdaero.exceptions import FutureRevision
from django_etcdaero.runtime import runtime
from tests.management.running import declare

if TYPE_CHECKING:
    from debug_toolbar.toolbar import DebugToolbar

CACHES = {"default": {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": "mem:toolbar"}}

pytestmark = pytest.mark.usefixtures("registry", "closing", "toolbar")


@pytest.fixture
def toolbar() -> Iterator[None]:
    config = {"SHOW_TOOLBAR_CALLBACK": lambda request: True}
    panels = ["debug_toolbar.panels.history.HistoryPanel", "django_etcdaero.contrib.debug_toolbar.EtcdAeroPanel"]
    with (
        modify_settings(INSTALLED_APPS={"append": "debug_toolbar"}),
        override_settings(CACHES=CACHES, DEBUG_TOOLBAR_CONFIG=config, DEBUG_TOOLBAR_PANELS=panels),
        override_settings(ROOT_URLCONF=(path("__debug__/", include("debug_toolbar.urls")),)),
    ):
        from debug_toolbar.toolbar import DebugToolbar  # which can be imported as an installed app only

        DebugToolbar._panel_classes = None
        yield
        DebugToolbar._panel_classes = None
    debug_toolbar._put_up()()
    debug_toolbar._put_up.cache_clear()


@contextmanager
def made() -> Iterator[list[DebugToolbar]]:
    """The toolbars of the requests in the block."""
    from debug_toolbar.toolbar import DebugToolbar

    found: list[DebugToolbar] = []

    def note(sender: Any, toolbar: DebugToolbar, **kwargs: Any) -> None:
        found.append(toolbar)

    DebugToolbar._created.connect(note)
    try:
        yield found
    finally:
        DebugToolbar._created.disconnect(note)


def middleware(respond: Callable[[HttpRequest], Any]) -> Any:
    from debug_toolbar.middleware import DebugToolbarMiddleware

    return DebugToolbarMiddleware(respond)


def page(view: Callable[[], object]) -> EtcdAeroPanel:
    """Ask for a page; return the panel of that request."""

    def respond(request: HttpRequest) -> HttpResponse:
        view()
        return HttpResponse("<html><body></body></html>")

    with made() as toolbars:
        answer = middleware(respond)(RequestFactory().get("/"))
    assert "django-etcdaero" in answer.content.decode()
    panel: EtcdAeroPanel = toolbars[0].get_panel_by_id("EtcdAeroPanel")
    return panel


def use() -> None:
    prices = datasets["prices"]
    assert prices["a"] == prices.get("a") == 1
    assert "b" not in prices
    kv.put("customers/<b>x</b>", "secret")
    cache = caches["default"]
    cache.set("greeting", "secret")
    cache.get("greeting")
    cache.get_many(iter(["greeting", "other"]))
    runtime.stores("default").records.get(b"\xff\x00")


def publish() -> Any:
    prices = declare()
    prices.refresh()
    prices.wait_ready(10)
    return prices


def test_reads_versions_and_calls_are_told_and_no_value() -> None:
    publish()
    panel = page(use)
    stats = panel.get_stats()
    (read,) = stats["datasets"]
    assert (read["name"], read["reads"], read["versions"], read["rows"]) == ("prices", 3, "1", 1)
    calls = [(each["to"], each["call"], each["what"]) for each in stats["calls"]]
    assert calls == [
        ("KV", "put", "tests/customers/<b>x</b>"),
        ("cache", "set", "greeting"),
        ("cache", "get", "greeting"),
        ("cache", "get_many", ""),
        ("records", "get", r"\xff\x00"),
    ]
    assert all(each["milliseconds"] >= 0 for each in stats["calls"])
    assert stats["calls"][2]["inner"] >= 1
    assert stats["count"] == 5
    assert re.fullmatch(r"3 reads, 5 calls in \d+\.\d\d ms", panel.nav_subtitle)
    html = panel.content
    assert "customers/&lt;b&gt;x" in html
    assert "secret" not in html


def test_the_history_shows_what_was_stored() -> None:
    publish()
    panel = page(use)
    from debug_toolbar.toolbar import StoredDebugToolbar

    stored = StoredDebugToolbar.from_store(panel.toolbar.request_id, "EtcdAeroPanel")
    again = stored.get_panel_by_id("EtcdAeroPanel")
    assert again.enabled
    assert (again.nav_subtitle, again.content) == (panel.nav_subtitle, panel.content)


def test_nothing_is_noted_outside_of_requests_and_an_idle_one_says_so() -> None:
    publish()
    panel = page(lambda: None)
    use()
    assert panel.get_stats()["count"] == panel.get_stats()["reads"] == 0
    assert "No dataset was read." in panel.content


def test_without_a_request_of_the_toolbar_nothing_stands_before_the_methods() -> None:
    read = LiveDataset.__getitem__
    page(lambda: None)
    assert LiveDataset.__getitem__ is not read
    debug_toolbar._put_up()()
    debug_toolbar._put_up.cache_clear()
    assert LiveDataset.__getitem__ is read
    assert "get" not in vars(EtcdAeroCache)


def test_errors_leave_their_name_and_many_calls_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debug_toolbar, "MOST_CALLS", 2)

    def fail() -> None:
        with pytest.raises(FutureRevision):
            kv.compact(10**12)
        for _ in range(3):
            kv.leases()

    panel = page(fail)
    assert panel.get_stats()["calls"][0]["error"] == "FutureRevision"
    assert panel.get_stats()["count"] == 4
    assert "2 more are not shown." in panel.content


def test_asynchronous_views_each_see_their_own() -> None:
    prices = publish()
    both = asyncio.Event()
    begun: list[str] = []

    async def respond(request: HttpRequest) -> HttpResponse:
        begun.append(request.path)
        if len(begun) == 2:
            both.set()
        await both.wait()
        for _ in range(int(request.path[1:])):
            assert prices["a"] == 1
            await kv.aput("a", "1")
            await caches["default"].aget("a")
        return HttpResponse("<html><body></body></html>")

    async def ask() -> None:
        asked = middleware(respond)
        await asyncio.gather(*(asked(AsyncRequestFactory().get(f"/{number}")) for number in (1, 3)))

    with made() as toolbars:
        asyncio.run(ask())
    for toolbar in toolbars:
        number, stats = int(toolbar.request.path[1:]), toolbar.get_panel_by_id("EtcdAeroPanel").get_stats()
        assert stats["reads"] == number
        calls = [each["call"] for each in stats["calls"]]
        assert (calls.count("put"), calls.count("aget")) == (number, number)


class Inline(HTMLParser):
    """Looks for what a strict Content-Security-Policy refuses."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "style")
        assert not [name for name, _ in attrs if name == "style" or name.startswith("on")]


def test_the_panel_has_nothing_inline() -> None:
    publish()
    Inline().feed(page(use).content)


def test_without_the_toolbar_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "debug_toolbar.panels", None)
    monkeypatch.delitem(sys.modules, "django_etcdaero.contrib.debug_toolbar")
    with pytest.raises(ImproperlyConfigured, match=r"django-debug-toolbar: .*django-etcdaero\[debug-toolbar\]"):
        importlib.import_module("django_etcdaero.contrib.debug_toolbar")
