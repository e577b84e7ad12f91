"""Locks and elections: who holds each, who waits, and taking one away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.inspection.key_text import key_bytes, key_text
from django_etcdaero.inspection.localized import moment
from django_etcdaero.inspection.locks import (
    Contended,
    Kind,
    all_contended,
    contended,
    lease_statuses,
    release,
    remove_waiter,
)
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.queue.holder import Holder
from django_etcdaero.keyvalue.values import LeaseStatus

from ..models import Lock
from .acts import Act, ConfirmForm, ReasonForm, name_form
from .inspected import Found
from .leased import LeasedAdmin, ask_alias, ask_all, kv_of, place_of, time_left

KINDS = {
    Kind.LOCK: _("lock"),
    Kind.SEMAPHORE: _("semaphore"),
    Kind.RWLOCK: _("read/write lock"),
    Kind.ELECTION: _("election"),
}
ROLES = {"read": _("reads"), "write": _("writes")}


def who(holder: Holder) -> str:
    """Return host and process of a contender."""
    return f"{holder.host}/{holder.pid}" if holder.host and holder.pid else gettext("another client")


def _name(thing: Lock) -> bytes:
    return key_bytes(place_of(thing.pk)[1])


def _release_form(thing: Lock) -> type[ConfirmForm]:
    holding = [(each.token, f"{who(each)} ({gettext('token')} {each.token})") for each in thing.value.holders]

    class TokenForm(ReasonForm):
        token = forms.IntegerField(label=_("Token"), widget=forms.HiddenInput)

    class HolderForm(ReasonForm):
        token = forms.TypedChoiceField(label=_("Who holds it"), choices=holding, coerce=int)
        field_order = ("token", "reason")

    return name_form(thing.label, base=TokenForm if thing.value.held == 1 else HolderForm)


def _release(request: HttpRequest, thing: Lock, data: Mapping[str, Any]) -> str:
    removed = release(kv_of(place_of(thing.pk)[0]), _name(thing), token=data["token"])
    said = {"name": thing.label, "who": who(removed), "token": removed.token, "reason": data["reason"]}
    return gettext("“%(name)s” was taken from %(who)s (token %(token)d): %(reason)s") % said


def _waiter_form(thing: Lock) -> type[ConfirmForm]:
    waiting = [
        (each.token, f"{place}. {who(each)} ({gettext('token')} {each.token})")
        for place, each in enumerate(thing.value.waiters, start=1)
    ]

    class WaiterForm(ReasonForm):
        waiter = forms.TypedChoiceField(label=_("Who waits"), choices=waiting, coerce=int)
        field_order = ("waiter", "reason")

    return WaiterForm


def _remove_waiter(request: HttpRequest, thing: Lock, data: Mapping[str, Any]) -> str:
    removed = remove_waiter(kv_of(place_of(thing.pk)[0]), _name(thing), token=data["waiter"])
    said = {"name": thing.label, "who": who(removed), "token": removed.token, "reason": data["reason"]}
    return gettext("%(who)s (token %(token)d) was taken out of the queue for “%(name)s”: %(reason)s") % said


def _release_question(thing: Lock) -> str:
    if thing.value.held > 1:
        return gettext(
            "“%(name)s” is taken from one of its %(holders)d holders. The one it is taken from may go on working until"
            " it notices. If it does not hold it any more by then, nothing is done."
        ) % {"name": thing.label, "holders": thing.value.held}
    return ngettext(
        "“%(name)s” is taken from %(who)s, which has the token %(token)d, and given to the next in the queue"
        " (%(waiting)d waits). The one it is taken from may go on working until it notices. If another one has it by"
        " then, nothing is done.",
        "“%(name)s” is taken from %(who)s, which has the token %(token)d, and given to the next in the queue"
        " (%(waiting)d wait). The one it is taken from may go on working until it notices. If another one has it by"
        " then, nothing is done.",
        len(thing.value.waiters),
    ) % {
        "name": thing.label,
        "who": who(thing.value.holder),
        "token": thing.value.holder.token,
        "waiting": len(thing.value.waiters),
    }


class LockAdmin(LeasedAdmin):
    """Locks and elections that somebody holds."""

    class Media:
        css = {"all": ["django_etcdaero/admin.css", "django_etcdaero/locks.css"]}

    list_display = ("name", "alias", "kind", "holder", "since", "waiting", "token", "left")
    search_fields = ("label", "holders")
    thing_template = "admin/django_etcdaero/lock.html"
    acts = (
        Act(
            name="release",
            label=_("Release"),
            permission="release_lock",
            question=_release_question,
            form=_release_form,
            initial=lambda thing: {"token": thing.value.holder.token},
            perform=_release,
            danger=True,
            goes_to=lambda section, thing: section.address(),
        ),
        Act(
            name="remove",
            label=_("Remove from the queue"),
            permission="release_lock",
            question=lambda thing: gettext("Its wait for “%s” ends with an error; those behind it move up.") % thing,
            form=_waiter_form,
            perform=_remove_waiter,
            offered=lambda thing: bool(thing.value.waiters),
            danger=True,
        ),
    )

    def read(self, request: HttpRequest) -> Found:
        answers = ask_all(all_contended)
        things = [_thing(alias, each) for alias, found in answers.by_alias.items() for each in found]
        return Found(things=things, problems=answers.problems)

    def read_one(self, request: HttpRequest, pk: str) -> Found:
        alias, text = place_of(pk)
        try:
            name = key_bytes(text)
        except InvalidRequest:
            return Found(things=[])

        def read(kv: KV) -> tuple[Contended | None, dict[int, LeaseStatus]]:
            found = contended(kv, name)
            return found, {} if found is None else lease_statuses(kv, (each.lease for each in found.queue))

        things = []
        answers = ask_alias(alias, read)
        for found, statuses in answers.by_alias.values():
            if found is not None:
                things.append(_thing(alias, found))
                things[0].statuses = statuses
        return Found(things=things, problems=answers.problems)

    def thing_context(self, request: HttpRequest, thing: Any) -> dict[str, Any]:
        queue = [
            {
                "place": max(0, place - thing.value.held),  # 0: holds it
                "who": who(each),
                "role": ROLES.get(each.role, ""),
                "holder": each,
                "left": time_left(thing.statuses.get(each.lease)),
            }
            for place, each in enumerate(thing.value.queue, start=1)
        ]
        return {
            "alias": place_of(thing.pk)[0],
            "kind": KINDS[thing.value.kind],
            "queue": queue,
            "holder": queue[0],
            "holders": queue[: thing.value.held],
            "told": any(each.identity for each in thing.value.queue),
        }

    def lease_of(self, thing: Any) -> int:
        lease: int = thing.value.holder.lease
        return lease

    @admin.display(description=_("name"), ordering="label")
    def name(self, thing: Lock) -> str:
        """Return the name."""
        return thing.label

    @admin.display(description=_("alias"), ordering="pk")
    def alias(self, thing: Lock) -> str:
        """Return the alias under which it is."""
        return place_of(thing.pk)[0]

    @admin.display(description=_("kind"), ordering="kind_name")
    def kind(self, thing: Lock) -> Any:
        """Return what is contended for."""
        return KINDS[thing.value.kind]

    @admin.display(description=_("holder"), ordering="holders")
    def holder(self, thing: Lock) -> str:
        """Return who holds it, and whether one of them is dead."""
        told = who(thing.value.holder)
        dead = sum(bool(each.dead) for each in thing.value.holders)
        if thing.value.held > 1:
            told = gettext("%(who)s and %(more)d more") % {"who": told, "more": thing.value.held - 1}
        if not dead:
            return told
        word = gettext("dead") if thing.value.held == 1 else gettext("%(dead)d dead") % {"dead": dead}
        return format_html('{} <span class="bad">{}</span>', told, word)

    @admin.display(description=_("since"), ordering="since_then", empty_value="-")
    def since(self, thing: Lock) -> str | None:
        """Return since when."""
        then = thing.value.holder.since
        return None if then is None else moment(then.timestamp())

    @admin.display(description=_("waiting"), ordering="waiting_count")
    def waiting(self, thing: Lock) -> int:
        """Return how many wait."""
        return len(thing.value.waiters)

    @admin.display(description=_("token"), ordering="token_number")
    def token(self, thing: Lock) -> str:
        """Return the fencing token, as commands take it: a number would be written in the way of the language."""
        return str(thing.value.holder.token)

    @admin.display(description=_("time left"))
    def left(self, thing: Any) -> str:
        """Return how much time the lease of the holder has."""
        return time_left(thing.statuses.get(self.lease_of(thing)))


def _thing(alias: str, value: Contended) -> Any:
    label = key_text(value.name)
    thing: Any = Lock(pk=f"{alias}:{label}")
    thing.value, thing.label, thing.statuses = value, label, {}
    thing.holders = " ".join(who(each) for each in value.queue)
    thing.kind_name = value.kind.value
    thing.since_then = None if value.holder.since is None else value.holder.since.timestamp()
    thing.waiting_count, thing.token_number = len(value.waiters), value.holder.token
    return thing
