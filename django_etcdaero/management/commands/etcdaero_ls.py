"""``manage.py etcdaero_ls``: the keys that begin so, or a level of the tree of keys."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.inspection.key_levels import Entry, Level, read_level, read_matches
from django_etcdaero.inspection.key_text import key_text
from django_etcdaero.management.key_command import KEYS, KeyCommand, key_as_json, own_key
from django_etcdaero.management.table import table


class Command(KeyCommand):
    help = (
        f"List the keys that begin with PREFIX, or with --tree what stands directly under it. {KEYS} Values are not "
        "read. Exit code 1: there is none."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prefix", nargs="?", default="", metavar="PREFIX")
        parser.add_argument("--tree", action="store_true", help="keys and folders directly under PREFIX")
        parser.add_argument("--separator", default="/", metavar="TEXT", help="what ends a folder (default: /)")
        parser.add_argument(
            "--limit", type=int, default=1000, metavar="N", help="entries at most; 0: all (default: 1000)"
        )
        parser.add_argument("--revision", type=int, default=0, metavar="N", help="as of this revision")
        super().add_arguments(parser)

    def act_on(self, options: dict[str, Any]) -> None:
        beginning = own_key(options["prefix"], "PREFIX")
        separator = own_key(options["separator"], "--separator")
        if options["revision"] < 0 or options["limit"] < 0 or not separator:
            raise CommandError("--revision and --limit are positive numbers, --separator is not empty", returncode=2)
        left, start, count, more = options["limit"], b"", 0, False
        while True:
            level = self._page(beginning, start, min(left, 1000) if options["limit"] else 1000, separator, options)
            self._print(level.entries, options, headings=count == 0)
            count, left = count + len(level.entries), left - len(level.entries)
            if level.next is None:
                break
            if options["limit"] and left <= 0:
                more = True
                break
            start = level.next
        if more:
            self.stderr.write(self.style.WARNING(f"there are more than {count}; --limit 0 lists all"))
        if not count:
            raise CommandError(f"no key begins with {options['prefix']!r}")

    def _page(self, beginning: bytes, start: bytes, limit: int, separator: bytes, options: dict[str, Any]) -> Level:
        revision = options["revision"]

        def read() -> Level:
            kv = self.client(options)
            if options["tree"]:
                return read_level(kv, beginning, start=start, limit=limit, revision=revision, separator=separator)
            return read_matches(kv, beginning, start=start, limit=limit, revision=revision)

        try:
            return self.ask_stores(read)
        except (Compacted, FutureRevision) as error:
            raise CommandError(f"revision {revision} cannot be read: {error}") from error

    def _print(self, entries: list[Entry], options: dict[str, Any], *, headings: bool) -> None:
        if options["json"]:
            for each in entries:
                if each.kv is None:
                    self.print_json({"folder": key_text(each.key), "count": each.count})
                else:
                    self.print_json(key_as_json(each.kv, value=False))
            return
        rows = [
            (key_text(each.key), "", f"{each.count} keys", "")
            if each.kv is None
            else (
                key_text(each.key),
                each.kv.version,
                each.kv.mod_revision,
                f"{each.kv.lease:x}" if each.kv.lease else "",
            )
            for each in entries
        ]
        lines = table(("key", "version", "revision", "lease"), rows, out=self.stdout)
        for number, line in enumerate(lines):
            if headings or number or not self.stdout.isatty():
                self.stdout.write(line)
