"""Processes that read datasets."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_etcdaero.datasets.state.presence import merged, processes
from django_etcdaero.inspection.aliases import ask_aliases
from django_etcdaero.management.describe import moment

from ..models import Process
from .inspected import DEADLINE, Found, InspectedAdmin


class ProcessAdmin(InspectedAdmin):
    """Who reads, and what."""

    list_display = ("identity", "started")
    search_fields = ("host", "pid")
    thing_template = "admin/django_etcdaero/process.html"

    def read(self, request: HttpRequest) -> Found:
        answers = ask_aliases(lambda _alias, stores: processes(stores.kv), timeout=DEADLINE)
        found = merged(each for alias in answers.by_alias.values() for each in alias)
        things = []
        for each in found:
            thing = Process(pk=f"{each.host}/{each.pid}/{each.started:.3f}")
            thing.value = each
            things.append(thing)
        return Found(things=things, problems=answers.problems)

    @admin.display(description=_("process"), ordering="host")
    def identity(self, thing: Any) -> str:
        """Return host and pid."""
        return f"{thing.value.host}/{thing.value.pid}"

    @admin.display(description=_("started"), ordering="started")
    def started(self, thing: Any) -> Any:
        """Return when it registered."""
        return moment(thing.value.started)
