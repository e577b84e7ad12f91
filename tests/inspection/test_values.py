"""Values for people, and two of them beside each other."""

from __future__ import annotations

import pickle

import msgpack
import pytest

from django_etcdaero.inspection.value_difference import difference
from django_etcdaero.inspection.value_forms import MOST_HEX, MOST_TEXT, show_value


class Bomb:
    exploded = False

    def __reduce__(self) -> object:
        return (setattr, (Bomb, "exploded", True))


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (b"", "text"),
        (b"plain", "text"),
        (b'{"a": [1, 2]}', "json"),
        (b'{"a": 1, "a": 2}', "text"),
        (b'{"a": NaN}', "text"),
        (b'{"a": 1e999}', "text"),
        (b"[" * 50_000, "text"),
        (msgpack.packb({"a": [1, b"\xff"]}), "msgpack"),
        (b"\x81\xa1", "hex"),
        (b"\0", "hex"),
        (b"\xff\xfe", "hex"),
    ],
)
def test_the_form_that_says_most(value: bytes, form: str) -> None:
    assert show_value(value).form == form


def test_a_value_in_the_form_that_was_asked_for() -> None:
    assert show_value(b'{"a":1}').text == '{\n  "a": 1\n}'
    assert show_value(b'{"a":1}', "text").text == '{"a":1}'
    assert show_value(b'{"a":1}', "hex").text.endswith('{"a":1}')
    assert show_value(b'{"a":1}', "nonsense").form == "json"
    assert show_value(msgpack.packb({"a": 1})).text == "{'a': 1}"
    assert show_value(msgpack.packb({"a": 1}), "json").form == "msgpack"


def test_nothing_is_unpickled() -> None:
    value = pickle.dumps(Bomb())
    for form in (None, "text", "json", "msgpack", "hex"):
        assert show_value(value, form).form == "hex"
    assert not Bomb.exploded


def test_what_cannot_be_seen_is_written_out() -> None:
    assert show_value("a\u202eb\x1b[0m\r\n\tc".encode()).text == "a\\u202eb\\x1b[0m\\x0d\n\tc"
    assert show_value('{"a":"\u202e"}'.encode()).text == '{\n  "a": "\\u202e"\n}'


def test_large_values_are_cut() -> None:
    text = show_value(b"x" * 1_000_000)
    assert (len(text.text), text.shown, text.size, text.is_cut) == (MOST_TEXT, MOST_TEXT, 1_000_000, True)
    binary = show_value(b"\xff" * 1_000_000)
    assert binary.shown == MOST_HEX
    assert show_value(("ü" * MOST_TEXT).encode()).text.isprintable()
    assert not show_value(b"short").is_cut


def test_a_difference_by_lines() -> None:
    found = difference(b'{"a": 1, "b": 2, "c": 3}', b'{"a": 1, "b": 5, "c": 3}')
    assert found.form == "json"
    changed = [each for each in found.rows if each.kind != "same"]
    assert [(each.kind, each.old, each.new) for each in changed] == [("changed", '  "b": 2,', '  "b": 5,')]


def test_a_difference_leaves_equal_lines_out() -> None:
    old = "\n".join(map(str, range(100))).encode()
    found = difference(old, old + b"\nend")
    assert [(each.kind, each.skipped) for each in found.rows if each.kind in ("skipped", "added")] == [
        ("skipped", 97),
        ("added", 0),
    ]


def test_a_difference_of_what_has_no_form_in_common() -> None:
    assert difference(b'{"a": 1}', b"plain").form == "text"
    assert difference(b"plain", b"\xff").form == "hex"
    assert difference(b"same", b"same").equal
    found = difference(b"\xff" * 100_000, b"\xff" * 99_999 + b"\0")
    assert not found.equal
    assert found.too_large
