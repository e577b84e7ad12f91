"""A change is stored as deltas, which say the same wherever they are read, and are believed only if they are whole."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgpack
import pytest

from django_etcdaero.datasets.blocks.applied import Applied, rows_of_keys
from django_etcdaero.datasets.blocks.assembly import Assembled, assemble
from django_etcdaero.datasets.blocks.codec import Encoder, decode
from django_etcdaero.datasets.blocks.compression import RAW, store_form
from django_etcdaero.datasets.blocks.content import CONTENT_BYTES, content_after, content_of, row_digest, sum_of_digests
from django_etcdaero.datasets.blocks.delta import MARK, EncodedDelta, check_keys, cut, encode_change
from django_etcdaero.datasets.blocks.delta_reading import decode_delta, split_delta
from django_etcdaero.datasets.blocks.difference import differences, stored_side
from django_etcdaero.datasets.blocks.digests import DIGEST_BYTES, DamagedRecord, Kind, MissingRecords, digest_of
from django_etcdaero.datasets.blocks.encoded_rows import encoded_pairs
from django_etcdaero.datasets.blocks.frozen import FrozenDict
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.manifest_records import deltas_of, pages_of
from django_etcdaero.datasets.blocks.partition import partition
from django_etcdaero.datasets.blocks.row_encoding import PART_BYTES
from django_etcdaero.datasets.blocks.short_rows import write
from django_etcdaero.exceptions import ConfigurationError, DuplicateKey, EncodeError, RecordTooBig

MIB = 1 << 20


class Store(dict[bytes, bytes]):
    """Records by digest."""

    fetched = 0

    def fetch(self, digests: Iterable[bytes]) -> dict[bytes, bytes]:
        found = {digest: self[digest] for digest in digests if digest in self}
        self.fetched += len(found)
        return found


def product(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"product {number}",
        "price": Decimal(number) / 8,
        "at": datetime(2026, 1, 1, tzinfo=UTC),
    }


@dataclass(frozen=True)
class Product:
    id: int
    name: str
    price: Decimal
    at: datetime


ROWS = {number: product(number) for number in range(3000)}
PART = write(range(5), [product(key) for key in range(5)], Encoder()) or b""
"""A part of a delta that is written field by field."""


def content(rows: Mapping[Any, Any]) -> bytes:
    keys, values = Encoder().encode(list(rows), list(rows.values()))
    return content_of(sum_of_digests(row_digest(key + value) for key, value in zip(keys, values, strict=True)))


def publish(rows: Mapping[Any, Any], store: Store) -> Manifest:
    parts = partition(rows, max_value_bytes=MIB)
    entries = []
    for block in parts:
        store[block.digest] = block.stored()
        entries.append(block.entry(len(store[block.digest])))
    manifest = Manifest.build(entries, name="x", schema=1, count=parts.count)
    store.update(manifest.records())
    return manifest


def change(
    manifest: Manifest,
    store: Store,
    rows: dict[Any, Any],
    upserts: dict[Any, Any],
    deletions: Collection[Any] = (),
    *,
    by_fields: bool = False,
) -> Manifest:
    """Store a change beside a version; ``rows`` are those of the version, and those of the new one after it."""
    encoded = encode_change(upserts, deletions, max_value_bytes=MIB)
    deltas = cut(encoded, upserts if by_fields else None, max_value_bytes=MIB)
    store.update({delta.digest: delta.stored() for delta in deltas})
    rows.update(upserts)
    for key in deletions:
        rows.pop(key, None)
    sizes = [(delta.digest, len(store[delta.digest])) for delta in deltas]
    codec = max(delta.codec for delta in deltas)
    changed = manifest.changed(sizes, rows=len(rows), content=content(rows), codec=codec)
    store[changed.root_digest] = changed.root_record()
    return changed


def read(manifest: Manifest, store: Store, before: Assembled | None = None) -> Assembled:
    return assemble(1, manifest, store.fetch, rows="plain", before=before)


# --- a delta ---------------------------------------------------------------------------------------------------------


def test_a_delta_says_what_the_change_was() -> None:
    upserts = {(UUID(int=7), "a", None): {"d": date(2026, 1, 2), "t": (1, {2})}, b"key": [1.5], -5: None}
    (delta,) = cut(encode_change(upserts, ["gone", 7], max_value_bytes=MIB), max_value_bytes=MIB)
    found = decode_delta(delta.digest, delta.stored())
    assert found.upserts == upserts
    assert set(found.deletions) == {"gone", 7}
    encoded = split_delta(delta.digest, delta.stored())
    assert {decode(key): decode(row) for key, row in encoded.upserts.items()} == upserts


def test_equal_changes_are_equal_deltas_and_the_digest_is_the_same_everywhere() -> None:
    one = encode_change({1: "a", 2: "b", "c": 3}, ["x", "y"], max_value_bytes=MIB)
    other = encode_change({"c": 3, 2: "b", 1: "a"}, ["y", "x"], max_value_bytes=MIB)
    assert cut(one, max_value_bytes=MIB) == cut(other, max_value_bytes=MIB)
    assert cut(one, max_value_bytes=MIB)[0].digest.hex() == "a48dbd2e0fbb1b051cdc9c439d29cb18e7367ed0"


def test_a_long_change_is_cut_and_no_part_is_longer_than_may_be() -> None:
    rows = {number: random.Random(number).randbytes(3000) for number in range(200)}
    deltas = cut(encode_change(rows, range(1000, 1500), max_value_bytes=MIB), max_value_bytes=MIB)
    assert len(deltas) > 4
    assert max(len(delta.plain) for delta in deltas) <= PART_BYTES
    parts = [decode_delta(delta.digest, delta.stored()) for delta in deltas]
    assert sum(len(part.upserts) + len(part.deletions) for part in parts) == 700
    assert {key: row for part in parts for key, row in part.upserts.items()} == rows
    assert cut(encode_change({}, [], max_value_bytes=MIB), max_value_bytes=MIB) == []


def test_rows_come_back_in_the_form_that_is_asked_for() -> None:
    @dataclass(frozen=True)
    class Row:
        name: str

    (delta,) = cut(encode_change({1: {"name": "a"}}, [], max_value_bytes=MIB), max_value_bytes=MIB)
    assert decode_delta(delta.digest, delta.stored(), row_type=Row).upserts == {1: Row("a")}
    with pytest.raises(TypeError, match="read-only"):
        decode_delta(delta.digest, delta.stored(), rows="frozen").upserts[1]["name"] = "b"
    (other,) = cut(encode_change({1: {"title": "a"}}, [], max_value_bytes=MIB), max_value_bytes=MIB)
    with pytest.raises(ConfigurationError, match="row 1 does not fit"):
        decode_delta(other.digest, other.stored(), row_type=Row)


def test_what_cannot_be_told_as_a_change_is_refused_by_name() -> None:
    with pytest.raises(DuplicateKey, match="the key 'a' is among the upserts and the deletions"):
        encode_change({"a": 1}, ["a"], max_value_bytes=MIB)
    with pytest.raises(RecordTooBig, match="row 'big' takes"):
        encode_change({"big": b"x" * MIB}, [], max_value_bytes=MIB)
    with pytest.raises(EncodeError, match="row 'a' at"):
        encode_change({"a": {"b": object()}}, [], max_value_bytes=MIB)
    for key in (1.0, True, Decimal(1), datetime(2026, 1, 1, tzinfo=UTC), ("a", 1.0), frozenset()):
        with pytest.raises(EncodeError, match=r"load_changes\(\) has keys of the types"):
            check_keys(["a", key])
        with pytest.raises(EncodeError, match=r"load_changes\(\) has keys of the types"):
            encode_change({}, [key], max_value_bytes=MIB)


def by_fields(upserts: Mapping[Any, Any], deletions: Collection[Any] = (), row_type: Any = None) -> list[EncodedDelta]:
    change = encode_change(upserts, deletions, max_value_bytes=MIB, row_type=row_type)
    deltas = cut(change, upserts, max_value_bytes=MIB, row_type=row_type)
    for delta in deltas:  # it says what one row by row says
        parted = split_delta(delta.digest, delta.stored())
        assert parted.upserts.items() <= change.upserts.items()
        assert set(parted.deletions) <= set(change.deletions)
    return deltas


def test_rows_with_the_same_fields_are_written_by_them() -> None:
    rows = {(key % 7, key): product(key) for key in range(700)}
    (delta,) = by_fields(rows, [(9, 9), (8, 8)])
    assert (delta.codec, delta.plain[:1]) == (4, MARK)
    (longer,) = cut(encode_change(rows, [(9, 9), (8, 8)], max_value_bytes=MIB), max_value_bytes=MIB)
    assert longer.codec == 1
    assert len(delta.plain) < 0.7 * len(longer.plain)
    for form in ("plain", "frozen"):
        found = decode_delta(delta.digest, delta.stored(), rows=form)
        assert (found.upserts, set(found.deletions)) == (rows, {(9, 9), (8, 8)})
        assert [*map(type, found.upserts.values())] == [dict if form == "plain" else FrozenDict] * 700
    turned = dict(reversed(rows.items()))
    assert by_fields(turned, [(8, 8), (9, 9)]) == [delta]
    assert delta.digest.hex() == "17b0941d6f1db292ce5c639d5238fccfc37dd539"


def test_rows_of_a_class_are_written_by_their_fields() -> None:
    rows = {key: Product(**product(key)) for key in range(300)}
    (delta,) = by_fields(rows, row_type=Product)
    assert delta.codec == 4
    assert by_fields({key: product(key) for key in range(300)}) == [delta]
    assert decode_delta(delta.digest, delta.stored(), row_type=Product).upserts == rows
    with pytest.raises(EncodeError, match="row 7 does not fit the row type Product: its field 'id'"):
        by_fields(rows | {7: replace(rows[7], id="seven")}, row_type=Product)  # type: ignore[arg-type]


def test_parts_without_the_same_fields_are_written_row_by_row() -> None:
    mixed = {key: product(key) if key < 256 else [key] * (key % 5) for key in range(600)}
    (delta,) = by_fields(mixed)
    assert delta.codec == 4
    assert decode_delta(delta.digest, delta.stored()).upserts == mixed
    for rows in ({1: product(1)}, dict.fromkeys(range(300), 7), {key: {str(key): 1} for key in range(9)}):
        (delta,) = by_fields(rows)
        assert delta.codec == 1
    assert by_fields({}) == []
    (delta,) = by_fields({}, [1])
    assert delta.codec == 1


def test_a_change_by_fields_is_cut_where_it_is_long_as_it_is_written() -> None:
    rows = {key: product(key) for key in range(2500)}
    assert len(cut(encode_change(rows, [], max_value_bytes=MIB), max_value_bytes=MIB)) == 2
    assert len(by_fields(rows)) == 1


def test_a_long_change_by_fields_is_cut() -> None:
    rows = {key: {"text": random.Random(key).randbytes(900), "n": key} for key in range(700)}
    deltas = by_fields(rows, range(1000, 1500))
    assert len(deltas) > 4
    assert max(len(delta.plain) for delta in deltas) <= PART_BYTES
    parts = [decode_delta(delta.digest, delta.stored()) for delta in deltas]
    assert {key: row for part in parts for key, row in part.upserts.items()} == rows
    assert sum(len(part.upserts) + len(part.deletions) for part in parts) == 1200


def forged(value: Any) -> tuple[bytes, bytes]:
    plain = value if isinstance(value, bytes) else msgpack.packb(value)
    return digest_of(Kind.DELTA, plain), store_form(plain)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        [[], []],
        [[1], []],
        [[1, 2]],
        [[1, 2], [], []],
        [{1: 2}, []],
        [[1, 2], {3: 4}],
        [[2, 0, 1, 0], []],
        [[1, 0, 1, 0], []],
        [[], [2, 1]],
        [[], [1, 1]],
        [[1, 0], [1]],
        [[1, 0, 1.0, 0], []],
        [[1, 0], [1.0]],
        [[], [1, 1.0]],
        [[[1], 0], []],
        [[], [{}]],
        [[1, msgpack.Timestamp(0)], []],
        msgpack.packb([[1, 0], []]) + b"\0",
        msgpack.packb([[1, 0], []])[:-1],
        b"\x92\xdd\xff\xff\xff\xff",
        MARK,
        MARK + msgpack.packb(7),
        MARK + msgpack.packb([]),
        MARK + msgpack.packb([[]]),
        MARK + msgpack.packb([[1]]),
        MARK + msgpack.packb([[], "text"]),
        MARK + msgpack.packb([7, PART]),
        MARK + msgpack.packb([{1: 2}, PART]),
        MARK + msgpack.packb([[], PART, 7]),
        MARK + msgpack.packb([[], PART, PART]),
        MARK + msgpack.packb([[1], PART]),
        MARK + msgpack.packb([[{}], PART]),
        MARK + msgpack.packb([[9, 9], PART]),
        MARK + msgpack.packb([[], PART[:-1]]),
        MARK + msgpack.packb([[], MARK * 2 + b"\xdd\xff\xff\xff\xff"]),
        MARK + msgpack.packb([[], b""]),
        MARK + msgpack.packb([[], PART]) + b"\0",
        b"",
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_delta_that_makes_no_sense_is_refused(value: Any) -> None:
    digest, stored = forged(value)
    with pytest.raises(DamagedRecord) as caught:
        decode_delta(digest, stored)
    assert caught.value.digest == digest
    with suppress(DamagedRecord):  # keys that are equal when they are read are not, as they are encoded
        split_delta(digest, stored)


def test_the_forger_of_these_tests_can_make_a_right_delta() -> None:
    assert decode_delta(*forged([[1, "a", 2, "b"], [3]])).upserts == {1: "a", 2: "b"}
    found = decode_delta(*forged(MARK + msgpack.packb([[9], PART, msgpack.packb([7, "x"])])))
    assert (found.upserts, found.deletions) == ({key: product(key) for key in range(5)} | {7: "x"}, [9])


def test_a_byte_that_changed_and_another_record_are_noticed() -> None:
    (delta,) = cut(encode_change({1: "a"}, [2], max_value_bytes=MIB), max_value_bytes=MIB)
    for stored in (b"", b"\x10", delta.stored()[:-1] + b"\xff", bytes((RAW,)) + msgpack.packb([[1, "b"], []])):
        with pytest.raises(DamagedRecord) as caught:
            decode_delta(delta.digest, stored)
        assert caught.value.digest == delta.digest
    assert digest_of(Kind.BLOCK, delta.plain) != delta.digest


# --- a version with deltas -------------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["row by row", "by fields"])
def changed(request: pytest.FixtureRequest) -> tuple[Store, list[Manifest], list[dict[Any, Any]]]:
    """A version and four more, each a change of the one before."""
    store, rows = Store(), dict(ROWS)
    more = {number: product(number) for number in range(9001, 9010)}
    manifests, contents = [publish(rows, store)], [dict(rows)]
    for upserts, deletions in (
        ({5: {**product(5), "name": "other"}, 9000: product(9000), **more}, [6, 7]),
        ({6: product(6), 5: {"id": 5}}, [9000]),
        ({5: {**product(5), "name": "other"}, 9000: product(9000), **more}, [6, 7]),  # as the first one
        ({}, list(range(2000, 3000))),
    ):
        manifests.append(change(manifests[-1], store, rows, upserts, deletions, by_fields=request.param))
        contents.append(dict(rows))
    return store, manifests, contents


def test_a_version_is_read_with_its_deltas_whatever_was_held_before(changed: Any) -> None:
    store, manifests, contents = changed
    assert manifests[1].deltas[0] == manifests[3].deltas[2]
    for manifest, rows in zip(manifests, contents, strict=True):
        for known in (None, *manifests):
            assert Manifest.load(store.fetch, manifest.root_digest, known=known) == manifest
        held = read(manifest, store)
        assert held.rows == rows
        for other, others in zip(manifests, contents, strict=True):
            assert read(other, store, held).rows == others


def test_a_change_costs_the_root_and_its_deltas_and_rows_stay_the_same_objects(changed: Any) -> None:
    store, manifests, _ = changed
    held = read(manifests[1], store)
    store.fetched = 0
    later = Manifest.load(store.fetch, manifests[2].root_digest, known=manifests[1])
    assert later == manifests[2]
    after = read(later, store, held)
    assert store.fetched == 2
    assert after.rows[1] is held.rows[1]


def test_the_content_is_that_of_the_rows_however_they_were_made(changed: Any) -> None:
    store, manifests, contents = changed
    assert all(manifest.content == content(rows) for manifest, rows in zip(manifests[1:], contents[1:], strict=True))
    assert manifests[1].content == manifests[3].content
    encoded = [dict(differences_of(manifests[0], manifests[1], store))]
    gone = [row_digest(key + old) for key, (old, _) in encoded[0].items() if old is not None]
    added = [row_digest(key + new) for key, (_, new) in encoded[0].items() if new is not None]
    assert content_after(content(contents[0]), gone=gone, added=added) == manifests[1].content


def differences_of(old: Manifest, new: Manifest, store: Store) -> Iterable[tuple[bytes, tuple[Any, Any]]]:
    for pair in differences(stored_side(old, store.fetch), stored_side(new, store.fetch)):
        yield pair.key, (pair.old, pair.new)


def test_differences_are_those_of_the_rows(changed: Any) -> None:
    store, manifests, contents = changed
    for old, before in zip(manifests, contents, strict=True):
        for new, after in zip(manifests, contents, strict=True):
            found = {decode(key): pair for key, pair in differences_of(old, new, store)}
            assert found.keys() == {key for key in before | after if before.get(key) != after.get(key)}
    store.fetched = 0
    list(differences_of(manifests[0], manifests[1], store))
    assert store.fetched < 30  # of 64 blocks


def test_blocks_with_deltas_applied_are_those_of_the_rows(changed: Any) -> None:
    store, manifests, contents = changed
    for manifest, rows in zip(manifests, contents, strict=True):
        applied = Applied(manifest, store.fetch)
        plain = applied.plain(list(applied.blocks))
        found = {decode(key): decode(row) for block in plain.values() for key, row in encoded_pairs(block)}
        assert found == rows
        key = Encoder().encode([9000], [None])[0][0]
        held = {decode(key) for name in applied.holding(key) for key, _ in encoded_pairs(applied.plain([name])[name])}
        assert (9000 in held) == (9000 in rows)
    assert Applied(manifests[0], store.fetch).blocks == manifests[0].blocks


def test_the_rows_of_some_keys_cost_their_blocks_only(changed: Any) -> None:
    store, manifests, _ = changed
    keys, rows = Encoder().encode([1, 2, 77_000], [product(1), product(2), None])
    store.fetched = 0
    assert rows_of_keys(manifests[0], keys, store.fetch) == dict(zip(keys[:2], rows[:2], strict=True))
    assert store.fetched <= 3


def test_a_version_names_its_deltas(changed: Any) -> None:
    store, manifests, _ = changed
    last = manifests[-1]
    assert set(last.digests()) <= store.keys()
    assert set(last.deltas) <= set(last.digests())
    assert last.kinds()[last.deltas[0]] is Kind.DELTA
    sizes = {digest: len(store[digest]) for digest in last.deltas}
    assert deltas_of(last.root_digest, store[last.root_digest]) == sizes
    assert pages_of(last.root_digest, store[last.root_digest]) == last.pages == manifests[0].pages


def test_deltas_that_are_missing_are_named(changed: Any) -> None:
    store, manifests, _ = changed
    lost = manifests[-1].deltas[1]
    del store[lost]
    for look in (read, lambda manifest, store: Applied(manifest, store.fetch)):
        with pytest.raises(MissingRecords, match=lost.hex()) as caught:
            look(manifests[-1], store)
        assert caught.value.missing == (lost,)
    assert read(manifests[0], store).rows == ROWS


# --- a root with deltas ----------------------------------------------------------------------------------------------


def root_of(manifest: Manifest, **changes: Any) -> tuple[bytes, bytes]:
    root = msgpack.unpackb(manifest._plain_root()) | changes
    plain = msgpack.packb({key: value for key, value in root.items() if value is not None})
    return digest_of(Kind.ROOT, plain), store_form(plain)


@pytest.mark.parametrize(
    "changes",
    [
        {"deltas": b""},
        {"deltas": b"x" * DIGEST_BYTES},
        {"deltas": "x"},
        {"deltas": None},
        {"delta_sizes": []},
        {"delta_sizes": [1, -1]},
        {"delta_sizes": [1, "x"]},
        {"delta_sizes": 7},
        {"delta_sizes": None},
        {"content": b""},
        {"content": b"x" * (CONTENT_BYTES + 1)},
        {"content": None},
        {"format": 1},
        {"format": 2},
        {"format": 3},
        {"count": 2},
        {"rows": -1},
        {"extra": 1},
        {"order": b"x" * DIGEST_BYTES},
        {"deltas": None, "delta_sizes": None, "content": None},
    ],
    ids=repr,
)
def test_a_root_whose_deltas_make_no_sense_is_refused(changes: dict[str, Any]) -> None:
    store = Store()
    base = publish({1: "a", 2: "b"}, store)
    rows = {1: "a", 2: "b"}
    good = change(change(base, store, rows, {1: "c"}), store, rows, {2: "d"})
    digest, stored = root_of(good)
    assert (digest, stored) == (good.root_digest, store[digest])
    digest, store[digest] = root_of(good, **changes)
    for known in (None, base, good):
        with pytest.raises(DamagedRecord) as caught:
            Manifest.load(store.fetch, digest, known=known)
        assert caught.value.digest == digest


def test_a_known_manifest_with_other_pages_is_of_no_use() -> None:
    store = Store()
    one, other = publish({1: "a"}, store), publish({1: "b"}, store)
    assert Manifest.load(store.fetch, other.root_digest, known=one) == other
    assert Manifest.load(store.fetch, other.root_digest, known=other) == other
