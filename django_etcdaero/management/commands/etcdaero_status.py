"""``manage.py etcdaero_status``: what the stores say about each dataset, and which process holds what."""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
import time
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandParser

from django_etcdaero import conf, datasets
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.overview import Overview, versions_held
from django_etcdaero.datasets.state.presence import Process
from django_etcdaero.inspection.cluster_status import ClusterStatus, ask
from django_etcdaero.inspection.conditions import conditions
from django_etcdaero.inspection.holders import holders
from django_etcdaero.inspection.processes import as_fields
from django_etcdaero.keyvalue.queue.lock import Holder
from django_etcdaero.management.acting import ActingCommand
from django_etcdaero.management.describe import describe_pin, describe_version, moment, size, span
from django_etcdaero.management.scope import chosen_datasets
from django_etcdaero.management.table import table

HEADINGS = ("dataset", "state", "version", "held", "age", "due in", "rows", "size")
"""The most important first: a narrow terminal cuts off the last."""
MOST_NAME = 20
"""Characters of a dataset's name in the table."""


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


class Command(ActingCommand):
    help = (
        "Show each dataset's state, and the processes with the versions they hold: a table on a terminal, all that is "
        "known in a pipe, with -v 2 and of the datasets that are named. Times are of the time zone of the settings, "
        "which is told with each; in JSON they are seconds since the epoch. All stores are asked at once, and what has "
        "not answered in time is told. Exit code 1: not all of KV could be read."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "names", nargs="*", metavar="NAME", help="datasets to show in full (default: all, in short)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> None:
        names = tuple(options["names"])
        if names:
            chosen_datasets(names)
        status = ask(options["timeout"], names=names or None, aliases=() if datasets else conf.aliases())
        if options["json"]:
            self._print_json(status)
        elif names or options["verbosity"] > 1 or not self.stdout.isatty():
            self._print_text(status)
        else:
            self._print_table(status)
        if any(problem.store != "RECORDS" for problem in status.problems):
            raise SystemExit(1)

    def _print_json(self, status: ClusterStatus) -> None:
        document: dict[str, Any] = {
            "datasets": [
                {
                    "name": each.name,
                    "version": each.version,
                    "conditions": [str(condition) for condition in conditions(each, datasets[each.name])],
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
            "processes": [as_fields(process) for process in status.processes],
            "errors": [dataclasses.asdict(problem) for problem in status.problems],
        }
        known = {each.name for each in status.overviews}
        copies = {name: dataclasses.asdict(copy) for name, copy in status.copies.items() if name not in known}
        if copies:  # KV does not tell of them; what the record stores have
            document["announced"] = copies
        # In lines it takes ten times as long, which counts where many processes read many datasets.
        self.stdout.write(json.dumps(document, indent=2 if self.stdout.isatty() else None))

    def _print_text(self, status: ClusterStatus) -> None:
        if not datasets:
            self._print_stores(status)
        known = {each.name: each for each in status.overviews}
        for name in sorted({*known, *status.copies}):
            self._write(name, style=self.style.MIGRATE_HEADING)
            if name in known:
                lines = self._lines(known[name], status)
            else:
                lines = [f"{describe_version(status.copies[name])}; as the record store has it"]
            for line in lines:
                self._write(line, indent="  ")
        self._print_problems(status)
        found = status.processes
        unknown = [each.alias for each in status.aliases if each.processes is None]
        hidden = f", and those that use the alias {', '.join(unknown)}: not known" if unknown else ""
        self.stdout.write(self.style.MIGRATE_HEADING(f"processes: {len(found)}{hidden}"))
        for process in found:
            held = ", ".join(self._held(process, name) for name in sorted(process.versions))
            self._write(f"{process.host}/{process.pid} since {moment(process.started)}: {held}", indent="  ")

    def _write(self, text: str, *, indent: str = "", style: Callable[[str], str] = str) -> None:
        """Write a line, in several where the terminal is narrow; pipes get it whole."""
        lines = [f"{indent}{text}"]
        if self.stdout.isatty() and "\x1b" not in text:
            width = max(20, shutil.get_terminal_size().columns)
            lines = textwrap.wrap(
                text, width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
            )
        for line in lines:
            self.stdout.write(style(line))

    def _print_problems(self, status: ClusterStatus) -> None:
        for problem in status.problems:
            self._write(self.told(problem), style=self.style.ERROR)

    def _print_stores(self, status: ClusterStatus) -> None:
        """Say which stores answer, where no dataset tells it."""
        self._write("No app declares a dataset (in a module 'datasets' of an app in INSTALLED_APPS).")
        for each in status.aliases:
            silent = {problem.store for problem in each.problems}
            if None not in silent:  # else the settings are wrong
                settings = conf.get(each.alias)
                places = {"KV": settings.kv.safe, "RECORDS": settings.records.safe}
                told = [f"{store} ({place}) answers" for store, place in places.items() if store not in silent]
                if told:
                    self._write(f"alias {each.alias}: {', '.join(told)}")

    def _print_table(self, status: ClusterStatus) -> None:
        """Print a line for each dataset, and what is in none."""
        if not datasets:
            self._print_stores(status)
            self._print_problems(status)
            return
        known, copies = {each.name: each for each in status.overviews}, status.copies
        rows = [self._row(name, known.get(name), copies.get(name), status) for name in sorted(datasets)]
        for line in table(HEADINGS, rows, out=self.stdout):
            self.stdout.write(line)
        self._print_problems(status)
        self._print_processes(status)

    def _row(
        self, name: str, known: Overview | None, copy: Announcement | None, status: ClusterStatus
    ) -> tuple[str, ...]:
        current = copy if known is None else known.stored.current
        figures = ("-", "-", "-")
        if current is not None:
            figures = (str(current.version), f"{current.rows:,}", size(current.stored_bytes))
        if known is None:
            said, age, due = "not known", "-", "-"
        else:
            said = ", ".join(conditions(known, datasets[name]))
            age = "-" if known.age is None else span(known.age)
            due = "now" if known.due else "-" if known.next_due is None else span(max(0, known.next_due - time.time()))
        asked = {each.alias: each.processes for each in status.aliases}
        held, processes = "-", asked.get(datasets[name].using)
        if processes is not None:
            found = holders(datasets[name], None if current is None else current.version, processes)
            held = f"{found.current}/{found.total}"
        version, rows, stored = figures
        shown = name if len(name) <= MOST_NAME else f"{name[: MOST_NAME - 1]}…"
        return shown, said, version, held, age, due, rows, stored

    def _print_processes(self, status: ClusterStatus) -> None:
        unknown = [each.alias for each in status.aliases if each.processes is None]
        hidden = f", and those that use the alias {', '.join(unknown)}: not known" if unknown else ""
        found = status.processes
        hosts = len({each.host for each in found})
        self._write(f"processes: {len(found)} on {hosts} hosts{hidden}" if found else f"processes: 0{hidden}")
        if all(each.refreshers is not None for each in status.aliases):
            running = {each.who for alias in status.aliases for each in alias.refreshers or ()}
            told = ", ".join(sorted(running)[:5]) or "no service; start one: manage.py etcdaero_refresh --loop"
            self._write(f"refreshed by: {told}{', …' if len(running) > 5 else ''}")
        self._write("in full: manage.py etcdaero_status NAME, or -v 2")

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
            full = f", everything {moment(each.stored.full_load)}" if each.stored.full_load else ""
            lines.append(f"source last read {moment(each.stored.checked.load_started)}{full}")
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
