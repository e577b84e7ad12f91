"""Rules that hold for each view of the admin pages, found by looping over their addresses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from django_etcdaero import kv

from . import every_page
from .every_page import Address, addresses
from .strict_policy import complaints

pytestmark = pytest.mark.usefixtures("things")


def test_what_is_looped_over_is_there(pages: list[Address]) -> None:
    assert len(pages) > 5
    assert any(each.acts for each in pages)


def test_anonymous_visitors_are_sent_to_the_login(pages: list[Address], anybody: Client) -> None:
    for page in pages:
        for answer in (anybody.get(page.path), anybody.post(page.path)):
            assert (answer.status_code, answer["Location"][:13]) == (302, "/admin/login/"), page


def test_staff_without_permission_is_refused(pages: list[Address], staff: Callable[..., Client]) -> None:
    client = staff()
    for page in pages:
        assert (client.get(page.path).status_code, client.post(page.path).status_code) == (403, 403), page


def test_the_view_permissions_let_nothing_act(pages: list[Address], staff: Callable[..., Client]) -> None:
    views = Permission.objects.filter(content_type__app_label="django_etcdaero", codename__startswith="view_")
    client = staff(*views.values_list("codename", flat=True))
    for page in pages:
        if page.acts:
            assert (client.get(page.path).status_code, client.post(page.path).status_code) == (403, 403), page


def test_an_act_without_permission_to_view_is_refused(pages: list[Address], staff: Callable[..., Client]) -> None:
    others = Permission.objects.filter(content_type__app_label="django_etcdaero").exclude(codename__startswith="view_")
    client = staff(*others.values_list("codename", flat=True))
    for page in pages:
        assert client.get(page.path).status_code == 403, page


def test_a_get_changes_nothing(pages: list[Address], root: Client) -> None:
    for page in pages:
        before = kv.range("", prefix=True)
        assert root.get(page.path).status_code in (200, 302), page
        assert kv.range("", prefix=True).kvs == before.kvs, page


def test_a_post_without_token_is_refused(pages: list[Address], root: Client) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies = root.cookies
    for page in pages:
        before = kv.range("", prefix=True)
        assert client.post(page.path).status_code == 403, page
        assert kv.range("", prefix=True).kvs == before.kvs, page


def test_each_page_keeps_to_a_strict_policy(pages: list[Address], root: Client) -> None:
    for page in pages:
        answer = root.get(page.path, follow=True)
        assert complaints(answer.content.decode()) == [], page


def test_no_number_in_an_address_or_a_form_is_written_as_a_language_does(
    pages: list[Address], root: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.conf.locale.en.formats.NUMBER_GROUPING", 1)  # 12 is written as 1,2: few writes suffice
    settings.USE_THOUSAND_SEPARATOR = True  # also empties the cache of formats
    for number in range(10):
        revision = kv.put("prices/7", str(number)).revision
    for page in pages:
        text = root.get(f"{page.path}?revision={revision}", follow=True).content.decode()
        assert re.findall(r"[a-z-]+=\"[^\"]*\d,\d[^\"]*\"", text) == [], page
    assert f'value="{revision}"' in root.get(f"/admin/django_etcdaero/key/?revision={revision}").content.decode()


def test_nobody_adds_or_deletes_what_is_in_no_table(db: None, root: Client) -> None:
    for page in addresses():
        if page.name.endswith(every_page.OF_DJANGO):
            assert root.get(page.path).status_code == 403, page
            assert root.post(page.path).status_code == 403, page


def test_the_index_asks_no_store(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Any:
        raise AssertionError("a store was asked for")

    monkeypatch.setattr("django_etcdaero.runtime.Runtime.stores", refuse)
    answer = root.get("/admin/")
    assert b"/admin/django_etcdaero/dataset/" in answer.content
