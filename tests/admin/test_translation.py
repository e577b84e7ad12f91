"""Every text of the pages can be translated by a project's catalogue, and numbers are written as the language does."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from socket import gethostname
from typing import Any

import pytest
from django.test import Client
from django.utils import translation
from django.utils.translation import trans_real

from .every_page import Address

OPEN, CLOSE = "\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}", "\N{MATHEMATICAL RIGHT WHITE SQUARE BRACKET}"
DATA = {"code", "pre", "bdi", "script", "style", "svg", "textarea"}
CLASSES = {"etcdaero-findings", "field-program"}
"""In these is no text of a page: findings of the doctor are those of the command, programs are command lines."""
SAID = ("alt", "aria-label", "placeholder", "title", "data-label", "data-copy")


class Texts(HTMLParser):
    """Collects what a visitor reads or hears."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.found += [text for name in SAID if (text := said.get(name))]
        if tag == "input" and said.get("type") in ("submit", "button"):
            self.found.append(said.get("value") or "")
        if tag in DATA or not CLASSES.isdisjoint((said.get("class") or "").split()):
            self._within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._within and self._within[-1] == tag:
            self._within.pop()

    def handle_data(self, data: str) -> None:
        if not self._within:
            self.found.append(data)


def untranslated(page: str) -> set[str]:
    """Return the words that went through no catalogue."""
    texts = Texts()
    texts.feed(page)
    text = "\n".join(texts.found)
    while (shorter := re.sub(f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}", " ", text)) != text:
        text = shorter
    return set(re.findall(r"\b[A-Za-z]{3,}\b", text))


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catalogues that put brackets around all texts."""

    def mark(text: str) -> str:
        return f"{OPEN}{text}{CLOSE}"

    trans: Any = translation._trans  # type: ignore[attr-defined]
    monkeypatch.setattr(trans, "gettext", lambda text: mark(trans_real.gettext(text)), raising=False)
    monkeypatch.setattr(
        trans, "pgettext", lambda context, text: mark(trans_real.pgettext(context, text)), raising=False
    )
    monkeypatch.setattr(
        trans, "ngettext", lambda one, many, number: mark(trans_real.ngettext(one, many, number)), raising=False
    )


OF_THE_EXAMPLE = {
    *("root", "etcdaero", "default", "embedded", "memory", "again", "texts", "shop", "mem", "pages", "sqlite", "UTC"),
    *("cities", "name", "population", "prices", "jobs", "nightly", "config", "processes"),
    *("tests", "django", "python", "VALID"),
}
"""Names, kinds of stores, and a state as all commands write it."""
OF_DJANGO = {"Search"}
"""The text beside the picture of its form."""
NO_VERSION = re.compile(r"Dataset [^<]* before [^<]*")
"""An error of the package: those are English everywhere, as in logs."""


def test_every_text_of_a_page_goes_through_a_catalogue(
    things: None, pages: list[Address], root: Client, marked: None
) -> None:
    found = {}
    for page in pages:
        answer = root.get(page.path)
        if answer["Content-Type"].startswith("text/html"):
            known = OF_THE_EXAMPLE | OF_DJANGO | set(re.findall("[A-Za-z]+", gethostname()))
            text = NO_VERSION.sub("", answer.content.decode())
            if words := untranslated(text) - known:
                found[page.name] = words
    assert found == {}


def test_numbers_are_written_as_the_language_does(things: None, cities: Any, root: Client, settings: Any) -> None:
    settings.LANGUAGE_CODE = "de"
    rows = {str(number): {"name": "x", "population": number} for number in range(1200)}
    cities.__class__.load, before = (lambda self: rows), cities.__class__.load
    try:
        assert cities.refresh(force=True).ok
    finally:
        cities.__class__.load = before
    for path in ("dataset/", "dataset/cities/change/"):
        page = root.get(f"/admin/django_etcdaero/{path}").content.decode()
        assert "1.200" in page
        assert "1,200" not in page
    settings.LANGUAGE_CODE = "en"
    assert "1,200" in root.get("/admin/django_etcdaero/dataset/").content.decode()
