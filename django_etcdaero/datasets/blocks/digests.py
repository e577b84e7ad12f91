"""Names of stored records, and the two ways in which what is stored can be wrong.

A record's name is the BLAKE2b digest of its plain (uncompressed) bytes, with the kind of record as personalisation, so
that a page can never be taken for a block. Whatever was fetched is checked against its name before it is believed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import TypeAlias

from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.records.store import batches

DIGEST_BYTES = 20
"""Length of a digest: 160 bits, far beyond accidental and deliberate collisions of block contents."""


Fetch: TypeAlias = Callable[[list[bytes]], Mapping[bytes, bytes]]
"""Takes digests and returns the stored bytes of those that exist."""


class Kind(bytes, enum.Enum):
    """What a record is; the value personalises its digest (at most 16 bytes, RFC 7693)."""

    BLOCK = b"etcdaero block"
    DELTA = b"etcdaero delta"
    ORDER = b"etcdaero order"
    PAGE = b"etcdaero page"
    ROOT = b"etcdaero root"


class DamagedRecord(CorruptBlock):
    """A stored record is not what its name says; ``digest`` is that name (empty when it is not known)."""

    def __init__(self, message: str, digest: bytes = b"") -> None:
        super().__init__(message)
        self.digest = digest

    @classmethod
    def of(cls, kind: Kind, digest: bytes, what: object) -> DamagedRecord:
        """Return the error that says ``what`` of the record of that name."""
        return cls(f"{kind.name.lower()} {digest.hex()}: {what}", digest)


class MissingRecords(CorruptBlock):
    """Records that a manifest names are not in the store; ``missing`` holds their digests."""

    def __init__(self, message: str, missing: Iterable[bytes]) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


def fetched(digests: Iterable[bytes], fetch: Fetch, *, at_once: int, what: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield digest and stored bytes of records, in their order; nothing is verified. ``at_once`` of them in one fetch.

    Raises ``MissingRecords`` naming all of a fetch that are missing (``what`` they are, for people), and what ``fetch``
    raises.
    """
    for batch in batches(digests, at_once):
        stored = fetch(list(dict.fromkeys(batch)))
        absent = tuple(digest for digest in dict.fromkeys(batch) if digest not in stored)
        if absent:
            raise MissingRecords(f"{len(absent)} {what} are missing, among them {absent[0].hex()}", absent)
        for digest in batch:
            yield digest, stored[digest]


def digest_of(kind: Kind, plain: bytes) -> bytes:
    """Return the name of a record: ``DIGEST_BYTES`` bytes."""
    return blake2b(plain, digest_size=DIGEST_BYTES, person=kind).digest()
