"""Where a dataset keeps what: the names of its keys (coordination plane) and records (data plane).

Coordination plane, below the alias's prefix: ``announcements/<name>/s<schema>`` is the announcement that readers
follow. The announcements of all datasets stand side by side, so that one range reads them and one watch follows them,
and no other key wakes that watch. Likewise ``loads/<name>/s<schema>`` is the last successful load: when it began, what
it found, which request it answers. Under ``settings/<name>/validators`` operators put other thresholds for the
validators of the dataset (:mod:`.publish.thresholds`). All else stands under ``datasets/<name>/s<schema>/``:

``lock/…``            who refreshes (:mod:`django_etcdaero.keyvalue.queue.lock`)
``history/<version>`` announcements of the kept versions, the current one's included, and what validators said of each
``retired/<version>`` announcements that left the history and whose blocks are still to be given a time to live;
                      with an id added, those about to be made, for the case that nothing comes of them
``pin``               present while an operator holds the announcement on one version
``attempt``           the last failed load: when, why, and when to try again
``last_refused``      the last loads that validators refused (:mod:`.state.validations`)
``condemned``         how many bytes of versions that went are still to expire, and when
``overdue/…``         loads that hang, for as long as they do (:mod:`.state.overdue`)
``request``           somebody asks for a load; answered by a load that begins after the request's revision
``current``           where older code kept the announcement; the first publisher moves it (:mod:`.publish.commit`)
``checked``           where older code kept the last load; the next one moves it

``records/`` is left to the records of the alias, where both planes are one etcd.

Data plane: ``<prefix>/d/<name>/s<schema>/`` followed by a 20-byte digest for blocks, chunks of the order, pages and
roots, or by ``current`` for the copy of the announcement that readers use while the coordination plane is away.

``schema`` is the definition's own number, so old and new code each refresh and read what is theirs during a rolling
deployment. A name has no ``/`` (:mod:`.declaration`), so no key of one dataset is a key of another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django_etcdaero.stores.address import RECORDS_ROOM

ANNOUNCEMENTS = "announcements/"
DATASETS = "datasets/"
LOADS = "loads/"
PROCESSES = "processes/"
"""Who reads: see :mod:`.state.presence`."""
CACHES = "caches/"
"""What processes tell each other of caches: see :mod:`django_etcdaero.cache.notices`."""
REFRESHERS = f"{DATASETS}@refreshers/"
"""Who refreshes: see :mod:`.state.refreshers`. It is where who refreshes may write, and no dataset can be called so."""
SETTINGS = "settings/"
"""What operators set without a deployment, by the name of the dataset."""
RESERVED = (ANNOUNCEMENTS, CACHES, DATASETS, LOADS, PROCESSES, RECORDS_ROOM, SETTINGS)
"""How the package's own keys begin, below an alias's prefix. Keys, locks and elections of users begin otherwise."""

GARBAGE_TTL = 24 * 3600
"""Seconds that blocks live on after no kept version names them, unless the alias says otherwise (its stores do): far
longer than any reader takes to load a version."""

_SIDE_BY_SIDE = re.compile(rb"(?:%s|%s)([^/\x80-\xff]+)/s(0|[1-9][0-9]*)" % (ANNOUNCEMENTS.encode(), LOADS.encode()))
_RECORD = re.compile(rb"([^/\x80-\xff]+)/s(0|[1-9][0-9]{0,15})/")


class _Key:
    """A key below the base that is called like the attribute."""

    def __set_name__(self, owner: type[Layout], name: str) -> None:
        self._name = name

    def __get__(self, layout: Layout, owner: type[Layout]) -> str:
        return layout.base + self._name


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of one dataset's keys and records."""

    prefix: str
    name: str
    schema: int

    lock, pin, attempt, condemned, request = _Key(), _Key(), _Key(), _Key(), _Key()
    last_refused = _Key()  # in none of the two ranges of the state

    @property
    def base(self) -> str:
        """Start of all keys of the dataset but those side by side, relative to the alias's prefix."""
        return f"{DATASETS}{self.name}/s{self.schema}/"

    @property
    def announcement(self) -> str:
        """Key of the announcement. :func:`dataset_of` is the inverse."""
        return f"{ANNOUNCEMENTS}{self.name}/s{self.schema}"

    @property
    def checked(self) -> str:
        """Key of the last successful load. :func:`dataset_of` is the inverse."""
        return f"{LOADS}{self.name}/s{self.schema}"

    @property
    def validator_settings(self) -> str:
        """Key of other thresholds for the validators, the same for all schemas."""
        return f"{SETTINGS}{self.name}/validators"

    @property
    def former_announcement(self) -> str:
        """Key of the announcement in stores that older code has written."""
        return self.base + "current"

    @property
    def former_checked(self) -> str:
        """Key of the last load in stores that older code has written."""
        return self.base + "checked"

    @property
    def state_ranges(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Two ranges of keys, each with its exclusive end: ``attempt`` and what older code has written, and ``pin`` and
        ``request``. In the order of keys these are neighbours."""
        return (self.attempt, self.former_announcement + "\0"), (self.pin, self.request + "\0")

    def history(self, version: int | None = None) -> str:
        """Key of one history entry, or the start of all of them. Zero-padded, so that key order is version order."""
        return self.base + "history/" + ("" if version is None else f"{version:012d}")

    def retired(self, version: int | None = None) -> str:
        """Key of one retired entry, or the start of all of them."""
        return self.base + "retired/" + ("" if version is None else f"{version:012d}")

    def intended(self, version: int, announcement_id: str) -> str:
        """Key of the announcement that a refresh is about to make: a retired one, should it never be made."""
        return f"{self.retired(version)}-{announcement_id}"

    @property
    def overdue(self) -> str:
        """Start of the keys of loads that hang. They are in none of the two ranges of the state."""
        return self.base + "overdue/"

    @property
    def records(self) -> bytes:
        """Start of all record keys of the dataset."""
        return records_of_all(self.prefix) + f"{self.name}/s{self.schema}/".encode()

    def record(self, digest: bytes) -> bytes:
        """Record key of a block, page or root."""
        return self.records + digest

    @property
    def announcement_copy(self) -> bytes:
        """Record key of the announcement copy."""
        return self.records + b"current"


def dataset_of(key: bytes) -> tuple[str, int] | None:
    """Return name and schema of the dataset whose announcement or last load stands under ``key``, or ``None``."""
    match = _SIDE_BY_SIDE.fullmatch(key)
    return (match[1].decode(), int(match[2])) if match else None


def records_of_all(prefix: str) -> bytes:
    """Return the start of the record keys of all datasets under a prefix."""
    return f"{prefix}/d/".encode()


def dataset_of_record(key: bytes, prefix: str) -> tuple[str, int, bytes] | None:
    """Return name and schema of a dataset, and what follows in the key of its record: a digest, say; or ``None``."""
    match = _RECORD.match(key, len(records_of_all(prefix)))
    return (match[1].decode(), int(match[2]), key[match.end() :]) if match else None
