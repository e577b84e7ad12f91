"""``manage.py etcdaero_diff``: what has changed between two kept versions of a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from itertools import islice
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.diff import Change
from django_etcdaero.management.one_dataset import OneDatasetCommand

LIMIT = 20
"""Changes that are shown, unless ``--limit`` says otherwise."""
SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def to_json(value: Any) -> Any:
    """Return something that JSON has in the place of what rows may contain; what it lacks becomes a text."""
    if isinstance(value, Mapping):
        return {str(key): to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple | Set):
        return [to_json(each) for each in value]
    return value if value is None or isinstance(value, bool | int | str) else _number_or_text(value)


def _number_or_text(value: Any) -> Any:
    return value if isinstance(value, float) and abs(value) < float("inf") else str(value)


def _name(field: Any) -> str:
    """Return the name of a field as it is shown: what could act on a terminal, and what is no text, as in code."""
    return field if isinstance(field, str) and field.isprintable() else repr(field)


class Command(OneDatasetCommand):
    help = "Show which rows were added, removed and changed between two kept versions, and which of their fields."
    answer_within = None

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("old", nargs="?", type=int, metavar="OLD", help="default: the one published before NEW")
        parser.add_argument("new", nargs="?", type=int, metavar="NEW", help="default: the current version")
        parser.add_argument(
            "--limit", type=int, default=LIMIT, metavar="N", help=f"changes to show (default: {LIMIT}; 0: all)"
        )
        parser.add_argument("--json", action="store_true", help="print JSON objects: the numbers, then one a change")

    def act_on(self, dataset: Dataset[Any, Any], options: dict[str, Any]) -> None:
        if options["limit"] < 0:
            raise CommandError("--limit must be 0 or more", returncode=2)
        diff = dataset.diff(options["old"], options["new"])
        counts = diff.counts
        if options["json"]:
            numbers = {"name": dataset.name, "old": diff.old.version, "new": diff.new.version, **counts._asdict()}
            self.stdout.write(json.dumps(numbers))
        else:
            said = ", ".join(f"{count:,} {kind}" for kind, count in counts._asdict().items())
            self.stdout.write(f"{dataset.name}: version {diff.old.version} to {diff.new.version}: {said}")
        for change in islice(diff, options["limit"] or None):
            if options["json"]:
                self.stdout.write(json.dumps(self._document(change)))
            else:
                self._show(change)
        left = sum(counts) - options["limit"]
        if options["limit"] and left > 0 and not options["json"]:
            self.stdout.write(f"… and {left:,} more (--limit 0 shows all)")

    def _document(self, change: Change[Any, Any]) -> dict[str, Any]:
        return {
            "key": to_json(change.key),
            "kind": change.kind,
            "old": to_json(change.old),
            "new": to_json(change.new),
            "fields": [self._document(each) for each in change.fields],
        }

    def _show(self, change: Change[Any, Any]) -> None:
        sign = SIGNS[change.kind]
        if not change.fields:
            self.stdout.write(f"{sign} {change.key!r}: {self._values(change)}")
            return
        self.stdout.write(f"{sign} {change.key!r}")
        for each in change.fields:
            self.stdout.write(f"    {SIGNS[each.kind]} {_name(each.key)}: {self._values(each)}")

    def _values(self, change: Change[Any, Any]) -> str:
        shown = {"added": [change.new], "removed": [change.old], "changed": [change.old, change.new]}[change.kind]
        return " → ".join(text if len(text) <= 200 else f"{text[:200]}…" for text in map(repr, shown))
