"""``manage.py etcdaero_processes``: which processes read or watch, what they run and hold, what differs."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import Any

from django.core.management.base import CommandParser

from django_etcdaero.datasets.state.presence import Process
from django_etcdaero.datasets.state.status import State
from django_etcdaero.inspection.processes import FoundProcesses, Headline, as_fields, ask_processes, identity
from django_etcdaero.management.acting import ActingCommand
from django_etcdaero.management.describe import moment, size
from django_etcdaero.management.scope import chosen_aliases
from django_etcdaero.management.table import table

MOST_NAMED = 5
"""Processes that a headline names."""


class Command(ActingCommand):
    help = (
        "List the processes that read datasets or have watches open, and how many hold the current version of each "
        "dataset. Exit code 1: not all could be read; 2: wrong arguments."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--using", default=None, metavar="ALIAS", help="only this alias (default: all)")
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> None:
        found = ask_processes(options["timeout"], aliases=chosen_aliases(options["using"]))
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(found), indent=2 if self.stdout.isatty() else None))
        else:
            self._print(found)
        if found.problems:
            raise SystemExit(1)

    def _print(self, found: FoundProcesses) -> None:
        for line in found.headlines:
            told = headline(line)
            self.stderr.write(self.style.WARNING(told) if line.others else told)
        rows = [_row(each, found) for each in found.processes]
        held, software = ("rows", "stored", "not well"), ("kind", "python", "django")
        headings = ("process", "program", "started", *held, *software, "watches")
        for text in table(headings, rows, out=self.stdout, shorten="program"):
            self.stdout.write(text)
        for problem in found.problems:
            self.stderr.write(self.style.ERROR(self.told(problem)))


def headline(line: Headline) -> str:
    """Say in one line how many processes hold the announced version, and which do not."""
    name = line.dataset if line.schema == 1 else f"{line.dataset} (schema {line.schema})"
    if line.version is None:
        return f"{name}: no version is announced; {line.readers} read it"
    told = f"{name}: {line.holding} of {line.readers} on version {line.version}"
    if not line.others:
        return told
    named = ", ".join(_behind(each, line.dataset) for each in line.others[:MOST_NAMED])
    more = len(line.others) - MOST_NAMED
    return f"{told}; not: {named}{f' and {more} more' if more > 0 else ''}"


def _behind(process: Process, dataset: str) -> str:
    version = process.versions.get(dataset)
    return f"{process.host}/{process.pid} ({'none yet' if version is None else version})"


def _row(each: Process, found: FoundProcesses) -> tuple[object, ...]:
    states = Counter(state for state in each.states.values() if state != State.VALID)
    unwell = [f"{count} {state}" for state, count in sorted(states.items())]
    unwell += [f"{name}: {busy.what} since {moment(busy.since)}" for name, busy in each.stuck.items()]
    unwell += [f"{name} differs" for name in found.differing.get(identity(each), ())]
    return (
        f"{each.host}/{each.pid}",
        each.program,
        moment(each.started),
        sum(each.rows.values()) if each.sizes_known else "?",
        size(sum(each.stored_bytes.values())) if each.sizes_known else "?",
        ", ".join(unwell),
        each.kind,
        each.software.get("python", ""),
        each.software.get("django", ""),
        len(each.watches) + each.more_watches,
    )


def _as_json(found: FoundProcesses) -> dict[str, Any]:
    return {
        "processes": [
            {
                **as_fields(each),
                "stuck": {name: busy._asdict() for name, busy in each.stuck.items()},
                "watches": [{**watch._asdict(), "own": watch.own} for watch in each.watches],
                "more_watches": each.more_watches,
                "settings_that_differ": list(found.differing.get(identity(each), ())),
            }
            for each in found.processes
        ],
        "datasets": [
            {
                "name": line.dataset,
                "schema": line.schema,
                "version": line.version,
                "holding": line.holding,
                "readers": line.readers,
                "others": [f"{each.host}/{each.pid}" for each in line.others],
            }
            for line in found.headlines
        ],
        "errors": [dataclasses.asdict(each) for each in found.problems],
    }
