"""What sections whose things hang on leases have in common: names under an alias, and the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from django_etcdaero import conf
from django_etcdaero.inspection.aliases import Answers, ask_aliases
from django_etcdaero.inspection.locks import lease_statuses
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.values import LeaseStatus

from .deadline import DEADLINE
from .inspected import InspectedAdmin

T = TypeVar("T")

LONGEST = 8.0
"""Seconds that going through the keys of an alias may take: some 30 microseconds a key on a busy machine."""


def place_of(pk: str) -> tuple[str, str]:
    """Return alias and name of the primary key of a thing."""
    alias, _, name = pk.partition(":")
    return alias, name


def ask_alias(alias: str, read: Callable[[KV], T], *, timeout: float = DEADLINE) -> Answers[T]:
    """Ask one alias, for ``timeout`` seconds at most; nothing is asked if there is none of this name."""
    return ask_aliases(lambda _, stores: read(stores.kv), timeout=timeout, aliases={alias} & set(conf.aliases()))


def ask_all(read: Callable[[KV], T]) -> Answers[T]:
    """Ask all aliases something that goes through all their keys.

    Those that answer at all, which takes :data:`.deadline.DEADLINE` at most, have :data:`LONGEST` for it.
    """
    there = ask_aliases(lambda _, stores: stores.kv.range("", prefix=True, count_only=True).count, timeout=DEADLINE)
    answers = ask_aliases(lambda _, stores: read(stores.kv), timeout=LONGEST, aliases=there.by_alias)
    return Answers(answers.by_alias, [*there.problems, *answers.problems])


def kv_of(alias: str) -> KV:
    """Return the client of an alias. Raises ``ConfigurationError``."""
    from django_etcdaero.connections import kvs

    return kvs[alias]


def time_left(status: LeaseStatus | None) -> str:
    """Say how many seconds are left of how many."""
    if status is None:
        return ""
    if status.ttl < 0:
        return gettext("over")
    return gettext("%(left)d of %(granted)d s") % {"left": status.ttl, "granted": status.granted_ttl}


class LeasedAdmin(InspectedAdmin):
    """A section whose list tells how much time is left, asked only for those that are shown."""

    def lease_of(self, thing: Any) -> int:
        """Return the lease of a thing."""
        raise NotImplementedError

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            changes = response.context_data.get("cl")
            if changes is not None:
                response.context_data["problems"] += self._ask_time_left(list(changes.result_list))
        return response

    def _ask_time_left(self, things: Iterable[Any]) -> list[Any]:
        leases: dict[str, list[int]] = {}
        for thing in things:
            leases.setdefault(place_of(thing.pk)[0], []).append(self.lease_of(thing))
        answers = ask_aliases(
            lambda alias, stores: lease_statuses(stores.kv, leases[alias]), timeout=DEADLINE, aliases=leases
        )
        for thing in things:
            thing.statuses = answers.by_alias.get(place_of(thing.pk)[0], {})
        return answers.problems
