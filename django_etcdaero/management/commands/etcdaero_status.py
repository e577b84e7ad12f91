"""``manage.py etcdaero_status``: what the stores say about each dataset, and which process holds what."""

from __future__ import annotations

import dataclasses
import json
from itertools import chain
from typing import Any, TypeAlias

from django.core.management.base import BaseCommand, CommandParser

from django_etcdaero import datasets
from django_etcdaero.datasets.state.overview import Overview, overview, versions_held
from django_etcdaero.datasets.state.presence import Process, merged, processes
from django_etcdaero.datasets.state.reading import Announcements, read_announcements
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.management.describe import moment, size
from django_etcdaero.management.scope import reach_warnings
from django_etcdaero.runtime import runtime

Readers: TypeAlias = dict[str, list[Process]]
"""What processes have registered, by alias."""


def held_by(each: Overview, readers: Readers) -> dict[int | None, int]:
    """Count the processes by the version of the dataset that they hold."""
    dataset = datasets[each.name]
    return versions_held(dataset, readers.get(dataset.using, []))


class Command(BaseCommand):
    help = "Show each dataset's state, and the processes with the versions they hold. Exit code 1: a store is away."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        for warning in reach_warnings():
            self.stderr.write(self.style.WARNING(warning))
        overviews: list[Overview] = []
        errors: dict[str, str] = {}
        announcements: dict[str, Announcements] = {}
        for name in sorted(datasets):
            try:
                alias = datasets[name].using
                stores = runtime.stores(alias)
                if alias not in announcements:
                    announcements[alias] = read_announcements(stores.kv)
                overviews.append(overview(datasets[name], stores, announcements=announcements[alias]))
            except EtcdAeroError as error:
                errors[name] = f"{type(error).__name__}: {error}"
        readers: dict[str, list[Process]] = {}
        for alias in sorted({dataset.using for dataset in datasets.values()}):
            try:
                readers[alias] = processes(runtime.stores(alias).kv)
            except EtcdAeroError as error:
                errors[f"alias {alias}"] = f"{type(error).__name__}: {error}"
        if options["json"]:
            self._print_json(overviews, readers, errors)
        else:
            self._print_text(overviews, readers, errors)
        if errors:
            raise SystemExit(1)

    def _print_json(self, overviews: list[Overview], readers: Readers, errors: dict[str, str]) -> None:
        held = {each.name: held_by(each, readers) for each in overviews}
        document = {
            "datasets": [
                {
                    "name": each.name,
                    "version": each.version,
                    "age": each.age,
                    "due": each.due,
                    "next_due": each.next_due,
                    "held_back_until": each.held_back_until,
                    "current": dataclasses.asdict(each.stored.current) if each.stored.current else None,
                    "pin": dataclasses.asdict(each.stored.pin) if each.stored.pin else None,
                    "failure": dataclasses.asdict(each.failure) if each.failure else None,
                    "refreshing": str(each.holder) if each.holder else None,
                    "overdue": [dataclasses.asdict(load) for load in each.overdue],
                    "processes": [
                        {"version": version, "count": count}
                        for version, count in sorted(held[each.name].items(), key=lambda item: item[0] or 0)
                    ],
                }
                for each in overviews
            ],
            "processes": [dataclasses.asdict(process) for process in merged(chain.from_iterable(readers.values()))],
            "errors": errors,
        }
        self.stdout.write(json.dumps(document, indent=2))

    def _print_text(self, overviews: list[Overview], readers: Readers, errors: dict[str, str]) -> None:
        if not datasets:
            self.stdout.write("No app declares a dataset (in a module 'datasets' of an app in INSTALLED_APPS).")
        for each in overviews:
            self.stdout.write(self.style.MIGRATE_HEADING(each.name))
            for line in self._lines(each, readers):
                self.stdout.write(f"  {line}")
        for subject, error in errors.items():
            self.stdout.write(self.style.ERROR(f"{subject}: {error}"))
        found = merged(chain.from_iterable(readers.values()))
        self.stdout.write(self.style.MIGRATE_HEADING(f"processes: {len(found)}"))
        for process in found:
            held = ", ".join(self._held(process, name) for name in sorted(process.versions))
            self.stdout.write(f"  {process.host}/{process.pid} since {moment(process.started)}: {held}")

    def _held(self, process: Process, name: str) -> str:
        version, schema = process.versions[name], process.schemas.get(name)
        words = [name, "-" if version is None else str(version), process.states.get(name, "")]
        if name in datasets and schema != datasets[name].schema:
            words.append(f"(schema {schema})")
        return " ".join(filter(None, words))

    def _lines(self, each: Overview, readers: Readers) -> list[str]:
        current, lines = each.stored.current, []
        if current is None:
            lines.append("nothing published yet; run 'manage.py etcdaero_refresh'")
        else:
            lines.append(
                f"version {current.version}: {current.rows:,} rows, {size(current.stored_bytes)},"
                f" published {moment(current.published_at)} by {current.host}/{current.pid}"
            )
            counts = held_by(each, readers)
            lines.append(f"held by {counts.get(current.version, 0)} of {sum(counts.values())} processes")
        if each.stored.checked is not None:
            lines.append(f"source last read {moment(each.stored.checked.load_started)}")
        if each.due and each.held_back_until is not None:
            lines.append(f"due, and held back until {moment(each.held_back_until)} after a failure")
        elif each.due:
            lines.append("due now")
        elif each.next_due is not None:
            lines.append(f"next load due {moment(each.next_due)}")
        if each.holder is not None:
            lines.append(f"being refreshed by {each.holder}")
        for load in each.overdue:
            said = f"being loaded by {load.host}/{load.pid} since {moment(load.since)}"
            lines.append(self.style.ERROR(f"{said}, longer than load_timeout ({load.limit:g} s): given up there"))
        if each.stored.pin is not None:
            lines.append(self.style.WARNING(f"pinned to version {each.stored.pin.version}"))
        if each.failure is not None:
            lines.append(
                self.style.ERROR(
                    f"last load failed {moment(each.failure.at)} on {each.failure.host}/{each.failure.pid}"
                    f" ({each.failure.failures} in a row): {each.failure.error}"
                )
            )
        return lines
