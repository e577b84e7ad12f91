"""Loads of this process that its other threads and tasks wait for, and those that the caller itself is inside of."""

from __future__ import annotations

import contextvars
import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from django_etcdaero.exceptions import RecursiveLoad
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Flag


class Flight:
    """A load of this process."""

    __slots__ = ("begun", "ended", "error")

    def __init__(self) -> None:
        self.begun = monotonic()
        self.ended = Flag()
        self.error: Exception | None = None
        """What it failed with: those who waited are told that, and do not try in their turn."""

    def check(self) -> None:
        """Raise what it failed with, if it did."""
        if self.error is not None:
            raise _again(self.error)


class Flights:
    """The loads of this process, one for each entry. One that takes longer than ``longest`` seconds counts as dead."""

    def __init__(self, *, longest: float) -> None:
        self._longest = longest
        self._lock = threading.Lock()
        self._flights: dict[tuple[str, str], Flight] = {}

    def after_fork_in_child(self) -> None:
        """Forget the loads of the parent."""
        self._lock = threading.Lock()
        self._flights = {}

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, prefix: str, key: str) -> tuple[Flight, bool]:
        """Return the load of an entry, and whether it begins now: then the caller must :meth:`land` it."""
        flight = Flight()
        with self._lock:
            other = self._flights.setdefault((prefix, key), flight)
            if other is not flight and flight.begun - other.begun > self._longest:
                other = self._flights[prefix, key] = flight
        return other, other is flight

    def land(self, prefix: str, key: str, flight: Flight) -> None:
        """Let those who wait go on."""
        with self._lock:
            if self._flights.get((prefix, key)) is flight:
                del self._flights[prefix, key]
        flight.ended.set()

    @contextmanager
    def landing(self, prefix: str, key: str, flight: Flight) -> Iterator[None]:
        """Let those who wait go on at the end of the body, or fail as it does."""
        try:
            yield
        except Exception as error:
            flight.error = error
            raise
        finally:
            self.land(prefix, key, flight)

    @contextmanager
    def inside(self, prefix: str, key: str) -> Iterator[None]:
        """Note that what the body calls, it calls while it loads that entry."""
        mark = _Inside(self, prefix, key)
        token = _inside.set((*_inside.get(), mark))
        try:
            yield
        finally:
            mark.over = True  # a task that was started in it may go on
            with suppress(ValueError):  # closed by the garbage collector, in another context
                _inside.reset(token)

    def check_not_inside(self, prefix: str, key: str) -> None:
        """Raise ``RecursiveLoad`` if the caller is what loads that entry: it would wait for itself."""
        for mark in _inside.get():
            if mark.flights is self and (mark.prefix, mark.key) == (prefix, key) and not mark.over:
                raise RecursiveLoad(
                    f"get_or_set() for {key!r} was called in the function that loads that: it would wait for itself"
                )


class _Inside:
    """A function that loads, while it runs."""

    __slots__ = ("flights", "key", "over", "prefix")

    def __init__(self, flights: Flights, prefix: str, key: str) -> None:
        self.flights = flights
        self.prefix = prefix
        self.key = key
        self.over = False


_inside: Final[contextvars.ContextVar[tuple[_Inside, ...]]] = contextvars.ContextVar("etcdaero_loads", default=())


def outside() -> None:
    """Note that nobody waits for what this context does from here on."""
    _inside.set(())


def _again(error: Exception) -> Exception:
    """Return an exception to raise in another thread: a copy, with the first as its cause, or the very same."""
    for copied in (copy.copy, _bare):
        try:
            twin = copied(error)
            same = type(twin) is type(error) and twin.args == error.args and str(twin) == str(error)
        except Exception:  # noqa: S112 - its class wants other arguments than it has
            continue
        if same:
            twin.__cause__ = error
            return twin
    return error


def _bare(error: Exception) -> Exception:
    """Return a copy that was made without calling the constructor of a class that takes other arguments."""
    twin = type(error).__new__(type(error))
    twin.args = error.args
    twin.__dict__.update(vars(error))
    return twin
