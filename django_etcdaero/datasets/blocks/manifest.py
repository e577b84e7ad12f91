"""The list of a version's blocks, and of the chunks of its order if it keeps one: a root, and pages that it names.

All of them are named by digest like the blocks. A page covers 512 consecutive blocks (fewer if they have very many
parts), so that a refresh that changed few rows writes few of them, and holds for each block its digest and its stored
size: 23 bytes. The size is there because it tells a reader what it is about to fetch, and a publisher the total without
compressing what has not changed. Plain sizes and numbers of rows are kept as totals in the root only: nobody needs them
for one block.

Their form is in :mod:`.manifest_records`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import msgpack

from django_etcdaero.system.giving_way import GivingWay

from .codec import ROWS_CODEC, SHORT_ROWS_CODEC
from .compression import store_form
from .digests import DamagedRecord, Fetch, Kind, digest_of
from .manifest_records import (
    DELTA_FORMAT,
    ORDERED_FORMAT,
    OWN_FIELDS,
    UNORDERED_FORMAT,
    cut_digests,
    fetch_records,
    page_bounds,
    read_order,
    read_page,
    read_root,
)
from .order import Order


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
        root = read_root(root_digest, fetch_records(fetch, Kind.ROOT, [root_digest])[0])
        digests, of_order = cut_digests(root["pages"]), cut_digests(root["order"])
        own = {field: root[field] for field in OWN_FIELDS} | {
            "deltas": tuple(cut_digests(root["deltas"])),
            "delta_sizes": tuple(root["delta_sizes"]),
            "content": root["content"],
            "codec": root["codec"],
            "root_digest": root_digest,
        }
        if known is not None and (known.pages, known.order_pages) == (tuple(digests), tuple(of_order)):
            same = replace(known, **own)
            if (same.count, same._codec_of_blocks) != (
                known.count,
                known._codec_of_blocks,
            ) or same._with_root() != same:
                raise DamagedRecord.of(Kind.ROOT, root_digest, "it does not fit its pages")
            return same
        plain = dict(zip((*digests, *of_order), fetch_records(fetch, Kind.PAGE, [*digests, *of_order]), strict=True))
        give_way, pages = GivingWay(), []
        for digest in digests:
            pages.append(read_page(digest, plain[digest]))
            give_way()
        order = Order.joined(read_order(digest, plain[digest]) for digest in of_order)
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

    def changed(
        self, deltas: Iterable[tuple[bytes, int]], *, rows: int, content: bytes, codec: int = ROWS_CODEC
    ) -> Manifest:
        """Return the manifest of the version that further deltas make of this one.

        ``deltas``: digest and stored size of each, in the order in which they are applied; ``codec``: what has to be
        read, to read all of them; ``rows`` and ``content`` are those of the result. What this costs does not depend on
        the number of rows.
        """
        added = tuple(deltas)
        return replace(
            self,
            rows=rows,
            deltas=self.deltas + tuple(digest for digest, _ in added),
            delta_sizes=self.delta_sizes + tuple(size for _, size in added),
            content=content,
            codec=max(self.codec, codec),
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
            codec=max([self._codec_of_blocks, *(entry.codec for entry in added)]),
            deltas=(),
            delta_sizes=(),
            content=b"",
        )._named()

    @property
    def _codec_of_blocks(self) -> int:
        """What has to be read, to read the blocks: at most that, as a fold may have replaced those that ask for it."""
        return min(self.codec, SHORT_ROWS_CODEC)

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
            pages=_digests_of(self._plain_pages()),
            order_pages=_digests_of(self.order.plain_pages()),
        )
        return paged._with_root()

    def _with_root(self) -> Manifest:
        """Return the same manifest with the digest of its root computed from everything else."""
        return replace(self, root_digest=digest_of(Kind.ROOT, self._plain_root()))

    def _plain_root(self) -> bytes:
        own = {field: getattr(self, field) for field in OWN_FIELDS}
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
        for first, last in page_bounds(parts, self.count):
            odd = {index: parts[index] for index in range(first, last) if parts[index] != 1}
            end = begin + sum(parts[index] for index in range(first, last))
            page = [first, last - first, odd, b"".join(self.blocks[begin:end]), self.sizes[begin:end]]
            yield cast(bytes, msgpack.packb(page))
            begin = end


def _digests_of(pages: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the names of pages, giving way between two of them."""
    give_way, digests = GivingWay(), []
    for page in pages:
        digests.append(digest_of(Kind.PAGE, page))
        give_way()
    return tuple(digests)


def _joined(parts: Iterable[list[Any]]) -> tuple[Any, ...]:
    """Return all elements, in small steps."""
    made: list[Any] = []
    for part in parts:
        made += part
    return tuple(made)
