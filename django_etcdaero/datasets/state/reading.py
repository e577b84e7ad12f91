"""Reading what the coordination plane says about datasets.

The announcements of all datasets of an alias stand side by side: one range reads them all.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from django_etcdaero.datasets.layout import ANNOUNCEMENTS, announced_by
from django_etcdaero.exceptions import ResponseError

from .announcement import Announcement

if TYPE_CHECKING:
    from django_etcdaero.keyvalue.facade import KV
    from django_etcdaero.keyvalue.values import KeyValue

logger = logging.getLogger("django_etcdaero.datasets")


class Announced(NamedTuple):
    """What stands under an announcement's key."""

    announcement: Announcement | None
    """``None``: it makes no sense."""
    mod_revision: int


class Announcements(NamedTuple):
    """The announcements of one alias, all of one revision."""

    found: dict[tuple[str, int], Announced]
    """By name and schema of the dataset."""
    keys: int
    """Keys that there are, those included that were left out because they are older than what was asked for: fewer
    than before means that one was deleted."""
    revision: int
    """Revision of the store."""


def read_announcements(kv: KV, *, min_mod_revision: int = 0) -> Announcements:
    """Read all announcements of the alias of ``kv``: those that have changed in ``min_mod_revision`` or later.

    Raises what the store raises.
    """
    answer = kv.range(ANNOUNCEMENTS, prefix=True, min_mod_revision=min_mod_revision)
    found: dict[tuple[str, int], Announced] = {}
    for item in answer.kvs:
        dataset = announced_by(item.key)
        if dataset is not None:
            found[dataset] = _announced(item)
    return Announcements(found, answer.count, answer.revision)


def _announced(item: KeyValue) -> Announced:
    try:
        return Announced(Announcement.decode(item.value), item.mod_revision)
    except ResponseError as error:
        logger.warning("%s is ignored: %s", item.key.decode(errors="replace"), error)
        return Announced(None, item.mod_revision)
