"""Deltas: the rows that changed from one version to the next, in records beside the blocks.

A change of some rows is stored as one delta, or as several when it is long. A delta's plain form is the MessagePack
array ``[upserts, deletions]``: ``upserts`` is ``[key, row, key, row, …]`` and ``deletions`` is ``[key, …]``, both
sorted by the encodings of the keys, no key twice. A change is cut where a record would have more than ``PART_BYTES``
(:mod:`.partition`); no key is in two deltas of one change. Equal changes give equal deltas.

The rows of a version are those of its blocks, with its deltas applied in their order: rows are put under their keys,
and what was deleted goes. Keys are told apart by their encodings. So that two keys which are different there are never
equal in a ``dict``, as 1 and 1.0 are, only keys of some types can be changed (:func:`check_keys`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from itertools import chain, pairwise
from typing import Any, Final, NamedTuple
from uuid import UUID

from django_etcdaero.exceptions import DuplicateKey, EncodeError, RecordTooBig
from django_etcdaero.records.store import batches
from django_etcdaero.system.giving_way import GivingWay
from django_etcdaero.system.real_dates import real_class

from .codec import Encoder, array_header, decode, split
from .compression import MAX_PLAIN_BYTES, STORED_OVERHEAD, store_form, verified
from .digests import DamagedRecord, Fetch, Kind, digest_of, fetched
from .explain import shown
from .keys import KeyCheck
from .row_class import row_class
from .row_encoding import PART_BYTES
from .row_types import RowForm, check_form
from .stored_as import as_plain

FETCH: Final = 64
"""Deltas in one fetch."""

KEY_TYPES: Final = frozenset((str, bytes, int, UUID, real_class(date), timedelta, type(None)))
"""Of these, keys that have different encodings are different keys; and so are tuples of them."""

_HEADERS: Final = 16  # at most: of the record, and of its two lists
_CHUNK: Final = 256


class Change(NamedTuple):
    """A change, encoded."""

    upserts: Mapping[bytes, bytes]
    """Encoded rows by encoded key."""
    deletions: Collection[bytes]
    """Encoded keys."""


class DecodedDelta(NamedTuple):
    """A delta as it is applied."""

    upserts: dict[Any, Any]
    """Rows by key, to be put in the place of those that were there."""
    deletions: Sequence[Any]
    """Keys whose rows go."""


@dataclass(frozen=True, slots=True)
class EncodedDelta:
    """A delta, ready to be stored."""

    digest: bytes
    plain: bytes

    def stored(self) -> bytes:
        """Return the bytes to store under ``digest``. Compresses at each call."""
        return store_form(self.plain)


def check_keys(keys: Iterable[Any]) -> None:
    """Refuse keys of types of which changes cannot be told. Raises ``EncodeError`` naming the first."""
    if KEY_TYPES.issuperset(map(type, keys)):
        return
    for key in keys:
        if not _can_change(as_plain(key)):
            raise EncodeError(
                f"row {shown(key)}: a dataset with load_changes() has keys of the types str, bytes, int, UUID, date and"
                " timedelta, or tuples of them; others can be equal although they are stored as different ones"
            )


def _can_change(key: Any) -> bool:
    kind = type(key)
    if kind is tuple:
        return all(map(_can_change, key))
    return kind in KEY_TYPES or real_class(kind) in KEY_TYPES


def encode_change(
    upserts: Mapping[Any, Any],
    deletions: Collection[Any],
    *,
    max_value_bytes: int,
    row_type: type[Any] | None = None,
) -> Change:
    """Encode a change; ``max_value_bytes`` is the store's limit for a record, ``row_type`` the class of the rows.

    Raises ``EncodeError`` for a key or row that cannot be stored, ``DuplicateKey`` for a key that is in both, and
    ``RecordTooBig`` for a row that does not fit in a record.
    """
    check_keys(upserts)
    check_keys(deletions)
    limit = _limit(max_value_bytes)
    made = None if row_type is None else row_class(row_type)
    encoder = Encoder()
    check = KeyCheck(encoder.zones)
    found: dict[bytes, bytes] = {}
    for keys in batches(upserts, _CHUNK):
        rows = [upserts[key] for key in keys]
        if made is not None:
            rows = made.plain(rows)
            made.check(keys, rows)
        encoded_keys, encoded_rows = encoder.encode(keys, rows)
        check.check_keys(keys, encoded_keys)
        check.check_rows(keys, rows, partial(_same, encoded_rows))
        found.update(zip(encoded_keys, encoded_rows, strict=True))
        for key, encoded_key, row in zip(keys, encoded_keys, encoded_rows, strict=True):
            if len(encoded_key) + len(row) > limit:
                size = len(encoded_key) + len(row)
                raise RecordTooBig(
                    f"row {shown(key)} takes {size:,} bytes; a record of this store holds at most {limit:,}"
                )
    named = list(deletions)
    gone = dict(zip(encoder.encode(named, [None] * len(named))[0], named, strict=True))
    for encoded_key in found.keys() & gone.keys():
        raise DuplicateKey(f"the key {gone[encoded_key]!r} is among the upserts and the deletions of one change")
    return Change(found, gone.keys())


def cut(change: Change, *, max_value_bytes: int) -> list[EncodedDelta]:
    """Return the deltas of a change; none for one that is empty. ``max_value_bytes`` as in :func:`encode_change`."""
    limit = min(PART_BYTES, _limit(max_value_bytes))
    made: list[EncodedDelta] = []
    pairs: list[bytes] = []
    keys: list[bytes] = []
    size = 0
    items = [(key, key + row, pairs) for key, row in change.upserts.items()]
    items.sort()
    for item, into in [(pair, pairs) for _, pair, _ in items] + [(key, keys) for key in sorted(change.deletions)]:
        if size and size + len(item) > limit:
            made.append(_encoded(pairs, keys))
            pairs.clear()
            keys.clear()
            size = 0
        into.append(item)
        size += len(item)
    if size:
        made.append(_encoded(pairs, keys))
    return made


def decode_delta(
    digest: bytes, stored: bytes, *, rows: RowForm = "plain", row_type: type[Any] | None = None
) -> DecodedDelta:
    """Return what a stored delta says, after checking it against its digest and its form.

    ``rows`` and ``row_type`` as in :func:`.partition.decode_block`. Raises ``DamagedRecord`` (a ``CorruptBlock``) with
    the digest, and ``ConfigurationError`` for a row that does not fit the declared row type.
    """
    check_form(rows, row_type)
    parted = split_delta(digest, stored)
    frozen, give_way = rows == "frozen", GivingWay()
    upserts: dict[Any, Any] = {}
    try:
        for encoded in batches(parted.upserts, _CHUNK):  # all of them at once would hold up other threads
            pairs = chain.from_iterable((key, parted.upserts[key]) for key in encoded)
            flat = decode(array_header(2 * len(encoded)) + b"".join(pairs), frozen=frozen)
            keys, values = flat[::2], flat[1::2]
            if row_type is not None:
                values = row_class(row_type).made(keys, values, frozen=frozen)
            upserts.update(zip(keys, values, strict=True))
            give_way()
        deletions = decode(array_header(len(parted.deletions)) + b"".join(parted.deletions), frozen=frozen)
        if (
            len(upserts) != len(parted.upserts)
            or len(set(deletions)) != len(deletions)
            or not upserts.keys().isdisjoint(deletions)
        ):
            raise DamagedRecord("keys of it are equal")
    except DamagedRecord as error:
        raise DamagedRecord.of(Kind.DELTA, digest, error) from error
    except TypeError as error:  # a key that cannot be one
        raise DamagedRecord.of(Kind.DELTA, digest, error) from error
    return DecodedDelta(upserts, deletions)


def split_delta(digest: bytes, stored: bytes) -> Change:
    """Return what a stored delta says, encoded. Raises ``DamagedRecord``, as :func:`decode_delta` does."""
    return _parted(digest, verified(Kind.DELTA, digest, stored))


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


def _same(encoded: Sequence[bytes]) -> Sequence[bytes]:
    return encoded


def _limit(max_value_bytes: int) -> int:
    return min(max_value_bytes - STORED_OVERHEAD, MAX_PLAIN_BYTES) - _HEADERS


def _encoded(pairs: Sequence[bytes], keys: Sequence[bytes]) -> EncodedDelta:
    upserts = array_header(2 * len(pairs)) + b"".join(pairs)
    plain = array_header(2) + upserts + array_header(len(keys)) + b"".join(keys)
    return EncodedDelta(digest_of(Kind.DELTA, plain), plain)


def _parted(digest: bytes, plain: bytes) -> Change:
    try:
        parts = split(plain) if plain[:1] == array_header(2) else []
        if len(parts) != 2 or not all(map(_is_array, parts)) or sum(map(len, parts)) != len(plain) - 1:
            raise DamagedRecord("it is not a list of rows and one of keys")
        flat, deletions = map(split, parts)
        keys = flat[::2]
        if len(flat) % 2 or not (keys or deletions):
            raise DamagedRecord("it is not a list of keys and rows")
        if not (_ascend(keys) and _ascend(deletions)):
            raise DamagedRecord("its keys are not in their order")
        upserts = dict(zip(keys, flat[1::2], strict=True))
        if not upserts.keys().isdisjoint(deletions):
            raise DamagedRecord("a key of it is put and deleted")
    except DamagedRecord as error:
        raise DamagedRecord.of(Kind.DELTA, digest, error) from error
    return Change(upserts, deletions)


def _is_array(data: bytes) -> bool:
    return data[0] & 0xF0 == 0x90 or data[0] in (0xDC, 0xDD)


def _ascend(keys: Sequence[bytes]) -> bool:
    return all(one < other for one, other in pairwise(keys))
