"""Keys as text that can be typed and read back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from django_etcdaero.inspection.key_text import key_of_text, text_of_key


@settings(max_examples=50)
@given(st.binary(max_size=30) | st.text(max_size=30).map(lambda text: text.encode(errors="replace")))
def test_every_key_can_be_read_back_from_its_text(key: bytes) -> None:
    text = text_of_key(key)
    assert key_of_text(text) == key
    assert text.isprintable()


def test_what_is_text_is_shown_as_it_is() -> None:
    assert text_of_key("jobs/Zürich <b>".encode()) == "jobs/Zürich <b>"
    assert text_of_key(b"100%\x00\xff\xe2\x80\xae") == "100%25%00%ff%e2%80%ae"
