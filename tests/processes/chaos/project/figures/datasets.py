"""Datasets of several kinds, each for each alias.

The source of each is a file, which says the number that its rows follow from. What is loaded is written down, as is the
digest of the rows that the source had then.
"""

import json
import os
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings

from django_etcdaero import Changes, Dataset
from django_etcdaero.datasets.mapped import making
from django_etcdaero.exceptions import ValidationFailed
from figures.rows import INDEX, Figure, changes_of, complaint, digest_of, rows_of, whole_of

READER = os.environ.get("CHAOS_READER", "")
MAX_STALE = 8
making.LEAST = 0  # type: ignore[misc] # changes of files as small as these are laid over them too


def refuse_bad(old: Any, new: Any) -> None:
    if whole_of(new)[1]:
        raise ValidationFailed("this number is bad")


class Figures(Dataset[str, Any]):
    """Base of them all: numbers under texts."""

    refresh_every = timedelta(seconds=float(os.environ.get("CHAOS_EVERY", "2")))
    first_read_timeout = 10

    def load(self) -> Mapping[str, Any]:
        source = self._source()
        self._loaded(source, kind="load")
        return rows_of(self.name, source["number"], source["bad"])

    def prepare(self, rows: Any) -> int:
        """Check the rows; in a reader, wait for as long as there is a file that says so."""
        number, bad = whole_of(rows)
        if wrong := None if bad else complaint(self.name, rows):
            raise AssertionError(wrong)
        while READER and (settings.DIRECTORY / f"{self.name}.{READER}.blocked").exists():
            time.sleep(0.02)
        return number

    def _source(self) -> dict[str, Any]:
        source: dict[str, Any] = json.loads((settings.DIRECTORY / f"{self.name}.source").read_text())
        return source

    def _loaded(self, source: dict[str, Any], **more: Any) -> None:
        digest = digest_of(self.name, rows_of(self.name, source["number"], source["bad"]))
        line = {"name": self.name, "pid": os.getpid(), "at": time.monotonic(), "digest": digest, **source, **more}
        with open(settings.DIRECTORY / "loads", "a") as log:
            log.write(json.dumps(line) + "\n")


class Slow(Figures):
    """What stands still in a reader now and then."""


class Guarded(Figures):
    """In an order, with an index, and with a validator."""

    ordered = True
    indexes = (INDEX,)
    validators = [refuse_bad]


class Strict(Figures):
    """With a row type, and not to be read when it is old."""

    row_type = Figure
    max_stale = timedelta(seconds=MAX_STALE)


class Shared(Figures):
    """In one file for all processes of this host."""

    row_type = Figure
    shared = True


class Changing(Figures):
    """Of a source that tells its changes; now and then everything is loaded. That on files is shared, too."""

    validators = [refuse_bad]
    full_load_every = timedelta(seconds=9)

    def change_cursor(self) -> int:
        number: int = self._source()["number"]
        return number

    def load_changes(self, since: int) -> Changes[str] | None:
        source = self._source()
        if source["number"] % 17 == 0:  # it does not know
            return None
        self._loaded(source, kind="changes", since=since)
        upserts, deletions = changes_of(self.name, since, source["number"], bad=source["bad"])
        return Changes(upserts, deletions, source["number"])


class Asked(Figures):
    """Loaded only when somebody asks for it."""

    refresh_every = None


KINDS: dict[str, type[Figures]] = {
    "slow": Slow,
    "guarded": Guarded,
    "strict": Strict,
    "changing": Changing,
    "shared": Shared,
    "asked": Asked,
}
"""Each kind is read in each alias; a further one is named in ``tests/processes/chaos/site.py`` as well."""

for alias, using in (("servers", "default"), ("files", "files")):
    for word, base in KINDS.items():
        options = {"name": f"{alias}-{word}", "using": using, "__module__": __name__}
        if word == "changing":  # one with deltas in the memory of each process, one with deltas in a file for all
            options["shared"] = alias == "files"
        type(f"{alias.title()}{word.title()}", (base,), options)
