"""The list of a version's blocks, and of the chunks of its order if it keeps one: a root, and pages that it names.

All of them are named by digest like the blocks. A page covers 512 consecutive blocks (fewer if they have very many
parts), so that a refresh that changed few rows writes few of them, and holds for each block its digest and its stored
size: 23 bytes. The size is there because it tells a reader what it is about to fetch, and a publisher the total without
compressing what has not changed. Plain sizes and numbers of rows are kept as totals in the root only: nobody needs them
for one block.

Root, a MessagePack map: ``format, codec, name, schema, rows, count, plain_bytes, stored_bytes, pages`` (joined
digests), and ``order`` (likewise) if there is one. If the rows are not those of the blocks alone, ``deltas`` (joined
digests, in the order in which they are applied: :mod:`.delta`), ``delta_sizes`` (their stored sizes), and ``content``
(:mod:`.content`).
Page, a MessagePack array: ``[first block, number of blocks, {block: parts} for blocks that have not exactly one part,
joined digests, [stored sizes]]``. Pages of the order: :mod:`.order`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, cast

import msgpack

from django_etcdaero.exceptions import ResponseError
from django_etcdaero.system.giving_way import GivingWay

from .codec import CODEC_VERSION, ROWS_CODEC, array_header, decode
from .compression import store_form, verified
from .content import CONTENT_BYTES
from .digests import DIGEST_BYTES, DamagedRecord, Fetch, Kind, MissingRecords, digest_of
from .order import Order

FORMAT_VERSION: Final = 4
"""The newest form of a version that this code reads: older code refuses what it cannot read."""
UNORDERED_FORMAT: Final = 1
"""What a version is written with that keeps no order: its root has no field for one, and older code reads it."""
ORDERED_FORMAT: Final = 2
DELTA_FORMAT: Final = 4
"""What a version is written with that has deltas."""

PAGE_BLOCKS: Final = 512
"""Blocks that a page covers."""

_VERSIONS: Final[Mapping[str, int]] = {"format": FORMAT_VERSION, "codec": CODEC_VERSION}

_OWN_FIELDS: Final = ("name", "schema", "rows", "count", "plain_bytes", "stored_bytes")
"""Fields of a manifest that are in its root as they are."""

_ROOT_FIELDS: Final[Mapping[str, Any]] = {
    **dict.fromkeys((*_VERSIONS, *_OWN_FIELDS), int),
    "name": str,
    "pages": bytes,
    "order": bytes,
    "deltas": bytes,
    "delta_sizes": list,
    "content": bytes,
}
_LATER_FIELDS: Final[Mapping[str, bytes]] = {"order": b"", "deltas": b"", "content": b""}
"""Fields that not every root has."""

_PAGE_RECORDS: Final = 2048  # a page with more parts than this is cut, to stay far below any store's limit


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of a block or of the order, as the manifest needs to know it."""

    index: int
    """Which block, or chunk of the order; the parts of one block have the same index and follow each other."""
    digest: bytes
    rows: int
    plain_bytes: int
    stored_bytes: int
    codec: int = ROWS_CODEC
    """What older code has to read, to read it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one version of a dataset consists of. Made by :meth:`build` or :meth:`load`."""

    name: str
    """Name of the dataset."""
    schema: int
    rows: int
    """How many there are, deltas applied."""
    count: int
    """Number of blocks, empty ones included: a power of two."""
    plain_bytes: int
    """Uncompressed size of all blocks and chunks of the order."""
    stored_bytes: int
    """Stored size of all blocks and chunks of the order, without pages and root."""
    blocks: tuple[bytes, ...]
    """Digests of all block records, in the order of the blocks."""
    sizes: tuple[int, ...]
    """Stored size of each of ``blocks``."""
    indices: Sequence[int]
    """Which block each of ``blocks`` is, or is a part of."""
    pages: tuple[bytes, ...]
    """Digests of the pages."""
    order: Order
    """The order of the rows."""
    order_pages: tuple[bytes, ...]
    """Digests of the pages of the order."""
    codec: int
    """That of a version is the highest one of its blocks."""
    root_digest: bytes
    """The name of all this. To tell whether rows changed compare ``blocks``, ``order.chunks`` and ``deltas``: the
    root's name also depends on the stored sizes, which another version of the LZ4 library may make different."""
    deltas: tuple[bytes, ...] = ()
    """Digests of the deltas, in the order in which they are applied to the rows of the blocks. One may be there twice.
    A version with deltas keeps no order."""
    delta_sizes: tuple[int, ...] = ()
    """Stored size of each of ``deltas``."""
    content: bytes = b""
    """The digest of all rows (:mod:`.content`); empty without deltas."""

    @classmethod
    def build(
        cls, entries: Iterable[Entry], *, name: str, schema: int, count: int, order: Iterable[Entry] = ()
    ) -> Manifest:
        """Make the manifest of the records that a partition gave, in its order.

        ``count`` is the number of blocks, ``order`` are the chunks of the order of the rows. Raises ``ValueError`` for
        entries out of order or beyond ``count``.
        """
        listed, chunks = tuple(entries), tuple(order)
        indices = tuple(entry.index for entry in listed)
        if list(indices) != sorted(indices) or (indices and not 0 <= indices[0] <= indices[-1] < count):
            raise ValueError("entries must be those of one partition, in its order")
        manifest = cls(
            name=name,
            schema=schema,
            rows=sum(entry.rows for entry in listed),
            count=count,
            plain_bytes=sum(entry.plain_bytes for entry in (*listed, *chunks)),
            stored_bytes=sum(entry.stored_bytes for entry in (*listed, *chunks)),
            blocks=tuple(entry.digest for entry in listed),
            sizes=tuple(entry.stored_bytes for entry in listed),
            indices=indices,
            pages=(),
            order=Order(
                tuple(entry.digest for entry in chunks),
                tuple(entry.stored_bytes for entry in chunks),
                tuple(entry.rows for entry in chunks),
            ),
            order_pages=(),
            codec=max((entry.codec for entry in listed), default=ROWS_CODEC),
            root_digest=b"",
        )
        return manifest._named()

    @classmethod
    def load(cls, fetch: Fetch, root_digest: bytes, *, known: Manifest | None = None) -> Manifest:
        """Fetch, verify and read a manifest; if it has the pages of the ``known`` one, nothing but its root.

        ``fetch`` is called once for the root and once for the pages. Raises ``MissingRecords`` naming all that are
        missing, ``DamagedRecord`` naming the one that is damaged, ``ResponseError`` for a manifest of a newer format,
        and whatever ``fetch`` raises.
        """
        root = _read_root(root_digest, _fetch(fetch, Kind.ROOT, [root_digest])[0])
        digests, of_order = _cut(root["pages"]), _cut(root["order"])
        own = {field: root[field] for field in _OWN_FIELDS} | {
            "deltas": tuple(_cut(root["deltas"])),
            "delta_sizes": tuple(root["delta_sizes"]),
            "content": root["content"],
            "codec": root["codec"],
            "root_digest": root_digest,
        }
        if known is not None and (known.pages, known.order_pages) == (tuple(digests), tuple(of_order)):
            same = replace(known, **own)
            if (same.count, same.codec) != (known.count, known.codec) or same._with_root() != same:
                raise DamagedRecord.of(Kind.ROOT, root_digest, "it does not fit its pages")
            return same
        plain = dict(zip((*digests, *of_order), _fetch(fetch, Kind.PAGE, [*digests, *of_order]), strict=True))
        give_way, pages = GivingWay(), []
        for digest in digests:
            pages.append(_read_page(digest, plain[digest]))
            give_way()
        order = Order.joined(_read_order(digest, plain[digest]) for digest in of_order)
        manifest = cls(
            **own,
            blocks=_joined(page.blocks for page in pages),
            sizes=_joined(page.sizes for page in pages),
            indices=_joined(page.indices for page in pages),
            pages=tuple(digests),
            order=order,
            order_pages=tuple(of_order),
        )
        # What was read must give the same pages and root when written: that checks every count, order and boundary.
        covered, ordered = sum(page.covered for page in pages), sum(order.counts)
        if (
            covered != manifest.count
            or manifest.codec < ROWS_CODEC
            or (order.chunks and ordered != manifest.rows)
            or manifest._named() != manifest
        ):
            raise DamagedRecord.of(Kind.ROOT, root_digest, "its pages do not fit together")
        return manifest

    def records(self) -> dict[bytes, bytes]:
        """Return what to store for the manifest itself: digest to stored bytes, of all pages and the root."""
        plain = {digest_of(Kind.PAGE, page): page for page in (*self._plain_pages(), *self.order.plain_pages())}
        plain[self.root_digest] = self._plain_root()
        return {digest: store_form(data) for digest, data in plain.items()}

    def root_record(self) -> bytes:
        """Return the stored bytes of the root."""
        return store_form(self._plain_root())

    def changed(self, deltas: Iterable[tuple[bytes, int]], *, rows: int, content: bytes) -> Manifest:
        """Return the manifest of the version that further deltas make of this one.

        ``deltas``: digest and stored size of each, in the order in which they are applied; ``rows`` and ``content`` are
        those of the result. What this costs does not depend on the number of rows.
        """
        added = tuple(deltas)
        return replace(
            self,
            rows=rows,
            deltas=self.deltas + tuple(digest for digest, _ in added),
            delta_sizes=self.delta_sizes + tuple(size for _, size in added),
            content=content,
        )._with_root()

    def folded(self, replaced: Mapping[int, Sequence[Entry]], *, plain_bytes: int) -> Manifest:
        """Return the manifest without deltas, of which some blocks were replaced; rows are what they were.

        ``replaced``: the records of each such block by its number, in their order, none for one that is empty;
        ``plain_bytes``: uncompressed size of all that they replace.
        """
        stays = zip(self.indices, self.blocks, self.sizes, strict=True)
        listed = [each for each in stays if each[0] not in replaced]
        added = [entry for entries in replaced.values() for entry in entries]
        listed += [(entry.index, entry.digest, entry.stored_bytes) for entry in added]
        listed.sort(key=lambda each: each[0])
        return replace(
            self,
            plain_bytes=self.plain_bytes - plain_bytes + sum(entry.plain_bytes for entry in added),
            stored_bytes=sum(size for _, _, size in listed),
            indices=tuple(index for index, _, _ in listed),
            blocks=tuple(digest for _, digest, _ in listed),
            sizes=tuple(size for _, _, size in listed),
            codec=max([self.codec, *(entry.codec for entry in added)]),
            deltas=(),
            delta_sizes=(),
            content=b"",
        )._named()

    def digests(self) -> Iterator[bytes]:
        """Yield the name of every record that this version needs: root, pages, blocks, chunks of the order, deltas."""
        yield self.root_digest
        yield from self.pages
        yield from self.order_pages
        yield from self.kinds()

    def kinds(self) -> dict[bytes, Kind]:
        """Return the names of the records that hold rows or their order, and what each is."""
        blocks, chunks = dict.fromkeys(self.blocks, Kind.BLOCK), dict.fromkeys(self.order.chunks, Kind.ORDER)
        return blocks | chunks | dict.fromkeys(self.deltas, Kind.DELTA)

    def _named(self) -> Manifest:
        """Return the same manifest with the digests of its pages and root computed from everything else."""
        paged = replace(
            self,
            pages=tuple(digest_of(Kind.PAGE, page) for page in self._plain_pages()),
            order_pages=tuple(digest_of(Kind.PAGE, page) for page in self.order.plain_pages()),
        )
        return paged._with_root()

    def _with_root(self) -> Manifest:
        """Return the same manifest with the digest of its root computed from everything else."""
        return replace(self, root_digest=digest_of(Kind.ROOT, self._plain_root()))

    def _plain_root(self) -> bytes:
        own = {field: getattr(self, field) for field in _OWN_FIELDS}
        root = {"format": UNORDERED_FORMAT, "codec": self.codec, **own, "pages": b"".join(self.pages)}
        if self.order_pages:
            root |= {"format": ORDERED_FORMAT, "order": b"".join(self.order_pages)}
        if self.deltas:
            root |= {"format": DELTA_FORMAT, "deltas": b"".join(self.deltas), "delta_sizes": self.delta_sizes}
            root["content"] = self.content
        return cast(bytes, msgpack.packb(root))

    def _plain_pages(self) -> Iterator[bytes]:
        parts = [0] * self.count
        for index in self.indices:  # no Counter: others get their turn between two of hundreds of thousands
            if index < self.count:  # or it is one of a damaged page
                parts[index] += 1
        begin = 0
        for first, last in _page_bounds(parts, self.count):
            odd = {index: parts[index] for index in range(first, last) if parts[index] != 1}
            end = begin + sum(parts[index] for index in range(first, last))
            page = [first, last - first, odd, b"".join(self.blocks[begin:end]), self.sizes[begin:end]]
            yield cast(bytes, msgpack.packb(page))
            begin = end


def pages_of(root_digest: bytes, stored: bytes) -> tuple[bytes, ...]:
    """Return the digests of the pages that a stored root names, those of the order too.

    Raises ``CorruptBlock`` and ``ResponseError``.
    """
    root = _read_root(root_digest, verified(Kind.ROOT, root_digest, stored))
    return tuple(_cut(root["pages"] + root["order"]))


def deltas_of(root_digest: bytes, stored: bytes) -> dict[bytes, int]:
    """Return the digests and stored sizes of the deltas that a stored root names. Raises as :func:`pages_of` does."""
    root = _read_root(root_digest, verified(Kind.ROOT, root_digest, stored))
    return dict(zip(_cut(root["deltas"]), root["delta_sizes"], strict=True))


class Root(NamedTuple):
    """What a root says that tells how two versions differ, as far as that can be told without their pages."""

    rows: int
    blocks: int
    """Empty ones included."""
    pages: bytes
    """Joined digests."""
    order: bytes
    """Joined digests of the pages of the order; empty: no order is kept."""
    deltas: tuple[tuple[bytes, int], ...]
    """Digest and stored size of each."""

    def deltas_since(self, other: Root) -> tuple[tuple[bytes, int], ...] | None:
        """Return the deltas that make this version of another one; ``None``: there is more that differs."""
        same = (self.blocks, self.pages, self.order) == (other.blocks, other.pages, other.order)
        held = len(other.deltas)
        return self.deltas[held:] if same and self.deltas[:held] == other.deltas else None


def root_of(root_digest: bytes, stored: bytes) -> Root:
    """Return what a stored root says. Raises as :func:`pages_of` does."""
    root = _read_root(root_digest, verified(Kind.ROOT, root_digest, stored))
    deltas = tuple(zip(_cut(root["deltas"]), root["delta_sizes"], strict=True))
    return Root(root["rows"], root["count"], root["pages"], root["order"], deltas)


def sizes_of(page_digest: bytes, stored: bytes) -> dict[bytes, int]:
    """Return the digests and stored sizes of the blocks or chunks that a page names. Raises ``CorruptBlock``."""
    plain = verified(Kind.PAGE, page_digest, stored)
    if _is_of_order(plain):
        order = _read_order(page_digest, plain)
        return dict(zip(order.chunks, order.sizes, strict=True))
    page = _read_page(page_digest, plain)
    return dict(zip(page.blocks, page.sizes, strict=True))


class _Page(NamedTuple):
    covered: int
    indices: list[int]
    blocks: list[bytes]
    sizes: list[int]


def _page_bounds(parts: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """Yield first block and end of each page. A page that is cut does not move the bounds of those behind it."""
    for first in range(0, count, PAGE_BLOCKS):
        last = min(first + PAGE_BLOCKS, count)
        begin, records = first, 0
        for index in range(first, last):
            if records >= _PAGE_RECORDS:
                yield begin, index
                begin, records = index, 0
            records += parts[index]
        yield begin, last


def _fetch(fetch: Fetch, kind: Kind, digests: list[bytes]) -> list[bytes]:
    found = fetch(digests)
    missing = [digest for digest in digests if digest not in found]
    if missing:
        raise MissingRecords(
            f"{len(missing)} of {len(digests)} {kind.name.lower()} records are missing, first {missing[0].hex()}",
            missing,
        )
    return [verified(kind, digest, found[digest]) for digest in digests]


def _read_root(digest: bytes, plain: bytes) -> dict[str, Any]:
    root: dict[str, Any] = _decoded(Kind.ROOT, digest, plain)
    if type(root) is not dict:
        raise DamagedRecord.of(Kind.ROOT, digest, "it is not a map")
    if root.get("format") in range(FORMAT_VERSION + 1):
        root = {**_LATER_FIELDS, "delta_sizes": [], **root}
    for field, kind in _ROOT_FIELDS.items():
        value: Any = root.get(field)
        # Versions come first: what follows them may be laid out in another way.
        if type(value) is not kind or (kind is int and not 0 <= value < 2**63):
            raise DamagedRecord.of(Kind.ROOT, digest, f"no valid {field!r}")
        if value > _VERSIONS.get(field, value):
            raise ResponseError(
                f"root {digest.hex()}: {field} version {value} was written by a newer django-etcdaero; this one reads "
                f"up to {_VERSIONS[field]}: upgrade it here, or give the new code another schema number"
            )
    _check_deltas(digest, root)
    return root


def _check_deltas(digest: bytes, root: Mapping[str, Any]) -> None:
    sizes, content = root["delta_sizes"], root["content"]
    whole = len(root["deltas"]) == DIGEST_BYTES * len(sizes) and len(content) == (CONTENT_BYTES if sizes else 0)
    if not whole or not all(type(size) is int and 0 <= size < 2**63 for size in sizes):
        raise DamagedRecord.of(Kind.ROOT, digest, "it lacks a digest or a size of a delta, or its content")
    if sizes and root["order"]:
        raise DamagedRecord.of(Kind.ROOT, digest, "it has deltas and an order")


def _read_page(digest: bytes, plain: bytes) -> _Page:
    try:
        first, count, odd, joined, sizes = _decoded(Kind.PAGE, digest, plain)
        if type(joined) is not bytes or not all(type(size) is int and 0 <= size < 2**63 for size in sizes):
            raise ValueError("digests and sizes are something else")
        # Before anything of that length is made: no number of parts is believed unless there are as many digests.
        if (
            not 0 < count <= PAGE_BLOCKS
            or count - len(odd) + sum(odd.values()) != len(sizes)
            or min(odd.values(), default=0) < 0
        ):
            raise ValueError("its counts do not fit together")
        indices = [index for index in range(first, first + count) for _ in range(odd.get(index, 1))]
        blocks = _cut(joined)
        if not len(indices) == len(blocks) == len(joined) / DIGEST_BYTES == len(sizes):
            raise ValueError("it does not have a digest and a size for each block")
    except (TypeError, ValueError, AttributeError) as error:
        raise DamagedRecord.of(Kind.PAGE, digest, error) from error
    return _Page(count, indices, blocks, sizes)


def _joined(parts: Iterable[list[Any]]) -> tuple[Any, ...]:
    """Return all elements, in small steps."""
    made: list[Any] = []
    for part in parts:
        made += part
    return tuple(made)


def _is_of_order(page: bytes) -> bool:
    return page[:1] == array_header(3)


def _read_order(digest: bytes, plain: bytes) -> Order:
    try:
        return Order.read_page(_decoded(Kind.PAGE, digest, plain))
    except (TypeError, ValueError) as error:
        raise DamagedRecord.of(Kind.PAGE, digest, error) from error


def _cut(joined: bytes) -> list[bytes]:
    return [joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES)]


def _decoded(kind: Kind, digest: bytes, plain: bytes) -> Any:
    try:
        return decode(plain, rows=False)  # its digests are full of what looks like a timestamp's header
    except DamagedRecord as error:
        raise DamagedRecord.of(kind, digest, error) from error
