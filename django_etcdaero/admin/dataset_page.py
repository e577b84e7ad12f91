"""The page of a dataset: what the stores tell, who holds what, the kept versions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from django.http import HttpRequest

from django_etcdaero import datasets
from django_etcdaero.datasets.publish.history import Version
from django_etcdaero.inspection.conditions import conditions
from django_etcdaero.inspection.holders import holders
from django_etcdaero.inspection.one_dataset import DatasetState
from django_etcdaero.system.clocks import monotonic

from .dataset_charts import charts
from .dataset_words import said
from .processes import pk_of
from .section import Section

MOST_NAMED = 50
"""Processes that hold another version and are named."""
LEAST = 0.3
"""Seconds that a store may take to answer which was not asked yet when the time of a page is over."""


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """A kept version, and the one that was published before it."""

    version: Version
    previous: int | None
    refused: bool
    """Whether a validator would have, and was overridden."""


def left(thing: Any) -> float:
    """Return how many seconds a page of a dataset may take for what it asks besides the state."""
    return max(LEAST, float(thing.until) - monotonic())


def page_context(page: Section, request: HttpRequest, thing: Any) -> dict[str, Any]:
    """Return what the template shows."""
    state: DatasetState = thing.value
    declared, overview = datasets[state.name], state.overview
    announced = overview.stored.current if overview is not None else state.copy
    version = None if announced is None else announced.version
    held = None if state.processes is None else holders(declared, version, state.processes)
    holder = None if overview is None else overview.holder
    who = "" if holder is None else f"{holder.host or '?'}/{holder.pid or '?'}"
    versions, layout = state.versions or [], declared.layout("")
    period, full = declared.refresh_every, declared.full_load_every
    return {
        "state": state,
        # Not the dataset itself: a template would take what it looks for from its rows, and wait for those.
        "declared": {name: getattr(declared, name) for name in ("origin", "using", "schema", "keep")},
        "keys_under": layout.base,
        "announcement_key": layout.announcement.encode(),
        "overview": overview,
        "announced": announced,
        "now": state.asked,
        "said": said(None if overview is None else conditions(overview, declared), by=who),
        "period": None if period is None else period.total_seconds(),
        "max_stale": None if declared.max_stale is None else declared.max_stale.total_seconds(),
        "full_load": 0.0 if overview is None else overview.stored.full_load,
        "full_load_every": None if full is None or not declared._loads_changes() else full.total_seconds(),
        "tells_changes": any(each.changes or each.drift is not None for each in versions),
        "validators": [getattr(each, "__name__", "") or type(each).__name__ for each in declared.validators],
        "held": held,
        "behind": [] if held is None else [(each, pk_of(each)) for each in held.behind[:MOST_NAMED]],
        "not_named": 0 if held is None else max(0, len(held.behind) - MOST_NAMED),
        "history": _history(versions),
        "charts": charts(versions),
        "may_view_rows": page.permits(request, "view_row"),
        "may_pin": page.permits(request, "pin_dataset"),
        "may_refresh": page.permits(request, "refresh_dataset"),
        "diff_address": page.address_of(thing, "diff"),
        "rows_address": page.address_of(thing, "rows"),
        "rollback_address": page.address_of(thing, "rollback"),
        "refreshing_address": page.address_of(thing, "refreshing"),
    }


def _history(versions: list[Version]) -> list[HistoryLine]:
    return [
        HistoryLine(each, None if before is None else before.version, any(not result.ok for result in each.results))
        for each, before in zip_longest(versions, versions[1:])
    ]
