"""What tests of transactions in memory share."""

from __future__ import annotations

from collections.abc import Callable

from django_etcdaero.keyvalue import Isolation
from django_etcdaero.keyvalue.recipes.stm import Transaction

ALL = list(Isolation)


SNAPSHOTS = [Isolation.SERIALIZABLE_SNAPSHOT, Isolation.SERIALIZABLE]


VALIDATED = [*SNAPSHOTS, Isolation.REPEATABLE_READ]


def number(tx: Transaction, key: str) -> int:
    return int(tx.get(key) or 0)


class Once:
    """Calls what it is given at the first attempt of a transaction only, and counts the attempts."""

    def __init__(self) -> None:
        self.attempts = 0

    def begin(self) -> None:
        self.attempts += 1

    def __call__(self, interfere: Callable[[], object]) -> None:
        if self.attempts == 1:
            interfere()
