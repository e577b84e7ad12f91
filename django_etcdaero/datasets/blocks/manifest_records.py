"""The records of a manifest as they are stored: a root, and pages that it names.

Root, a MessagePack map: ``format, codec, name, schema, rows, count, plain_bytes, stored_bytes, pages`` (joined
digests), and ``order`` (likewise) if there is one. If the rows are not those of the blocks alone, ``deltas`` (joined
digests, in the order in which they are applied: :mod:`.delta`), ``delta_sizes`` (their stored sizes), and ``content``
(:mod:`.content`).
Page, a MessagePack array: ``[first block, number of blocks, {block: parts} for blocks that have not exactly one part,
joined digests, [stored sizes]]``. Pages of the order: :mod:`.order`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from django_etcdaero.exceptions import ResponseError

from .codec import CODEC_VERSION, array_header, decode
from .compression import verified
from .content import CONTENT_BYTES
from .digests import DIGEST_BYTES, DamagedRecord, Fetch, Kind, MissingRecords
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

OWN_FIELDS: Final = ("name", "schema", "rows", "count", "plain_bytes", "stored_bytes")
"""Fields of a manifest that are in its root as they are."""

_ROOT_FIELDS: Final[Mapping[str, Any]] = {
    **dict.fromkeys((*_VERSIONS, *OWN_FIELDS), int),
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


def pages_of(root_digest: bytes, stored: bytes) -> tuple[bytes, ...]:
    """Return the digests of the pages that a stored root names, those of the order too.

    Raises ``CorruptBlock`` and ``ResponseError``.
    """
    root = read_root(root_digest, verified(Kind.ROOT, root_digest, stored))
    return tuple(cut_digests(root["pages"] + root["order"]))


def deltas_of(root_digest: bytes, stored: bytes) -> dict[bytes, int]:
    """Return the digests and stored sizes of the deltas that a stored root names. Raises as :func:`pages_of` does."""
    root = read_root(root_digest, verified(Kind.ROOT, root_digest, stored))
    return dict(zip(cut_digests(root["deltas"]), root["delta_sizes"], strict=True))


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
    root = read_root(root_digest, verified(Kind.ROOT, root_digest, stored))
    deltas = tuple(zip(cut_digests(root["deltas"]), root["delta_sizes"], strict=True))
    return Root(root["rows"], root["count"], root["pages"], root["order"], deltas)


def sizes_of(page_digest: bytes, stored: bytes) -> dict[bytes, int]:
    """Return the digests and stored sizes of the blocks or chunks that a page names. Raises ``CorruptBlock``."""
    plain = verified(Kind.PAGE, page_digest, stored)
    if _is_of_order(plain):
        order = read_order(page_digest, plain)
        return dict(zip(order.chunks, order.sizes, strict=True))
    page = read_page(page_digest, plain)
    return dict(zip(page.blocks, page.sizes, strict=True))


class Page(NamedTuple):
    """A page of the list of blocks, as it is stored."""

    covered: int
    indices: list[int]
    blocks: list[bytes]
    sizes: list[int]


def page_bounds(parts: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
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


def fetch_records(fetch: Fetch, kind: Kind, digests: list[bytes]) -> list[bytes]:
    """Return the plain bytes of records of one kind. Raises ``CorruptBlock``, and what ``fetch`` raises."""
    found = fetch(digests)
    missing = [digest for digest in digests if digest not in found]
    if missing:
        raise MissingRecords(
            f"{len(missing)} of {len(digests)} {kind.name.lower()} records are missing, first {missing[0].hex()}",
            missing,
        )
    return [verified(kind, digest, found[digest]) for digest in digests]


def read_root(digest: bytes, plain: bytes) -> dict[str, Any]:
    """Return the fields of a root, those of older forms filled in.

    Raises ``DamagedRecord``, and ``ResponseError`` for a newer form.
    """
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


def read_page(digest: bytes, plain: bytes) -> Page:
    """Return what a page of the list of blocks says. Raises ``DamagedRecord``."""
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
        blocks = cut_digests(joined)
        if not len(indices) == len(blocks) == len(joined) / DIGEST_BYTES == len(sizes):
            raise ValueError("it does not have a digest and a size for each block")
    except (TypeError, ValueError, AttributeError) as error:
        raise DamagedRecord.of(Kind.PAGE, digest, error) from error
    return Page(count, indices, blocks, sizes)


def _is_of_order(page: bytes) -> bool:
    return page[:1] == array_header(3)


def read_order(digest: bytes, plain: bytes) -> Order:
    """Return what a page of the order says. Raises ``DamagedRecord``."""
    try:
        return Order.read_page(_decoded(Kind.PAGE, digest, plain))
    except (TypeError, ValueError) as error:
        raise DamagedRecord.of(Kind.PAGE, digest, error) from error


def cut_digests(joined: bytes) -> list[bytes]:
    """Return the digests that were joined."""
    return [joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES)]


def _decoded(kind: Kind, digest: bytes, plain: bytes) -> Any:
    try:
        return decode(plain, rows=False)  # its digests are full of what looks like a timestamp's header
    except DamagedRecord as error:
        raise DamagedRecord.of(kind, digest, error) from error
