"""What must hold for those who hold one name at the same time, whoever they are and however they leave."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from django_etcdaero.keyvalue import Lock
from tests.keyvalue.queue.queueing import in_thread


@dataclass
class Inside:
    """Who is inside at each moment, as the contenders themselves tell it."""

    most: Counter[str] = field(default_factory=Counter)
    """The greatest number seen of each kind."""
    mixed: list[Counter[str]] = field(default_factory=list)
    """Each combination of more than one kind."""
    order: list[int] = field(default_factory=list)
    """Tokens in the order in which they came in."""
    _now: Counter[str] = field(default_factory=Counter)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, kind: str, token: int) -> None:
        with self._mutex:
            self.order.append(token)
            self._now[kind] += 1
            self.most[kind] = max(self.most[kind], self._now[kind])
            if len(+self._now) > 1:
                self.mixed.append(+self._now)

    def leave(self, kind: str) -> None:
        with self._mutex:
            self._now[kind] -= 1


def contest(contenders: Sequence[tuple[str, Callable[[], Lock]]], *, rounds: int) -> Inside:
    """Let all of them take and give back at once, each in a thread of its own. Return what was seen."""
    inside = Inside()
    errors: list[BaseException] = []

    def work(kind: str, make: Callable[[], Lock]) -> None:
        try:
            for _ in range(rounds):
                with make() as lock:
                    inside.enter(kind, lock.token)
                    lock.holder()  # some time passes
                    inside.leave(kind)
        except BaseException as error:
            errors.append(error)
            raise

    threads = [in_thread(lambda kind=kind, make=make: work(kind, make)) for kind, make in contenders]
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(inside.order) == rounds * len(contenders)
    return inside
