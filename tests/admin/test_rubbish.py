"""Addresses and forms with rubbish in them: no page fails, and what is asked for and not understood is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.admin import AdminSite
from django.test import Client

from django_etcdaero.admin.key_asking import moment_of

from .every_page import Address

pytestmark = [pytest.mark.usefixtures("things", "plain")]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without the list of all pages beside them, which is the same on each and takes a sixth of their time."""
    monkeypatch.setattr(AdminSite, "enable_nav_sidebar", False)


NAMES = (
    *("p", "o", "q", "e", "all", "id__in", "started__gt", "_facets", "_popup", "_changelist_filters"),
    *("alias", "under", "start", "revision", "time", "form", "a", "b"),
    *("version", "key", "type", "k", "block", "row", "old", "new", "kind", "group", "seen"),
    *("tag", "prefix", "since", "id", "at"),
    *("name", "token", "waiter", "keys", "reason", "comment", "value", "save", "action", "confirmed"),
    *("_selected_action", "select_across", "index", "csrfmiddlewaretoken"),
)
"""What pages and forms ask for."""

RUBBISH = {
    "nothing": "",
    "text": "x",
    "negative": "-1",
    "zero": "0",
    "one": "1",
    "a fraction": "1.5",
    "not a number": "nan",
    "huge": str(10**30),
    "as much as int64 has": str(2**63 - 1),
    "beyond int64": str(2**63),
    "more digits than Python reads": "9" * 5000,
    "digits of another script": quote("١٢"),
    "a superscript": quote("²"),
    "NUL": "%00",
    "no UTF-8": "%ff%fe",
    "half a surrogate": "%ed%a0%80",
    "broken encoding": "%zz%",
    "a backslash": "%5C",
    "an escape": "%5Cxff",
    "an open quote": "%22",
    "HTML": quote("<b>&\"'</b>"),
    "the year 0": quote("0000-01-01 00:00"),
    "the year 1": quote("0001-01-01 00:00"),
    "the year 1, east": quote("0001-01-01 00:00+23:59"),
    "the year 9999, west": quote("9999-12-31 23:59:59-23:59"),
    "the year 99999": quote("99999-01-01 00:00"),
    "the 30th of February": quote("2026-02-30 00:00"),
    "a time that does not exist": quote("2026-03-29 02:30"),
    "a time that is there twice": quote("2026-10-25 02:30"),
    "a list": "1,2,3.4.5",
    "long": "x" * 2_000,
}


FINE = {"200", "302", "400", "404", "409"}


EVERYWHERE = (
    "text",
    "negative",
    "beyond int64",
    "NUL",
    "no UTF-8",
    "a backslash",
    "the year 0",
    "a time that is there twice",
)
EACH = 4
"""What is not asked everywhere is asked of one page of so many."""


def queries(turn: int) -> Iterator[tuple[str, str]]:
    """Rubbish for all names at once, another part in each ``turn``, and what is odd as a whole."""
    for number, (kind, value) in enumerate(RUBBISH.items()):
        if kind in EVERYWHERE or (number + turn) % EACH == 0:
            yield kind, "&".join(f"{name}={value}" for name in NAMES)
    yield "repeated", "&".join(f"{name}={value}" for name in NAMES for value in ("1", "x", "-1"))
    yield "names only", "&".join(NAMES)
    yield "no names", "&&=&=x&%00=1&%ff=1&;"
    yield "many", "&".join(f"n{number}=1" for number in range(900))
    yield "too many", "&".join(f"n{number}=1" for number in range(20_000))
    yield "a field of Django's own", "_to_field=x"


def complaints(ask: Callable[[Address, str], Any], pages: list[Address]) -> list[tuple[str, str, str]]:
    """Ask all pages for all rubbish; return what was asked of which page and failed."""
    failed = []
    for turn, page in enumerate(pages):
        takes_nothing = page.name.endswith(("_overview_changelist", "_history"))
        for kind, query in islice(queries(turn), 1) if takes_nothing else queries(turn):
            try:
                status = str(ask(page, query).status_code)
            except Exception as error:
                status = f"{type(error).__name__}: {error}"[:300]
            if status not in FINE:
                failed.append((kind, page.name, status))
    return failed


@pytest.mark.slow
def test_no_address_makes_a_page_fail(pages: list[Address], root: Client) -> None:
    assert complaints(lambda page, query: root.get(page.path, QUERY_STRING=query), pages) == []


@pytest.mark.slow
def test_no_form_makes_a_page_fail(pages: list[Address], root: Client) -> None:
    form = "application/x-www-form-urlencoded"
    acting = [each for each in pages if each.acts or each.name.endswith("_changelist")]  # others answer as to a GET
    pages = [each for each in acting if not each.name.endswith("_revoke")]  # 1 is the number of keys: it would be done
    assert complaints(lambda page, query: root.post(page.path, query, content_type=form), pages) == []


BEGIN = "/admin/django_etcdaero/"


@pytest.mark.slow
@pytest.mark.parametrize(
    "key",
    ["%FF%FE", "default%2F%FF", "default%2F_FF", "%00", "_", "_2", "default/\\x", "default/%ED%A0%80", "x" * 5000],
)
def test_no_name_in_an_address_makes_a_page_fail(pages: list[Address], root: Client, key: str) -> None:
    failed = []
    for page in pages:
        parts = page.path.split("/")
        if len(parts) > 6:
            status = root.get(f"{'/'.join(parts[:4])}/{key}/{parts[-2]}/").status_code
            if status not in (200, 302, 400, 404):
                failed.append((page.name, status))
    assert failed == []


TOLD = [
    ("key/", "revision=x", "Revision: “x” is no number"),
    ("key/", "revision=9223372036854775808", "Revision: “92233"),
    ("key/", "time=0000-01-01+00:00", "“0000-01-01 00:00” is too long ago"),
    ("key/", "time=99999-01-01+00:00", "“99999-01-01 00:00” is no date"),
    ("key/", "alias=nowhere", "There is no alias “nowhere”"),
    ("key/", "q=%5C", "search: in a key a backslash"),
    ("key/default_2Fprices_2F7/change/", "time=x", "“x” is no date with a time"),
    ("key/default_2Fprices_2F7/versions/", "revision=-1", "Revision: “-1”"),
    ("key/default_2Fprices_2F7/compare/", "a=x&b=1", "Old: “x” is no number"),
    ("key/default_2Fprices_2F7/restore/", "revision=x", "Revision: “x”"),
    ("key/deleted/", "under=%5Cq", "folder: in a key a backslash"),
    ("dataset/cities/rows/", "version=x", "Version: Enter a whole number."),
    ("dataset/cities/rows/", "type=integer&key=x", "Key: This is no such key."),
    ("dataset/cities/rows/", "k=zz", "Key: Enter a valid value."),
    ("dataset/cities/rows/", "block=-1", "Block: Ensure this value is greater"),
    ("dataset/cities/diff/", "old=x", "From version: Enter a whole number."),
    ("dataset/cities/diff/", "kind=x", "Kind of changes: Select a valid choice"),
    ("dataset/cities/refreshing/", "id=x&revision=y", "The address names no request"),
    ("cache/default/change/", "key=a&version=x", "Version: Enter a whole number."),
    ("cache/default/delete-entry/", "key=a&version=x", "Version: Enter a whole number."),
    ("watch/follow/", "since=x", "From revision: “x” is no number"),
    ("watch/follow/", "prefix=%5Cq", "Keys that begin with: in a key a backslash"),
    ("watch/follow/", "alias=nowhere", "There is no alias “nowhere”"),
    ("lock/", "colour__gt=red", "There is no such part of the list: colour__gt=red"),
    ("lock/", "colour__gt=red&e=1", "There is no such part of the list: colour__gt=red"),
]  # fmt: skip


def test_what_is_not_understood_is_told_with_the_name_of_its_field(root: Client) -> None:
    for page, query, told in TOLD:
        assert told in root.get(f"{BEGIN}{page}?{query}", follow=True).content.decode(), (page, query)


def test_times_that_the_clock_left_out_or_had_twice_are_told(root: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    for path in ("key/", "key/default_2Fprices_2F7/change/"):
        gap = root.get(f"{BEGIN}{path}?time=2026-03-29+02:30").content.decode()
        assert "“2026-03-29 02:30” was left out when clocks were put forward" in gap
        fold = root.get(f"{BEGIN}{path}?time=2026-10-25+02:30").content.decode()
        assert "“2026-10-25 02:30” was there twice" in fold
        assert "2026-10-25 02:30:00+01:00" in fold
    assert moment_of("2026-10-25 02:30")[0] == moment_of("2026-10-25 02:30+02:00")[0]
