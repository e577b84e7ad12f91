"""Keys find their blocks by the same hash one by one and many at once."""

from __future__ import annotations

from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero.datasets.blocks.key_hashes import hash_of, hashes_of


@given(st.lists(st.binary(max_size=20), max_size=600))
def test_many_at_once_are_those_of_each(keys: list[bytes]) -> None:
    assert list(hashes_of(map(crc32, keys))) == list(map(hash_of, keys))
    assert all(0 <= each < 1 << 32 for each in map(hash_of, keys))
