"""Moments, sizes and spans of time are written as the language of the visitor does."""

from __future__ import annotations

import math
import time

import pytest
from django.utils import translation

from django_etcdaero.inspection import localized

SPANS = [0.0, 0.0012, 0.05, 1.26, 9.94, 75, 3000, 7200, 100_000, 172_800, 200_000_000]


def written(language: str) -> list[str]:
    with translation.override(language):
        return [localized.span(each) for each in SPANS]


def test_spans() -> None:
    short = ["0 ms", "1.2 ms", "50 ms", "1.3 s", "9.9 s", "75 s", "50 min", "2 h", "27 h"]
    assert written("en") == [*short, "2 days", "2,314 days"]
    assert written("de")[1:4] == ["1,2 ms", "50 ms", "1,3 s"]
    assert localized.span(math.inf) == "∞"


def test_sizes() -> None:
    sizes = [0, 1, 139, 2048, 5_000_000]
    for language, expected in (
        ("en", ["0 bytes", "1 byte", "139 bytes", "2.0 KB", "4.8 MB"]),
        ("de", ["0 Bytes", "1 Byte", "139 Bytes", "2,0 KB", "4,8 MB"]),
        ("fr", ["0 octet", "1 octet", "139 octets", "2,0 Kio", "4,8 Mio"]),
    ):
        with translation.override(language):
            assert [localized.size(each).replace("\xa0", " ") for each in sizes] == expected


@pytest.mark.parametrize(
    ("language", "day"), [("en", "Jan. 2, 1970"), ("de", "2. Januar 1970"), ("ja", "1970年1月2日")]
)
def test_moments(language: str, day: str) -> None:
    with translation.override(language):
        assert localized.moment(100_000.0) == f"{day} 03:46:40 UTC"
        now = time.time()
        assert localized.moment(now) == f"{time.strftime('%H:%M:%S', time.gmtime(now))} UTC"
