"""``manage.py etcdaero_cache``: what caches do, a look at an entry, and what makes entries go."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.management.base import CommandError, CommandParser

from django_etcdaero.inspection import caches
from django_etcdaero.inspection.cache_values import is_pickle, show_entry
from django_etcdaero.inspection.caches import CacheState
from django_etcdaero.management.acting import ActingCommand, add_unasked
from django_etcdaero.management.cache_words import scope_of_clear, scope_of_invalidation, state_of_entry
from django_etcdaero.management.describe import moment, size, span
from django_etcdaero.management.subcommands import add_django_options


class Command(ActingCommand):
    help = (
        "Show what the caches of CACHES do that this package keeps, look at an entry, delete one, clear a cache, "
        "invalidate tags. Counts are of the process that counts, which here is this command; metrics have those of "
        "all. Exit code 1: there is no such entry, or the store did not answer; 2: wrong arguments."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(title="what to do", dest="act", required=True, metavar="ACT")
        stats = acts.add_parser("stats", help="settings, entries, state, counts of each cache")
        self._add_common(stats, alias_help="the cache, by its name in CACHES; more than once for several", several=True)
        get = acts.add_parser("get", help="an entry as it stands in the store; no value is loaded")
        delete = acts.add_parser("delete", help="delete an entry")
        for entry in (get, delete):
            entry.add_argument("key", metavar="KEY", help="as the project gives it to the cache")
            entry.add_argument("--version", type=int, metavar="N", help="of the entry (default: that of the cache)")
            self._add_common(entry)
        clear = acts.add_parser("clear", help="forget all entries with the cache's key prefix")
        add_unasked(clear)
        self._add_common(clear)
        invalidate = acts.add_parser("invalidate", help="forget the entries that were stored with a tag")
        invalidate.add_argument("tags", nargs="+", metavar="TAG")
        self._add_common(invalidate)

    def _add_common(self, parser: Any, *, alias_help: str = "", several: bool = False) -> None:
        add_django_options(parser)
        default = [] if several else DEFAULT_CACHE_ALIAS
        usual = "all" if several else DEFAULT_CACHE_ALIAS
        parser.add_argument(
            "--alias",
            action="append" if several else "store",
            default=default,
            metavar="NAME",
            help=f"{alias_help or 'the cache, by its name in CACHES'} (default: {usual})",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        known = caches.aliases()
        named = [options["alias"]] if isinstance(options["alias"], str) else options["alias"]
        unknown = [alias for alias in named if alias not in known]
        if unknown:
            there = ", ".join(known) or "none"
            raise CommandError(
                f"CACHES has no cache {unknown[0]!r} that django_etcdaero keeps; there are: {there}", returncode=2
            )
        super().handle(*args, **options)

    def warnings(self, options: dict[str, Any]) -> list[str]:
        if options["act"] == "stats" or not caches.in_process(options["alias"]):
            return []
        return [f"The cache {options['alias']} is in the memory of each process: this is that of this command."]

    def act(self, options: dict[str, Any]) -> None:
        acting = {"stats": self._stats, "get": self._get, "delete": self._delete}
        acting |= {"clear": self._clear, "invalidate": self._invalidate}
        acting[options["act"]](options)

    def _stats(self, options: dict[str, Any]) -> None:
        found = caches.read_caches(options["timeout"], options["alias"] or None)
        if options["json"]:
            errors = [asdict(problem) for problem in found.problems]
            self._print({"caches": [_document(each) for each in found.caches], "errors": errors})
        else:
            for each in found.caches:
                self.stdout.write(self.style.MIGRATE_HEADING(each.alias))
                for line in _lines(each):
                    self.stdout.write(f"  {line}")
            if not found.caches:
                self.stdout.write("CACHES has no cache that django_etcdaero keeps.")
            for problem in found.problems:
                self.stdout.write(self.style.ERROR(self.told(problem)))
        if found.problems:
            raise SystemExit(1)

    def _get(self, options: dict[str, Any]) -> None:
        looked = caches.look_up(options["alias"], options["key"], options["version"], timeout=options["timeout"])
        if looked.problem is not None:
            raise CommandError(self.told(looked.problem))
        entry = looked.entry
        shown = None if entry is None else show_entry(entry)
        if options["json"]:
            document = None
            if entry is not None:
                document = asdict(entry) | {"content": None if shown is None else asdict(shown)}
                document["pickle"] = is_pickle(entry)
            self._print({"entry": document})
        elif entry is None:
            self.stderr.write(f"there is no entry {options['key']!r} in the cache {options['alias']}")
        else:
            expires = "never" if entry.expires_in is None else f"in {span(entry.expires_in)}"
            self.stdout.write(f"stored as   {entry.stored_key}")
            self.stdout.write(f"state       {state_of_entry(entry)}{f': {entry.why}' if entry.why else ''}")
            self.stdout.write(f"expires     {expires}")
            if entry.gone_in != entry.expires_in and entry.gone_in is not None:
                self.stdout.write(f"gone        in {span(entry.gone_in)}")
            if entry.created is not None:
                self.stdout.write(f"written     {moment(entry.created)}")
            self.stdout.write(f"size        {size(entry.size)}, {entry.records} record(s)")
            signed = "signed" if entry.signed else "not signed"
            self.stdout.write(f"serializer  {', '.join(filter(None, (entry.serializer, entry.compressor, signed)))}")
            for tag, valid in entry.tags.items():
                self.stdout.write(f"tag         {tag}{'' if valid else ' (invalidated)'}")
            if entry.loading:
                self.stdout.write("load        a process makes a new value now")
            if shown is not None:
                what = "a pickle, which is not unpickled" if is_pickle(entry) else shown.form
                cut = f", the first {size(shown.shown)}" if shown.is_cut else ""
                self.stdout.write(f"value       {what}, {size(shown.size)}{cut}")
                self.stdout.write(shown.text)
        if entry is None:
            raise SystemExit(1)

    def _delete(self, options: dict[str, Any]) -> None:
        alias, key = options["alias"], options["key"]
        deleted = self.change_stores(lambda: caches.delete(alias, key, options["version"]))
        if options["json"]:
            self._print({"deleted": deleted})
        elif deleted:
            self.stdout.write(f"deleted: {key!r} in the cache {alias}")
        else:
            self.stderr.write(f"there is no entry {key!r} in the cache {alias}")
        if not deleted:
            raise SystemExit(1)

    def _clear(self, options: dict[str, Any]) -> None:
        state = self._state(options)
        scope = scope_of_clear(state)
        if options["interactive"]:
            if not sys.stdin.isatty():
                raise CommandError(" ".join([*scope, "Nothing was done: say --yes."]))
            self.consent("\n".join(scope))
        self.change_stores(lambda: caches.clear(state.alias))
        if options["json"]:
            self._print({"cleared": state.alias, "also": state.cleared_with, "entries": state.entries, "scope": scope})
        else:
            told = () if options["interactive"] else scope  # who was asked has read it
            self.stdout.write("\n".join([*told, f"cleared: the cache {state.alias}"]))

    def _invalidate(self, options: dict[str, Any]) -> None:
        state, tags = self._state(options), tuple(options["tags"])
        self.change_stores(lambda: caches.invalidate(state.alias, *tags))
        scope = scope_of_invalidation(state, tags)
        if options["json"]:
            self._print({"invalidated": tags, "scope": scope})
        else:
            self.stdout.write(scope)

    def _state(self, options: dict[str, Any]) -> CacheState:
        found = caches.read_caches(options["timeout"], [options["alias"]])
        for problem in found.problems:
            raise CommandError(self.told(problem))
        return found.caches[0]

    def _print(self, document: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(document, indent=2, default=str))


def _document(cache: CacheState) -> dict[str, Any]:
    near = None if cache.near is None else cache.near._asdict()
    return {**asdict(cache), "fill": cache.fill._asdict(), "near": near, "hit_share": cache.hit_share}


def _lines(cache: CacheState) -> list[str]:
    if cache.settings is None:
        return ["wrong settings"]
    prefix = f"key prefix {cache.settings.key_prefix!r}" if cache.settings.key_prefix else "no key prefix"
    timeout = "for ever" if cache.settings.timeout is None else f"{cache.settings.timeout:g} s"
    entries = "not known" if cache.entries is None else f"about {cache.entries:,}"
    store = "not known"
    if cache.fill.records is not None:
        store = ", ".join(filter(None, (f"{cache.fill.records:,} records", size(cache.fill.size or 0))))
    lines = [
        f"place: {cache.location}{' (in each process)' if cache.settings.in_process else ''}",
        f"{prefix}, version {cache.settings.version}, entries live {timeout}",
        f"entries: {entries}; whole store: {store}",
    ]
    if cache.settings.options:
        lines.append("options: " + ", ".join(f"{name} {value}" for name, value in cache.settings.options.items()))
    if cache.cleared_with:
        lines.append(f"same entries as {', '.join(cache.cleared_with)}")
    if cache.away is not None:
        lines.append(f"away since {moment(cache.away.since)}: {cache.away.error}")
    counted = ", ".join(f"{name} {count:,}" for name, count in cache.counts.items() if isinstance(count, int) and count)
    lines.append(f"counted in this process: {counted or 'nothing'}")
    return lines
