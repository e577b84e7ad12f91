"""``manage.py etcdaero_get``: the value of a key, now or as of a revision, or all that is known of its past."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.inspection.key_history import deletions, versions
from django_etcdaero.inspection.key_reach import reach
from django_etcdaero.inspection.value_forms import FORMS, show_value
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.management.key_command import KEYS, KeyCommand, key_as_json, own_key, short_value
from django_etcdaero.management.table import table


class Command(KeyCommand):
    help = (
        f"Print the value of a key. {KEYS} In a pipe the value is printed byte for byte; on a terminal in a readable "
        "form. Exit code 1: there is no such key."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", metavar="KEY")
        parser.add_argument("--revision", type=int, default=0, metavar="N", help="as of this revision")
        parser.add_argument(
            "--history", action="store_true", help="list the versions that can be read, of all lives of the key"
        )
        parser.add_argument(
            "--limit", type=int, default=20, metavar="N", help="with --history: versions at most (default: 20)"
        )
        parser.add_argument("--form", choices=FORMS, help="print it in this form, in a pipe too")
        super().add_arguments(parser)

    def act_on(self, options: dict[str, Any]) -> None:
        key, revision = own_key(options["key"]), options["revision"]
        if revision < 0 or options["limit"] < 1:
            raise CommandError("--revision and --limit are positive numbers", returncode=2)
        if options["history"]:
            self._history(key, options)
            return
        try:
            found = self.ask_stores(lambda: self.client(options).get(key, revision=revision))
        except (Compacted, FutureRevision) as error:
            raise CommandError(f"revision {revision} cannot be read: {error}") from error
        if found is None:
            raise CommandError(f"no such key: {options['key']}" + (f" (revision {revision})" if revision else ""))
        if options["json"]:
            self.print_json(key_as_json(found))
        elif options["form"] or self.stdout.isatty():
            shown = show_value(found.value, options["form"])
            self.stdout.write(shown.text)
            if shown.is_cut:
                self.stderr.write(f"(the first {shown.shown} of {shown.size} bytes)")
        elif binary := getattr(self.stdout, "buffer", None):
            binary.write(found.value)
            binary.flush()
        else:  # what call_command() was given
            self.stdout.write(found.value.decode(errors="backslashreplace"), ending="")

    def _history(self, key: bytes, options: dict[str, Any]) -> None:
        found = self.ask_stores(lambda: _all_versions(self.client(options), key, options))
        if options["json"]:
            for version, state in found:
                self.print_json({**key_as_json(version.kv), "until": version.until, "state": state})
        else:
            rows = [
                (
                    version.kv.version,
                    version.kv.mod_revision,
                    state,
                    len(version.kv.value),
                    short_value(version.kv.value),
                )
                for version, state in found
            ]
            for line in table(("version", "revision", "until", "bytes", "value"), rows, out=self.stdout):
                self.stdout.write(line)
        if not found:
            raise CommandError(f"no version of {options['key']} can be read")


def _all_versions(kv: KV, key: bytes, options: dict[str, Any]) -> list[tuple[Any, str]]:
    """Return the versions of all lives, the newest first, each with what ended it."""
    seen = reach(kv)
    before = options["revision"]
    found: list[Any] = []
    ended = deletions(kv, key, seen, prefix=False, seconds=options["timeout"] / 2)
    starts = [before, *(each.revision - 1 for each in ended.found if not before or each.revision - 1 < before)]
    for start in starts:
        left = options["limit"] - len(found)
        if left > 0:
            found += versions(kv, key, seen, before=start, limit=left).found
    return [(each, _state(each)) for each in found]


def _state(version: Any) -> str:
    if version.until is None:
        return "now"
    return f"deleted with {version.until}" if version.deleted else f"replaced with {version.until}"
