"""The page that shows what has changed between two kept versions, some changes at a time."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from django_etcdaero import datasets
from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.diff import Change, sides_of
from django_etcdaero.datasets.publish.diff_page import Counted, DiffPage, DiffPlace, count_differences, diff_page
from django_etcdaero.datasets.publish.exploring import encode_key
from django_etcdaero.datasets.publish.history import find_two
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.exceptions import EncodeError, KeyNotFound
from django_etcdaero.inspection.problem import problem_of
from django_etcdaero.inspection.together import together
from django_etcdaero.runtime import runtime
from django_etcdaero.system.clocks import monotonic

from .dataset_page import left
from .deadline import DEADLINE
from .mistakes import mistakes_of
from .section import Section

MOST = 50
"""Changes on a page."""
SHOWING = 0.4 * DEADLINE
"""Seconds before the end of its time in which a page shows what it has."""
KINDS = {"added": _("added"), "removed": _("removed"), "changed": _("changed")}
SIGNS = {"added": "+", "removed": "\N{MINUS SIGN}", "changed": "~"}


class WhichForm(forms.Form):
    """What to compare, and from where on."""

    old = forms.IntegerField(label=_("from version"), min_value=0, required=False)
    new = forms.IntegerField(label=_("to version"), min_value=0, required=False)
    kind = forms.ChoiceField(
        label=_("kind of changes"), choices=[("", _("all changes")), *KINDS.items()], required=False
    )
    group = forms.IntegerField(label=_("group"), min_value=0, required=False)
    seen = forms.IntegerField(label=_("place in the group"), min_value=0, required=False)

    def said(self, name: str) -> Any:
        """Return what was asked for; ``None`` for what makes no sense."""
        return self.cleaned_data.get(name)


def view(page: Section, request: HttpRequest, thing: Any) -> HttpResponse:
    """Return the page."""
    declared, form = datasets[str(thing.pk)], WhichForm(request.GET)
    form.is_valid()
    old, new, kind = form.said("old"), form.said("new"), form.said("kind") or ""
    place = DiffPlace(form.said("group") or 0, form.said("seen") or 0)
    kinds = (kind,) if kind in KINDS else tuple(KINDS)
    until = thing.until - SHOWING
    found: Any = together({"found": lambda: _look(declared, old, new, place, kinds, until)}, timeout=left(thing))[
        "found"
    ]
    problems = list(thing.value.problems)
    shown: dict[str, Any] = {"missing": None, "entries": None, "changes": [], "more": None, "counted": None}
    if isinstance(found, KeyNotFound):
        shown["missing"] = str(found)
    elif isinstance(found, Exception):
        problems.append(problem_of(found, alias=declared.using, store="RECORDS", dataset=declared.name))
    else:
        entries, changed, counted = found
        shown |= {
            "entries": entries,
            "changes": [_shown(change, entries, page.address_of(thing, "rows")) for change in changed.changes],
            "more": _more(entries, kind, changed),
            "in_time": changed.in_time,
            "counted": counted,
        }
    answer: HttpResponse = page.show(
        request,
        "admin/django_etcdaero/dataset_diff.html",
        title=_("Changes"),
        thing=thing,
        problems=problems,
        mistakes=mistakes_of(form),
        kind=kind,
        kinds=KINDS,
        at_start=place == DiffPlace(),
        versions=thing.value.versions or [],
        diff_address=page.address_of(thing, "diff"),
        **shown,
    )
    return answer


def _look(
    declared: Dataset[Any, Any],
    old: int | None,
    new: int | None,
    place: DiffPlace,
    kinds: tuple[str, ...],
    until: float,
) -> tuple[tuple[Announcement, Announcement], DiffPage, Counted]:
    """Open both versions once, make the page, and count for as long as there is time left."""

    def is_over() -> bool:
        return monotonic() > until

    stores = runtime.stores(declared.using)
    entries = find_two(declared, stores, old, new)
    sides = sides_of(declared, stores, entries)
    page = diff_page(sides, place, kinds=kinds, limit=MOST, is_over=is_over)
    return entries, page, count_differences(sides, is_over=is_over)


def _more(entries: tuple[Announcement, Announcement], kind: str, page: DiffPage) -> str | None:
    if page.next is None:
        return None
    old, new = entries
    asked = {"old": old.version, "new": new.version, "kind": kind, "group": page.next.group, "seen": page.next.seen}
    return urlencode(asked)


def _shown(change: Change[Any, Any], entries: tuple[Announcement, Announcement], rows: str) -> dict[str, Any]:
    version = entries[0 if change.kind == "removed" else 1].version
    try:
        address = f"{rows}?{urlencode({'version': version, 'k': encode_key(change.key).hex()})}"
    except EncodeError:
        address = ""
    return {
        "change": change,
        "sign": SIGNS[change.kind],
        "word": KINDS[change.kind],
        "address": address,
        "fields": [{"field": each, "sign": SIGNS[each.kind], "word": KINDS[each.kind]} for each in change.fields],
    }
