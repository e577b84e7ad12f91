"""``manage.py etcdaero_history``: the kept versions of a dataset, and the last loads that validators refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.management.base import CommandParser

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.history import Version
from django_etcdaero.datasets.state.validations import RefusedLoad
from django_etcdaero.datasets.validators import ValidatorResult
from django_etcdaero.management.describe import count, describe_pin, describe_version, moment
from django_etcdaero.management.one_dataset import OneDatasetCommand


class Command(OneDatasetCommand):
    help = (
        "Show the kept versions of a dataset, the newest first, with what validators said of each, and the last loads "
        "that were refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def act_on(self, dataset: Dataset[Any, Any], options: dict[str, Any]) -> None:
        versions, refused = self.ask_stores(lambda: (dataset.history(), dataset.refused()))
        if options["json"]:
            document = {
                "name": dataset.name,
                "versions": [dataclasses.asdict(each) for each in versions],
                "refused": [dataclasses.asdict(each) for each in refused],
            }
            self.stdout.write(json.dumps(document, indent=2))
            return
        if not versions:
            self.stdout.write("nothing published yet; run 'manage.py etcdaero_refresh'")
        for version in versions:
            for line in self._version(version):
                self.stdout.write(line)
        for load in refused:
            for line in self._refused(load):
                self.stdout.write(line)

    def _version(self, version: Version) -> Iterator[str]:
        current = ", current" if version.current else ""
        heading = f"{describe_version(version.announcement)}, loaded in {version.load_seconds:.2f} s{current}"
        yield self.style.MIGRATE_HEADING(heading)
        if version.pin is not None:
            yield self.style.WARNING(f"  {describe_pin(version.pin)}")
        if version.changes:
            yield "  only changes were loaded"
        elif version.drift is not None:
            yield f"  everything was loaded; {count(version.drift)} rows were not what changes had told"
        yield from self._results(version.results)

    def _refused(self, load: RefusedLoad) -> Iterator[str]:
        yield self.style.ERROR(f"refused {moment(load.at)} on {load.host}/{load.pid}: {load.error}")
        yield from self._results(each for each in load.results if each.ok)

    def _results(self, results: Iterable[ValidatorResult]) -> Iterator[str]:
        for each in results:
            changed = " (threshold of the settings)" if each.overridden and each.figures else ""
            yield f"  {each.name}: {each.text or 'accepted'}{changed}"
