"""``manage.py etcdaero_forget``: delete what is stored of datasets that no code declares any more."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_etcdaero.datasets.publish.forgetting import (
    StoredDataset,
    forget_dataset,
    refuse_what_is_used,
    stored_datasets,
)
from django_etcdaero.management.acting import ActingCommand
from django_etcdaero.management.describe import describe_version
from django_etcdaero.management.scope import chosen_aliases


class Command(ActingCommand):
    help = (
        "Delete what is stored of a dataset, or of one of its schemas, that no code declares any more: keys at once, "
        "records by expiry. --list shows what there is."
    )
    answer_within = 60.0
    asks_first = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", nargs="?", metavar="NAME", help="the dataset")
        parser.add_argument("--schema", type=int, metavar="N", help="this schema only (default: all)")
        parser.add_argument(
            "--using", metavar="ALIAS", help="the alias in settings.ETCDAERO (default: all that have it)"
        )
        parser.add_argument("--list", action="store_true", help="show what is stored and this code does not declare")
        parser.add_argument("--force", action="store_true", help="also what is declared, or what processes read")
        parser.add_argument("--json", action="store_true", help="with --list: print one JSON object a line")

    def act(self, options: dict[str, Any]) -> None:
        name, schema = options["name"], options["schema"]
        if (name is None) != options["list"]:
            raise CommandError("give either a NAME, or --list", returncode=2)
        aliases = chosen_aliases(options["using"])
        found = self.ask_stores(lambda: [(alias, each) for alias in aliases for each in stored_datasets(using=alias)])
        if options["list"]:
            self._list([(alias, each) for alias, each in found if not each.declared], as_json=options["json"])
            return
        chosen = [(alias, each) for alias, each in found if each.name == name and schema in (None, each.schema)]
        if not chosen:
            what = name if schema is None else f"{name} with schema {schema}"
            raise CommandError(f"nothing is stored of a dataset {what} (alias: {', '.join(aliases)})")
        if not options["force"]:  # before somebody is asked whether everything is to be deleted
            for alias in dict.fromkeys(alias for alias, _ in chosen):
                self.ask_stores(
                    partial(refuse_what_is_used, [each for one, each in chosen if one == alias], using=alias)
                )
        listed = "".join(f"\n  {self._described(alias, each)}" for alias, each in chosen)
        self.consent(f"This will be deleted, for all processes and projects that share the stores:{listed}")
        for alias in dict.fromkeys(alias for alias, _ in chosen):
            forget = partial(forget_dataset, name, schema=schema, using=alias, force=options["force"])
            for each in self.change_stores(forget):
                self.stdout.write(self.style.SUCCESS(f"forgotten: {each.name}, schema {each.schema} (alias {alias})"))

    def _list(self, found: list[tuple[str, StoredDataset]], *, as_json: bool) -> None:
        for alias, each in found:
            if as_json:
                self.stdout.write(json.dumps({"alias": alias, **dataclasses.asdict(each)}))
            else:
                self.stdout.write(self._described(alias, each))
        if not found and not as_json:
            self.stdout.write("nothing is stored that this code does not declare")

    def _described(self, alias: str, each: StoredDataset) -> str:
        said = "nothing announced" if each.announcement is None else describe_version(each.announcement)
        return f"{each.name}, schema {each.schema} (alias {alias}): {said}"
