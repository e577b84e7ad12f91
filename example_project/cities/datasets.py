"""The dataset: what is read from the database once, and what every process makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeAlias

from django_etcdaero import Dataset, MaxShrink, MinRows

from .folding import fold
from .models import City
from .search import CityIndex

Row: TypeAlias = dict[str, Any]


def row_of(city: City) -> Row:
    """Return the row under which ``city`` (with its country) is published.

    Whatever costs time is done here, once for all processes: ``folded`` has the searchable form of the name and of each
    alternate name, in this order.
    """
    alternate_names = city.alternate_names.splitlines()
    return {
        "name": city.name,
        "ascii_name": city.ascii_name,
        "country": city.country.code,
        "country_name": city.country.name,
        "flag": city.country.flag,
        "population": city.population,
        "latitude": city.latitude,
        "longitude": city.longitude,
        "timezone": city.timezone,
        "alternate_names": alternate_names,
        "folded": [fold(name) for name in (city.name, *alternate_names)],
    }


class Cities(Dataset[str, Row]):
    """All cities by their geonames id, with an index for the search."""

    name = "cities"
    refresh_every = timedelta(minutes=15)
    validators = [MinRows(1), MaxShrink(0.3)]

    def load(self) -> Iterator[tuple[str, Row]]:
        """Read the database; runs only in the process that refreshes."""
        for city in City.objects.select_related("country").order_by().iterator(chunk_size=2000):
            yield str(city.pk), row_of(city)

    def prepare(self, rows: Mapping[str, Row]) -> CityIndex:
        """Build the search index; runs in every process, beside the rows being served."""
        return CityIndex(rows)
