"""``find_city``: what any process sees of the dataset, on the command line."""

from __future__ import annotations

import argparse
import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cities.datasets import Cities
from cities.lookup import city_json
from django_etcdaero.exceptions import DatasetNotReady, DatasetStale

PATIENCE = 15.0
"""Seconds to wait for the dataset to arrive in this process."""


class Command(BaseCommand):
    """Look cities up in the published dataset; the database is not asked."""

    help = "Look cities up in the published dataset (not in the database)."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", nargs="?", default="", help="the beginning of a name (default: the largest cities)")
        parser.add_argument("--limit", type=int, default=3, metavar="N", help="how many to show (default: 3)")

    def handle(self, *, name: str, limit: int, **options: Any) -> None:
        """Print version, rows and the cities found. Raises ``CommandError`` when there is no dataset or city."""
        try:
            snapshot = Cities.live.wait_ready(PATIENCE)
        except (DatasetNotReady, DatasetStale) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"dataset cities: version {snapshot.version}, {len(snapshot):,} rows, read by pid {os.getpid()}"
        )
        matches = snapshot.index.search(name, limit=max(1, limit))
        if not matches:
            raise CommandError(f"no city matches {name!r}")
        for match in matches:
            city = city_json(match)
            self.stdout.write(
                f"  {city['name']}, {city['country']['name']}: {city['population']:,} inhabitants, "
                f"{city['coordinates']}, {city['timezone']} {city['local_time'] or ''}".rstrip()
            )
