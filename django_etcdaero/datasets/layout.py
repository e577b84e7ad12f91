"""Where a dataset keeps what: the names of its keys (coordination plane) and records (data plane).

Coordination plane, under ``datasets/<name>/s<schema>/`` of the alias's prefix:

``lock/…``            who refreshes (:mod:`django_etcdaero.keyvalue.queue.lock`)
``current``           the announcement that readers follow
``history/<version>`` announcements of the kept versions, ``current``'s included
``retired/<version>`` announcements that left the history and whose blocks are still to be given a time to live;
                      with an id added, those about to be made, for the case that nothing comes of them
``pin``               present while an operator holds ``current`` on one version
``checked``           the last successful load: when it began, what it found, which request it answers
``attempt``           the last failed load: when, why, and when to try again
``request``           somebody asks for a load; answered by a load that begins after the request's revision

Data plane: ``<prefix>/d/<name>/s<schema>/`` followed by a 20-byte digest for blocks, pages and roots, or by ``current``
for the copy of the announcement that readers use while the coordination plane is away.

``schema`` is the definition's own number, so old and new code refresh and read lines of their own during a rolling
deployment.
"""

from __future__ import annotations

from dataclasses import dataclass

GARBAGE_TTL = 24 * 3600
"""Seconds that blocks live on after no kept version names them: far longer than any reader takes to load a version."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of one dataset's keys and records."""

    prefix: str
    name: str
    schema: int

    @property
    def base(self) -> str:
        """Start of all keys of the dataset, relative to the alias's prefix."""
        return f"datasets/{self.name}/s{self.schema}/"

    @property
    def lock(self) -> str:
        return self.base + "lock"

    @property
    def current(self) -> str:
        return self.base + "current"

    @property
    def pin(self) -> str:
        return self.base + "pin"

    @property
    def checked(self) -> str:
        return self.base + "checked"

    @property
    def attempt(self) -> str:
        return self.base + "attempt"

    @property
    def request(self) -> str:
        return self.base + "request"

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
    def records(self) -> bytes:
        """Start of all record keys of the dataset."""
        return f"{self.prefix}/d/{self.name}/s{self.schema}/".encode()

    def record(self, digest: bytes) -> bytes:
        """Record key of a block, page or root."""
        return self.records + digest

    @property
    def announcement_copy(self) -> bytes:
        """Record key of the announcement copy."""
        return self.records + b"current"
