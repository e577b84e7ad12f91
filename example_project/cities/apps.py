"""The application ``cities``."""

from __future__ import annotations

from django.apps import AppConfig


class CitiesConfig(AppConfig):
    """Its ``datasets`` module is found by django-etcdaero without being named anywhere."""

    name = "cities"
    verbose_name = "Cities of the world"

    def ready(self) -> None:
        """Let what is saved reach the cache."""
        from . import countries

        countries.connect()
