"""The page that shows how a request for a refresh is getting on."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero import datasets
from django_etcdaero.datasets.state.schedule import Asked
from django_etcdaero.inspection.holders import holders
from django_etcdaero.inspection.one_dataset import DatasetState
from django_etcdaero.inspection.refresh_wait import look

from .dataset_page import left
from .section import Section

_ID = re.compile(r"[0-9a-f]{1,32}")


def view(page: Section, request: HttpRequest, thing: Any) -> HttpResponse:
    """Return the page; ``id``, ``revision`` and ``at`` in the address say which request it is about, from when."""
    state: DatasetState = thing.value
    declared = datasets[state.name]
    asked = _asked(request)
    mistakes = []
    if asked is None and ("id" in request.GET or "revision" in request.GET):
        mistakes.append(gettext("The address names no request: “id” and “revision” are not those of one."))
    wait = look(declared, asked, timeout=left(thing))
    at = _asked_at(request) if wait.request is None else wait.request.at
    failure = wait.failure if wait.failure is not None and (at is None or wait.failure.at >= at - 1) else None
    version = None if wait.answer is None else wait.answer.version
    held = None if state.processes is None else holders(declared, version, state.processes)
    following = held is not None and version is not None and held.current < held.total and not _pinned(state)
    answer: HttpResponse = page.show(
        request,
        "admin/django_etcdaero/dataset_refreshing.html",
        title=_("Refresh"),
        thing=thing,
        wait=wait,
        asked=asked,
        mistakes=mistakes,
        asked_at=at,
        failure=failure,
        held=held,
        pinned=_pinned(state),
        over=wait.over and not following,
        problems=[*state.problems, *(each for each in wait.problems if each not in state.problems)],
        now=state.asked,
        may_refresh=page.permits(request, "refresh_dataset"),
        refresh_address=page.address_of(thing, "refresh"),
    )
    return answer


def _pinned(state: DatasetState) -> bool:
    return state.overview is not None and state.overview.stored.pin is not None


def _asked(request: HttpRequest) -> Asked | None:
    id_, revision = request.GET.get("id", ""), request.GET.get("revision", "")
    if not _ID.fullmatch(id_) or not revision.isdecimal() or len(revision) > 18:
        return None
    return Asked(id_, int(revision))


def _asked_at(request: HttpRequest) -> float | None:
    at = request.GET.get("at", "")
    return float(at) if at.isascii() and at.isdecimal() and len(at) < 12 else None
