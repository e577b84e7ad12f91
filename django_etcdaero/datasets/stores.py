"""The two planes of one alias, as datasets use them."""

from __future__ import annotations

from dataclasses import dataclass

from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.records.store import RecordStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """The two planes of one alias, as used by this process."""

    kv: KV
    records: RecordStore
    prefix: str
    lock_ttl: int = 10
    """Seconds after which a dead refresher's lock is free."""
    garbage_ttl: int = 24 * 3600
    """Seconds that records live on when no version needs them any more."""
    project: str = ""
    """The name that the settings give the project; empty: none."""
    package: str = ""
    """The package of the project's URLs, which tells projects without a name apart; empty: it is not known."""
    remedy: str = "run 'manage.py etcdaero_refresh'"
    """What to do where nothing has been published yet."""
    missing: str = ""
    """Why records may be missing here that are stored elsewhere; empty: there is no reason for that."""
