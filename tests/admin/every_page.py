"""All addresses of the package's pages, found in the admin's URL patterns: a new view cannot be forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.urls import URLPattern, URLResolver, reverse

OF_DJANGO = ("add", "delete")
"""Pages that Django makes for each model and that no section has: nobody may see them."""

THINGS: dict[str, str] = {}
"""The primary key of a thing that exists, by the name of its model: filled by the fixture that makes them."""


@dataclass(frozen=True, slots=True)
class Address:
    """A page."""

    name: str
    """Of the URL pattern."""
    path: str
    acts: bool
    """Whether a POST to it does something."""


def names_of_sections() -> list[str]:
    """Return the names of the models that have pages."""
    return [str(each._meta.model_name) for each in admin.site._registry if each._meta.app_label == "django_etcdaero"]


def addresses(things: Mapping[str, str] = THINGS) -> Iterator[Address]:
    """Find them all. Raises ``KeyError`` for a section of which there is no thing in ``things``."""
    for model, page in admin.site._registry.items():
        if model._meta.app_label != "django_etcdaero":
            continue
        acting = page.acting_names()  # type: ignore[attr-defined]
        for pattern in _patterns(page.get_urls()):
            if pattern.name is None:  # Django's address of old, which redirects
                continue
            name = pattern.name.removeprefix(f"django_etcdaero_{model._meta.model_name}_")
            takes = "object_id" in str(pattern.pattern)
            arguments = [quote(things[str(model._meta.model_name)])] if takes else []
            yield Address(pattern.name, reverse(f"admin:{pattern.name}", args=arguments), name in acting)


def _patterns(urls: list[URLPattern | URLResolver]) -> Iterator[URLPattern]:
    for each in urls:
        if isinstance(each, URLResolver):
            yield from _patterns(each.url_patterns)
        else:
            yield each
