"""From what ``load_changes()`` gives to what differs: rows that are new or other than they were, keys that are gone.

What a source tells as changed need not be: its cursor may overlap, a row may have been saved as it was. So each row is
compared, as it is encoded, with what the version has that readers hold: by the digests of its rows, where this process
knows them, or else by what its deltas say, and the blocks of the keys that are told. Nothing else of the version is
looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from django_etcdaero.datasets.blocks.applied import rows_of_keys
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.codec import decode
from django_etcdaero.datasets.blocks.content import content_after, row_digest
from django_etcdaero.datasets.blocks.delta import Change, encode_change
from django_etcdaero.datasets.blocks.frozen import freeze
from django_etcdaero.datasets.blocks.row_digests import RowDigests, digests_in
from django_etcdaero.datasets.changes import Changes
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.validators import RowCounts
from django_etcdaero.exceptions import EncodeError, InvalidRequest

from .base import Base
from .position import Position, stored_cursor, with_overlap
from .source import rows_in, telling


class Given(NamedTuple):
    """What a source gave."""

    upserts: dict[Any, Any]
    deletions: Collection[Any]
    cursor: str
    """As it is stored."""


class Difference(NamedTuple):
    """What differs."""

    change: Change
    upserts: Mapping[Any, Any]
    """Rows by key, as they were loaded."""
    deletions: Collection[Any]
    counts: RowCounts
    rows: int
    """How many rows there are with it."""
    content: bytes
    """The digest of all rows with it."""
    net: dict[bytes, bytes | None]
    """It, as :attr:`.base.Base.net` has it."""
    digests: dict[bytes, bytes]
    """Those of the rows, by encoded key."""

    def __bool__(self) -> bool:
        return bool(self.net)


def read_changes(dataset: Declared[Any, Any], position: Position) -> Given | None:
    """Call ``load_changes()``; ``None``: everything is to be loaded.

    Raises what it raises, as :func:`.source.load_rows`; ``EncodeError`` for what is no :class:`Changes`, or a cursor
    that cannot be kept.
    """
    call = f"load_changes() of dataset {dataset.name!r}"
    with telling("load_changes()"):
        given: object = dataset.load_changes(with_overlap(dataset, position.since))
        if given is None:
            return None
        if not isinstance(given, Changes):
            kind = type(given)
            raise EncodeError(f"{call} returned {kind.__module__}.{kind.__qualname__}; expected Changes or None")
        upserts = rows_in(dataset, given.upserts, f"{call}, in upserts,", _silent)
        deletions = _keys_in(given.deletions, f"{call}, in deletions,")
    return Given(upserts, deletions, stored_cursor(dataset, given.cursor, "load_changes()"))


def read_keys(dataset: Declared[Any, Any], keys: Collection[Any], position: Position) -> Given:
    """Call ``load_keys()``. Raises as :func:`read_changes` does, and ``EncodeError`` for a key not asked for."""
    call = f"load_keys() of dataset {dataset.name!r}"
    with telling("load_keys()"):
        upserts = rows_in(dataset, dataset.load_keys(keys), call, _silent)
    wanted = set(keys)
    for key in upserts:
        if key not in wanted:
            raise EncodeError(f"{call} gave {dataset._named_key(key)}, which it was not asked for")
    return Given(upserts, wanted - upserts.keys(), position.cursor)


def with_keys(dataset: Declared[Any, Any], given: Given, keys: Collection[Any], position: Position) -> Given:
    """Return what a source gave, and the rows of further keys. Raises as :func:`read_keys` does."""
    named = given.upserts.keys() | set(given.deletions)
    more = read_keys(dataset, [key for key in keys if key not in named], position)
    return Given(given.upserts | more.upserts, [*given.deletions, *more.deletions], given.cursor)


def check_given_keys(keys: Iterable[Any]) -> list[Any]:
    """Return the keys of ``refresh(keys=…)``. Raises ``InvalidRequest`` for what is no collection of keys."""
    if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
        raise InvalidRequest(f"keys = {keys!r}: expected a list of keys")
    try:
        return list(dict.fromkeys(keys))
    except TypeError as error:
        raise InvalidRequest(f"keys: {error}") from error


def difference(
    given: Given,
    base: Base,
    position: Position,
    blocks: BlockStore,
    row_type: type[Any] | None = None,
    known: RowDigests | None = None,
) -> Difference:
    """Return what of ``given``, whose rows are of the class ``row_type``, differs from a version.

    ``known``: the digests of the rows of the version, if they are known. Raises ``EncodeError``, ``DuplicateKey``,
    ``RecordTooBig``, ``CorruptBlock`` for blocks that are missing or damaged, and what the store raises.
    """
    told = encode_change(given.upserts, given.deletions, max_value_bytes=blocks.max_value_bytes, row_type=row_type)
    keys = (*told.upserts, *told.deletions)
    old = _digests_of(keys, base, blocks) if known is None else digests_in(known, keys)
    loaded = dict(zip(told.upserts, given.upserts.items(), strict=True))
    new = {key: row_digest(key + row) for key, row in told.upserts.items()}
    new = {key: digest for key, digest in new.items() if old.get(key) != digest}
    upserts = {key: told.upserts[key] for key in new}
    deletions = [key for key in told.deletions if key in old]
    added = sum(key not in old for key in upserts)
    return Difference(
        change=Change(upserts, deletions),
        upserts=dict(loaded[key] for key in upserts),
        deletions=[decode(key) for key in deletions],
        counts=RowCounts(added, len(deletions), len(upserts) - added),
        rows=base.manifest.rows + added - len(deletions),
        content=content_after(
            position.content,
            gone=(old[key] for key in (*upserts, *deletions) if key in old),
            added=new.values(),
        ),
        net=upserts | dict.fromkeys(deletions),
        digests=new,
    )


def _digests_of(keys: Collection[bytes], base: Base, blocks: BlockStore) -> dict[bytes, bytes]:
    """Return the digests of the rows that a version has under encoded keys. Raises as :func:`difference`."""
    rows: dict[bytes, bytes | None] = {key: base.net[key] for key in keys if key in base.net}
    rows.update(rows_of_keys(base.manifest, [key for key in keys if key not in rows], blocks.fetch))
    return {key: row_digest(key + row) for key, row in rows.items() if row is not None}


class ChangedRows(Mapping[Any, Any]):
    """The rows with a change, for validators: read-only; those that are as before are fetched when first looked at."""

    def __init__(self, old: Mapping[Any, Any], found: Difference) -> None:
        self._old = old
        self._upserts = found.upserts
        self._deletions = frozenset(found.deletions)
        self._rows = found.rows

    @property
    def only_changed(self) -> Mapping[Any, Any]:
        """Those that are new, or other than they were."""
        return {key: freeze(row) for key, row in self._upserts.items()}

    def __getitem__(self, key: Any) -> Any:
        if key in self._upserts:
            return freeze(self._upserts[key])
        if key in self._deletions:
            raise KeyError(key)
        return self._old[key]

    def __contains__(self, key: object) -> bool:
        with suppress(KeyError):
            return key in self._upserts or (key not in self._deletions and key in self._old)
        return False

    def __iter__(self) -> Iterator[Any]:
        old = self._old
        yield from (key for key in old if key not in self._deletions)
        yield from (key for key in self._upserts if key not in old)

    def __len__(self) -> int:
        return self._rows


def _keys_in(deletions: object, call: str) -> list[Any]:
    if isinstance(deletions, str | bytes) or not isinstance(deletions, Iterable):
        kind = type(deletions)
        raise EncodeError(f"{call} gave {kind.__module__}.{kind.__qualname__}; expected keys")
    try:
        return list(dict.fromkeys(deletions))
    except TypeError as error:
        raise EncodeError(f"{call} gave something that is no key: {error}") from error


def _silent(phase: str, done: int, total: int | None) -> None:
    pass
