"""Telling other processes what this one holds, under one alias: when, and how often at most.

Whatever changes is told a little later, at random, because at that moment all processes load what was announced; and
where changes go on, no more often than every few seconds, so that many announcements cost the coordination store no
more than few.
"""

from __future__ import annotations

import logging
import math
import random
from collections import deque
from collections.abc import Collection

from django_etcdaero.datasets.host import Host
from django_etcdaero.datasets.state.presence import Presence
from django_etcdaero.datasets.state.status import same_reason
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.error_text import text_of

from .announced import AnnouncementView
from .follower import Follower

logger = logging.getLogger("django_etcdaero.datasets")

REGISTER_WITHIN = 0.5
"""Longest time in seconds until a process tells that it holds another version, if it told little lately."""
REGISTER_EVERY = 5.0
"""Seconds between two times at which it tells something, on average over ..."""
AT_ONCE = 3
"""... so many times."""


class Registering:
    """The registration under the alias of ``view``; used by one thread at a time, :meth:`changed` by any.

    ``ttl``: seconds after which a dead process's registration vanishes; ``started``: when this one did, seconds since
    the epoch; ``poll_interval``: seconds after which it is looked whether the registration still stands.
    """

    def __init__(self, view: AnnouncementView, host: Host, *, ttl: int, started: float, poll_interval: float) -> None:
        self.next_at = math.inf
        """When something is to be told, on the monotonic clock."""
        self._view = view
        self._host = host
        self._ttl = ttl
        self._started = started
        self._poll_interval = poll_interval
        self._told_at: deque[float] = deque(maxlen=AT_ONCE)
        self._presence: tuple[KV, Presence] | None = None
        self._failure: str | None = None
        """Why this process is not registered, as it was told."""

    def changed(self) -> None:
        """Tell soon what is held."""
        now = monotonic()
        soon = now + random.uniform(0, min(REGISTER_WITHIN, self._poll_interval))
        allowed = self._told_at[0] + AT_ONCE * REGISTER_EVERY if len(self._told_at) == AT_ONCE else -math.inf
        self.next_at = min(self.next_at, max(soon, allowed))

    def register(self, followers: Collection[Follower]) -> None:
        """Write the registration if it changed, or is gone. ``followers``: those of the alias."""
        self.next_at = monotonic() + self._poll_interval
        newest = self._view.newest  # before the followers are asked, who may get further meanwhile
        otherwise, stuck = {}, {}
        for each in followers:
            if not each.as_announced or self._view.is_in_old_place(each.name):
                status = each.dataset.status()
                otherwise[each.dataset.name] = (status.version, str(status.state))
            if (work := each.busy.stuck) is not None:
                stuck[each.dataset.name] = (work.what, work.since)
        try:
            stores = self._host.stores(self._view.alias)
            kv = stores.kv
            if self._presence is None or self._presence[0] is not kv:
                self._presence = kv, Presence(kv, ttl=self._ttl, started=self._started, about=stores.about)
            schemas = {each.dataset.name: each.dataset.schema for each in followers}
            if self._presence[1].publish(schemas, revision=newest, otherwise=otherwise, stuck=stuck):
                self._told_at.append(monotonic())
        except EtcdAeroError as error:
            told, self._failure = self._failure, text_of(error)
            if not same_reason(self._failure, told):
                logger.warning(
                    "alias %r: this process could not be registered for etcdaero_status: %s", self._view.alias, error
                )
        else:
            self._failure = None

    def withdraw(self) -> None:
        """Delete the registration, if that can be done."""
        if self._presence is not None:
            try:
                self._presence[1].withdraw()
            except EtcdAeroError as error:
                logger.debug("this process's registration could not be withdrawn: %s", error)
