"""Rows to blocks and back.

A row belongs to the block that a stable hash of its encoded key says, so that a changed row changes one block. The
number of blocks is a power of two, with about 32 rows in each; it stays while 12 to 96 rows are in a block on average,
so that a dataset that grows and shrinks a little is not published anew as a whole.

A block's plain form is one of short rows (:mod:`.short_rows`) where these have the same fields and that takes at most
``PART_BYTES``. Otherwise it is by rows: one MessagePack array ``[key, row, key, row, …]`` sorted by the encodings of
the keys. Such a block of more than ``PART_BYTES`` is stored as several records, its *parts*: its rows in their order,
as many as fit in each, at least one. So no reader's call takes long, other blocks are not concerned, and only a single
row can be too big for a record. An empty block has no record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple

from django_etcdaero.exceptions import ConfigurationError, CorruptBlock

from .codec import ROWS_CODEC, SHORT_ROWS_CODEC, array_header, decode
from .compression import store_form, verified
from .digests import DamagedRecord, Kind, digest_of
from .gathering import Gathering
from .key_hashes import hash_of
from .manifest import Entry
from .row_class import RowClass, row_class
from .row_digests import RowDigests
from .row_encoding import RowEncoding
from .row_types import RowForm, check_form
from .short_rows import ShortRows, is_by_fields, opened, read, together

MIN_ROWS, MAX_ROWS = 12, 96
"""Average rows in a block between which the number of blocks stays as it is."""

_NEW_ROWS: Final = 24  # a new number of blocks is the largest power of two with so many rows in each: 24 to 48
CHUNK: Final = 256
"""Rows that are encoded together."""


@dataclass(frozen=True, slots=True)
class EncodedBlock:
    """A block, one part of a block, or a chunk of the order, ready to be stored."""

    index: int
    """Which block, or chunk of the order, from 0; parts of one block have the same index and follow each other."""
    digest: bytes
    plain: bytes
    rows: int
    codec: int = ROWS_CODEC
    """What older code has to read, to read it."""

    def stored(self) -> bytes:
        """Return the bytes to store under ``digest``. Compresses at each call: call it only for what is not there."""
        return store_form(self.plain)

    def entry(self, stored_bytes: int) -> Entry:
        """Return what the manifest lists of it; ``stored_bytes`` is the length of :meth:`stored`."""
        return Entry(self.index, self.digest, self.rows, len(self.plain), stored_bytes, self.codec)


class DecodedBlock(NamedTuple):
    """The rows of a block (or part); ``rows[i]`` belongs to ``keys[i]``."""

    keys: Sequence[Any]
    rows: Sequence[Any]


def block_count(rows: int, previous_count: int | None = None) -> int:
    """Return the number of blocks (a power of two) for ``rows`` rows; ``previous_count`` again if that still fits."""
    if previous_count and MIN_ROWS * previous_count <= rows <= MAX_ROWS * previous_count:
        return previous_count
    return 1 << max(0, (rows // _NEW_ROWS).bit_length() - 1)


def block_of(key: bytes, count: int) -> int:
    """Return the number of the block, of ``count``, in which the row with this encoded key is."""
    return hash_of(key) >> (33 - count.bit_length())


class Partition:
    """Encoded rows, assigned to blocks: iterate over it ONCE to get the blocks in order.

    Iterating frees each block's bytes behind it, so that a publisher that writes in batches never holds everything.
    """

    def __init__(
        self,
        buckets: list[list[bytes]],
        rows: int,
        gathering: Gathering,
        order: Sequence[EncodedBlock] = (),
        digests: RowDigests | None = None,
    ) -> None:
        self.count = len(buckets)
        """Number of blocks, empty ones included; not the number of parts."""
        self.rows = rows
        self.order = order
        """The chunks of the order of the rows, if that is kept."""
        self.digests = digests
        """Those of the rows, if they were asked for."""
        self._buckets = buckets
        self._gathering = gathering

    def __iter__(self) -> Iterator[EncodedBlock]:
        if len(self._buckets) != self.count:
            raise RuntimeError("a partition can be iterated over only once")
        buckets, self._buckets = self._buckets, []
        buckets.reverse()
        for index in range(self.count):
            # MessagePack encodings are prefix-free: sorting key + row together sorts by the key's encoding.
            yield from block_of_kept(index, sorted(buckets.pop()), self._gathering)


def block_of_kept(index: int, kept: list[bytes], gathering: Gathering) -> Iterator[EncodedBlock]:
    """Yield the records of one block; ``kept`` is what was kept of its rows by ``gathering``, sorted."""
    if not kept:
        return
    plain, pairs = gathering.block(kept)
    if plain is not None:
        yield EncodedBlock(index, digest_of(Kind.BLOCK, plain), plain, len(kept), SHORT_ROWS_CODEC)
    elif sum(map(len, pairs)) <= gathering.longest:
        yield _by_rows(index, pairs)
    else:
        for part in _parts(pairs, gathering.longest):
            yield _by_rows(index, part)


def partition(
    rows: Mapping[Any, Any],
    *,
    max_value_bytes: int,
    previous_count: int | None = None,
    ordered: bool = False,
    contents: bool = False,
    by_fields: bool | None = None,
    row_type: type[Any] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Partition:
    """Encode ``rows`` and assign them to blocks.

    ``max_value_bytes`` is the store's limit for a record, ``previous_count`` the number of blocks of the last version;
    ``ordered``: the order of ``rows`` is kept. ``contents``: the digests of the rows are wanted. ``by_fields``: whether
    rows may be written field by field (``None``: as :data:`.short_rows.BY_FIELDS` says). ``row_type``: the class of the
    rows, which are then instances of it, or what it can be made of, and are checked.
    ``progress`` is called with the number of rows done since its last call; it may raise to stop the work.

    Raises ``EncodeError`` for a key or row that cannot be stored and for keys that would be equal when they are read,
    and ``RecordTooBig`` for a row that does not fit in a record (uncompressed, so that whether it fits does not depend
    on what else it contains).
    """
    encoding = RowEncoding(
        max_value_bytes=max_value_bytes,
        ordered=ordered,
        digests=RowDigests(len(rows)) if contents else None,
        by_fields=by_fields,
        row_type=row_type,
    )
    total = len(rows)
    count = block_count(total, previous_count)
    shift = 33 - count.bit_length()
    buckets: list[list[bytes]] = [[] for _ in range(count)]
    all_keys, all_rows = iter(rows), iter(rows.values())
    while keys := list(islice(all_keys, CHUNK)):
        hashes, kept = encoding.add(keys, list(islice(all_rows, CHUNK)))
        for each, pair in zip(hashes, kept, strict=True):
            buckets[each >> shift].append(pair)
        if progress is not None:
            progress(len(keys))
    order = list(chunks_of_order(encoding.chunks()))
    return Partition(buckets, total, encoding.gathering, order, encoding.digests)


def chunks_of_order(chunks: Iterable[tuple[bytes, int]]) -> Iterator[EncodedBlock]:
    """Yield chunks of the order as they are stored; of each its plain form and the number of its keys."""
    for index, (plain, keys) in enumerate(chunks):
        yield EncodedBlock(index, digest_of(Kind.ORDER, plain), plain, keys)


def decode_block(
    digest: bytes, stored: bytes, *, rows: RowForm = "plain", row_type: type[Any] | None = None
) -> DecodedBlock:
    """Return the rows of a stored block, in the form that ``rows`` and ``row_type`` name, after checking it against its
    digest.

    Whether each key belongs to this very block is not checked again: the digest says that this is what the publisher
    wrote, and encoding and hashing each key once more would make reading slower by a tenth.

    Raises ``DamagedRecord`` (a ``CorruptBlock``) with the digest, and ``ConfigurationError`` for a row that does not
    fit the declared row type.
    """
    made = _class_of(rows, row_type)
    return _decoded(digest, verified(Kind.BLOCK, digest, stored), made, frozen=rows == "frozen")


def decode_blocks(
    blocks: Sequence[tuple[bytes, bytes]], *, rows: RowForm = "plain", row_type: type[Any] | None = None
) -> list[DecodedBlock]:
    """Return the rows of blocks, of each its digest and plain form, which was checked; else as :func:`decode_block`.

    Those that have the same fields are decoded together, which takes less time: what is done for each field of a block
    costs more than the values of its thirty rows.
    """
    made, frozen = _class_of(rows, row_type), rows == "frozen"
    try:
        return _decoded_together([plain for _, plain in blocks], made, frozen=frozen)
    except (CorruptBlock, ConfigurationError, TypeError):  # one by one it is known which
        return [_decoded(digest, plain, made, frozen=frozen) for digest, plain in blocks]


def _decoded_together(plains: Sequence[bytes], made: RowClass | None, *, frozen: bool) -> list[DecodedBlock]:
    alike: dict[Any, list[tuple[int, ShortRows]]] = {}
    found: dict[int, DecodedBlock] = {}
    for at, plain in enumerate(plains):
        short = opened(plain)
        if short is None:
            found[at] = _decoded(b"", plain, made, frozen=frozen)
        else:
            alike.setdefault(short.common, []).append((at, short))
    for blocks in alike.values():
        shape, keys, columns = together([block for _, block in blocks]).columns(frozen=frozen)
        if made is None:
            values: Sequence[Any] = shape.rows(columns, frozen=frozen)
        else:
            values = made.made_of_columns(keys, shape, columns, frozen=frozen)
        end = 0
        for at, block in blocks:
            begin, end = end, end + len(block.keys)
            found[at] = DecodedBlock(block.keys, values[begin:end])
    return [found[at] for at in range(len(plains))]


def _class_of(rows: RowForm, row_type: type[Any] | None) -> RowClass | None:
    """Return what is known of the class of rows. Raises ``ConfigurationError`` as :func:`.row_types.check_form`."""
    if rows not in ("frozen", "plain"):
        check_form(rows, row_type)
    elif row_type is not None:
        _check_form(rows, row_type)  # type: ignore[arg-type]  # classes have a hash
    return None if row_type is None else row_class(row_type)


def _decoded(digest: bytes, plain: bytes, made: RowClass | None, *, frozen: bool) -> DecodedBlock:
    columns: Sequence[Any] = ()
    try:
        if is_by_fields(plain):
            shape, keys, columns = read(plain, frozen=frozen)
            values: Sequence[Any] = shape.rows(columns, frozen=frozen) if made is None else ()
        else:
            keys, values = _flat(plain, frozen)
    except DamagedRecord as error:
        raise DamagedRecord.of(Kind.BLOCK, digest, error) from error
    if made is not None and columns:
        values = made.made_of_columns(keys, shape, columns, frozen=frozen)
    elif made is not None:
        values = made.made(keys, values, frozen=frozen)
    return DecodedBlock(keys, values)


_check_form: Final = lru_cache(check_form)  # of each block the same


def decode_plain(plain: bytes, *, frozen: bool) -> DecodedBlock:
    """Return the rows of a block in its plain form, which was checked, as they are stored. Raises ``DamagedRecord``."""
    if is_by_fields(plain):
        shape, keys, columns = read(plain, frozen=frozen)
        return DecodedBlock(keys, shape.rows(columns, frozen=frozen))
    return DecodedBlock(*_flat(plain, frozen))


def _flat(plain: bytes, frozen: bool) -> tuple[Sequence[Any], Sequence[Any]]:
    flat = decode(plain, frozen=frozen)
    if not isinstance(flat, list) or len(flat) % 2:
        raise DamagedRecord("it is not a list of keys and rows")
    return tuple(flat[::2]), flat[1::2]


def _by_rows(index: int, pairs: Sequence[bytes]) -> EncodedBlock:
    plain = array_header(2 * len(pairs)) + b"".join(pairs)
    return EncodedBlock(index, digest_of(Kind.BLOCK, plain), plain, len(pairs))


def _parts(pairs: list[bytes], part_bytes: int) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for pair in pairs:
        if part and size + len(pair) > part_bytes:
            yield part
            part, size = [], 0
        part.append(pair)
        size += len(pair)
    yield part
