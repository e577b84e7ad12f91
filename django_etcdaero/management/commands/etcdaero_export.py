"""``manage.py etcdaero_export``: write a version of a dataset to a file."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.management.describe import describe_version
from django_etcdaero.management.one_dataset import OneDatasetCommand


class Command(OneDatasetCommand):
    help = "Write a version of a dataset to a file that etcdaero_import reads. The file is readable by its owner only."
    answer_within = None

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE", help="- is the standard output")
        parser.add_argument("number", nargs="?", type=int, metavar="VERSION", help="default: the current one")

    def act_on(self, dataset: Dataset[Any, Any], options: dict[str, Any]) -> None:
        target = sys.stdout.buffer if options["file"] == "-" else options["file"]
        announcement = dataset.export_version(target, options["number"])
        said = f"{dataset.name}: exported {describe_version(announcement)}"
        if options["file"] == "-":
            sys.stdout.buffer.flush()
            self.stderr.write(said, style_func=str)
        else:
            self.stdout.write(self.style.SUCCESS(said))
