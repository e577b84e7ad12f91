"""Three datasets for each alias. The source of each is a file, which says the number that its rows follow from."""

import json
import os
import time
from datetime import timedelta
from typing import Any

from django.conf import settings

from django_etcdaero import Dataset
from django_etcdaero.exceptions import ValidationFailed
from figures.rows import WHOLE, complaint, number_of, rows_of

READER = os.environ.get("CHAOS_READER", "")
MAX_STALE = 8


def refuse_bad(old: Any, new: Any) -> None:
    if new[WHOLE][2]:
        raise ValidationFailed("this number is bad")


class Figures(Dataset[str, Any]):
    """Base of them all."""

    refresh_every = timedelta(seconds=2)
    first_read_timeout = 60

    def load(self) -> dict[str, Any]:
        source = json.loads((settings.DIRECTORY / f"{self.name}.source").read_text())
        with open(settings.DIRECTORY / "loads", "a") as log:
            log.write(json.dumps({"name": self.name, "pid": os.getpid(), "at": time.monotonic(), **source}) + "\n")
        return rows_of(self.name, source["number"], bad=source["bad"])

    def prepare(self, rows: Any) -> int:
        """Check the rows; in a reader, wait for as long as there is a file that says so."""
        if wrong := None if rows[WHOLE][2] else complaint(self.name, rows):
            raise AssertionError(wrong)
        while READER and (settings.DIRECTORY / f"{self.name}.{READER}.blocked").exists():
            time.sleep(0.02)
        return number_of(rows)


class ServersSlow(Figures):
    name = "servers-slow"


class ServersGuarded(Figures):
    name = "servers-guarded"
    validators = [refuse_bad]


class ServersStrict(Figures):
    name = "servers-strict"
    max_stale = timedelta(seconds=MAX_STALE)


class FilesSlow(Figures):
    name = "files-slow"
    using = "files"


class FilesGuarded(Figures):
    name = "files-guarded"
    using = "files"
    validators = [refuse_bad]


class FilesStrict(Figures):
    name = "files-strict"
    using = "files"
    max_stale = timedelta(seconds=MAX_STALE)
