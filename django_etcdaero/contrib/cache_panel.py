"""Caches of this package in dj-cache-panel: a panel class, to be named in the settings::

    DJ_CACHE_PANEL_SETTINGS = {
        "BACKEND_PANEL_EXTENSIONS": {
            "django_etcdaero.cache.EtcdAeroCache": "django_etcdaero.contrib.cache_panel.EtcdAeroCachePanel",
        },
    }

Who may do what is up to that package, which knows groups and no permissions, and logs nothing. So adding, editing and
flushing are off unless ``DJ_CACHE_PANEL_SETTINGS["CACHES"][alias]["abilities"]`` turns them on.
"""

from __future__ import annotations

from typing import Any, Final

from django_etcdaero.cache.stored_entry import EntryState
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.inspection import caches
from django_etcdaero.inspection.cache_values import is_pickle, show_entry
from django_etcdaero.management.cache_words import scope_of_clear

from .extras import missing

try:
    from dj_cache_panel.cache_panel import CachePanel
except ImportError as error:
    raise missing(__name__, "dj-cache-panel", "cache-panel") from error

DEADLINE: Final = 3.0
"""Seconds that a page waits for the store."""
MOST_KEYS: Final = 10_000
"""Keys of which a search lists a page."""


class EtcdAeroCachePanel(CachePanel):
    """What dj-cache-panel asks of a backend. Looking loads, unpickles and counts nothing."""

    ABILITIES = {
        "query": True,
        "get_key": True,
        "delete_key": True,
        "edit_key": False,
        "add_key": False,
        "flush_cache": False,
    }

    def _query(self, pattern: str = "*", page: int = 1, per_page: int = 25, scan_count: int = 100) -> dict[str, Any]:
        error = None
        try:
            keys, complete = caches.find_keys(self.cache_name, pattern, most=MOST_KEYS, timeout=DEADLINE)
        except EtcdAeroError as problem:
            keys, complete, error = [], True, f"{type(problem).__name__}: {problem}"
        if not complete:
            error = f"There are more keys than these {len(keys):,}: search with a narrower pattern."
        keys.sort()
        found = {
            "keys": keys[(page - 1) * per_page : page * per_page],
            "total_count": len(keys),
            "page": page,
            "per_page": per_page,
        }
        return found if error is None else {**found, "error": error}

    def _get_key(self, key: str) -> dict[str, Any]:
        looked = caches.look_up(self.cache_name, key, timeout=DEADLINE)
        entry = looked.entry
        if looked.problem is not None:  # not "there is none", which nobody knows
            return {"key": key, "value": str(looked.problem), "exists": True, "type": "not known", "expiry": None}
        if entry is None or entry.state is not EntryState.FRESH:
            return {"key": key, "value": None, "exists": False, "type": None, "expiry": None}
        shown = show_entry(entry)
        return {
            "key": key,
            "value": None if shown is None else shown.text,
            "exists": True,
            "type": "pickle, which is not unpickled here" if is_pickle(entry) else entry.serializer,
            "expiry": entry.expires_in,
        }

    def _delete_key(self, key: str) -> dict[str, Any]:
        deleted = caches.delete(self.cache_name, key)
        told = f"Key {key} was deleted." if deleted else f"There was no key {key}."
        return {"success": True, "error": None, "message": told}

    def _edit_key(self, key: str, value: Any, timeout: Any = None) -> dict[str, Any]:
        if timeout is None:  # left empty: as the cache is set up, not for ever
            self.cache.set(key, value)
        else:
            self.cache.set(key, value, timeout)
        return {"success": True, "error": None, "message": f"Key {key} was written."}

    def _flush_cache(self) -> dict[str, Any]:
        scope = scope_of_clear(caches.read_caches(DEADLINE, [self.cache_name]).caches[0])
        caches.clear(self.cache_name)
        return {"success": True, "error": None, "message": " ".join(scope)}
