"""Whatever becomes of stored records, a version is read as it was published, or there is a named error.

Records are damaged in two ways: under the name that they had, as a broken store does it, and under right names up to
the root, as somebody does it who means harm. What is held stays as it was, and memory stays bounded.
"""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

import lz4.block
import msgpack
import pytest

from django_etcdaero.datasets.blocks.assembly import Assembled, assemble
from django_etcdaero.datasets.blocks.compression import MAX_PLAIN_BYTES, plain_form, store_form
from django_etcdaero.datasets.blocks.content import CONTENT_BYTES
from django_etcdaero.datasets.blocks.delta import cut, encode_change
from django_etcdaero.datasets.blocks.digests import DamagedRecord, Kind, digest_of
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.partition import partition
from django_etcdaero.exceptions import ConfigurationError, ResponseError

MIB = 1 << 20
FORMS = ["rows", "columns", "ordered", "deltas", "short deltas", "typed", "typed deltas", "typed short deltas"]


class Published(NamedTuple):
    """Two versions of a dataset in a store, the second with some rows changed."""

    form: str
    store: Mapping[bytes, bytes]
    manifests: tuple[Manifest, Manifest]
    rows: tuple[dict[Any, Any], dict[Any, Any]]

    @property
    def row_type(self) -> type[Any] | None:
        return Product if self.form.startswith("typed") else None

    @property
    def kinds(self) -> dict[bytes, Kind]:
        """What the records of the second version are."""
        manifest = self.manifests[1]
        lists = dict.fromkeys([*manifest.pages, *manifest.order_pages], Kind.PAGE)
        return {**manifest.kinds(), **lists, manifest.root_digest: Kind.ROOT}


def product(number: int) -> dict[str, Any]:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    return {"id": number, "name": f"product {number}", "price": Decimal(number) / 8, "at": at, "tags": ["a", (1, None)]}


@cache
def published(form: str) -> Published:
    store: dict[bytes, bytes] = {}
    old = {f"k{number}": product(number) for number in range(130)}
    new = {**old, "k7": product(1000), "k8": product(1003), "k99": product(1001), "new": product(1002)}
    del new["k50"]
    first = _build(old, store, form)
    read = {key: Product(**row) for key, row in old.items()}, {key: Product(**row) for key, row in new.items()}
    told = read if form.startswith("typed") else (old, new)
    if not form.endswith("deltas"):
        return Published(form, store, (first, _build(new, store, form)), told)
    upserts = {key: row for key, row in new.items() if old.get(key) != row}
    change, by_fields = encode_change(upserts, ["k50"], max_value_bytes=MIB), form.endswith("short deltas")
    deltas = cut(change, upserts if by_fields else None, max_value_bytes=MIB)
    assert [delta.codec for delta in deltas] == [4 if by_fields else 1]
    store.update({delta.digest: delta.stored() for delta in deltas})
    sizes = [(delta.digest, len(store[delta.digest])) for delta in deltas]
    codec = max(delta.codec for delta in deltas)
    second = first.changed(sizes, rows=len(new), content=b"c" * CONTENT_BYTES, codec=codec)
    store[second.root_digest] = second.root_record()
    return Published(form, store, (first, second), told)


def _build(rows: dict[Any, Any], store: dict[bytes, bytes], form: str) -> Manifest:
    parts = partition(rows, max_value_bytes=MIB, by_fields=form != "rows", ordered=form == "ordered")
    entries = []
    for block in parts:
        store[block.digest] = block.stored()
        entries.append(block.entry(len(store[block.digest])))
    chunks = []
    for chunk in parts.order:
        store[chunk.digest] = chunk.stored()
        chunks.append(chunk.entry(len(store[chunk.digest])))
    manifest = Manifest.build(entries, name="x", schema=1, count=parts.count, order=chunks)
    store.update(manifest.records())
    return manifest


@dataclass(frozen=True, slots=True)
class Product:
    """What rows are in the form ``typed``, which is stored as ``columns`` is."""

    id: int
    name: str
    price: Decimal
    at: datetime
    tags: list[Any]


def read(store: Mapping[bytes, bytes], root: bytes, before: Assembled | None, row_type: Any = None) -> Assembled:
    def fetch(digests: Any) -> dict[bytes, bytes]:
        return {digest: store[digest] for digest in digests if digest in store}

    manifest = Manifest.load(fetch, root, known=before.manifest if before is not None else None)
    return assemble(2, manifest, fetch, rows="frozen", row_type=row_type, before=before)


# --- what is done to bytes -------------------------------------------------------------------------------------------


def flip(data: bytes, other: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        damaged[chance.randrange(len(damaged))] = chance.choice(
            [0, 0x7F, 0x80, 0xC1, 0xDD, 0xFF, chance.randrange(256)]
        )
    return bytes(damaged)


def truncate(data: bytes, other: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def extend(data: bytes, other: bytes, chance: random.Random) -> bytes:
    return data + chance.choice([b"\0", b"\xff" * 9, other, chance.randbytes(20)])


def splice(data: bytes, other: bytes, chance: random.Random) -> bytes:
    at, end = sorted(chance.randrange(len(data)) for _ in range(2))
    start = chance.randrange(max(1, len(other)))
    return data[:at] + other[start : start + end - at] + data[end:]


def drop(data: bytes, other: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.randint(1, 8) :]


def swap(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Another record, of this or of the other version, of this or of another kind."""
    return other


def garbage(data: bytes, other: bytes, chance: random.Random) -> bytes:
    return chance.choice([b"", b"\x10", b"\x11", b"\x11\xff\xff\xff\xff", b"\x12" + data]) + chance.randbytes(40)


DAMAGES = [flip, truncate, extend, splice, drop, swap, garbage]
each_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
each_form = pytest.mark.parametrize("form", FORMS)

Damage = Callable[[bytes, bytes, random.Random], bytes]


@cache
def held(form: str) -> Assembled:
    """The first version in memory."""
    version = published(form)
    return read(version.store, version.manifests[0].root_digest, None, version.row_type)


def one_of_each_kind(version: Published) -> list[tuple[bytes, bytes]]:
    """Return digest and plain form of a record of each kind of the second version."""
    of_kind = {kind: digest for digest, kind in version.kinds.items()}
    return [(digest, plain_form(version.store[digest])) for digest in of_kind.values()]


def readings(version: Published, store: Mapping[bytes, bytes], root: bytes, where: str) -> Iterator[Assembled]:
    """Read a version with nothing held and with the first version held, which stays what it was.

    Rows that are whole may still be none of the row type: what others publish is refused then as well.
    """
    named = (ResponseError,) if version.row_type is None else (ResponseError, ConfigurationError)
    for before in (None, held(version.form)):
        try:
            made = read(store, root, before, version.row_type)
        except named as error:
            assert str(error), where  # noqa: PT017
        except Exception as error:
            raise AssertionError(f"{where}: {error!r}") from error
        else:
            yield made
        if before is not None:
            assert before.rows == version.rows[0], where


# --- records that are not what their names say -----------------------------------------------------------------------


@each_form
@each_damage
def test_a_damaged_record_is_refused_or_says_what_it_said(form: str, damage: Damage) -> None:
    version, chance = published(form), random.Random(f"{form} {damage.__name__}")
    root = version.manifests[1].root_digest
    for number in range(25):
        digest = chance.choice(sorted(version.kinds))
        stored = damage(version.store[digest], version.store[chance.choice(sorted(version.store))], chance)
        where = f"{number}: {version.kinds[digest].name} {stored.hex()}"
        for made in readings(version, {**version.store, digest: stored}, root, where):
            assert made.rows == version.rows[1], where


# --- records of others, under right names ----------------------------------------------------------------------------


def forged(version: Published, digest: bytes, plain: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """Return a store in which a record is another one, and a root that leads to it."""
    store, kinds = dict(version.store), version.kinds
    todo = [(digest, plain)]
    root = version.manifests[1].root_digest
    while todo:
        old, plain = todo.pop()
        new = digest_of(kinds[old], plain)
        store[new] = store_form(plain)
        if old == root:
            return store, new
        # Digests stand in pages and roots as they are.
        parents = [name for name in kinds if kinds[name] in (Kind.PAGE, Kind.ROOT)]
        holding = {name: plain_form(store[name]) for name in parents if name != old}
        todo += [(name, data.replace(old, new)) for name, data in holding.items() if old in data][:1]
    raise AssertionError(f"no root names {digest.hex()}")


def test_the_forger_of_these_tests_can_make_a_right_version() -> None:
    for form in FORMS:
        version = published(form)
        assert {kind.name for kind in version.kinds.values()} >= {"BLOCK", "PAGE", "ROOT"}
        for digest in version.kinds:
            store, root = forged(version, digest, plain_form(version.store[digest]))
            assert read(store, root, None, version.row_type).rows == version.rows[1]


@each_form
@each_damage
def test_what_others_have_made_is_refused_or_is_whole(form: str, damage: Damage) -> None:
    version, chance = published(form), random.Random(f"forged {form} {damage.__name__}")
    for number in range(40):
        digest = chance.choice(sorted(version.kinds))
        other = plain_form(version.store[chance.choice(sorted(version.store))])
        plain = damage(plain_form(version.store[digest]), other, chance)
        store, root = forged(version, digest, plain)
        where = f"{number}: {version.kinds[digest].name} {plain.hex()}"
        for made in readings(version, store, root, where):
            assert len(made.rows) == made.manifest.rows == len([*made.rows.items()]), where
            repr(dict(made.rows))
            if version.row_type is not None:
                assert all(type(row) is version.row_type for row in made.rows.values()), where


@pytest.mark.parametrize("form", ["rows", "ordered"])
def test_a_block_with_a_key_that_cannot_be_one_is_named(form: str) -> None:
    version = published(form)
    digest = version.manifests[1].blocks[0]
    store, root = forged(version, digest, msgpack.packb([["a", "list"], 1, "key", 2]))
    with pytest.raises(DamagedRecord, match="unhashable") as caught:
        read(store, root, None)
    assert caught.value.digest in store


# --- memory ----------------------------------------------------------------------------------------------------------


@contextmanager
def at_most(mebibytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mebibytes * MIB, f"{peak / MIB:.0f} MiB"


def bomb(length: int) -> bytes:
    """A record that is short and claims to be long, and is."""
    return b"\x11" + lz4.block.compress(bytes(length))


@each_form
def test_a_bomb_takes_no_more_than_two_records_may_hold(form: str) -> None:
    """In the place of a record of any kind. The library of LZ4 copies once what it has decompressed."""
    version = published(form)
    held(form)
    for digest, _ in one_of_each_kind(version):
        where = version.kinds[digest].name
        for stored, most in ((bomb(MAX_PLAIN_BYTES), 2 * 64 + 5), (bomb(MAX_PLAIN_BYTES + 1), 5)):
            store = {**version.store, digest: stored}
            with at_most(most), pytest.raises(ResponseError, match=digest.hex()):
                read(store, version.manifests[1].root_digest, None, version.row_type)
            with at_most(most):
                for made in readings(version, store, version.manifests[1].root_digest, where):
                    assert made.rows == version.rows[1], where


HUGE = [2**31, 2**62]


@pytest.mark.parametrize("size", HUGE)
@pytest.mark.parametrize("field", ["count", "rows", "plain_bytes", "stored_bytes"])
@pytest.mark.parametrize("form", ["columns", "deltas", "ordered"])
def test_numbers_in_a_root_allocate_nothing(form: str, field: str, size: int) -> None:
    version = published(form)
    digest = version.manifests[1].root_digest
    plain = msgpack.packb(msgpack.unpackb(plain_form(version.store[digest])) | {field: size})
    with at_most(5):
        for made in readings(version, *forged(version, digest, plain), field):
            assert made.rows == version.rows[1]


@each_form
def test_a_list_that_claims_to_be_long_allocates_nothing(form: str) -> None:
    version = published(form)
    held(form)
    with at_most(5):
        for digest, plain in one_of_each_kind(version):
            for header, at in ((b"\xdd", 0), (b"\xdd", 1), (b"\xdf", 1), (b"\xc6", len(plain) // 2)):
                store, root = forged(version, digest, plain[:at] + header + b"\xff" * 4 + plain[at:])
                assert not [*readings(version, store, root, f"{version.kinds[digest].name} {at}")]


@each_form
def test_lists_in_lists_without_end_are_refused(form: str) -> None:
    version = published(form)
    held(form)
    for digest, _ in one_of_each_kind(version):
        for deep in (b"\x91" * 50_000, b"\x92\x91" + b"\x91" * 50_000, b"\x81" * 50_000):
            with at_most(20):
                assert not [*readings(version, *forged(version, digest, deep), version.kinds[digest].name)]
