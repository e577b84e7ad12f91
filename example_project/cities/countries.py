"""A page for each country, from the database, kept in Django's cache until a city of that country is saved.

The counterpart of the dataset: here each visitor needs another page, most are never asked for, and one that is missing
is made when it is. Of all processes that miss a page one asks the database.
"""

from __future__ import annotations

import re
from typing import Any

from django.core.cache import cache
from django.db import transaction
from django.db.models import Count, Sum
from django.db.models.signals import post_delete, post_init, post_save
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from .models import City, Country

KEPT = 24 * 3600
"""Seconds that a page is kept, unless a city is saved."""
STALE = 7 * 24 * 3600
"""Seconds for which it may still be shown while the database is away."""


def tag(country: str) -> str:
    """Return the tag of all that is cached about a country."""
    return f"country:{country}"


def summary(code: str) -> dict[str, Any] | None:
    """Return what the page of a country shows; ``None``: there is no such country."""
    found: dict[str, Any] | None = cache.get_or_set(
        f"country:{code}", lambda: _summary(code), KEPT, tags=[tag(code)], stale=STALE
    )
    return found


def _summary(code: str) -> dict[str, Any] | None:
    country = Country.objects.filter(pk=code).first()
    if country is None:
        return None
    cities = City.objects.filter(country=country)
    numbers = cities.aggregate(cities=Count("pk"), people=Sum("population"))
    largest = list(cities.order_by("-population", "name").values("name", "population", "timezone")[:10])
    return {"code": code, "name": country.name, "flag": country.flag, **numbers, "largest": largest}


@require_safe
def country_page(request: HttpRequest, code: str) -> HttpResponse:
    """``/countries/DE/``."""
    # Only what can be a code: otherwise anybody could fill the cache with countries that do not exist.
    found = summary(code) if re.fullmatch("[A-Z]{2}", code) else None
    if found is None:
        raise Http404(f"there is no country with the code {code}")
    return render(request, "cities/country.html", {"country": found})


def _remember(instance: City, **kwargs: Any) -> None:
    instance._country_before = instance.__dict__.get("country_id")  # type: ignore[attr-defined]


def _forget(instance: City, **kwargs: Any) -> None:
    """Let the pages of the city's country count no more, and of the one where it was before."""
    tags = {tag(code) for code in (instance.country_id, getattr(instance, "_country_before", None)) if code}
    transaction.on_commit(lambda: cache.invalidate_tags(*tags))


def connect() -> None:
    """Watch what is saved. Changes past the models (``update()``) call ``cache.invalidate_tags()`` themselves."""
    post_init.connect(_remember, sender=City, dispatch_uid="cities.countries")
    post_save.connect(_forget, sender=City, dispatch_uid="cities.countries")
    post_delete.connect(_forget, sender=City, dispatch_uid="cities.countries")
