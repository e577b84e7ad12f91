"""Looking for records that nothing names, and letting them expire."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from django_etcdaero import conf
from django_etcdaero.datasets.publish.orphans import Orphans, orphans
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.runtime import runtime
from django_etcdaero.system.error_text import text_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What was found under one alias."""

    alias: str
    found: tuple[Orphans, ...] = ()
    error: str = ""
    """Why nothing is known; empty: it is."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return {"alias": self.alias, "datasets": [asdict(each) for each in self.found], "error": self.error}


def sweep(*, aliases: Collection[str] | None = None, expire: bool = False) -> list[Swept]:
    """Look for permanent records of datasets that no version names; ``aliases`` ``None``: of all of them.

    ``expire``: let them expire after ``GARBAGE_TTL``; nothing is deleted at once. Without it nothing is changed. It
    reads the keys of all records, which takes its time. A store that is away is told in ``error``.
    """
    found = []
    for alias in conf.aliases():
        if aliases is not None and alias not in aliases:
            continue
        try:
            found.append(Swept(alias=alias, found=tuple(orphans(runtime.stores(alias), expire=expire))))
        except EtcdAeroError as error:
            found.append(Swept(alias=alias, error=text_of(error)))
    return found
