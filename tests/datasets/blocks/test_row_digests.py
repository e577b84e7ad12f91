"""The digests of rows are those of the rows, whatever was changed."""

from __future__ import annotations

import random

import pytest

from django_etcdaero.datasets.blocks import row_digests
from django_etcdaero.datasets.blocks.content import content_of, row_digest, sum_of_digests
from django_etcdaero.datasets.blocks.row_digests import RowDigests, digests_in


def content(rows: dict[bytes, bytes]) -> bytes:
    return content_of(sum_of_digests(rows.values()))


@pytest.mark.parametrize("expected", [None, 5, 3000])
@pytest.mark.parametrize("seed", range(3))
def test_they_are_those_of_the_rows_after_any_change(seed: int, expected: int | None) -> None:
    chance = random.Random(seed)
    rows = {b"k%d" % number: row_digest(b"%d" % number) for number in range(3000)}
    known = RowDigests(expected)
    keys = list(rows)
    for begin in range(0, len(keys), 256):
        some = keys[begin : begin + 256]
        known.add(some, [rows[key] for key in some])
    assert known.whole
    assert known.content == content(rows)
    for _ in range(2000):
        key = b"k%d" % chance.randrange(4000)
        if chance.random() < 0.3:
            rows.pop(key, None)
            known.put(key, None)
        else:
            rows[key] = row_digest(chance.randbytes(9))
            known.put(key, rows[key])
    assert known.content == content(rows)
    assert digests_in(known, [b"k%d" % number for number in range(4000)]) == rows
    assert known.get(b"never") is None


def test_of_too_many_rows_only_what_they_come_to_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_digests, "MOST_ROWS", 500)
    rows = {b"k%d" % number: row_digest(b"%d" % number) for number in range(600)}
    known = RowDigests()
    for key, digest in rows.items():
        known.add([key], [digest])
    assert not known.whole
    assert known.content == content(rows)
