"""Editing cities, and publishing what was edited."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.timesince import timesince

from django_etcdaero.exceptions import DatasetNotReady, DatasetStale, EtcdAeroError

from .datasets import Cities, row_of
from .models import City, Country

PUBLISHING = (
    "A running “etcdaero_refresh --loop” publishes it at once; without one, run “python manage.py etcdaero_refresh”."
)

admin.site.login_template = "cities/login.html"


class PublishingAdmin(admin.ModelAdmin):  # type: ignore[type-arg] # not subscriptable when it runs
    """Asks for a refresh of the dataset whenever something that it shows was changed."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save, then ask for a refresh."""
        super().save_model(request, obj, form, change)
        transaction.on_commit(lambda: ask_for_refresh(request))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete, then ask for a refresh."""
        super().delete_model(request, obj)
        transaction.on_commit(lambda: ask_for_refresh(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete, then ask for a refresh."""
        super().delete_queryset(request, queryset)
        transaction.on_commit(lambda: ask_for_refresh(request))


def ask_for_refresh(request: HttpRequest) -> None:
    """Ask for a new load and tell the user; a store that is away is told too and does not undo the edit."""
    try:
        Cities.live.request_refresh()
    except EtcdAeroError as error:
        messages.error(request, f"The database is up to date, but a refresh could not be requested: {error}")
    else:
        messages.info(request, f"A refresh of the dataset “cities” was requested. {PUBLISHING}")


def published_version() -> str:
    """Return a sentence about the version that the page's own process serves."""
    try:
        snapshot = Cities.live.snapshot()
    except (DatasetNotReady, DatasetStale) as error:
        return f"Nothing is being served: {error}."
    since = timesince(datetime.fromtimestamp(snapshot.published_at, UTC), depth=1)
    when = "less than a minute" if since.startswith("0") else since
    return f"Visitors see version {snapshot.version}: {len(snapshot):,} cities, published {when} ago."


class PopulationFilter(admin.SimpleListFilter):
    """Cities by size."""

    title = "population"
    parameter_name = "size"
    bounds = {
        "mega": ("10 million and more", 10_000_000, None),
        "million": ("1 to 10 million", 1_000_000, 10_000_000),
        "large": ("100,000 to 1 million", 100_000, 1_000_000),
        "small": ("below 100,000", 0, 100_000),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [(value, title) for value, (title, _, _) in self.bounds.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the choice."""
        if self.value() not in self.bounds:
            return queryset
        _, least, below = self.bounds[str(self.value())]
        queryset = queryset.filter(population__gte=least)
        return queryset if below is None else queryset.filter(population__lt=below)


@admin.register(City)
class CityAdmin(PublishingAdmin):
    """Cities, each with what visitors see of it now."""

    list_display = ["name", "country_with_flag", "population", "timezone", "geonames_id"]
    list_filter = [PopulationFilter, ("country", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["country"]
    list_per_page = 50
    search_fields = ["name", "ascii_name", "alternate_names", "=id"]
    search_help_text = "Name, a name in another language, or geonames id"
    autocomplete_fields = ["country"]
    readonly_fields = ["published"]
    fieldsets = [
        (None, {"fields": ["name", "ascii_name", "country", "population", "published"]}),
        ("Place and time", {"fields": ["latitude", "longitude", "timezone"]}),
        ("Search", {"fields": ["alternate_names"]}),
    ]
    change_list_template = "admin/cities/city/change_list.html"

    class Media:
        css = {"all": ["cities/admin.css"]}

    @admin.display(description="country", ordering="country__name")
    def country_with_flag(self, city: City) -> str:
        """Return the flag and the name."""
        return f"{city.country.flag} {city.country.name}"

    @admin.display(description="geonames id", ordering="id")
    def geonames_id(self, city: City) -> str:
        """Return the id without thousands separators."""
        return str(city.pk)

    @admin.display(description="what visitors see")
    def published(self, city: City) -> str:
        """Tell how the published row differs from the database."""
        if city._state.adding:
            return "Nothing yet."
        try:
            snapshot = Cities.live.snapshot()
        except (DatasetNotReady, DatasetStale) as error:
            return f"Nothing: {error}"
        row, here = snapshot.get(str(city.pk)), row_of(city)
        if row is None:
            return f"Version {snapshot.version} does not have this city."
        different = [
            f"{field} is {row.get(field)!r}" for field in here if field != "folded" and row.get(field) != here[field]
        ]
        if different:
            return f"Version {snapshot.version} differs: {', '.join(different)}."
        return f"Exactly this (version {snapshot.version})."

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show what visitors see."""
        return super().changelist_view(request, {**(extra_context or {}), "published_version": published_version()})


@admin.register(Country)
class CountryAdmin(PublishingAdmin):
    """Countries; their names are part of the published rows."""

    list_display = ["name", "flag", "code", "number_of_cities"]
    list_per_page = 50
    search_fields = ["name", "=code"]
    ordering = ["name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Country]:
        """Count the cities in the same query."""
        countries: QuerySet[Country] = super().get_queryset(request).annotate(number_of_cities=Count("cities"))
        return countries

    def get_readonly_fields(self, request: HttpRequest, obj: Country | None = None) -> list[str]:
        """Keep the code of an existing country: it is the primary key."""
        return [] if obj is None else ["code"]

    @admin.display(description="cities", ordering="number_of_cities")
    def number_of_cities(self, country: Any) -> int:
        """Return how many cities of the country there are."""
        return int(country.number_of_cities)
