"""The members of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django_etcdaero.exceptions import ConfigurationError, InvalidRequest
from django_etcdaero.keyvalue.arguments import check_flag, check_text
from django_etcdaero.stores.endpoint import Endpoint, parse_endpoint
from django_etcdaero.system.twins import twins

from .asking import Ask, Question

LIST_MEMBERS: Question = ("MemberList", {"linearizable": True})

_UINT64 = range(1 << 64)


@dataclass(frozen=True, slots=True)
class Member:
    """One server of the cluster."""

    id: int
    name: str
    """Empty: added, and not started yet."""
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool
    """It receives everything and has no vote yet."""


class Cluster:
    """The members of the cluster.

    ``NotFound`` is raised for a member that does not exist; ``FailedPrecondition`` where a change would endanger the
    cluster: a member is missing or not connected, or a change is too soon after the last one.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def _members(self, *, timeout: float | None = None) -> tuple[Member, ...]:
        """Return all members, in the order of their ids."""
        answer = await self._ask(*LIST_MEMBERS, timeout, repeat=True)
        return tuple(sorted((member(found) for found in answer.members), key=lambda found: found.id))

    members, amembers = twins(_members)

    async def _add(self, peer_urls: Sequence[str], *, learner: bool = False, timeout: float | None = None) -> Member:
        """Announce a member, to be started with ``--initial-cluster-state=existing``; return it, with its id.

        Raises ``AlreadyExists`` if a member has one of these peer URLs, ``InvalidRequest`` for what is no URL. A member
        counts for the majority at once, started or not; a ``learner`` does not before it is promoted.
        """
        check_flag("learner", learner)
        fields = {"peerURLs": _urls(peer_urls), "isLearner": learner}
        return member((await self._ask("MemberAdd", fields, timeout, repeat=False)).member)

    add, aadd = twins(_add)

    async def _promote(self, member_id: int, *, timeout: float | None = None) -> None:
        """Give a learner its vote. Raises ``FailedPrecondition`` until it has caught up with the leader."""
        await self._ask("MemberPromote", {"ID": checked_id(member_id)}, timeout, repeat=False)

    promote, apromote = twins(_promote)

    async def _update(self, member_id: int, peer_urls: Sequence[str], *, timeout: float | None = None) -> None:
        """Change the URLs at which the others reach a member."""
        fields = {"ID": checked_id(member_id), "peerURLs": _urls(peer_urls)}
        await self._ask("MemberUpdate", fields, timeout, repeat=False)

    update, aupdate = twins(_update)

    async def _remove(self, member_id: int, *, timeout: float | None = None) -> None:
        """Take a member out of the cluster; its server ends itself, and must not come back with its old data."""
        await self._ask("MemberRemove", {"ID": checked_id(member_id)}, timeout, repeat=False)

    remove, aremove = twins(_remove)


def member(message: Any) -> Member:
    """Return a member that an answer tells of."""
    return Member(message.ID, message.name, tuple(message.peerURLs), tuple(message.clientURLs), message.isLearner)


def advertised(members: Iterable[Any], *, encrypted: bool) -> list[Endpoint]:
    """Return where ``members``, of an answer, say they serve clients over TCP, encrypted or not as it should be."""
    found = []
    for url in (url for each in members for url in each.clientURLs):
        scheme, _, address = url.partition("://")
        if scheme == ("https" if encrypted else "http"):
            with suppress(ConfigurationError):
                found.append(parse_endpoint(address.rstrip("/")))
    return found


def checked_id(member_id: object, *, name: str = "member_id") -> int:
    """Return ``member_id`` if it can be one. Raises ``InvalidRequest``."""
    if not isinstance(member_id, int) or isinstance(member_id, bool) or int(member_id) not in _UINT64:
        raise InvalidRequest(f"{name} must be the number that members() tells, not {member_id!r}")
    return member_id


def _urls(peer_urls: object) -> list[str]:
    if not isinstance(peer_urls, list | tuple) or not peer_urls or not all(isinstance(url, str) for url in peer_urls):
        raise InvalidRequest("peer_urls must be a list of at least one URL")
    return [check_text("peer_urls", url) for url in peer_urls]
