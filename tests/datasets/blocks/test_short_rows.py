"""Rows that have the same fields are stored as their values, and come back as they were."""

from __future__ import annotations

import enum
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from typing import Any
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from django.utils.safestring import mark_safe
from hypothesis import given, settings
from hypothesis import strategies as st

from django_etcdaero.datasets.blocks.codec import MAX_LEVELS, Encoder, array_header, decode
from django_etcdaero.datasets.blocks.compression import store_form
from django_etcdaero.datasets.blocks.digests import DamagedRecord, Kind, digest_of
from django_etcdaero.datasets.blocks.encoded_rows import encoded_pairs, rows_of_keys_in
from django_etcdaero.datasets.blocks.frozen import FrozenDict, FrozenList, freeze
from django_etcdaero.datasets.blocks.partition import EncodedBlock, decode_block, partition
from django_etcdaero.datasets.blocks.short_rows import MARK
from django_etcdaero.exceptions import EncodeError, RecordTooBig, ResponseError

from .test_codec import hashables, identity, scalars, values

MIB = 1024 * 1024
WARSAW = ZoneInfo("Europe/Warsaw")


def encoded(rows: Any, **options: Any) -> list[EncodedBlock]:
    return list(partition(rows, **{"max_value_bytes": MIB, **options}))


def read(blocks: list[EncodedBlock], **options: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for block in blocks:
        decoded = decode_block(block.digest, block.stored(), **options)
        assert len(decoded.keys) == len(decoded.rows) == block.rows
        found.update(zip(decoded.keys, decoded.rows, strict=True))
    return found


def is_short(block: EncodedBlock) -> bool:
    short = block.plain.startswith(MARK)
    assert block.entry(1).codec == (3 if short else 1)
    return short


def all_short(blocks: list[EncodedBlock]) -> bool:
    return all(map(is_short, blocks))


def product(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"product {number}",
        "price": Decimal(number) / 100,
        "weight": None if number % 3 else Decimal("0.50"),
        "changed": datetime(2026, 1, 31, tzinfo=UTC) + timedelta(seconds=number, microseconds=number),
        "seen": datetime(2026, 1, 1) if number % 2 else None,  # noqa: DTZ001
        "day": date(2026, 1, 1),
        "tags": ["a", {"b": {number}}],
        "active": number % 2 == 0,
        "uuid": UUID(int=number) if number % 5 else None,
        "clock": time(1, 2),
        "data": b"\xff",
    }


PRODUCTS = {f"sku-{number}": product(number) for number in range(500)}


def test_rows_with_the_same_fields_are_stored_as_their_values_and_come_back() -> None:
    blocks = encoded(PRODUCTS)
    assert all_short(blocks)
    found = read(blocks)
    assert {key: identity(row) for key, row in found.items()} == {key: identity(row) for key, row in PRODUCTS.items()}


def test_they_are_shorter_than_rows_one_by_one() -> None:
    assert sum(len(b.stored()) for b in encoded(PRODUCTS)) < sum(
        len(b.stored()) for b in encoded(PRODUCTS, by_fields=False)
    )


def test_frozen_rows_are_those_of_blocks_by_rows() -> None:
    found, expected = read(encoded(PRODUCTS), rows="frozen"), read(encoded(PRODUCTS, by_fields=False), rows="frozen")
    assert found == expected
    row = found["sku-3"]
    assert (type(row), type(row["tags"]), type(row["tags"][1])) == (FrozenDict, FrozenList, FrozenDict)
    assert type(row["tags"][1]["b"]) is frozenset
    with pytest.raises(TypeError, match="read-only"):
        row["id"] = 1


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize("form", ["frozen", "plain"])
def test_tuples_and_lists_of_one_length_are_stored_as_their_values(kind: type, form: Any) -> None:
    rows = {number: kind((number, str(number), Decimal(number), None)) for number in range(200)}
    blocks = encoded(rows)
    assert all_short(blocks)
    found = read(blocks, rows=form)
    assert found == rows
    assert type(found[7]) is (FrozenList if kind is list and form == "frozen" else kind)


COLUMN = st.one_of(
    st.just(st.none()),
    *(st.just(each) for each in (st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary())),
    *(st.just(each) for each in (st.decimals(allow_nan=False), st.uuids(), st.dates(), st.times(), st.timedeltas())),
    *(st.just(each) for each in (st.datetimes(), st.datetimes(timezones=st.just(UTC)))),
    *(
        st.just(each)
        for each in (st.datetimes(timezones=st.sampled_from([UTC, WARSAW, timezone(timedelta(hours=1))])),)
    ),
    *(st.just(each) for each in (st.text(st.characters(codec=None)), scalars, values)),
)
TABLE = st.lists(st.tuples(COLUMN, st.booleans()), min_size=1, max_size=4).flatmap(
    lambda columns: st.dictionaries(
        st.one_of(st.integers(), st.text(max_size=3), hashables),
        st.tuples(*(st.none() | column if nulls else column for column, nulls in columns)),
        min_size=4,
        max_size=12,
    )
)


@given(table=TABLE, kind=st.sampled_from([dict, list, tuple]), form=st.sampled_from(["plain", "frozen"]))
def test_whatever_the_fields_hold_comes_back_with_its_type(table: Any, kind: Any, form: Any) -> None:
    def row(fields: tuple[Any, ...]) -> Any:
        return {f"f{at}": value for at, value in enumerate(fields)} if kind is dict else kind(fields)

    rows = {key: row(fields) for key, fields in table.items()}
    try:
        blocks, expected = encoded(rows), encoded(rows, by_fields=False)
    except EncodeError:  # keys with NaN, or that would be equal
        return
    found = read(blocks, rows=form)
    assert sorted(map(repr, map(identity, found))) == sorted(map(repr, map(identity, rows)))
    for key in found:
        assert identity(found[key]) == identity(freeze(rows[key]) if form == "frozen" else rows[key])
    # What is compared between versions does not depend on the form.
    pairs = [pair for block in blocks for pair in encoded_pairs(block.plain)]
    assert sorted(pairs) == sorted(pair for block in expected for pair in encoded_pairs(block.plain))
    some = dict(pairs[::2])
    for each in (blocks, expected):
        assert rows_of_keys_in((block.plain, list(some)) for block in each) == some


def test_rows_of_some_keys_are_found_among_values_of_every_form() -> None:
    blocks = encoded(PRODUCTS)
    pairs = dict(pair for block in blocks for pair in encoded_pairs(block.plain))
    assert all_short(blocks)
    for step in (1, 3, 7):  # with None among the values of a field, and without
        some = dict(list(pairs.items())[::step])
        assert rows_of_keys_in((block.plain, list(some)) for block in blocks) == some
    assert rows_of_keys_in((block.plain, Encoder().keys(["no such key"])) for block in blocks) == {}


# --- canonical -------------------------------------------------------------------------------------------------------


def shuffled(rows: dict[Any, Any], seed: int) -> dict[Any, Any]:
    keys = list(rows)
    random.Random(seed).shuffle(keys)
    return {key: rows[key] for key in keys}


def digests(rows: Any) -> list[str]:
    return [block.digest.hex() for block in encoded(rows)]


def mixed() -> dict[Any, Any]:
    """Return rows that have something else in a field here and there, and a few that have other fields."""
    source = random.Random(5)
    odd: list[Callable[[int], Any]] = [
        lambda n: None,
        lambda n: [n],
        lambda n: 2**70,
        lambda n: Decimal(n),
        lambda n: datetime(2024, 1, 1, tzinfo=WARSAW),
        lambda n: time(1),
        lambda n: b"x",
        lambda n: {"a": (n,)},
        lambda n: UUID(int=n),
        lambda n: "a\ud800",
    ]
    rows: dict[Any, Any] = {number: product(number) for number in range(2000)}
    for number in source.sample(range(2000), 60):
        row = rows[number]
        field = source.choice(list(row))
        rows[number] = (
            {**row, field: source.choice(odd)(number)} if number % 3 else source.choice([(1, 2), {"a": 1}, 7])
        )
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_equal_rows_give_equal_blocks_whatever_they_come_beside(seed: int) -> None:
    rows = mixed()
    blocks = encoded(rows)
    assert len({is_short(block) for block in blocks}) == 2
    assert digests(shuffled(rows, seed)) == [block.digest.hex() for block in blocks]
    assert {key: identity(row) for key, row in read(blocks).items()} == {k: identity(row) for k, row in rows.items()}


@pytest.mark.parametrize("late", [False, True])
def test_what_is_rare_among_all_rows_does_not_show_in_other_blocks(late: bool) -> None:
    def row(number: int) -> dict[str, Any]:
        at = 1999 - number if late else number  # nothing but None, or the key, at first; or at last
        rare = at % 400 == 399
        return {
            "price": Decimal(at) if rare else None,
            "when": datetime(2026, 1, 1, tzinfo=UTC) if rare else None,
            "tags": [at] if rare else None,
            "uuid": UUID(int=at) if at > 1000 else None,
            "key": f"k{number}" if at < 1000 or number % 2 else "other",
        }

    rows = {f"k{number}": row(number) for number in range(2000)}
    blocks = encoded(rows)
    assert all_short(blocks)
    assert read(blocks) == rows
    assert digests(shuffled(rows, 1)) == [block.digest.hex() for block in blocks]
    for block in blocks:
        (alone,) = encoded(read([block]))
        assert alone.plain == block.plain


def test_a_row_is_measured_with_what_is_left_out_of_it() -> None:
    key = "k" * 5_000
    with pytest.raises(RecordTooBig, match=r"takes 15,... bytes"):
        encoded({**PRODUCTS, key: {**product(1), "id": key, "name": key}}, max_value_bytes=13_000)
    with pytest.raises(RecordTooBig, match=r"takes 15,... bytes"):
        encoded({key + str(n): {"a": key + str(n), "b": key + str(n)} for n in range(9)}, max_value_bytes=13_000)


@given(
    st.dictionaries(
        st.integers(0, 1000), st.lists(COLUMN.flatmap(lambda each: each), min_size=2, max_size=2), max_size=60
    )
)
def test_the_sequence_of_rows_does_not_matter(rows: Any) -> None:
    few = dict(sorted(rows.items(), key=lambda item: str(item[0])))
    assert digests(rows) == digests(few)
    # Beside rows that fill the chunks in which they are encoded, a block on its own stays what it is.
    assert digests({**rows, **{5000 + n: [1, None] for n in range(40)}}) == digests(
        {**{5000 + n: [1, None] for n in range(40)}, **rows}
    )


@pytest.mark.parametrize("form", ["frozen", "plain"])
def test_rows_that_were_read_give_the_blocks_that_they_came_from(form: Any) -> None:
    rows = mixed()
    assert digests(read(encoded(rows), rows="plain")) == digests(rows)
    if form == "frozen":  # but for sets, which come back as frozensets
        plain = {key: {**row, "tags": [1, {"b": 2}]} for key, row in PRODUCTS.items()}
        assert digests(read(encoded(plain), rows="frozen")) == digests(plain)


def test_marked_text_is_text() -> None:
    rows = {number: {"a": "<b>"} for number in range(10)}
    assert digests({number: {"a": mark_safe("<b>")} for number in range(10)}) == digests(rows)


def test_the_context_of_decimals_does_not_matter() -> None:
    rows = {number: {"a": Decimal("1E+5")} for number in range(10)}
    with localcontext() as context:
        context.capitals = 0
        lower = digests(rows)
    assert lower == digests(rows)


# --- what stays as it was --------------------------------------------------------------------------------------------


class Color(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    "rows",
    [
        {number: number for number in range(100)},
        {number: {"a": 1, f"b{number}": 2} for number in range(100)},
        {number: {number: 1} for number in range(100)},
        {number: {} for number in range(100)},
        {number: {"a": 1} if number % 2 else {"b": 1} for number in range(100)},
        {number: {"a": 1, "b": 2} if number % 2 else {"b": 2, "a": 1} for number in range(100)},
        {number: (1,) if number % 2 else [1] for number in range(100)},
        {number: (1, [2]) for number in range(100)},
        {number: {"a": "\ud800"} for number in range(100)},
        {1: {"a": 1}, 2: {"a": 1}, 3: {"a": 1}},
        {number: {"a": "x" * 20_000} for number in range(100)},
    ],
)
def test_rows_that_have_not_the_same_fields_are_stored_one_by_one(rows: Any) -> None:
    blocks = encoded(rows)
    assert [block.plain for block in blocks] == [block.plain for block in encoded(rows, by_fields=False)]
    assert not any(is_short(block) for block in blocks)
    assert {block.entry(1).codec for block in blocks} == {1}


@dataclass
class Thing:
    name: str


@pytest.mark.parametrize("value", [1j, Thing("x"), Color.RED, bytearray(b"x"), msgpack.Timestamp(1), ["a", {"b": 1j}]])
@pytest.mark.parametrize(
    "row", [lambda value: {"a": 1, "b": value}, lambda value: (1, value), lambda value: [1, value]]
)
def test_what_cannot_be_stored_is_refused_by_name(value: Any, row: Any) -> None:
    rows = {number: row("text") for number in range(50)}
    with pytest.raises(EncodeError, match="row 17 at"):
        encoded({**rows, 17: row(value)})


def test_a_name_of_another_class_is_refused() -> None:
    rows: dict[int, Any] = {number: {"red": 1} for number in range(50)}
    with pytest.raises(EncodeError, match="row 17"):
        encoded({**rows, 17: {Color.RED: 1}})


def test_nesting_is_as_deep_as_in_rows_one_by_one() -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return value

    for levels, stored in ((498, True), (499, True), (500, False), (501, False)):
        rows = {number: {"a": nested(levels)} for number in range(10)}
        for columns in (True, False):
            if stored:
                blocks = encoded(rows, by_fields=columns)
                assert read(blocks) == rows
                assert [decode(row) for _, row in encoded_pairs(blocks[0].plain)] == [rows[0]] * 10
            else:
                with pytest.raises(EncodeError, match="nested more than"):
                    encoded(rows, by_fields=columns)
    deep: Any = ()
    for _ in range(MAX_LEVELS - 2):
        deep = (deep,)
    assert read(encoded(dict.fromkeys(range(10), (deep,)))) == dict.fromkeys(range(10), (deep,))


# --- damaged ---------------------------------------------------------------------------------------------------------


def stored(plain: bytes) -> tuple[bytes, bytes]:
    return digest_of(Kind.BLOCK, plain), store_form(plain)


def forged(kind: Any, names: Any, letters: Any, zones: Any, *pairs: Any) -> bytes:
    return MARK + Encoder().scalars([kind, names, letters, zones, *pairs])


STATE = bytes((7, 234, 1, 31, 0, 0, 0, 0, 0, 0))


def when(place: int, byte: int) -> bytes:
    state = STATE[:place] + bytes((byte,)) + STATE[place + 1 :]
    return forged(0, ["a"], "t", [b"U"], 1, [state])


@pytest.mark.parametrize(
    "plain",
    [
        MARK,
        MARK + b"\xc1",
        MARK + b"\x90",
        forged(0, ["a"], "p", []),
        forged(0, ["a"], "p", [], 1),
        forged(0, ["a"], "p", [], 1, 1),
        forged(0, ["a"], "p", [], 1, "1"),
        forged(0, ["a"], "p", [], 1, []),
        forged(0, ["a"], "p", [], 1, [1, 2]),
        forged(0, ["a"], "p", [], 1, [1], 2, [1, 2]),
        forged(0, ["a"], "p", [], 1, [1], 2),
        forged(0, ["a", "b"], "p", [], 1, [1]),
        forged(0, ["a", "a"], "pp", [], 1, [1, 1]),
        forged(0, "a", "p", [], 1, [1]),
        forged(0, [1], "p", [], 1, [1]),
        forged(0, ["a"], "z", [], 1, [1]),
        forged(0, ["a"], ["p"], [], 1, [1]),
        forged(0, ["a"], "p", [b"U"], 1, [1]),
        forged(1, ["a"], "p", [], 1, [1]),
        forged(3, [], "p", [], 1, [1]),
        forged(None, [], "p", [], 1, [1]),
        forged([], [], "p", [], 1, [1]),
        forged(0, ["a"], "d", [], 1, [1]),
        forged(0, ["a"], "d", [], 1, ["one"]),
        forged(0, ["a"], "d", [], 1, [b"1"]),
        forged(0, ["a"], "o", [], 1, [0]),
        forged(0, ["a"], "o", [], 1, [2**31]),
        forged(0, ["a"], "o", [], 1, ["1"]),
        forged(0, ["a"], "u", [], 1, [b"x" * 15]),
        forged(0, ["a"], "u", [], 1, ["x" * 16]),
        forged(0, ["a"], "u", [], 1, [1]),
        forged(0, ["a"], "g", [], 1, [b""]),
        forged(0, ["a"], "g", [], 1, [b"\x01\x01"]),
        forged(0, ["a"], "g", [], 1, ["text"]),
        forged(0, ["a"], "t", [], 1, [STATE]),
        forged(0, ["a"], "t", [b"U", b"U"], 1, [STATE]),
        forged(0, ["a"], "t", [b"?"], 1, [STATE]),
        forged(0, ["a"], "t", "U", 1, [STATE]),
        forged(0, ["a"], "t", [b"U"], 1, [STATE + b"x"]),
        forged(0, ["a"], "t", [b"U"], 1, [bytes(10)]),
        forged(0, ["a"], "t", [b"U"], 1, [2026]),
        *(when(*wrong) for wrong in [(0, 0x27), (2, 0), (2, 13), (2, 4), (2, 2), (3, 0)]),
        *(when(*wrong) for wrong in [(3, 32), (4, 24), (5, 60), (6, 60), (7, 0x10), (0, 255)]),
        MARK + b"\xdd\xff\xff\xff\xff",
        MARK + b"\x96\x00\x91\xa1a\xa1p\x90\x01\xdd\xff\xff\xff\xff",
        MARK + b"\x96\x00\x91\xa1a\xa1p\x90\x01\x91\xd6\xff\x00\x00\x00\x00",
    ],
)
@pytest.mark.parametrize("form", ["frozen", "plain"])
def test_what_is_never_written_is_refused_with_the_name_of_the_block(plain: bytes, form: Any) -> None:
    digest, data = stored(plain)
    with pytest.raises(DamagedRecord, match=digest.hex()) as caught:
        decode_block(digest, data, rows=form)
    assert caught.value.digest == digest


def test_the_forger_of_these_tests_can_make_a_right_block() -> None:
    block = decode_block(*stored(forged(0, ["a", "b", "c"], "tuk", [b"U"], 1, [STATE, None, None])))
    assert block.rows == [{"a": datetime(2026, 1, 31, tzinfo=UTC), "b": None, "c": 1}]


SOUND = encoded(PRODUCTS)[0].plain


@settings(max_examples=300)
@given(st.data())
def test_changed_blocks_raise_nothing_but_the_named_error(data: st.DataObject) -> None:
    plain = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 3))):
        plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    plain = plain[: data.draw(st.sampled_from([len(plain), len(plain), data.draw(st.integers(0, len(plain)))]))]
    digest, form = stored(bytes(plain))
    try:
        block = decode_block(digest, form, rows=data.draw(st.sampled_from(["plain", "frozen"])))
    except DamagedRecord as error:
        assert digest.hex() in str(error)  # noqa: PT017
    except ResponseError as error:
        assert "no time zone" in str(error)  # noqa: PT017
    else:
        assert len(block.keys) == len(block.rows)
        repr(block.rows)


def test_names_of_fields_are_one_object_in_all_rows_and_in_source_code() -> None:
    found = read(encoded(PRODUCTS), rows="frozen")
    assert {id(name) for row in found.values() for name in row} == {id(sys.intern(name)) for name in product(1)}


def test_values_are_whole_objects() -> None:
    found = read(encoded(PRODUCTS))["sku-7"]
    assert found["uuid"].is_safe is SafeUUID.unknown
    assert repr(found) == repr(PRODUCTS["sku-7"])
    assert hash(found["changed"]) == hash(PRODUCTS["sku-7"]["changed"])


def test_a_later_fold_comes_back() -> None:
    rows = {n: {"a": datetime(2024, 10, 27, 2, 30, tzinfo=WARSAW, fold=n % 2)} for n in range(10)}
    assert [read(encoded(rows))[n]["a"].fold for n in range(10)] == [0, 1] * 5


def test_blocks_by_rows_are_still_read() -> None:
    pairs = b"".join(Encoder().scalars(each) for number in range(5) for each in (number, {"a": number}))
    assert decode_block(*stored(array_header(10) + pairs)).rows == [{"a": number} for number in range(5)]
