"""Members: the value, and what an engine offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass


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


class Cluster(ABC):
    """The members of the cluster.

    ``NotFound`` is raised for a member that does not exist; ``FailedPrecondition`` where a change would endanger the
    cluster: a member is missing or not connected, or a change is too soon after the last one.
    """

    @abstractmethod
    def members(self, *, timeout: float | None = None) -> tuple[Member, ...]:
        """Return all members, in the order of their ids."""

    @abstractmethod
    async def amembers(self, *, timeout: float | None = None) -> tuple[Member, ...]:
        """Do what :meth:`members` does, for event loops."""

    @abstractmethod
    def add(self, peer_urls: Sequence[str], *, learner: bool = False, timeout: float | None = None) -> Member:
        """Announce a member, to be started with ``--initial-cluster-state=existing``; return it, with its id.

        Raises ``AlreadyExists`` if a member has one of these peer URLs, ``InvalidRequest`` for what is no URL. A member
        counts for the majority at once, started or not; a ``learner`` does not before it is promoted.
        """

    @abstractmethod
    async def aadd(self, peer_urls: Sequence[str], *, learner: bool = False, timeout: float | None = None) -> Member:
        """Do what :meth:`add` does, for event loops."""

    @abstractmethod
    def promote(self, member_id: int, *, timeout: float | None = None) -> None:
        """Give a learner its vote. Raises ``FailedPrecondition`` until it has caught up with the leader."""

    @abstractmethod
    async def apromote(self, member_id: int, *, timeout: float | None = None) -> None:
        """Do what :meth:`promote` does, for event loops."""

    @abstractmethod
    def update(self, member_id: int, peer_urls: Sequence[str], *, timeout: float | None = None) -> None:
        """Change the URLs at which the others reach a member."""

    @abstractmethod
    async def aupdate(self, member_id: int, peer_urls: Sequence[str], *, timeout: float | None = None) -> None:
        """Do what :meth:`update` does, for event loops."""

    @abstractmethod
    def remove(self, member_id: int, *, timeout: float | None = None) -> None:
        """Take a member out of the cluster; its server ends itself, and must not come back with its old data."""

    @abstractmethod
    async def aremove(self, member_id: int, *, timeout: float | None = None) -> None:
        """Do what :meth:`remove` does, for event loops."""
