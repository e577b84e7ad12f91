"""``manage.py etcdaero_locks``: who holds locks and leads elections, who waits, and taking one away."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_etcdaero import conf
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.inspection.aliases import ask_aliases
from django_etcdaero.inspection.key_text import key_text
from django_etcdaero.inspection.leased_keys import Looked
from django_etcdaero.inspection.locks import Contended, all_contended, contended, lease_statuses, release
from django_etcdaero.inspection.problem import left_out
from django_etcdaero.inspection.together import within
from django_etcdaero.keyvalue.queue.holder import Holder
from django_etcdaero.keyvalue.values import LeaseStatus
from django_etcdaero.management.acting import ActingCommand, add_unasked
from django_etcdaero.management.describe import moment
from django_etcdaero.management.key_command import own_key
from django_etcdaero.management.scope import chosen_aliases
from django_etcdaero.management.subcommands import add_django_options
from django_etcdaero.management.table import table
from django_etcdaero.runtime import runtime


class Command(ActingCommand):
    help = (
        "List the locks of any kind and the elections that somebody holds, or take one from its holder. Exit code 1: "
        "it is not held with this token any more, or not all could be read; 2: wrong arguments."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, parser_class=type(parser))
        listing = actions.add_parser("list", help="who holds, and how many wait")
        _add_using(listing, "only this alias of settings.ETCDAERO (default: all)")
        listing.add_argument("--json", action="store_true", help="print one JSON object, with all who wait")
        releasing = actions.add_parser("release", help="take it from its holder; the next in the queue has it then")
        releasing.add_argument("name", metavar="NAME", help="the lock or the election, as the list writes it")
        releasing.add_argument(
            "--token", type=int, required=True, metavar="N", help="of the holder; another holder keeps it"
        )
        add_unasked(releasing)
        releasing.add_argument("--json", action="store_true", help="print one JSON object")
        _add_using(releasing, "the alias in settings.ETCDAERO (default: default)")
        for each in (listing, releasing):
            add_django_options(each)
            super().add_arguments(each)

    def act(self, options: dict[str, Any]) -> None:
        aliases = chosen_aliases(options["using"])
        if options["action"] == "list":
            self._list(aliases, options)
        else:
            self._release(options)

    # list ------------------------------------------------------------------------------------------------------------

    def _list(self, aliases: tuple[str, ...], options: dict[str, Any]) -> None:
        timeout = options["timeout"]
        read = partial(_read, seconds=within(within(timeout)))  # so that no call has to be cut off
        answers = ask_aliases(read, timeout=timeout, aliases=aliases)
        found = [(alias, each, left) for alias, (held, left) in answers.by_alias.items() for each in held.found]
        skipped = [
            left_out(held.left_out, alias=alias) for alias, (held, _) in answers.by_alias.items() if held.left_out
        ]
        problems = [*answers.problems, *skipped]
        if options["json"]:
            errors = [dataclasses.asdict(each) for each in problems]
            self.stdout.write(json.dumps({"locks": [_as_json(*each) for each in found], "errors": errors}, indent=2))
        else:
            rows = [_row(*each) for each in found]
            headings = ("alias", "name", "kind", "holder", "since", "token", "waiting", "time left", "lease")
            for line in table(headings, rows, out=self.stdout):
                self.stdout.write(line)
            if not found and not problems and self.stdout.isatty():
                self.stdout.write("Nobody holds a lock or leads an election.")
            for problem in problems:
                self.stderr.write(self.style.ERROR(self.told(problem)))
        if problems:
            raise SystemExit(1)

    # release ---------------------------------------------------------------------------------------------------------

    def _release(self, options: dict[str, Any]) -> None:
        name = own_key(options["name"], "NAME")
        if not name or options["token"] < 1:
            raise CommandError("NAME is not empty, and --token is a positive number", returncode=2)
        using, token = options["using"] or conf.DEFAULT_ALIAS, options["token"]
        if self._interactive:
            seen = self.ask_stores(lambda: contended(runtime.stores(using).kv, name))
            holders = {} if seen is None else {each.token: each for each in seen.holders}
            if seen is None or token not in holders:
                raise CommandError(f"{options['name']} is not held with the token {token}")
            self.consent(
                f"{options['name']} is taken from {_who(holders[token])}; {len(seen.waiters)} wait for it. The one it"
                f" is taken from may go on working until it notices."
            )
        removed = self.change_stores(lambda: release(runtime.stores(using).kv, name, token=token))
        if options["json"]:
            self.stdout.write(json.dumps({"released": options["name"], "holder": _holder_as_json(removed, {})}))
        else:
            self.stdout.write(self.style.SUCCESS(f"{options['name']} was taken from {_who(removed)} (token {token})"))


def _add_using(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--using", default=None, metavar="ALIAS", help=text)


def _read(alias: str, stores: Stores, *, seconds: float) -> tuple[Looked[Contended], Mapping[int, LeaseStatus]]:
    found = all_contended(stores.kv, seconds=seconds)
    try:
        return found, lease_statuses(stores.kv, (holder.lease for each in found.found for holder in each.holders))
    except EtcdAeroError:  # who holds is known all the same
        return found, {}


def _who(holder: Holder) -> str:
    dead = " (dead)" if holder.dead else ""
    return f"{holder.host}/{holder.pid}{dead}" if holder.host and holder.pid else f"another client{dead}"


def _holders(each: Contended) -> str:
    first = each.holder
    if each.held == 1:
        return _who(first)
    dead = sum(bool(holder.dead) for holder in each.holders)
    name = f"{first.host}/{first.pid}" if first.host and first.pid else "another client"
    return f"{name} and {each.held - 1} more" + (f" ({dead} dead)" if dead else "")


def _row(alias: str, each: Contended, left: Mapping[int, LeaseStatus]) -> tuple[object, ...]:
    holder = each.holder
    status = left.get(holder.lease)
    return (
        alias,
        key_text(each.name),
        each.kind.value,
        _holders(each),
        "" if holder.since is None else moment(holder.since.timestamp()),
        holder.token,
        len(each.waiters),
        "" if status is None else f"{max(0, status.ttl)} of {status.granted_ttl} s",
        f"{holder.lease:x}",
    )


def _as_json(alias: str, each: Contended, left: Mapping[int, LeaseStatus]) -> dict[str, Any]:
    return {
        "alias": alias,
        "name": key_text(each.name),
        "kind": each.kind.value,
        "limit": each.limit,
        "holder": _holder_as_json(each.holder, left),
        "holders": [_holder_as_json(holder, left) for holder in each.holders],
        "waiters": [_holder_as_json(waiter, left) for waiter in each.waiters],
    }


def _holder_as_json(holder: Holder, left: Mapping[int, LeaseStatus]) -> dict[str, Any]:
    status = left.get(holder.lease)
    return {
        "host": holder.host or None,
        "pid": holder.pid,
        "since": None if holder.since is None else holder.since.timestamp(),
        "dead": holder.dead,
        "token": holder.token,
        "lease": f"{holder.lease:x}",
        "seconds_left": None if status is None else max(0, status.ttl),
        "identity": dict(holder.identity),
        "role": holder.role or None,
    }
