"""``manage.py etcdaero_watch``: the changes of keys as they happen, with gaps told as such."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_etcdaero.inspection.key_text import key_text
from django_etcdaero.keyvalue.client.watch import Resync, WatchItem
from django_etcdaero.keyvalue.values import Event, EventType
from django_etcdaero.management.key_command import KEYS, KeyCommand, own_key, short_value, value_as_json


class Command(KeyCommand):
    help = (
        f"Print each change of the keys that begin with PREFIX, until Ctrl-C. {KEYS} Where changes cannot be had any "
        "more a line says so, and what is there now follows. --timeout is for the store to accept the watch."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prefix", metavar="PREFIX", help="empty ('') for all keys of the alias")
        parser.add_argument(
            "--from-revision", type=int, default=0, metavar="N", help="also the past, from this revision on"
        )
        parser.add_argument("--count", type=int, metavar="N", help="end after so many changes")
        super().add_arguments(parser)

    def act_on(self, options: dict[str, Any]) -> None:
        beginning = own_key(options["prefix"], "PREFIX")
        if options["from_revision"] < 0 or (options["count"] is not None and options["count"] < 1):
            raise CommandError("--from-revision and --count are positive numbers", returncode=2)
        client = self.ask_stores(lambda: self.client(options))
        watch = client.watch(
            beginning, prefix=True, start_revision=options["from_revision"], resync=True, timeout=options["timeout"]
        )
        seen = 0
        try:
            with watch:
                for item in watch:
                    self._print(item, options)
                    seen += isinstance(item, Event)
                    if options["count"] is not None and seen >= options["count"]:
                        return
        except KeyboardInterrupt:
            return

    def _print(self, item: WatchItem, options: dict[str, Any]) -> None:
        if isinstance(item, Event):
            self._print_event(item, options)
        elif isinstance(item, Resync):
            reason, revision = item.reason.value, item.revision
            if options["json"]:
                said = {"type": "gap", "reason": reason, "revision": revision, "keys": len(item.kvs)}
                self.print_json(said | {"compact_revision": item.compact_revision})
            else:
                missing = f"changes up to revision {revision} are missing; {len(item.kvs)} keys then"
                missing += f"; the oldest revision kept is {item.compact_revision}" if item.compact_revision else ""
                self.stdout.write(self.style.WARNING(f"-- gap ({reason}): {missing} --"))
            for each in item.kvs:
                if options["json"]:
                    said = {"type": "is", "key": key_text(each.key), "revision": each.mod_revision}
                    self.print_json(said | value_as_json(each.value))
                else:
                    self.stdout.write(f"{each.mod_revision}\tis\t{key_text(each.key)}\t{short_value(each.value)}")
        self.stdout.flush()

    def _print_event(self, event: Event, options: dict[str, Any]) -> None:
        kind = "put" if event.type is EventType.PUT else "delete"
        if options["json"]:
            said = {"type": kind, "key": key_text(event.kv.key), "revision": event.kv.mod_revision}
            if event.type is EventType.PUT:
                said |= {"version": event.kv.version, **value_as_json(event.kv.value)}
            self.print_json(said)
        else:
            value = short_value(event.kv.value) if event.type is EventType.PUT else ""
            line = f"{event.kv.mod_revision}\t{kind}\t{key_text(event.kv.key)}\t{value}"
            self.stdout.write(line.rstrip("\t"))
