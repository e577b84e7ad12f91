"""Every text of the pages can be translated by a project's catalogue, and numbers are written as the language does."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from socket import gethostname
from typing import Any

import pytest
from django.core.cache import caches
from django.test import Client
from django.utils import translation
from django.utils.html import escape
from django.utils.translation import trans_real

from django_etcdaero import kv
from django_etcdaero.admin import overview
from django_etcdaero.doctor import CHECKS, Finding, Report, Severity
from django_etcdaero.exceptions import ClusterError
from django_etcdaero.inspection import localized
from django_etcdaero.keyvalue import interception as kv_interception
from django_etcdaero.records import interception as records_interception
from tests.keyvalue.queue.queueing import Waiter

from .every_act import Filled, acts, forms, second_version
from .every_page import Address
from .test_act_deadlines import READS

OPEN, CLOSE = "\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}", "\N{MATHEMATICAL RIGHT WHITE SQUARE BRACKET}"
DATA = {"code", "pre", "bdi", "script", "style", "svg", "textarea"}
CLASSES = {"etcdaero-place", "etcdaero-told", "field-program"}
"""In these is no text of a page: what the doctor sees and advises is that of the command, programs are command
lines."""
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


ERROR = re.compile(r"ClusterError: the server is away|VersionConflict")


@contextmanager
def refusing() -> Iterator[None]:
    """Let the stores refuse what may change something."""

    @contextmanager
    def around(call: str, argument: object) -> Iterator[None]:
        if call not in READS and threading.current_thread().name == "etcdaero-asking":
            raise ClusterError("the server is away")
        yield

    store: Any = caches["default"]._core.place.store()  # type: ignore[attr-defined]
    ends = [kv_interception.interpose(kv.engine, around), records_interception.interpose(store, around)]
    yield
    for end in ends:
        end()


@pytest.fixture
def ready(things: None, cities: Any, marked: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Filled]]:
    """How each act is done, and what all of them need."""
    second_version(cities, monkeypatch)
    waiter = Waiter(kv.lock("jobs/nightly"))
    yield forms(cities)
    waiter.lock.cancel()
    waiter.wait()


def words_of(answer: Any) -> set[str]:
    """Return the words of an answer that went through no catalogue."""
    known = OF_THE_EXAMPLE | OF_DJANGO | set(re.findall("[A-Za-z]+", gethostname()))
    return untranslated(ERROR.sub("", answer.content.decode())) - known


def test_what_is_said_of_mistakes(ready: dict[str, Filled], root: Client) -> None:
    for name, path, form in acts(ready):
        answer = root.post(path, {field: "" if isinstance(given, str) else "x" for field, given in form.items()})
        assert (answer.status_code, words_of(answer)) == (200, set()), name
        assert re.search("errorlist|errornote", answer.content.decode()), name


def test_what_is_said_of_stores_that_refuse(ready: dict[str, Filled], root: Client) -> None:
    for name, path, form in acts(ready):
        with refusing():
            answer = root.post(path, form)
        assert (answer.status_code, bool(ERROR.search(answer.content.decode()))) == (503, True), name
        assert words_of(answer) == set(), name


def test_what_is_said_of_acts_that_are_done(ready: dict[str, Filled], root: Client) -> None:
    for name, path, form in acts(ready):
        answer = root.post(path, form, follow=True)
        assert (answer.status_code, len(answer.context["messages"])) == (200, 1), name
        assert words_of(answer) == set(), name


def test_what_is_said_between_the_question_and_the_act(ready: dict[str, Filled], root: Client) -> None:
    key, datasets = (f"/admin/django_etcdaero/{section}/" for section in ("key", "dataset"))
    value = {"form": "text", "value": "another"}
    several = {"action": "refresh_several", "_selected_action": "cities"}
    for path, form, status in (
        (f"{key}default_2Fprices_2F7/edit/", {**value, "seen": ready["key_edit"].form["seen"]}, 200),
        (f"{key}default_2Fprices_2F7/edit/", {**value, "seen": 1, "save": ""}, 409),
        (f"{key}default_2Fprices_2F7/edit/", {"form": "hex", "value": "x", "seen": 1}, 200),
        (f"{key}new/", {**value, "key": "prices/7", "seen": 0, "save": ""}, 409),
        (f"{key}default_2Fprices_2F8/remove/", {"seen": 1}, 409),
        (datasets, several, 200),
        (datasets, {**several, "confirmed": "yes"}, 200),
        (datasets, {**several, "confirmed": "yes", "reason": "x"}, 200),
        (datasets, {"action": "refresh_several"}, 200),
    ):
        answer = root.post(path, form, follow=True)
        assert (answer.status_code, words_of(answer)) == (status, set()), (path, form)


def test_why_each_finding_matters_goes_through_a_catalogue(
    db: None, root: Client, marked: None, registry: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    severities = [each for each in Severity if each.gravity]
    told: dict[str, Any] = {"aliases": (), "seen": "seen words", "remedy": "remedial words"}
    findings = tuple(
        Finding(check=each.id, title=each.title, place=each.id, why=each.why, severity=severities[number % 3], **told)
        for number, each in enumerate(CHECKS)
    )
    monkeypatch.setattr(overview, "MOST_FINDINGS", len(CHECKS))
    monkeypatch.setattr(
        "django_etcdaero.doctor.examine", lambda **_: Report(findings=findings, started=0.0, seconds=0.0)
    )
    answer = root.get("/admin/django_etcdaero/overview/")
    page = answer.content.decode()
    assert all(f"{OPEN}{escape(each.why)}{CLOSE}" in page for each in CHECKS if each.why)
    assert words_of(answer) == set()


@pytest.mark.parametrize("seconds", [0.001, 1.5, 75, 7200, 200_000, 20_000_000])
def test_times_and_sizes_go_through_a_catalogue(marked: None, seconds: float) -> None:
    for text in (localized.span(seconds), localized.size(int(seconds)), localized.size(int(seconds * 1000))):
        assert untranslated(text.replace("KB", "kilobytes").replace("MB", "megabytes")) == set(), text
        assert OPEN in text
    assert OPEN in localized.moment(seconds), "the name of the month"


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
