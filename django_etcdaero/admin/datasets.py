"""Datasets: their state, and asking for a refresh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero import datasets
from django_etcdaero.inspection.cluster_status import ask

from ..models import Dataset
from .acts import Act, ReasonForm
from .inspected import DEADLINE, Found, InspectedAdmin


def _ask_for_refresh(request: HttpRequest, thing: Dataset, data: Mapping[str, Any]) -> str:
    datasets[thing.pk].request_refresh()
    return gettext("A refresh was asked for: %(reason)s") % data


class DatasetAdmin(InspectedAdmin):
    """The datasets that the project declares."""

    list_display = ("name", "version")
    search_fields = ("pk",)
    acts = (
        Act(
            name="refresh",
            label=_("Refresh now"),
            permission="refresh_dataset",
            question=lambda thing: gettext("Whoever refreshes the dataset “%s” is asked for a new load.") % thing,
            form=lambda thing: ReasonForm,
            perform=_ask_for_refresh,
        ),
    )

    def read(self, request: HttpRequest) -> Found:
        status = ask(DEADLINE)
        known = {each.name: each for each in status.overviews}
        things = []
        for name in sorted(datasets):
            thing = Dataset(pk=name)
            thing.value = known.get(name)
            things.append(thing)
        return Found(things=things, problems=status.problems)

    @admin.display(description=_("dataset"), ordering="name")
    def name(self, thing: Dataset) -> str:
        """Return the name."""
        return str(thing.pk)

    @admin.display(description=_("version"), ordering="version", empty_value="-")
    def version(self, thing: Dataset) -> int | None:
        """Return the version that is current."""
        return None if thing.value is None else thing.value.version
