"""Keys as text: any bytes, without loss, and nothing in it that deceives the eye."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.inspection.key_text import key_bytes, key_text


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (b"prices/7", "prices/7"),
        ("prices/Zürich".encode(), "prices/Zürich"),
        (b"a\0b", r"a\x00b"),
        (b"a\\b", r"a\\b"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("a\u202eb".encode(), r"a\xe2\x80\xaeb"),
        (b"<b>\"'&", "<b>\"'&"),
        (b"line\nend", r"line\x0aend"),
    ],
)
def test_keys_and_their_texts(key: bytes, text: str) -> None:
    assert key_text(key) == text
    assert key_bytes(text) == key


@given(st.binary(max_size=40))
def test_any_key_comes_back(key: bytes) -> None:
    text = key_text(key)
    assert key_bytes(text) == key
    assert text.isprintable()


@pytest.mark.parametrize("text", ["a\\", "a\\n", "\\x4", "\\xgg"])
def test_a_backslash_that_begins_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="backslash"):
        key_bytes(text)
