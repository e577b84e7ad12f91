"""The two planes of one alias, as datasets use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.records.store import RecordStore


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a process tells others about itself under an alias. No secrets."""

    program: str = ""
    """Its command line in short."""
    kind: str = ""
    """``server``, ``worker``, ``command``, ``tests`` or ``program``."""
    software: Mapping[str, str] = field(default_factory=dict)
    """Version, by what it is of."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """A hash of each setting in which the processes of the alias have to agree, by its name."""


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
    newest_format: int = 4
    """The newest form in which versions are written (:mod:`.state.formats`): 2 or 4."""
    about: About = About()
    """What this process tells about itself where it registers."""
    shared_dir: str = field(default="", repr=False)  # as in the options: it may be a password
    """Where files are that all processes of the host map; empty: rows are held in memory, whatever a dataset says."""
    temporary_dir: str = field(default="", repr=False)
    """Where a load keeps what does not stay in memory; empty: where the system has its temporary files."""
    missing: str = ""
    """Why records may be missing here that are stored elsewhere; empty: there is no reason for that."""
