"""What the administration asks of whoever makes the calls to a cluster: etcd's methods, by name, with their fields."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.stores.endpoint import Endpoint

from .values import EndpointState

Fields: TypeAlias = Mapping[str, object]
"""The fields of a request by their names in etcd's interface; those left out have their defaults."""

Question: TypeAlias = tuple[str, Fields]
"""A method and the fields of its request."""


class Ask(Protocol):
    """A call to whatever member answers, with the engine's default for ``timeout``. A protocol."""

    async def __call__(self, method: str, fields: Fields, timeout: float | None, *, repeat: bool) -> Any:
        """Return the answer, which has the fields of etcd's. ``repeat``: doing it twice is as good as once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question to one member: ``value`` or ``error``, which is not ``None`` then."""

    value: Any
    error: EtcdAeroError | None
    seconds: float
    """Between asking and answer."""


class Members(ABC):
    """The members of a cluster, each to be asked by itself. A ``deadline`` is one of ``time.monotonic``."""

    @property
    @abstractmethod
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Those that the engine uses, the one in use first."""

    @abstractmethod
    def states(self) -> tuple[EndpointState, ...]:
        """Return how the engine fares with them."""

    @abstractmethod
    async def ask(self, endpoint: Endpoint, method: str, fields: Fields, *, deadline: float, repeat: bool) -> Any:
        """Return the answer of one member. A protocol."""

    @abstractmethod
    async def ask_all(
        self, endpoints: Sequence[Endpoint], questions: Sequence[Question], *, deadline: float
    ) -> dict[Endpoint, list[Answer]]:
        """Ask all ``endpoints`` all ``questions`` at the same time; return what each answered. A protocol.

        Raises ``Cancelled`` and ``ConfigurationError``; all else is part of the answers.
        """

    @abstractmethod
    async def receive(self, endpoint: Endpoint, method: str, take: Callable[[Any], object], *, deadline: float) -> None:
        """Call ``take`` with each message that one member answers with. A protocol.

        For event loops another thread calls it. Raises ``ClusterError``, ``DeadlineExceeded``, ``Cancelled``,
        ``ConfigurationError``, and what the server refuses with.
        """
