"""The page on health checks lists what there is, and its probes lead somewhere."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass

from django.urls import get_resolver

from django_etcdaero.contrib import health_check
from django_etcdaero.contrib.health import urls
from django_etcdaero.health_settings import HealthSettings
from tests.pages import DOCS, examples, tables

PAGE = DOCS / "health.rst"
TABLES = dict(tables(PAGE))


def names(title: str) -> list[str]:
    return [row[0].strip("`") for row in TABLES[title]]


def test_views_are_listed_and_probed() -> None:
    routes = {str(each.pattern) for each in urls.urlpatterns}
    assert {name.removeprefix("health/") for name in names("Views")} == routes
    (probes,) = [each.text for each in examples(PAGE) if each.kind == "yaml"]
    asked = re.findall(r"path: /health/(\w+)", probes)
    assert sorted(asked) == sorted(routes)
    assert get_resolver(urls.__name__)


def test_keys_of_the_setting_are_listed_with_their_defaults() -> None:
    described = {row[0].strip("`"): row[1].strip("`") for row in TABLES["Keys of ETCDAERO_HEALTH"]}
    assert described == {each.name: repr(each.default) for each in fields(HealthSettings)}


def test_checks_are_listed() -> None:
    found = {
        each.__name__
        for each in vars(health_check).values()
        if isinstance(each, type)
        and is_dataclass(each)
        and each.__module__ == health_check.__name__
        and each.__name__[0] != "_"
    }
    assert set(names("Checks for django-health-check")) == found
