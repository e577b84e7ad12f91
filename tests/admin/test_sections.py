"""What all sections have in common: lists, pages, acts that are asked about and logged, servers that are down."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.test import Client, override_settings
from django.urls import path

from django_etcdaero import kv
from django_etcdaero.admin import register
from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.testing import failing_kv

LIST = "/admin/django_etcdaero/dataset/"
REFRESH = f"{LIST}cities/refresh/"

second = AdminSite(name="second")
register(second)
urlpatterns = [path("second/", second.urls)]


def test_the_migrations_are_complete(db: None) -> None:
    call_command("makemigrations", "django_etcdaero", check=True, dry_run=True)


def test_an_act_is_asked_about_done_and_logged(cities: Any, staff: Callable[..., Client]) -> None:
    client = staff("view_dataset", "refresh_dataset")
    asked = client.get(REFRESH)
    assert "asked for a new load" in asked.content.decode()
    answer = client.post(REFRESH, {"reason": "prices are wrong"}, follow=True)
    assert answer.redirect_chain[0][0].startswith(f"{LIST}cities/refreshing/?id=")
    assert "prices are wrong" in answer.content.decode()
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.user_id) == ("cities", client.user.pk)  # type: ignore[attr-defined]
    assert "prices are wrong" in entry.get_change_message()
    assert "prices are wrong" in client.get(f"{LIST}cities/history/").content.decode()


def test_what_is_missing_in_a_form_is_told_and_nothing_is_done(cities: Any, root: Client) -> None:
    before = kv.range("", prefix=True).kvs
    answer = root.post(REFRESH, {"reason": ""})
    assert "This field is required" in answer.content.decode()
    assert kv.range("", prefix=True).kvs == before
    assert not LogEntry.objects.exists()


def test_a_failure_is_shown_and_logged(cities: Any, root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise DeadlineExceeded("put: no answer")

    monkeypatch.setattr(cities, "request_refresh", fail, raising=False)
    answer = root.post(REFRESH, {"reason": "again"})
    assert answer.status_code == 503
    assert "put: no answer" in answer.content.decode()
    assert "It may have been done" in answer.content.decode()
    assert "put: no answer" in LogEntry.objects.get().get_change_message()


def test_a_page_is_whole_when_the_store_is_down(cities: Any, root: Client) -> None:
    with failing_kv(DeadlineExceeded("range: the server is away")):
        listed = root.get(LIST)
        page = root.get(f"{LIST}cities/change/")
    for answer in (listed, page):
        assert answer.status_code == 200
        assert "Not everything could be read" in answer.content.decode()
    assert "cities" in listed.content.decode()


def test_what_is_not_there_is_a_page_that_says_so(cities: Any, root: Client) -> None:
    answer = root.get(f"{LIST}nothing/change/")
    assert answer.status_code == 404
    assert "There is no “nothing” any more" in answer.content.decode()


def test_a_list_can_be_searched_and_ordered(cities: Any, root: Client) -> None:
    assert "cities/change" in root.get(LIST, {"q": "CIT"}).content.decode()
    assert "cities/change" not in root.get(LIST, {"q": "town"}).content.decode()
    assert root.get(LIST, {"o": "-1.2"}).status_code == 200
    assert root.get(LIST, {"nonsense": "1"}).status_code in (200, 302)
    assert root.get(LIST, {"p": "99"}).status_code in (200, 302)


@override_settings(ROOT_URLCONF="tests.admin.test_sections")
def test_all_works_on_a_site_of_the_project(cities: Any, root: Client) -> None:
    answer = root.get("/second/django_etcdaero/dataset/cities/change/")
    assert "/second/django_etcdaero/dataset/cities/refresh/" in answer.content.decode()
    answer = root.post("/second/django_etcdaero/dataset/cities/refresh/", {"reason": "x"})
    assert answer["Location"].startswith("/second/django_etcdaero/dataset/cities/refreshing/?id=")


def test_what_goes_through_all_models_finds_nothing_in_them(cities: Any, db: None) -> None:
    out = io.StringIO()
    for options in ({}, {"use_base_manager": True}):
        call_command("dumpdata", "django_etcdaero", stdout=out, **options)
        assert json.loads(out.getvalue()) == []
        out = io.StringIO()
    for model in apps.get_app_config("django_etcdaero").get_models():
        assert not model._default_manager.exists()
        assert not model._base_manager.all().count()
