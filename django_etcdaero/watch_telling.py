"""A process that has watches open and no reader registers itself as well, so that its watches can be seen by others.

It does so when a watch has been open for some seconds, and withdraws when none is any more. A process that never
watches does nothing here; one whose waits come and go looks now and then what is open, and writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from .exceptions import Cancelled, EtcdAeroError

if TYPE_CHECKING:
    from .datasets.state.presence import Presence
    from .datasets.stores import About
    from .keyvalue.facade import KV

logger = logging.getLogger("django_etcdaero.runtime")

LOOK_AFTER = 5.0
"""Seconds after the opening of a watch at which it is looked what is open; ..."""
LOOK_EVERY = 30.0
"""... and between two looks while something is."""


def tell_watches(
    kv: KV, *, ttl: int, started: float, about: Callable[[], About], told_otherwise: Callable[[], bool]
) -> None:
    """Register the process under the alias of ``kv`` whenever it has watches open, unless ``told_otherwise()``.

    ``ttl``: seconds after which a dead process's registration vanishes; ``started``: when this one began, seconds since
    the epoch; ``about()``: what it tells of itself.
    """
    telling = _Telling(kv, ttl=ttl, started=started, about=about, told_otherwise=told_otherwise)
    kv.life.open_watches.on_open = telling.opened


class _Telling:
    def __init__(
        self, kv: KV, *, ttl: int, started: float, about: Callable[[], About], told_otherwise: Callable[[], bool]
    ) -> None:
        self._kv = kv
        self._ttl = ttl
        self._started = started
        self._about = about
        self._told_otherwise = told_otherwise
        self._presence: Presence | None = None
        self._due = False
        """A look is due or under way."""
        self._failed = False

    def opened(self) -> None:
        """Take notice of a watch that was opened, in whatever thread that was."""
        if not self._due and not self._told_otherwise():
            self._due = True
            self._kv.life.telling.submit(self._look, delay=LOOK_AFTER)

    def _look(self) -> float | None:
        """Task for the background: tell what is open; return when to look again."""
        try:
            again = LOOK_EVERY if self._tell() else None
            self._failed = False
        except Cancelled:  # the client was closed, and its lease takes the registration along
            return None
        except EtcdAeroError as error:
            logger.log(
                logging.DEBUG if self._failed else logging.WARNING,
                "the watches of this process could not be told, and will be later: %s",
                error,
            )
            self._failed, again = True, LOOK_EVERY
        if again is None:
            self._due = False
            if self._kv.life.open_watches.any() and not self._told_otherwise():  # too young, or opened meanwhile
                self._due, again = True, LOOK_AFTER
        return again

    def _tell(self) -> bool:
        """Return whether there is something to be told by this process."""
        from .datasets.state.presence import Presence  # here: most processes never come this far
        from .datasets.state.watching import worth_telling

        if self._told_otherwise() or not worth_telling(self._kv.open_watches()):
            presence, self._presence = self._presence, None
            if presence is not None:
                presence.withdraw()
            return False
        if self._presence is None:
            self._presence = Presence(self._kv, ttl=self._ttl, started=self._started, about=self._about())
        self._presence.publish({}, revision=0, otherwise={})
        return True
