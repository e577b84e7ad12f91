"""Datasets: their state in the cluster, their versions and rows, and what can be done to them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero import datasets
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.overview import Overview
from django_etcdaero.inspection.cluster_status import ClusterStatus, ask
from django_etcdaero.inspection.conditions import Condition, conditions
from django_etcdaero.inspection.holders import Holders, holders
from django_etcdaero.inspection.localized import count, moment, size, span
from django_etcdaero.inspection.one_dataset import ask_one
from django_etcdaero.system.clocks import monotonic

from ..models import Dataset
from . import dataset_diff, dataset_rows, dataset_wait
from .dataset_acts import PIN, REFRESH, ROLL_BACK, UNPIN
from .dataset_bulk import refresh_several
from .dataset_page import page_context
from .dataset_words import said
from .deadline import DEADLINE
from .inspected import Found, InspectedAdmin, Page


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A dataset in the list. What is not known is ``None``."""

    name: str
    overview: Overview | None
    announced: Announcement | None
    conditions: tuple[Condition, ...] | None
    holders: Holders | None
    period: float | None
    """Seconds."""

    @property
    def gravity(self) -> int:
        """To order by."""
        return 1 if self.conditions is None else max(each.gravity for each in self.conditions)

    @property
    def version(self) -> int | None:
        """The version that is announced."""
        return None if self.announced is None else self.announced.version

    @property
    def rows(self) -> int | None:
        """Of it."""
        return None if self.announced is None else self.announced.rows

    @property
    def stored_bytes(self) -> int | None:
        """Of it."""
        return None if self.announced is None else self.announced.stored_bytes

    @property
    def age(self) -> float | None:
        """Seconds since the source was last read."""
        return None if self.overview is None else self.overview.age

    @property
    def next_due(self) -> float | None:
        """Seconds since the epoch."""
        return None if self.overview is None else self.overview.next_due

    @property
    def behind(self) -> int | None:
        """How many processes do not hold it."""
        return None if self.holders is None else len(self.holders.behind)

    @property
    def error(self) -> str | None:
        """Why the last load failed."""
        failure = None if self.overview is None else self.overview.failure
        return None if failure is None else failure.error


def lines(status: ClusterStatus) -> list[Line]:
    """Return all declared datasets, with what is known of them."""
    known = {each.name: each for each in status.overviews}
    copies, asked = status.copies, {each.alias: each for each in status.aliases}
    found = []
    for name in sorted(datasets):
        declared, overview = datasets[name], known.get(name)
        announced = overview.stored.current if overview is not None else copies.get(name)
        processes = asked[declared.using].processes if declared.using in asked else None
        version = None if announced is None else announced.version
        period = declared.refresh_every
        found.append(
            Line(
                name=name,
                overview=overview,
                announced=announced,
                conditions=None if overview is None else conditions(overview, declared),
                holders=None if processes is None else holders(declared, version, processes),
                period=None if period is None else period.total_seconds(),
            )
        )
    return found


class DatasetAdmin(InspectedAdmin):
    """The datasets that the project declares."""

    list_display = ("name", "state", "version", "held", "age", "rows", "stored", "due", "error")
    search_fields = ("pk", "error")
    thing_template = "admin/django_etcdaero/dataset.html"
    acts = (REFRESH, PIN, UNPIN, ROLL_BACK)
    pages = (
        Page(name="refreshing", method="refreshing_view", permission="view_dataset"),
        Page(name="diff", method="diff_view", permission="view_row"),
        Page(name="rows", method="rows_view", permission="view_row"),
    )

    actions = ("refresh_several",)

    class Media:
        css = {"all": ["django_etcdaero/datasets.css"]}
        js = ["django_etcdaero/poll.js"]

    def read(self, request: HttpRequest) -> Found:
        status = ask(DEADLINE)
        things = []
        for line in lines(status):
            thing = Dataset(pk=line.name)
            thing.value = line
            things.append(thing)
        return Found(things=things, problems=status.problems)

    def read_one(self, request: HttpRequest, pk: str) -> Found:
        if pk not in datasets:
            return Found(things=[])
        thing = Dataset(pk=pk)
        thing.until = monotonic() + DEADLINE  # type: ignore[attr-defined] # for what a page asks besides
        thing.value = state = ask_one(datasets[pk], timeout=DEADLINE)
        thing.chosen = request.GET.get("version", "")  # type: ignore[attr-defined] # for the form of a rollback
        return Found(things=[thing], problems=state.problems)

    def thing_context(self, request: HttpRequest, thing: Any) -> dict[str, Any]:
        return page_context(self, request, thing)

    def refreshing_view(self, request: HttpRequest, thing: Any) -> HttpResponse:
        """Show how a request for a refresh is getting on."""
        return dataset_wait.view(self, request, thing)

    def diff_view(self, request: HttpRequest, thing: Any) -> HttpResponse:
        """Show what has changed between two versions."""
        return dataset_diff.view(self, request, thing)

    def rows_view(self, request: HttpRequest, thing: Any) -> HttpResponse:
        """Show rows of a version."""
        return dataset_rows.view(self, request, thing)

    def has_refresh_permission(self, request: HttpRequest) -> bool:
        """Tell whether the visitor may ask for refreshes."""
        return self.permits(request, REFRESH.permission)

    @admin.action(description=REFRESH.label, permissions=["refresh"])
    def refresh_several(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Ask for a refresh of those that were chosen."""
        return refresh_several(self, request, list(queryset))

    # columns ---------------------------------------------------------------------------------------------------------

    @admin.display(description=_("dataset"), ordering="name")
    def name(self, thing: Dataset) -> str:
        """Return the name."""
        return str(thing.pk)

    @admin.display(description=_("state"), ordering="gravity")
    def state(self, thing: Dataset) -> str:
        """Return what is the case."""
        line: Line = thing.value
        holder = None if line.overview is None else line.overview.holder
        return said(line.conditions, by="" if holder is None else f"{holder.host or '?'}/{holder.pid or '?'}")

    @admin.display(description=_("version"), ordering="version", empty_value="-")
    def version(self, thing: Dataset) -> str | None:
        """Return the version that is current."""
        return None if thing.value.version is None else str(thing.value.version)

    @admin.display(description=_("held by"), ordering="behind", empty_value="-")
    def held(self, thing: Dataset) -> str | None:
        """Return how many processes hold it."""
        found: Holders | None = thing.value.holders
        return None if found is None else held_by(found)

    @admin.display(description=_("age"), ordering="age", empty_value="-")
    def age(self, thing: Dataset) -> str | None:
        """Return how long ago the source was read, and the period."""
        line: Line = thing.value
        if line.age is None:
            return None
        if line.period is None:
            return span(line.age)
        return gettext("%(age)s of %(period)s") % {"age": span(line.age), "period": span(line.period)}

    @admin.display(description=_("rows"), ordering="rows", empty_value="-")
    def rows(self, thing: Dataset) -> str | None:
        """Return how many rows it has."""
        return (
            None if thing.value.rows is None else format_html('<span class="number">{}</span>', count(thing.value.rows))
        )

    @admin.display(description=_("stored"), ordering="stored_bytes", empty_value="-")
    def stored(self, thing: Dataset) -> str | None:
        """Return its size in the record store."""
        return None if thing.value.stored_bytes is None else size(thing.value.stored_bytes)

    @admin.display(description=_("next due"), ordering="next_due", empty_value="-")
    def due(self, thing: Dataset) -> str | None:
        """Return when it is loaded again."""
        line: Line = thing.value
        if line.overview is not None and line.overview.due:
            until = line.overview.held_back_until
            return gettext("now") if until is None else gettext("held back until %(when)s") % {"when": moment(until)}
        if line.next_due is None:
            return None
        return gettext("in %(span)s") % {"span": span(max(0.0, line.next_due - time.time()))}

    @admin.display(description=_("last error"), ordering="error", empty_value="-")
    def error(self, thing: Dataset) -> str | None:
        """Return why the last load failed."""
        text: str | None = thing.value.error
        return None if text is None else text if len(text) <= 100 else f"{text[:100]}…"


def held_by(found: Holders) -> str:
    """Say how many processes hold a version."""
    if not found.total:
        return gettext("no process")
    words = ngettext("%(current)d of %(total)d process", "%(current)d of %(total)d processes", found.total)
    return words % {"current": found.current, "total": found.total}
