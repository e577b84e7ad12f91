"""The page that shows rows of a kept version: page by page, those that have a text, or one key over all versions."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero import datasets
from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.exploring import (
    Row,
    RowInVersion,
    RowPage,
    RowPlace,
    decode_key,
    encode_key,
    explore,
    over_versions,
)
from django_etcdaero.datasets.publish.history import find_one, versions
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.exceptions import CorruptBlock, EncodeError, KeyNotFound
from django_etcdaero.inspection.problem import problem_of
from django_etcdaero.inspection.together import together
from django_etcdaero.runtime import runtime
from django_etcdaero.system.clocks import monotonic

from .dataset_page import left
from .deadline import DEADLINE
from .mistakes import mistakes_of
from .section import Section

MOST = 50
"""Rows on a page."""
SHOWING = 0.4 * DEADLINE
"""Seconds before the end of its time in which a page shows what it has."""
MOST_COLUMNS = 12
"""Fields beyond which rows are shown in one column."""


class LookForm(forms.Form):
    """What to look at."""

    TYPES = (
        ("text", _("text")),
        ("integer", _("integer")),
        ("literal", _("Python or JSON literal, such as (1, 'a') or [1, \"a\"]")),
        ("uuid", _("UUID")),
    )

    version = forms.IntegerField(label=_("version"), min_value=0, required=False)
    key = forms.CharField(label=_("key"), required=False, strip=False, max_length=2000)
    type = forms.ChoiceField(label=_("type of the key"), choices=TYPES, required=False, initial="text")
    k = forms.RegexField(r"^([0-9a-f]{2}){1,2000}$", label=_("key"), required=False)
    q = forms.CharField(label=_("search"), required=False, max_length=200)
    block = forms.IntegerField(label=_("block"), min_value=0, required=False)
    row = forms.IntegerField(label=_("row"), min_value=0, required=False)

    def clean(self) -> dict[str, Any]:
        """Make the encoded key of what was typed."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        data["encoded"] = None
        if data.get("k"):
            data["encoded"] = bytes.fromhex(data["k"])
            try:
                decode_key(data["encoded"])
            except CorruptBlock:
                data["encoded"] = None
                self.add_error("k", gettext("This is no key."))
        elif data.get("key"):
            try:
                data["encoded"] = encode_key(typed_key(data.get("type") or "text", data["key"]))
            except (ValueError, EncodeError) as error:
                self.add_error("key", str(error))
        return data


def typed_key(kind: str, text: str) -> Any:
    """Return the key that somebody typed. Raises ``ValueError``."""
    try:
        match kind:
            case "integer":
                return int(text)
            case "uuid":
                return UUID(text.strip())
            case "literal":
                return _hashable(ast.literal_eval(text.strip()))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(gettext("This is no such key.")) from None
    return text


def _hashable(value: Any) -> Any:
    """Make tuples of lists: JSON has no others, and a list is no key."""
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


@dataclass
class _Found:
    announcement: Announcement
    page: RowPage | None = None
    over: list[RowInVersion] = field(default_factory=list)
    all_versions: bool = True
    row: Row | None = None


def view(page: Section, request: HttpRequest, thing: Any) -> HttpResponse:
    """Return the page."""
    declared, form = datasets[str(thing.pk)], LookForm(request.GET)
    form.is_valid()
    asked = form.cleaned_data
    encoded = asked.get("encoded")
    problems, missing = list(thing.value.problems), None
    found: _Found | None = None
    answer = together({"found": lambda: _look(declared, asked, thing.until - SHOWING)}, timeout=left(thing))["found"]
    if isinstance(answer, KeyNotFound):
        missing = str(answer)
    elif isinstance(answer, Exception):
        problems.append(problem_of(answer, alias=declared.using, store="RECORDS", dataset=declared.name))
    else:
        found = answer
    address = page.address_of(thing, "rows")
    rows = [] if found is None or found.page is None else found.page.rows
    columns = _columns(rows)
    answered: HttpResponse = page.show(
        request,
        "admin/django_etcdaero/dataset_rows.html",
        title=_("Rows"),
        thing=thing,
        problems=problems,
        mistakes=mistakes_of(form),
        form=form,
        types=LookForm.TYPES,
        type=asked.get("type") or "text",
        found=found,
        missing=missing,
        key=None if encoded is None else decode_key(encoded),
        looked_up=encoded is not None,
        fields=_fields(found),
        over=_over(found),
        columns=columns,
        lines=[_line(row, columns, address, found) for row in rows],
        at_start=not asked.get("block") and not asked.get("row"),
        more=_more(found, asked),
        versions=thing.value.versions or [],
        rows_address=address,
    )
    return answered


def _look(declared: Dataset[Any, Any], asked: Mapping[str, Any], until: float) -> _Found:
    stores = runtime.stores(declared.using)
    entry = find_one(declared, stores, asked.get("version"))

    def is_over() -> bool:
        return monotonic() > until

    key = asked.get("encoded")
    if key is not None:
        kept = [each.announcement for each in versions(declared, stores)]
        over, whole = over_versions(declared, stores, kept, key, is_over=is_over)
        row = next((each.row for each in over if each.announcement.version == entry.version), None)
        return _Found(entry, over=over, all_versions=whole, row=row)
    place = RowPlace(asked.get("block") or 0, asked.get("row") or 0)
    text = asked.get("q") or None
    return _Found(entry, explore(declared, stores, entry).page(place, limit=MOST, text=text, is_over=is_over))


def _columns(rows: list[Row]) -> list[Any]:
    """Return the fields of the rows, if all have some and they are few."""
    if not rows or not all(isinstance(row.value, Mapping) for row in rows):
        return []
    names = list(dict.fromkeys(name for row in rows for name in row.value))
    return names if len(names) <= MOST_COLUMNS else []


def _line(row: Row, columns: list[Any], address: str, found: _Found | None) -> dict[str, Any]:
    version = None if found is None else found.announcement.version
    cells = [(name in row.value, row.value.get(name)) for name in columns] or [(True, row.value)]
    return {
        "row": row,
        "cells": cells,
        "address": f"{address}?{urlencode({'version': version, 'k': row.encoded.hex()})}",
    }


def _fields(found: _Found | None) -> list[tuple[Any, Any]]:
    if found is None or found.row is None:
        return []
    value = found.row.value
    return list(value.items()) if isinstance(value, Mapping) else [(gettext("value"), value)]


def _over(found: _Found | None) -> list[dict[str, Any]]:
    """Return what each version has, the newest first, and whether that is another thing than the one before."""
    shown = []
    listed = [] if found is None else found.over
    for each, before in zip_longest(listed, listed[1:]):
        value = None if each.row is None else each.row.value
        fields: list[Any] = []
        changed = False
        if before is not None:
            earlier = None if before.row is None else before.row.value
            changed = (each.row is None) != (before.row is None) or repr(value) != repr(earlier)
            if isinstance(value, Mapping) and isinstance(earlier, Mapping):
                names = dict.fromkeys([*value, *earlier])
                fields = [name for name in names if repr(value.get(name)) != repr(earlier.get(name))]
        shown.append({"version": each.announcement, "row": each.row, "changed": changed, "fields": fields})
    return shown


def _more(found: _Found | None, asked: Mapping[str, Any]) -> str | None:
    if found is None or found.page is None or found.page.next is None:
        return None
    place = found.page.next
    return urlencode(
        {
            "version": found.announcement.version,
            "q": asked.get("q") or "",
            "block": place.block,
            "row": place.row,
        }
    )
