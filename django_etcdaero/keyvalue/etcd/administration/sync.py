"""Keeping the endpoints of an engine those of the cluster's members.

Now and then the thread ``etcdaero-members`` asks for the members and then each endpoint, known or new, which member of
which cluster it is. Addresses alone would not do: a member may be known by another name than it advertises, advertise
an address that is of no use from here, or have given its address to a server of another cluster.

* An endpoint at which a member with a vote answers is kept, or added if the member advertises it.
* An endpoint that answers as somebody else (a learner, a stranger) is dropped.
* An endpoint that does not answer stays if it was known, unless the member last seen there has been removed.
* If no endpoint answers, nothing changes; so the list never ends empty.

The cluster is the one that most of the known endpoints belong to. If that cannot be told, nothing changes.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from django_etcdaero.exceptions import Cancelled, EtcdAeroError, ResponseError
from django_etcdaero.keyvalue.administration.asking import Answer, Ask
from django_etcdaero.keyvalue.administration.cluster import LIST_MEMBERS, advertised
from django_etcdaero.keyvalue.administration.maintenance import STATUS
from django_etcdaero.keyvalue.etcd.connection.balancer import Balancer
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Flag
from django_etcdaero.system.steps import drive
from django_etcdaero.system.threads import Background

from .member_calls import MemberCalls

_log = logging.getLogger("django_etcdaero.kv")

_JOIN_TIMEOUT = 5.0


class _Identity(NamedTuple):
    """Who answers at an endpoint."""

    cluster_id: int
    member_id: int


class MemberSync:
    """Owner of the thread ``etcdaero-members``, which runs from :meth:`start` until :meth:`stop`."""

    def __init__(
        self, ask: Ask, member_calls: MemberCalls, balancer: Balancer, *, every: float, timeout: float, encrypted: bool
    ) -> None:
        """``every`` and ``timeout`` are in seconds; ``encrypted``: use https client URLs, else http ones."""
        self._ask = ask
        self._member_calls = member_calls
        self._balancer = balancer
        self._every = every
        self._timeout = timeout
        self._encrypted = encrypted
        self._identities: dict[Endpoint, int] = {}
        """The member last seen at an endpoint."""
        self._failing = False
        self._stopping = Flag()
        self._lock = threading.Lock()
        self._thread = Background(self._run, name="etcdaero-members")

    def start(self) -> None:
        """Start the thread, if it does not run yet; the first look at the members is at once."""
        with self._lock:
            if not self._stopping.is_set():
                self._thread.start()

    def stop(self) -> None:
        """End and join the thread. The gate must be shut and the channels closed before, so that it does not wait."""
        self._stopping.set()
        with self._lock:  # nobody is about to start it
            pass
        self._thread.join(_JOIN_TIMEOUT)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                drive(self._look())
                self._failing = False
            except Cancelled:
                return
            except EtcdAeroError as error:
                level = logging.DEBUG if self._failing else logging.WARNING
                self._failing = True
                _log.log(level, "the endpoints stay as they are, the members cannot be listed: %s", error)
            except Exception:
                _log.exception("the endpoints stay as they are")
            self._stopping.wait(self._every * random.uniform(0.9, 1.1))

    async def _look(self) -> None:
        listing = await self._ask(*LIST_MEMBERS, self._timeout, repeat=True)
        known = self._balancer.endpoints
        members = [member for member in listing.members if not member.isLearner]
        voters = {member.ID for member in members}
        candidates = list(dict.fromkeys([*known, *advertised(members, encrypted=self._encrypted)]))
        answers = await self._member_calls.ask_all(candidates, [STATUS], deadline=monotonic() + self._timeout)
        seen = {endpoint: found for endpoint in candidates if (found := _identity(answers[endpoint][0]))}
        cluster_ids = [seen[endpoint].cluster_id for endpoint in known if endpoint in seen]
        if not cluster_ids:
            return
        cluster_id = _prevailing(cluster_ids)
        if cluster_id == listing.header.cluster_id:
            kept = [endpoint for endpoint in candidates if self._belongs(endpoint, seen, known, cluster_id, voters)]
        else:  # it was a stranger who told of its members
            kept = [endpoint for endpoint in known if endpoint not in seen or seen[endpoint].cluster_id == cluster_id]
        for endpoint in candidates:
            if endpoint not in kept and endpoint not in known:
                self._balancer.forget(endpoint)
        if any(endpoint in seen for endpoint in kept):
            self._identities |= {endpoint: found.member_id for endpoint, found in seen.items()}
            self._change(known, kept)

    def _belongs(
        self,
        endpoint: Endpoint,
        seen: Mapping[Endpoint, _Identity],
        known: Collection[Endpoint],
        cluster_id: int,
        voters: Collection[int],
    ) -> bool:
        found = seen.get(endpoint)
        if found is not None:
            return found.cluster_id == cluster_id and found.member_id in voters
        return endpoint in known and self._identities.get(endpoint) in {None, *voters}

    def _change(self, known: tuple[Endpoint, ...], kept: list[Endpoint]) -> None:
        if set(kept) != set(known):
            _log.info(
                "the endpoints are now %s, as the members of the cluster are; they were %s",
                ", ".join(map(str, kept)),
                ", ".join(map(str, known)),
            )
        self._identities = {endpoint: member for endpoint, member in self._identities.items() if endpoint in kept}
        self._balancer.replace(kept)


def _identity(answer: Answer) -> _Identity | None:
    if answer.error is not None:
        return None
    header: Any = answer.value.header
    return _Identity(header.cluster_id, header.member_id)


def _prevailing(cluster_ids: Collection[int]) -> int:
    """Return the id of the cluster that most endpoints belong to. Raises ``ResponseError`` if there are two such."""
    ranking = Counter(cluster_ids).most_common(2)
    if len(ranking) > 1 and ranking[0][1] == ranking[1][1]:
        raise ResponseError("it cannot be told which cluster the endpoints belong to")
    return ranking[0][0]
