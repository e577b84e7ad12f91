"""What can be done to a dataset: asking for a refresh, holding readers on a version, letting go.

A web process never loads a source: whoever refreshes is asked to.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero import datasets
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.publish.history import Version, pin, rollback, unpin
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.inspection.localized import count, moment, size
from django_etcdaero.runtime import runtime

from ..models import Dataset
from .acts import Act, ConfirmForm, ReasonForm
from .section import Section


def address_of_wait(section: Section, thing: Any) -> str:
    """Return the address of the page that shows how the last request of this visitor is getting on."""
    address = section.address_of(thing, "refreshing")
    asked = getattr(thing, "asked", None)
    if asked is None:
        return address
    return f"{address}?{urlencode({'id': asked.id, 'revision': asked.revision, 'at': int(time.time())})}"


def ask_for_refresh(thing: Dataset, data: Mapping[str, Any]) -> str:
    """Ask whoever refreshes; return what was done, in words. Raises ``EtcdAeroError``."""
    thing.asked = getattr(datasets[str(thing.pk)].request_refresh(), "asked", None)  # type: ignore[attr-defined]
    return gettext("A refresh was asked for: %(reason)s") % data


class SeenForm(ReasonForm):
    """Keeps which pin the visitor has seen: another one, of which they do not know, is not undone."""

    seen = forms.IntegerField(label=_("Seen"), min_value=0, required=False, widget=forms.HiddenInput)


def _seen(thing: Any) -> dict[str, Any]:
    overview = thing.value.overview
    return {"seen": None if overview is None else overview.stored.pin_revision}


def _stores(thing: Dataset) -> tuple[Declared[Any, Any], Stores]:
    declared = datasets[str(thing.pk)]
    return declared, runtime.stores(declared.using)


def _pin(request: HttpRequest, thing: Dataset, data: Mapping[str, Any]) -> str:
    version = pin(*_stores(thing), None, reason=data["reason"], by=request.user.get_username(), seen=data["seen"])
    return gettext("Pinned to version %(version)d: %(reason)s") % {"version": version, "reason": data["reason"]}


def _unpin(request: HttpRequest, thing: Dataset, data: Mapping[str, Any]) -> str:
    if unpin(*_stores(thing), seen=data["seen"]):
        return gettext("Unpinned, and a refresh was asked for: %(reason)s") % data
    return gettext("It was not pinned any more: %(reason)s") % data


def _roll_back(request: HttpRequest, thing: Dataset, data: Mapping[str, Any]) -> str:
    version = int(data["version"])
    by = request.user.get_username()
    rollback(*_stores(thing), version, reason=data["reason"], by=by, seen=data["seen"])
    return gettext("Rolled back to version %(version)d, and pinned there: %(reason)s") % {
        "version": version,
        "reason": data["reason"],
    }


def _others(thing: Any) -> list[Version]:
    return [each for each in thing.value.versions or () if not each.current]


def _rollback_form(thing: Any) -> type[ConfirmForm]:
    choices = [(str(each.version), _version_in_words(each)) for each in _others(thing)]
    if thing.chosen and all(thing.chosen != number for number, _words in choices):
        choices.append(
            (thing.chosen, gettext("version %(version)s, which is not kept any more") % {"version": thing.chosen})
        )
    field = forms.CharField(label=_("Version"), widget=forms.Select(choices=choices))

    def clean_version(form: ConfirmForm) -> str:
        # Whether it is still kept says the store: it may have been dropped since the form was shown.
        typed: str = form.cleaned_data["version"]
        if not typed.isdecimal() or len(typed) > 12:
            raise forms.ValidationError(gettext("This is no version."))
        return typed

    members = {"version": field, "clean_version": clean_version, "field_order": ["version", "reason"]}
    return type("RollbackForm", (SeenForm,), members)


def _version_in_words(each: Version) -> str:
    return gettext("version %(version)d: %(rows)s rows, %(size)s, published %(when)s") % {
        "version": each.version,
        "rows": count(each.rows),
        "size": size(each.stored_bytes),
        "when": moment(each.published_at),
    }


def _pinned(thing: Any) -> bool:
    overview = thing.value.overview
    return overview is not None and overview.stored.pin is not None


REFRESH = Act(
    name="refresh",
    label=_("Refresh now"),
    permission="refresh_dataset",
    question=lambda thing: (
        gettext("Whoever refreshes the dataset “%s” is asked for a new load, whether it is due or not.") % thing
    ),
    form=lambda thing: ReasonForm,
    perform=lambda request, thing, data: ask_for_refresh(thing, data),
    goes_to=address_of_wait,
)
PIN = Act(
    name="pin",
    label=_("Pin"),
    permission="pin_dataset",
    question=lambda thing: (
        gettext(
            "All processes stay on the version of “%s” that they are to hold now. Refreshes go to the history only, "
            "until it is unpinned."
        )
        % thing
    ),
    form=lambda thing: SeenForm,
    initial=_seen,
    perform=_pin,
    offered=lambda thing: (
        not _pinned(thing) and not (thing.value.overview is not None and thing.value.overview.stored.current is None)
    ),
)
UNPIN = Act(
    name="unpin",
    label=_("Unpin"),
    permission="pin_dataset",
    question=lambda thing: (
        gettext("Processes follow the versions of “%s” that are published from now on, and a new load is asked for.")
        % thing
    ),
    form=lambda thing: SeenForm,
    initial=_seen,
    perform=_unpin,
    offered=_pinned,
)
ROLL_BACK = Act(
    name="rollback",
    label=_("Roll back"),
    permission="pin_dataset",
    question=lambda thing: (
        gettext(
            "All processes go back to a version of “%s” that was kept, and stay there until it is unpinned. Its rows "
            "are read and checked first."
        )
        % thing
    ),
    form=_rollback_form,
    initial=lambda thing: {"version": thing.chosen, **_seen(thing)},
    perform=_roll_back,
    offered=lambda thing: bool(_others(thing)),
    danger=True,
)
