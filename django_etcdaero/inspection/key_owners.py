"""Which keys belong to this package itself: they are shown, and changed only by what knows what they mean."""

from __future__ import annotations

import re

from django_etcdaero.datasets.layout import RESERVED, SETTINGS
from django_etcdaero.keyvalue.queue.layout import LAST_PART
from django_etcdaero.keyvalue.values import KeyValue

PACKAGE_KEYS = tuple(each.encode() for each in RESERVED if each != SETTINGS)
"""How the keys begin that are the package's, below the prefix of an alias."""
_PLACE = re.compile(rb"(?:/|:contenders/)%s\Z" % LAST_PART)


def belongs_to_package(key: bytes) -> bool:
    """Tell whether a key, below the alias's prefix, is one of the package's: of datasets, processes, caches, records.

    Those under ``settings/`` are not: operators are meant to write them.
    """
    return key.startswith(PACKAGE_KEYS)


def is_place_in_queue(found: KeyValue) -> bool:
    """Tell whether a key looks like a contender for a lock or an election: deleting it would release the lock."""
    return bool(found.lease) and _PLACE.search(found.key) is not None
