"""The header of an entry: what is written is read, and anything else is a miss."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero.cache.envelope import FORMAT, MAGIC, NEVER, STAMP_BYTES, Envelope, Parts, unpack

STAMP = b"s" * STAMP_BYTES

ENVELOPES = st.builds(
    Envelope,
    serializer=st.integers(0, 255),
    compressor=st.integers(0, 255),
    created=st.floats(allow_nan=False),
    body=st.binary(max_size=200),
    expires=st.floats(allow_nan=False),
    tags=st.lists(st.tuples(st.text(st.characters(), min_size=1), st.binary(min_size=8, max_size=8))).map(tuple),
    key=st.text(st.characters()),
    parts=st.none()
    | st.builds(Parts, st.binary(min_size=8, max_size=8), st.integers(1, 9999), st.integers(0, 2**32 - 1)),
    tombstone=st.booleans(),
    signature=st.none() | st.binary(min_size=16, max_size=16),
    until=st.floats(allow_nan=False),
)

PLAIN = Envelope(1, 0, 1000.0, b"body")
FULL = Envelope(
    1,
    2,
    1000.0,
    b"body",
    2000.0,
    (("t", STAMP), ("\ud800", STAMP)),
    "k" * 300,
    Parts(STAMP, 2, 10),
    True,
    b"m" * 16,
    3.0,
)


@given(ENVELOPES)
def test_what_is_written_is_read(envelope: Envelope) -> None:
    assert unpack(envelope.pack()) == envelope


@pytest.mark.parametrize("envelope", [PLAIN, FULL], ids=["plain", "full"])
def test_what_is_cut_off_in_the_header_is_none(envelope: Envelope) -> None:
    packed = envelope.pack()
    for length in range(len(packed) - len(envelope.body)):
        assert unpack(packed[:length]) is None


@given(st.binary(max_size=200))
def test_other_bytes_are_none_or_an_envelope_never_an_error(data: bytes) -> None:
    assert unpack(data) is None or data.startswith(MAGIC)
    unpack(MAGIC + bytes([FORMAT]) + data)


@pytest.mark.parametrize("envelope", [PLAIN, FULL], ids=["plain", "full"])
@given(st.data())
def test_a_changed_byte_is_never_an_error(envelope: Envelope, data: st.DataObject) -> None:
    packed = bytearray(envelope.pack())
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    unpack(bytes(packed))


def test_a_newer_format_is_none() -> None:
    packed = bytearray(PLAIN.pack())
    packed[2] = FORMAT + 1
    assert unpack(bytes(packed)) is None


def test_flags_and_fields_that_nobody_knows_are_none() -> None:
    packed = bytearray(PLAIN.pack())
    packed[3] |= 0x80
    assert unpack(bytes(packed)) is None
    head = PLAIN.pack()[: -len(PLAIN.body)]
    field = struct.pack(">BH", 99, 0)
    assert unpack(head[:6] + struct.pack(">H", len(field)) + head[8:] + field + b"body") is None


def test_numbers_of_parts_that_nobody_writes_are_none() -> None:
    assert unpack(PLAIN._replace(parts=Parts(STAMP, 2**32 - 1, 2**32 - 1)).pack()) is None


def test_a_header_that_would_be_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes"):
        PLAIN._replace(key="k" * 70_000).pack()


def test_the_signed_part_is_all_but_the_signature() -> None:
    signed = FULL.signed_parts()
    assert FULL._replace(signature=None).signed_parts() == signed
    for field, other in {
        "serializer": 9,
        "compressor": 9,
        "created": 9.0,
        "body": b"other",
        "expires": NEVER,
        "tags": (),
        "key": "other",
        "parts": None,
        "tombstone": False,
        "until": 9.0,
    }.items():
        assert FULL._replace(**{field: other}).signed_parts() != signed
