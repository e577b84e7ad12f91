"""``manage.py etcdaero_pin``: hold all processes on a version of a dataset."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.management.one_dataset import OneDatasetCommand, add_reason, who_does_it


class Command(OneDatasetCommand):
    help = (
        "Hold all processes on the version that is current, or on the one that is given: refreshes go to the history "
        "only, until etcdaero_unpin."
    )
    answer_within = 60.0
    asks_first = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("number", nargs="?", type=int, metavar="VERSION", help="default: the current one")
        add_reason(parser)

    def act_on(self, dataset: Dataset[Any, Any], options: dict[str, Any]) -> None:
        if options["number"] is not None:
            held = f"version {options['number']} of {dataset.name!r}"
            self.consent(f"All processes will serve {held} until it is unpinned.")
        version = self.change_stores(
            lambda: dataset.pin(options["number"], reason=options["reason"], by=who_does_it(options))
        )
        self.stdout.write(self.style.SUCCESS(f"{dataset.name}: pinned to version {version}"))
