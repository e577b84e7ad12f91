"""A version in memory, and what everything that makes one needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

from django_etcdaero.system.giving_way import GivingWay

from .delta_reading import DecodedDelta, decode_delta, fetch_deltas
from .digests import Fetch
from .held import SLICE, read_only
from .manifest import Manifest
from .row_types import RowForm


class Difference(NamedTuple):
    """What makes the rows of one version those of the next. Rows that are not in it are the same objects."""

    upserts: dict[Any, Any]
    deletions: dict[Any, None]


@dataclass(frozen=True, slots=True)
class Assembled:
    """A version in memory."""

    manifest: Manifest
    rows: Mapping[Any, Any]
    """A ``dict`` or, of many rows, what :mod:`.held` makes."""
    keys: Mapping[bytes, Sequence[Any]]
    """The keys of each block, by digest: what has to go when the block goes."""
    by_deltas: tuple[list[Any], ...] = ()
    """The keys that each of the deltas of the version has put or deleted: what the blocks say of them does not hold."""
    difference: Difference | None = None
    """To the version that this was made from, if it is small."""

    damaged: ClassVar[str | None] = None
    """What is wrong with what holds the rows: nothing can be, in memory."""

    @property
    def ordered(self) -> bool:
        """Whether the rows are in the order in which they were loaded."""
        return bool(self.manifest.order.chunks)

    @property
    def view(self) -> Mapping[Any, Any]:
        """The rows, read-only."""
        return read_only(self.rows)


class Form(NamedTuple):
    """What rows are to be."""

    rows: RowForm
    row_type: type[Any] | None


class Nothing(NamedTuple):
    """What is held before the first version."""

    rows: Mapping[Any, Any]
    keys: Mapping[bytes, Sequence[Any]]
    by_deltas: tuple[list[Any], ...]


NOTHING: Final = Nothing({}, {}, ())


def goes_on(before: Manifest, manifest: Manifest) -> bool:
    """Tell whether a version has the blocks of the one before it, and its deltas, and maybe more."""
    same = (manifest.count, manifest.pages, manifest.order_pages) == (before.count, before.pages, before.order_pages)
    return same and manifest.deltas[: len(before.deltas)] == before.deltas


def same_order(before: Assembled, manifest: Manifest) -> bool:
    """Tell whether a version has the keys of the one before it, in the same order, which it keeps."""
    return bool(manifest.order.chunks) and manifest.order.chunks == before.manifest.order.chunks


def decoded_deltas(digests: Iterable[bytes], fetch: Fetch, form: Form) -> Iterator[DecodedDelta]:
    """Yield deltas in their order. Raises what :func:`.fetch_deltas` and :func:`.decode_delta` raise."""
    give_way = GivingWay()
    for digest, stored in fetch_deltas(digests, fetch):
        yield decode_delta(digest, stored, rows=form.rows, row_type=form.row_type)
        give_way()


def absent(digests: Iterable[bytes], held: Mapping[bytes, Any], stale: Collection[bytes] = ()) -> Iterator[bytes]:
    """Yield those of the digests that are not held, or stale."""
    give_way = GivingWay()
    for number, digest in enumerate(digests):
        if digest not in held or digest in stale:
            yield digest
        if number % SLICE == 0:
            give_way()
