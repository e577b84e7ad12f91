"""What differs between the admins of Django 5.2 to 6.1, on the one that is installed."""

from __future__ import annotations

from typing import Any

import django
import pytest
from django.contrib.auth.models import Permission
from django.test import Client

THING = "/admin/django_etcdaero/dataset/cities/change/"


@pytest.mark.usefixtures("cities")
def test_buttons_are_there_once(root: Client) -> None:
    """The block of Django's object tools was moved out of the content in 6.1."""
    page = root.get(THING).content.decode()
    assert page.count('href="/admin/django_etcdaero/dataset/cities/refresh/"') == 1
    assert page.count("etcdaero-tools") == 1


@pytest.mark.usefixtures("cities")
def test_breadcrumbs_have_the_form_that_the_styles_of_this_django_know(root: Client) -> None:
    page = root.get(THING).content.decode()
    expected, other = '<ol class="breadcrumbs">', '<div class="breadcrumbs">'
    if django.VERSION < (6, 1):
        expected, other = other, expected
    assert (page.count(expected), page.count(other)) == (1, 0)
    assert "/admin/django_etcdaero/dataset/" in page[page.index(expected) :]


@pytest.mark.usefixtures("cities")
def test_the_list_keeps_the_order_in_which_things_were_read(root: Client, registry: dict[str, Any]) -> None:
    """Django adds an order by primary key, the other way round, unless the list says that it has one."""
    from tests.management.running import declare

    for name in ("alpha", "zulu"):
        declare(name)
    page = root.get("/admin/django_etcdaero/dataset/").content.decode()
    places = [page.index(f"/dataset/{name}/change/") for name in ("alpha", "cities", "zulu")]
    assert places == sorted(places)


def test_the_permissions_are_those_of_the_models_and_no_others(db: None) -> None:
    """Of models without a table Django makes the usual four unless it is told otherwise."""
    found = Permission.objects.filter(content_type__app_label="django_etcdaero")
    codenames = set(found.values_list("codename", flat=True))
    assert {each for each in codenames if each.startswith(("add_", "delete_", "change_"))} == {
        "change_key",
        "delete_key",
        "delete_entry",
    }
    assert {each.removeprefix("view_") for each in codenames if each.startswith("view_")} == {
        *("cache", "dataset", "key", "lease", "lock", "overview", "process", "row", "watch")
    }
