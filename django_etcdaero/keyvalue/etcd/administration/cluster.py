"""Members of an etcd cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.administration import Cluster, Member
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.system.twins import twins

from .member_calls import Ask

LIST_MEMBERS = rpc.MemberListRequest(linearizable=True)

_UINT64 = range(1 << 64)


class EtcdCluster(Cluster):
    """The service ``Cluster``. Whatever member is asked, the cluster agrees on the answer."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def _members(self, *, timeout: float | None = None) -> tuple[Member, ...]:
        answer = await self._ask("MemberList", LIST_MEMBERS, timeout, repeat=True)
        return tuple(sorted((member(found) for found in answer.members), key=lambda found: found.id))

    members, amembers = twins(_members)

    async def _add(self, peer_urls: Sequence[str], *, learner: bool = False, timeout: float | None = None) -> Member:
        message = rpc.MemberAddRequest(peerURLs=_urls(peer_urls), isLearner=learner)
        return member((await self._ask("MemberAdd", message, timeout, repeat=False)).member)

    add, aadd = twins(_add)

    async def _promote(self, member_id: int, *, timeout: float | None = None) -> None:
        await self._ask("MemberPromote", rpc.MemberPromoteRequest(ID=checked_id(member_id)), timeout, repeat=False)

    promote, apromote = twins(_promote)

    async def _update(self, member_id: int, peer_urls: Sequence[str], *, timeout: float | None = None) -> None:
        message = rpc.MemberUpdateRequest(ID=checked_id(member_id), peerURLs=_urls(peer_urls))
        await self._ask("MemberUpdate", message, timeout, repeat=False)

    update, aupdate = twins(_update)

    async def _remove(self, member_id: int, *, timeout: float | None = None) -> None:
        await self._ask("MemberRemove", rpc.MemberRemoveRequest(ID=checked_id(member_id)), timeout, repeat=False)

    remove, aremove = twins(_remove)


def member(message: Any) -> Member:
    """Return a member that an answer tells of."""
    return Member(message.ID, message.name, tuple(message.peerURLs), tuple(message.clientURLs), message.isLearner)


def checked_id(member_id: object) -> int:
    """Return ``member_id`` if it can be one. Raises ``InvalidRequest``."""
    if not isinstance(member_id, int) or member_id not in _UINT64:
        raise InvalidRequest(f"member_id must be the number that members() tells, not {member_id!r}")
    return member_id


def _urls(peer_urls: object) -> list[str]:
    if not isinstance(peer_urls, list | tuple) or not peer_urls or not all(isinstance(url, str) for url in peer_urls):
        raise InvalidRequest("peer_urls must be a list of at least one URL")
    return list(peer_urls)
