"""The caches with which tests of other projects are run: every alias is ours, at ``ETCDAERO_CONFORMANCE_LOCATION``."""

import os

CACHE = {
    "BACKEND": "django_etcdaero.cache.EtcdAeroCache",
    "LOCATION": os.environ["ETCDAERO_CONFORMANCE_LOCATION"],
}


def caches(*aliases: str) -> dict[str, dict[str, str]]:
    """Return ``CACHES`` with these aliases, which do not see each other's entries."""
    return {alias: {**CACHE, "KEY_PREFIX": alias} for alias in aliases}
