"""``manage.py etcdaero_put``: write a key, from an argument, a file or the standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_etcdaero.exceptions import LeaseNotFound
from django_etcdaero.inspection.key_changes import Changed, write_if
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.management.key_command import KEYS, KeyCommand, add_force, own_key


class Command(KeyCommand):
    help = (
        f"Write a key. {KEYS} The value is the argument, the content of --file, or what comes from the standard input. "
        "Exit code 1: refused by --if-absent or --if-revision, or as a key of the package itself."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", metavar="KEY")
        parser.add_argument("value", nargs="?", metavar="VALUE", help="as UTF-8; without it the standard input is read")
        parser.add_argument("--file", metavar="PATH", help="take the value from a file")
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--lease", metavar="ID", help="put the key on this lease (hexadecimal)")
        where.add_argument("--ttl", type=int, metavar="SECONDS", help="put the key on a new lease, which nobody renews")
        condition = parser.add_mutually_exclusive_group()
        condition.add_argument("--if-absent", action="store_true", help="only if there is no such key")
        condition.add_argument(
            "--if-revision", type=int, metavar="N", help="only if the key was changed last with revision N"
        )
        add_force(parser)
        super().add_arguments(parser)

    def act_on(self, options: dict[str, Any]) -> None:
        key = own_key(options["key"])
        if options["value"] is not None and options["file"] is not None:
            raise CommandError("give either a VALUE, or --file", returncode=2)
        if options["if_revision"] is not None and options["if_revision"] < 1:
            raise CommandError("--if-revision is a positive number; a new key is written --if-absent", returncode=2)
        if options["ttl"] is not None and not 2 <= options["ttl"] <= 9_000_000_000:
            raise CommandError("--ttl is a number of seconds from 2", returncode=2)
        lease = _lease(options["lease"])
        self.check_owner(key, options)
        value = _value(options)
        done = self.change_stores(lambda: _write(self.client(options), key, value, lease, options))
        if not done.done:
            there = "there is no such key" if done.there is None else f"it is at revision {done.there.mod_revision}"
            raise CommandError(f"{options['key']} was not written: {there}")
        if options["json"]:
            self.print_json({"key": options["key"], "revision": done.revision})
        else:
            self.stdout.write(self.style.SUCCESS(f"{options['key']} written with revision {done.revision}"))


def _write(kv: KV, key: bytes, value: bytes, lease: int, options: dict[str, Any]) -> Changed:
    granted = None
    if options["ttl"] is not None:
        granted = kv.lease(options["ttl"], keep_alive=False)
        lease = granted.id
    try:
        if options["if_absent"] or options["if_revision"] is not None:
            done = write_if(kv, key, value, seen=options["if_revision"] or 0, lease=lease)
        else:
            done = Changed(done=True, revision=kv.put(key, value, lease=lease).revision)
    except LeaseNotFound as error:
        raise CommandError(f"no such lease: {options['lease']}") from error
    if granted is not None and not done.done:
        kv.revoke_lease(granted.id)
    return done


def _lease(text: str | None) -> int:
    if text is None:
        return 0
    try:
        return int(text, 16)
    except ValueError:
        raise CommandError("--lease is the id of a lease in hexadecimal", returncode=2) from None


def _value(options: dict[str, Any]) -> bytes:
    if options["value"] is not None:
        return str(options["value"]).encode(errors="surrogateescape")
    if options["file"] is not None:
        return Path(options["file"]).read_bytes()
    return sys.stdin.buffer.read()
