"""What the commands that work with keys have in common: the alias, keys as arguments, limits of time, JSON."""

from __future__ import annotations

import base64
import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_etcdaero import conf
from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.inspection.key_owners import belongs_to_package
from django_etcdaero.inspection.key_text import key_bytes, key_text
from django_etcdaero.inspection.value_forms import visible
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.runtime import runtime

from .acting import ActingCommand
from .scope import chosen_aliases

KEYS = (
    "Keys are below the PREFIX of the alias. A byte of a key that cannot be typed is written \\x41, a backslash \\\\."
)

SHORT = 120
"""Characters of a value that are printed on one line."""


class KeyCommand(ActingCommand):
    """A command that reads or writes keys of one alias. Exit code 1: not there, or refused; 2: wrong arguments."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--using", default=conf.DEFAULT_ALIAS, metavar="ALIAS", help="the alias in settings.ETCDAERO"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> None:
        chosen_aliases(options["using"])
        self.act_on(options)

    def act_on(self, options: dict[str, Any]) -> None:
        """Do it."""
        raise NotImplementedError

    def client(self, options: dict[str, Any]) -> KV:
        """Return the client of the alias. Opens its stores."""
        return runtime.stores(options["using"]).kv

    def check_owner(self, key: bytes, options: dict[str, Any]) -> None:
        """Refuse to change what belongs to the package itself, unless that was said."""
        if belongs_to_package(key) and not options["force"]:
            raise CommandError(
                f"{key_text(key)} belongs to the package itself; --force changes it all the same, which can break "
                f"what relies on it"
            )

    def print_json(self, document: object) -> None:
        """Print one JSON value on one line."""
        self.stdout.write(json.dumps(document))


def own_key(text: str, name: str = "KEY") -> bytes:
    """Return the key that the argument ``name`` says. Raises ``CommandError`` if it says none."""
    try:
        found = key_bytes(text)
    except InvalidRequest as error:
        raise CommandError(f"{name}: {error}", returncode=2) from error
    if not found and name == "KEY":
        raise CommandError("KEY is empty", returncode=2)
    return found


def add_force(parser: CommandParser) -> None:
    """Add the option that lets keys of the package be changed."""
    parser.add_argument("--force", action="store_true", help="also keys that belong to the package itself")


def value_as_json(value: bytes) -> dict[str, str]:
    """Return a value for JSON: as ``value`` if it is UTF-8, else as ``base64``."""
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def key_as_json(kv: KeyValue, *, value: bool = True) -> dict[str, Any]:
    """Return a key for JSON; ``key`` is written as commands take it."""
    said: dict[str, Any] = {
        "key": key_text(kv.key),
        "create_revision": kv.create_revision,
        "mod_revision": kv.mod_revision,
        "version": kv.version,
        "lease": f"{kv.lease:x}" if kv.lease else None,
    }
    return said | value_as_json(kv.value) if value else said


def short_value(value: bytes) -> str:
    """Return the beginning of a value on one line."""
    line = visible(" ".join(value[: 4 * SHORT].decode(errors="backslashreplace").split()))
    return line if len(line) <= SHORT else line[: SHORT - 1] + "…"
