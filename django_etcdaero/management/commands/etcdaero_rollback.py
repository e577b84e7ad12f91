"""``manage.py etcdaero_rollback``: let all processes go back to an older version of a dataset, and hold them there."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.history import find_two
from django_etcdaero.management.one_dataset import OneDatasetCommand, add_reason, who_does_it
from django_etcdaero.runtime import runtime


class Command(OneDatasetCommand):
    help = (
        "Let all processes go back to a kept version of a dataset and hold them there: refreshes go to the history "
        "only, until etcdaero_unpin."
    )
    answer_within = 60.0
    asks_first = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "number", nargs="?", type=int, metavar="VERSION", help="default: the one published before the current one"
        )
        add_reason(parser)

    def act_on(self, dataset: Dataset[Any, Any], options: dict[str, Any]) -> None:
        older, current = self.ask_stores(
            lambda: find_two(dataset, runtime.stores(dataset.using), options["number"], None)
        )
        self.consent(
            f"All processes will serve version {older.version} of {dataset.name!r} ({older.rows:,} rows) instead of"
            f" version {current.version} ({current.rows:,} rows) until it is unpinned."
        )
        self.change_stores(lambda: dataset.rollback(older.version, reason=options["reason"], by=who_does_it(options)))
        self.stdout.write(self.style.SUCCESS(f"{dataset.name}: went back to version {older.version}, and is pinned"))
