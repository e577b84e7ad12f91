"""What sections whose things hang on leases have in common: names under an alias, and the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from django_etcdaero import conf
from django_etcdaero.inspection.aliases import Answers, ask_aliases
from django_etcdaero.inspection.leased_keys import Looked
from django_etcdaero.inspection.locks import lease_statuses
from django_etcdaero.inspection.problem import left_out
from django_etcdaero.inspection.together import within
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.values import LeaseStatus

from .deadline import DEADLINE
from .inspected import InspectedAdmin

T = TypeVar("T")


def place_of(pk: str) -> tuple[str, str]:
    """Return alias and name of the primary key of a thing."""
    alias, _, name = pk.partition(":")
    return alias, name


def ask_alias(alias: str, read: Callable[[KV], T], *, timeout: float = DEADLINE) -> Answers[T]:
    """Ask one alias, for ``timeout`` seconds at most; nothing is asked if there is none of this name."""
    return ask_aliases(lambda _, stores: read(stores.kv), timeout=timeout, aliases={alias} & set(conf.aliases()))


def ask_all(read: Callable[..., Looked[T]]) -> Answers[list[T]]:
    """Ask all aliases something that goes through all their keys; what there was no time for is a problem."""
    seconds = within(within(DEADLINE))  # so that no call has to be cut off
    answers = ask_aliases(lambda _, stores: read(stores.kv, seconds=seconds), timeout=DEADLINE)
    skipped = [left_out(each.left_out, alias=alias) for alias, each in answers.by_alias.items() if each.left_out]
    return Answers({alias: each.found for alias, each in answers.by_alias.items()}, [*answers.problems, *skipped])


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
