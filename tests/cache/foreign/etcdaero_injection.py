"""The caches with which tests of other projects are run: every alias is ours, at ``ETCDAERO_CONFORMANCE_LOCATION``.

Where that is in a database, ``ETCDAERO_CONFORMANCE_DATABASES`` has what ``DATABASES`` says of it, as JSON.
"""

import json
import os
from typing import Any

CACHE = {
    "BACKEND": "django_etcdaero.cache.EtcdAeroCache",
    "LOCATION": os.environ["ETCDAERO_CONFORMANCE_LOCATION"],
}
STORES: dict[str, dict[str, Any]] = json.loads(os.environ["ETCDAERO_CONFORMANCE_DATABASES"])
"""The databases that are stores of caches, by their aliases; the tests know nothing of them."""


def databases(*aliases: str) -> dict[str, dict[str, Any]]:
    """Return ``DATABASES`` with these aliases, for the tests."""
    return {**{alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"} for alias in aliases}, **STORES}


def caches(*aliases: str) -> dict[str, dict[str, str]]:
    """Return ``CACHES`` with these aliases, which do not see each other's entries."""
    return {alias: {**CACHE, "KEY_PREFIX": alias} for alias in aliases}
