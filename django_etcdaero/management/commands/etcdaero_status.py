"""``manage.py etcdaero_status``: what the stores say about each dataset, and which process holds what."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_etcdaero import datasets
from django_etcdaero.datasets.state.overview import Overview, versions_held
from django_etcdaero.datasets.state.presence import Process
from django_etcdaero.inspection.cluster_status import ClusterStatus, ask
from django_etcdaero.keyvalue.queue.lock import Holder
from django_etcdaero.management.describe import describe_pin, describe_version, moment, size
from django_etcdaero.management.scope import reach_warnings

TIMEOUT = 10.0
"""Seconds that all stores together may take to answer, unless ``--timeout`` says otherwise."""


def held_by(each: Overview, status: ClusterStatus) -> dict[int | None, int]:
    """Count the processes by the version of the dataset that they hold."""
    dataset = datasets[each.name]
    return versions_held(dataset, status.readers_of(dataset.using))


def who(holder: Holder) -> dict[str, Any]:
    """Return who refreshes, for JSON; ``since`` is in seconds since the epoch."""
    return {
        "host": holder.host or None,
        "pid": holder.pid,
        "since": None if holder.since is None else holder.since.timestamp(),
    }


class Command(BaseCommand):
    help = (
        "Show each dataset's state, and the processes with the versions they hold. Times are of the time zone of the "
        "settings, which is told with each; in JSON they are seconds since the epoch. Exit code 1: not all of KV "
        "could be read."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--timeout",
            type=float,
            default=TIMEOUT,
            metavar="SECONDS",
            help=f"longest time for all stores together to answer (default: {TIMEOUT:g})",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 < options["timeout"] < 86400:
            raise CommandError("--timeout must be a number of seconds above 0 and below 86400", returncode=2)
        for warning in reach_warnings():
            self.stderr.write(self.style.WARNING(warning))
        status = ask(options["timeout"])
        if options["json"]:
            self._print_json(status)
        else:
            self._print_text(status)
        if any(problem.store != "RECORDS" for problem in status.problems):
            raise SystemExit(1)

    def _print_json(self, status: ClusterStatus) -> None:
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
                    "refreshing": who(each.holder) if each.holder else None,
                    "overdue": [dataclasses.asdict(load) for load in each.overdue],
                    "other_project": each.other_project,
                    "expiring_bytes": each.expiring_bytes,
                    "clock_skew": each.clock_skew,
                    "processes": [
                        {"version": version, "count": count}
                        for version, count in sorted(held_by(each, status).items(), key=lambda item: item[0] or 0)
                    ],
                }
                for each in status.overviews
            ],
            "processes": [dataclasses.asdict(process) for process in status.processes],
            "errors": [dataclasses.asdict(problem) for problem in status.problems],
        }
        self.stdout.write(json.dumps(document, indent=2))

    def _print_text(self, status: ClusterStatus) -> None:
        if not datasets:
            self.stdout.write("No app declares a dataset (in a module 'datasets' of an app in INSTALLED_APPS).")
        for each in status.overviews:
            self.stdout.write(self.style.MIGRATE_HEADING(each.name))
            for line in self._lines(each, status):
                self.stdout.write(f"  {line}")
        for problem in status.problems:
            self.stdout.write(self.style.ERROR(str(problem)))
        found = status.processes
        unknown = sorted({problem.alias for problem in status.problems if problem.store == "KV"})
        hidden = f", and those that use the alias {', '.join(unknown)}: not known" if unknown else ""
        self.stdout.write(self.style.MIGRATE_HEADING(f"processes: {len(found)}{hidden}"))
        for process in found:
            held = ", ".join(self._held(process, name) for name in sorted(process.versions))
            self.stdout.write(f"  {process.host}/{process.pid} since {moment(process.started)}: {held}")

    def _held(self, process: Process, name: str) -> str:
        version, schema = process.versions[name], process.schemas.get(name)
        words = [name, "-" if version is None else str(version), process.states.get(name, "")]
        if name in datasets and schema != datasets[name].schema:
            words.append(f"(schema {schema})")
        return " ".join(filter(None, words))

    def _lines(self, each: Overview, status: ClusterStatus) -> list[str]:
        current, lines = each.stored.current, []
        if current is None:
            lines.append("nothing published yet; run 'manage.py etcdaero_refresh'")
        else:
            lines.append(describe_version(current))
            counts = held_by(each, status)
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
            lines.append(f"being refreshed by {_told(each.holder)}")
        for load in each.overdue:
            said = f"being loaded by {load.host}/{load.pid} since {moment(load.since)}"
            lines.append(self.style.ERROR(f"{said}, longer than load_timeout ({load.limit:g} s): given up there"))
        lines += [self.style.WARNING(warning) for warning in each.warnings]
        if each.expiring_bytes:
            lines.append(f"{size(each.expiring_bytes)} of replaced versions are still to expire")
        if each.stored.pin is not None:
            lines.append(self.style.WARNING(describe_pin(each.stored.pin)))
        if each.failure is not None:
            lines.append(
                self.style.ERROR(
                    f"last load failed {moment(each.failure.at)} on {each.failure.host}/{each.failure.pid}"
                    f" ({each.failure.failures} in a row): {each.failure.error}"
                )
            )
        return lines


def _told(holder: Holder) -> str:
    since = "" if holder.since is None else f" since {moment(holder.since.timestamp())}"
    return f"{holder.host or 'unknown'}/{holder.pid or '?'}{since}"
