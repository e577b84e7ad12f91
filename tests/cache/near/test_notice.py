"""Notices as values of keys, and what is made of those that are too long, new, damaged or not ours."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero.cache.notice import MAGIC, MAX_BYTES, MAX_KEYS, Notice, unpack

EIGHT = st.binary(min_size=8, max_size=8)
NOTICES = st.builds(
    Notice,
    keys=st.dictionaries(EIGHT, st.sets(EIGHT, min_size=1, max_size=5), max_size=3),
    whole=st.sets(EIGHT, max_size=3),
    stamps=st.sets(st.binary(min_size=1, max_size=60), max_size=3),
)

GENERATION = b"generatn"


def read(notice: Notice) -> Notice:
    received = unpack(notice.pack(7))
    assert received is not None
    assert received.number == 7
    return received.notice


@given(NOTICES)
def test_what_is_written_can_be_read(notice: Notice) -> None:
    for generation in notice.whole:
        notice.keys.pop(generation, None)
    assert read(notice) == notice


@given(NOTICES, NOTICES)
def test_two_notices_in_one_leave_nothing_out(one: Notice, other: Notice) -> None:
    both = Notice()
    both.add(one)
    both.add(other)
    for each in (one, other):
        assert each.whole <= both.whole
        assert each.stamps <= both.stamps
        for generation, digests in each.keys.items():
            assert generation in both.whole or digests <= both.keys[generation]


def test_everything_is_one_letter() -> None:
    notice = Notice(keys={GENERATION: {b"12345678"}}, everything=True)
    assert read(notice) == Notice(everything=True)
    assert len(notice.pack(1)) < 20


def test_many_keys_are_the_whole_generation() -> None:
    notice = Notice(keys={b"another!": {b"12345678"}})
    notice.add_keys(GENERATION, {os.urandom(8) for _ in range(MAX_KEYS)})
    assert GENERATION in notice.keys
    notice.add_keys(GENERATION, {os.urandom(8)})
    assert notice.whole == {GENERATION}
    assert set(notice.keys) == {b"another!"}
    notice.add_keys(GENERATION, {os.urandom(8)})
    assert set(notice.keys) == {b"another!"}


def test_many_stamps_are_everything() -> None:
    notice = Notice()
    notice.add(Notice(stamps={b"t%d" % number for number in range(MAX_KEYS + 1)}))
    assert notice.everything
    assert not notice.stamps


def test_what_would_be_too_long_is_everything() -> None:
    notice = Notice(stamps={b"%04d" % number * 200 for number in range(10)})
    packed = notice.pack(3)
    assert len(packed) < MAX_BYTES
    received = unpack(packed)
    assert received is not None
    assert received.notice == Notice(everything=True)


def test_nothing_is_nothing() -> None:
    assert not Notice()
    assert Notice(everything=True)
    assert Notice(stamps={b"a"})
    assert not read(Notice())


@pytest.mark.parametrize("value", [b"", b"x", b"value of a user", b"\xebC" + b"x" * 40, MAGIC])
def test_rubbish_says_nothing(value: bytes) -> None:
    assert unpack(value) is None


def test_a_newer_format_is_everything() -> None:
    value = Notice(stamps={b"a"}).pack(5)
    received = unpack(value[:3] + b"\x02" + value[4:])
    assert received is not None
    assert received.number == 5
    assert received.notice.everything


@given(NOTICES, st.data())
def test_what_is_cut_off_or_goes_on_strangely_is_everything(notice: Notice, data: st.DataObject) -> None:
    value = notice.pack(1)
    strange = unpack(value + b"?")
    assert strange is not None
    assert strange.notice.everything
    if notice:
        cut = unpack(value[: data.draw(st.integers(12, len(value) - 1))])
        assert cut is not None
        kept = sum(map(len, cut.notice.keys.values())) + len(cut.notice.whole) + len(cut.notice.stamps)
        whole = sum(map(len, notice.keys.values())) + len(notice.whole) + len(notice.stamps)
        assert cut.notice.everything or kept < whole


@given(st.binary(max_size=100))
def test_reading_never_raises(value: bytes) -> None:
    unpack(value)
    unpack(MAGIC + b"\x01" + value)
