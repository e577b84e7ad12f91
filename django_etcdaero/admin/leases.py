"""Leases of the KV store: what hangs on each, and revoking one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_etcdaero.inspection.key_text import key_text
from django_etcdaero.inspection.leases import Lease as FoundLease
from django_etcdaero.inspection.leases import LeasedKeys, all_leases, lease, revoke

from ..models import Lease
from .acts import Act, ConfirmForm, ReasonForm
from .inspected import Found
from .leased import LeasedAdmin, ask_alias, ask_all, kv_of, place_of, time_left

MOST_KEYS = 1000
"""Keys that the page of a lease shows."""


class _RevokeForm(ReasonForm):
    keys = forms.IntegerField(label=_("Keys"), widget=forms.HiddenInput)


def _form(thing: Lease) -> type[ConfirmForm]:
    return _RevokeForm


def _question(thing: Lease) -> str:
    count = len(thing.value.keys)
    text = ngettext(
        "Lease %(lease)s ends, and the %(count)d key on it is deleted: %(key)s.",
        "Lease %(lease)s ends, and the %(count)d keys on it are deleted, the first of them %(key)s.",
        count,
    )
    return text % {"lease": thing.label, "count": count, "key": key_text(thing.value.keys[0])}


def _revoke(request: HttpRequest, thing: Lease, data: Mapping[str, Any]) -> str:
    revoked = revoke(kv_of(place_of(thing.pk)[0]), thing.value.id, keys=data["keys"])
    said = {"lease": thing.label, "count": len(revoked.keys), "reason": data["reason"]}
    words = ngettext(
        "Lease %(lease)s was revoked, with %(count)d key: %(reason)s",
        "Lease %(lease)s was revoked, with %(count)d keys: %(reason)s",
        len(revoked.keys),
    )
    return words % said


class LeaseAdmin(LeasedAdmin):
    """The leases that keys under the prefixes are on."""

    list_display = ("name", "alias", "count", "first", "left")
    search_fields = ("label", "all_keys")
    thing_template = "admin/django_etcdaero/lease.html"
    acts = (
        Act(
            name="revoke",
            label=_("Revoke"),
            permission="revoke_lease",
            question=_question,
            form=_form,
            initial=lambda thing: {"keys": len(thing.value.keys)},
            perform=_revoke,
            offered=lambda thing: not thing.value.others,
            danger=True,
            goes_to=lambda section, thing: section.address(),
        ),
    )

    def read(self, request: HttpRequest) -> Found:
        answers = ask_all(all_leases)
        things = [_thing(alias, each) for alias, found in answers.by_alias.items() for each in found]
        return Found(things=things, problems=answers.problems)

    def read_one(self, request: HttpRequest, pk: str) -> Found:
        alias, name = place_of(pk)
        try:
            number = int(name, 16)
        except ValueError:
            return Found(things=[])
        if not 0 < number < 2**63:
            return Found(things=[])
        answers = ask_alias(alias, lambda kv: lease(kv, number))
        things = [_thing(alias, each) for each in answers.by_alias.values() if each is not None]
        return Found(things=things, problems=answers.problems)

    def thing_context(self, request: HttpRequest, thing: Any) -> dict[str, Any]:
        keys = thing.value.keys
        return {
            "alias": place_of(thing.pk)[0],
            "keys": keys[:MOST_KEYS],
            "count": len(keys),
            "more": max(0, len(keys) - MOST_KEYS),
        }

    def lease_of(self, thing: Any) -> int:
        number: int = thing.value.id
        return number

    @admin.display(description=_("lease"), ordering="label")
    def name(self, thing: Lease) -> str:
        """Return the id, in hexadecimal digits."""
        return format_html("<code>{}</code>", thing.label)

    @admin.display(description=_("alias"), ordering="pk")
    def alias(self, thing: Lease) -> str:
        """Return the alias that its keys are under."""
        return place_of(thing.pk)[0]

    @admin.display(description=_("keys"), ordering="key_count")
    def count(self, thing: Lease) -> int:
        """Return how many keys of the alias are on it."""
        return len(thing.value.keys)

    @admin.display(description=_("first key"), ordering="all_keys")
    def first(self, thing: Lease) -> str:
        """Return one of its keys."""
        return key_text(thing.value.keys[0])

    @admin.display(description=_("time left"))
    def left(self, thing: Any) -> str:
        """Return how much time it has."""
        return time_left(thing.statuses.get(thing.value.id))


def _thing(alias: str, value: LeasedKeys | FoundLease) -> Any:
    thing: Any = Lease(pk=f"{alias}:{value.id:x}")
    thing.value, thing.label, thing.statuses = value, f"{value.id:x}", {}
    thing.all_keys = "\n".join(map(key_text, value.keys))
    thing.key_count = len(value.keys)
    return thing
