"""``manage.py etcdaero_import``: publish the rows of an exported file as a new version of a dataset."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.version_file import Header
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.management.describe import describe_result, moment
from django_etcdaero.management.one_dataset import OneDatasetCommand


class Command(OneDatasetCommand):
    help = (
        "Publish the rows of a file that etcdaero_export has written as a new version, as a refresh would. While the "
        "dataset is pinned it goes to the history only."
    )
    answer_within = None
    asks_first = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE", help="- is the standard input, with --noinput only")
        parser.add_argument("--force", action="store_true", help="also if it is of another dataset or schema")
        parser.add_argument("--no-validators", action="store_true", help="publish also what validators would refuse")
        parser.add_argument(
            "--wait", type=float, default=10.0, metavar="SECONDS", help="how long to wait for another refresher's lock"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object, as etcdaero_refresh does")

    def act_on(self, dataset: Dataset[Any, Any], options: dict[str, Any]) -> None:
        if not 0 <= options["wait"] < 86400:
            raise CommandError("--wait must be a number of seconds from 0 to below 86400", returncode=2)
        piped = options["file"] == "-"
        if piped and options["interactive"]:
            raise CommandError("FILE - goes with --noinput only: nobody could answer the question", returncode=2)
        if options["interactive"]:
            with open(options["file"], "rb") as file:
                header = Header.read(file)
            self.consent(
                f"All processes will serve the {header.rows:,} rows of version {header.version} of {header.name!r},"
                f" published {moment(header.published_at)}, as {dataset.name!r}."
            )
        result = dataset.import_version(
            sys.stdin.buffer if piped else options["file"],
            force=options["force"],
            skip_validators=options["no_validators"],
            wait=options["wait"],
        )
        done = result.outcome in (Outcome.REFRESHED, Outcome.UNCHANGED)
        if options["json"]:
            self.stdout.write(json.dumps(dataclasses.asdict(result)))
        else:
            self.stdout.write((self.style.SUCCESS if done else self.style.ERROR)(describe_result(result)))
        if not done:
            raise SystemExit(1)
