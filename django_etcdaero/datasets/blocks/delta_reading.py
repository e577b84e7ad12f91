"""Deltas as they are read: decoded, to be applied to rows, or as rows that are encoded one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, Final, NamedTuple

from django_etcdaero.records.store import batches
from django_etcdaero.system.giving_way import GivingWay

from .codec import array_header, decode, split
from .compression import verified
from .delta import MARK, Change
from .digests import DamagedRecord, Fetch, Kind, fetched
from .encoded_rows import encoded_pairs
from .partition import decode_blocks
from .row_class import row_class
from .row_types import RowForm, check_form

FETCH: Final = 64
"""Deltas in one fetch."""

_CHUNK: Final = 256


class DecodedDelta(NamedTuple):
    """A delta as it is applied."""

    upserts: dict[Any, Any]
    """Rows by key, to be put in the place of those that were there."""
    deletions: Sequence[Any]
    """Keys whose rows go."""


def decode_delta(
    digest: bytes, stored: bytes, *, rows: RowForm = "plain", row_type: type[Any] | None = None
) -> DecodedDelta:
    """Return what a stored delta says, after checking it against its digest and its form.

    ``rows`` and ``row_type`` as in :func:`.partition.decode_block`. Raises ``DamagedRecord`` (a ``CorruptBlock``) with
    the digest, and ``ConfigurationError`` for a row that does not fit the declared row type.
    """
    check_form(rows, row_type)
    plain = verified(Kind.DELTA, digest, stored)
    read = _of_parts if plain[: len(MARK)] == MARK else _of_rows
    try:
        found, count = read(plain, rows, row_type)
        gone = found.deletions
        if len(found.upserts) != count or len(set(gone)) != len(gone) or not found.upserts.keys().isdisjoint(gone):
            raise DamagedRecord("keys of it are equal")
    except (DamagedRecord, TypeError) as error:  # a TypeError for a key that cannot be one
        raise DamagedRecord.of(Kind.DELTA, digest, error) from error
    return found


def split_delta(digest: bytes, stored: bytes) -> Change:
    """Return what a stored delta says, encoded. Raises ``DamagedRecord``, as :func:`decode_delta` does."""
    plain = verified(Kind.DELTA, digest, stored)
    try:
        return _encoded_parts(plain) if plain[: len(MARK)] == MARK else _encoded_rows(plain)
    except (DamagedRecord, TypeError) as error:
        raise DamagedRecord.of(Kind.DELTA, digest, error) from error


def fetch_deltas(digests: Iterable[bytes], fetch: Fetch) -> Iterator[tuple[bytes, bytes]]:
    """Return digest and stored bytes of deltas, in their order.

    Raises ``MissingRecords`` naming those of a fetch that are missing, and what ``fetch`` raises.
    """
    return fetched(digests, fetch, at_once=FETCH, what="deltas")


def net_changes(digests: Iterable[bytes], fetch: Fetch) -> dict[bytes, bytes | None]:
    """Return what deltas come to when they are applied in their order: the encoded row by encoded key, ``None`` for one
    that goes. Raises ``CorruptBlock``, and what ``fetch`` raises."""
    found: dict[bytes, bytes | None] = {}
    for digest, stored in fetch_deltas(digests, fetch):
        change = split_delta(digest, stored)
        found.update(change.upserts)
        found.update(dict.fromkeys(change.deletions))
    return found


# --- field by field --------------------------------------------------------------------------------------------------


def _of_parts(plain: bytes, rows: RowForm, row_type: type[Any] | None) -> tuple[DecodedDelta, int]:
    """Return what it says, and how many rows it holds."""
    deletions, parts = _opened(plain)
    upserts: dict[Any, Any] = {}
    count, give_way = 0, GivingWay()
    for part in parts:  # all of them at once would hold up other threads
        (found,) = decode_blocks([(b"", part)], rows=rows, row_type=row_type)
        upserts.update(zip(found.keys, found.rows, strict=True))
        count += len(found.keys)
        give_way()
    return DecodedDelta(upserts, deletions), count


def _encoded_parts(plain: bytes) -> Change:
    deletions, parts = _opened(plain)
    pairs = list(chain.from_iterable(map(encoded_pairs, parts)))
    encoded = split(split(plain[len(MARK) :])[0]) if deletions else []
    return _checked([key for key, _ in pairs], [row for _, row in pairs], encoded)


def _opened(plain: bytes) -> tuple[list[Any], list[bytes]]:
    """Return the keys of deletions, and the plain forms of the parts. Raises ``DamagedRecord``."""
    found = decode(plain[len(MARK) :])
    if type(found) is not list or not found or type(found[0]) is not list:
        raise DamagedRecord("it is not a list of keys and parts")
    deletions, *parts = found
    if not parts or not {bytes}.issuperset(map(type, parts)):
        raise DamagedRecord("its parts are none")
    return deletions, parts


# --- row by row ------------------------------------------------------------------------------------------------------


def _of_rows(plain: bytes, rows: RowForm, row_type: type[Any] | None) -> tuple[DecodedDelta, int]:
    """Return what it says, and how many rows it holds."""
    parted, frozen, give_way = _encoded_rows(plain), rows == "frozen", GivingWay()
    upserts: dict[Any, Any] = {}
    for encoded in batches(parted.upserts, _CHUNK):  # all of them at once would hold up other threads
        pairs = chain.from_iterable((key, parted.upserts[key]) for key in encoded)
        flat = decode(array_header(2 * len(encoded)) + b"".join(pairs), frozen=frozen)
        keys, values = flat[::2], flat[1::2]
        if row_type is not None:
            values = row_class(row_type).made(keys, values, frozen=frozen)
        upserts.update(zip(keys, values, strict=True))
        give_way()
    deletions = decode(array_header(len(parted.deletions)) + b"".join(parted.deletions), frozen=frozen)
    return DecodedDelta(upserts, deletions), len(parted.upserts)


def _encoded_rows(plain: bytes) -> Change:
    parts = split(plain) if plain[:1] == array_header(2) else []
    if len(parts) != 2 or not all(map(_is_array, parts)) or sum(map(len, parts)) != len(plain) - 1:
        raise DamagedRecord("it is not a list of rows and one of keys")
    flat, deletions = map(split, parts)
    if len(flat) % 2 or not (flat or deletions):
        raise DamagedRecord("it is not a list of keys and rows")
    return _checked(flat[::2], flat[1::2], deletions)


def _checked(keys: Sequence[bytes], rows: Sequence[bytes], deletions: Sequence[bytes]) -> Change:
    if not (_ascend(keys) and _ascend(deletions)):
        raise DamagedRecord("its keys are not in their order")
    upserts = dict(zip(keys, rows, strict=True))
    if not upserts.keys().isdisjoint(deletions):
        raise DamagedRecord("a key of it is put and deleted")
    return Change(upserts, deletions)


def _is_array(data: bytes) -> bool:
    return data[0] & 0xF0 == 0x90 or data[0] in (0xDC, 0xDD)


def _ascend(keys: Sequence[bytes]) -> bool:
    return all(one < other for one, other in pairwise(keys))
