"""``manage.py etcdaero_doctor``: looks at stores, datasets and settings, and says what is wrong and what mends it."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_etcdaero.doctor import CHECKS, SCHEMA, TIMEOUT, examine, sweep
from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.management.acting import ActingCommand, add_unasked
from django_etcdaero.management.diagnosis import lines, swept_lines
from django_etcdaero.management.scope import chosen_aliases

_GRAVITY = {"warning": 1, "error": 2}


class Command(ActingCommand):
    help = (
        "Look at the stores, at datasets, processes and locks, and at the settings; say what is wrong, why it matters, "
        "and what mends it. Nothing is changed without --write-probe or --yes. Exit code 0: nothing as grave as "
        "--fail-on; 1: something is; 2: wrong arguments; 130: interrupted. A store that does not answer is an error."
    )
    answer_within = TIMEOUT
    requires_system_checks: list[str] = []  # one of the checks runs them

    def add_arguments(self, parser: CommandParser) -> None:
        names = ", ".join(dict.fromkeys(each.area for each in CHECKS))
        parser.add_argument(
            "--using", action="append", metavar="ALIAS", help="this alias only, and no caches (may be given again)"
        )
        for flag, what in (("--only", "run"), ("--skip", "leave out")):
            parser.add_argument(
                flag,
                action="append",
                default=[],
                metavar="ID",
                help=f"{what} these checks: ids or their beginnings, with commas or given again (areas: {names})",
            )
        parser.add_argument(
            "--fail-on", choices=_GRAVITY, default="error", help="what makes the exit code 1 (default: error)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--write-probe",
            action="store_true",
            help="also write: a key and a record of its own in each store, which are read and deleted again",
        )
        parser.add_argument(
            "--sweep",
            action="store_true",
            help="instead of all that: count records of datasets that no version names. Reads the keys of all records",
        )
        add_unasked(parser, "with --sweep: let them expire after GARBAGE_TTL")
        super().add_arguments(parser)

    def warnings(self, options: dict[str, Any]) -> list[str]:
        return []  # findings say it

    def act(self, options: dict[str, Any]) -> None:
        self._check(options)
        failed = self._sweep(options) if options["sweep"] else self._examine(options)
        if failed:
            raise SystemExit(1)

    def _check(self, options: dict[str, Any]) -> None:
        for alias in options["using"] or ():
            chosen_aliases(alias)
        if not options["interactive"] and not options["sweep"]:
            raise CommandError("--yes goes with --sweep", returncode=2)
        if options["sweep"] and (options["only"] or options["skip"] or options["write_probe"]):
            raise CommandError("--sweep runs no checks: leave out --only, --skip and --write-probe", returncode=2)

    def _examine(self, options: dict[str, Any]) -> bool:
        try:
            report = examine(
                aliases=options["using"],
                only=_names(options["only"]),
                skip=_names(options["skip"]),
                timeout=options["timeout"],
                write_probe=options["write_probe"],
            )
        except InvalidRequest as error:
            raise CommandError(str(error), returncode=2) from None
        if options["json"]:
            self.stdout.write(json.dumps(report.as_dict(), indent=2))
        else:
            for line in lines(report, self.style, verbosity=options["verbosity"]):
                self.stdout.write(line)
        return report.gravity >= _GRAVITY[options["fail_on"]]

    def _sweep(self, options: dict[str, Any]) -> bool:
        found = sweep(aliases=options["using"], expire=not options["interactive"])
        if options["json"]:
            self.stdout.write(json.dumps({"schema": SCHEMA, "sweep": [each.as_dict() for each in found]}, indent=2))
        else:
            for line in swept_lines(found, self.style, expire=not options["interactive"]):
                self.stdout.write(line)
        return any(each.error for each in found)


def _names(given: list[str]) -> list[str]:
    return [name.strip() for each in given for name in each.split(",") if name.strip()]
