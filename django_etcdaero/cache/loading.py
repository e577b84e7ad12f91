"""``get_or_set``: of all processes that miss an entry, one loads it.

1. Read the entry; if it is fresh, that is the answer.
2. In this process one thread or task goes on (:mod:`.flights`); the others wait for it and begin again, or fail as it
   does. Whoever is inside the function that loads the entry is refused.
3. Create the record that says who loads (:mod:`.claims`). Where it is there already another process loads: answer
   with the stale value if there is one, else look again until the entry is there, the record is gone, or
   ``LOAD_WAIT`` is over; then load with its token, as if for it: whoever is done first writes. Nobody is ever given
   ``None`` for a value not yet loaded.
4. Read the entry again (another process may have just loaded it), note the stamps of the tags, load.
5. Write the value if the record still has the token: who took longer than ``LOAD_TIMEOUT`` writes nothing, nor does who
   loaded what has been deleted or cleared meanwhile. Delete the record.

When loading fails and there is a stale value, that stands in for ``STALE_RETRY`` seconds.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from django_etcdaero.exceptions import EtcdAeroError, StoreFull
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.conditions import Flag
from django_etcdaero.system.functions import is_coroutine_function
from django_etcdaero.system.steps import Pause, adrive, drive
from django_etcdaero.system.threads import in_event_loop

from .asking import Asking
from .background import Background
from .claims import Claims
from .counters import Counters
from .entries import Entries
from .flights import Flight, Flights, outside
from .outcome import Outcome
from .reading import Found
from .request import Load, Request, Wait, from_a_thread

logger = logging.getLogger("django_etcdaero.cache")

T = TypeVar("T")

FIRST_PAUSE: Final = 0.005
LONGEST_PAUSE: Final = 0.1
"""Seconds between two looks at an entry that another process loads: they grow from the one to the other."""

_WITHOUT: Final[bytes | None] = b""
"""The token of who loads while the store is away."""


class Loading:
    """Loads entries of one cache. ``ask`` makes calls to the store."""

    def __init__(
        self,
        entries: Entries,
        ask: Asking,
        claims: Claims,
        outcome: Outcome,
        counters: Counters,
        background: Background,
        *,
        load_timeout: float,
        load_wait: float,
        here_only: Callable[[], bool],
    ) -> None:
        """``here_only()``: whether nothing may be loaded in the background now."""
        self._entries = entries
        self._ask = ask.call
        self._claims = claims
        self._outcome = outcome
        self._counters = counters
        self._background = background
        self._load_timeout = load_timeout
        self._load_wait = load_wait
        self._here_only = here_only
        self._flights = Flights(longest=load_timeout)

    def after_fork_in_child(self) -> None:
        """Forget the loads of the parent."""
        self._flights.after_fork_in_child()

    async def get_or_load(self, request: Request) -> Any:
        """Return the entry of ``request``, loaded if need be. Raises what loading raises, and what the store does."""
        limit = monotonic() + self._load_wait
        while True:
            found = self._entries.near(request.prefix, request.key) or await self._look(request)
            if found is not None and found.fresh:
                self._counters.hits += 1
                await self._renew_early(request, found)
                return found.value
            self._counters.misses += 1
            self._flights.check_not_inside(request.prefix, request.key)
            flight, begins = self._flights.join(request.prefix, request.key)
            if begins:
                return await self._lead(request, found, flight, limit)
            if found is not None:
                self._counters.stale_hits += 1
                return found.value
            self._counters.waits += 1
            if not await Wait(flight.ended, max(0.0, limit - monotonic())):
                return await self._make(request)  # the others take too long: not better, but an answer
            flight.check()

    # --- one thread or task of this process --------------------------------------------------------------------------

    async def _lead(self, request: Request, found: Found | None, flight: Flight, limit: float) -> Any:
        handed_over = False
        try:
            # Before there is a record of the load, which a task that is cancelled here would leave behind.
            softly = request.soft_timeout is not None and found is not None and not await self._stays()
            token, found = await self._contend(request, found, limit)
            if token is None:
                if found is None:
                    raise AssertionError("somebody else loads, and there is nothing to give meanwhile")
                if not found.fresh:
                    self._counters.stale_hits += 1
                return found.value
            if softly and found is not None:
                ended = self._in_background(request, found, token, flight)
                if ended is None:  # too many load already: another time
                    await self._let_go(request, token)
                    self._counters.stale_hits += 1
                    return found.value
                handed_over = True
                return await self._await_softly(request, found, ended)
            return await self._fill(request, found, token)
        except Exception as error:
            flight.error = error
            raise
        finally:
            if not handed_over:
                self._flights.land(request.prefix, request.key, flight)

    async def _contend(self, request: Request, stale: Found | None, limit: float) -> tuple[bytes | None, Found | None]:
        """Return the token with which this process loads, and the entry as it is then.

        ``None`` for a token: the entry is the answer, because another process has loaded it, or does while it is
        stale. An empty token: the store is away.
        """
        pause = FIRST_PAUSE
        waited = False
        while True:
            try:
                token = await self._taken(request)
            except StoreFull:  # there is no room to say who loads: each for itself then
                token = _WITHOUT
            if token is not None:
                try:
                    found = await self._read(request)
                except BaseException:
                    self._release_soon(request, token)
                    raise
                if found is not None and found.fresh:  # another process has just loaded it
                    await self._let_go(request, token)
                    return None, found
                return token, found
            if stale is not None:
                return None, stale
            if not waited:
                waited = True
                self._counters.waits += 1
            if monotonic() >= limit:
                holder = await self._ask("claim", partial(self._claims.holder, request), _WITHOUT)
                if holder is not None:
                    return holder, None
            await Pause(min(pause, max(0.0, limit - monotonic())))
            pause = min(2 * pause, LONGEST_PAUSE)
            found = await self._look(request)
            if found is not None and found.fresh:
                return None, found

    async def _fill(self, request: Request, stale: Found | None, token: bytes) -> Any:
        """Load, write, and let others load again; return the value."""
        try:
            value = await self._load_and_write(request, stale, token)
        except Exception:
            await self._let_go(request, token)
            raise
        except BaseException:
            self._release_soon(request, token)
            raise
        await self._let_go(request, token)
        return value

    async def _let_go(self, request: Request, token: bytes) -> None:
        """Let others load. Whoever is cancelled while it waits for that leaves it to a thread; nothing is raised."""
        release, later = partial(self._claims.release, request, token), partial(self._release_soon, request, token)
        with suppress(EtcdAeroError):  # the record runs out by itself
            await self._ask("claim", release, None, give_up=later)

    def _release_soon(self, request: Request, token: bytes) -> None:
        # A task that is being cancelled may not wait any more, and in an event loop a call may not block.
        if in_event_loop():
            self._background.run(partial(self._claims.release, request, token), always=True)
        else:
            self._claims.release(request, token)

    async def _taken(self, request: Request) -> bytes | None:
        """Create the record of a load. Whoever gives the waiting up leaves none behind."""
        lock = threading.Lock()
        given_up = False
        taken: bytes | None = None

        def take() -> bytes | None:
            nonlocal taken
            token = self._claims.take(request)
            with lock:
                taken = token
                late = given_up
            if late and token:
                self._claims.release(request, token)
            return token

        def give_up() -> None:
            nonlocal given_up
            with lock:
                given_up = True
                token = taken
            if token:
                self._release_soon(request, token)

        return await self._ask("claim", take, _WITHOUT, give_up=give_up)

    async def _load_and_write(self, request: Request, stale: Found | None, token: bytes) -> Any:
        life = request.life
        tags: tuple[tuple[str, bytes], ...] | None = ()
        if request.tags:
            tags = await self._ask("stamps", lambda: self._entries.stamps(request.prefix, request.tags, life), None)
        try:
            value = await self._make(request)
        except Exception as error:
            if stale is None:
                raise
            logger.warning("loading %r failed, its stale value stands in: %s", request.key, error)
            self._counters.stale_hits += 1
            if stale.fresh:
                self._outcome.rest(request)
            else:
                await self._ask("set", lambda: self._outcome.stand_in(request, stale), None)
            return stale.value
        if tags is not None:  # else the store is away
            try:
                await self._ask("set", lambda: self._outcome.write(request, value, tags, token, stale), None)
            except StoreFull as error:  # the value is there all the same, for who asked for it
                logger.error("%r was not stored: %s", request.key, error)
        return value

    async def _make(self, request: Request) -> Any:
        self._counters.loads += 1
        started = monotonic()
        try:
            with self._flights.inside(request.prefix, request.key):
                return await Load(request.load)
        except Exception:
            self._counters.load_errors += 1
            raise
        finally:
            self._counters.took("load", monotonic() - started)

    # --- in the background -------------------------------------------------------------------------------------------

    async def _renew_early(self, request: Request, found: Found) -> None:
        """Load an entry anew in the background when the eager part of its timeout is over."""
        if request.eager is None or found.envelope is None:
            return
        envelope = found.envelope
        if envelope.created + request.eager * (envelope.expires - envelope.created) > time.time():
            return
        if self._outcome.rests(request) or await self._stays():
            return
        flight, begins = self._flights.join(request.prefix, request.key)
        if not begins:
            return

        async def work(request: Request) -> None:
            with self._flights.landing(request.prefix, request.key, flight):
                token = await self._ask("claim", lambda: self._claims.take(request), None)
                if not token:
                    return
                now = await self._read(request)
                if now is not None and now.envelope is not None and now.envelope.created == envelope.created:
                    await self._fill(request, now, token)
                else:  # another process has just renewed it
                    await self._let_go(request, token)

        if self._begin(request, work) is None:
            self._flights.land(request.prefix, request.key, flight)

    def _in_background(
        self, request: Request, found: Found, token: bytes, flight: Flight
    ) -> tuple[Flag, list[Any]] | None:
        results: list[Any] = []

        async def work(request: Request) -> None:
            with self._flights.landing(request.prefix, request.key, flight):
                results.append(await self._fill(request, found, token))

        ended = self._begin(request, work)
        return None if ended is None else (ended, results)

    def _begin(self, request: Request, work: Callable[[Request], Coroutine[Any, Any, None]]) -> Flag | None:
        """Start ``work`` in a thread, or in the event loop if that must load; return what is set at its end.

        ``None``: it was not started.
        """

        async def begun(request: Request) -> None:
            outside()
            await work(request)

        if request.awaited:
            if is_coroutine_function(request.load):
                return self._background.task(lambda: adrive(begun(request)))
            loop = asyncio.get_running_loop()
            request = replace(request, load=from_a_thread(request.load, loop, timeout=self._load_timeout))
        return self._background.run(lambda: drive(begun(request)))

    async def _await_softly(self, request: Request, found: Found, started: tuple[Flag, list[Any]]) -> Any:
        ended, results = started
        await Wait(ended, request.soft_timeout or 0.0)
        if results:
            return results[0]
        self._counters.stale_hits += 1
        return found.value

    async def _read(self, request: Request) -> Found | None:
        """Return the entry as it is in the store, whatever a near cache holds: with what tells whether it changes."""
        stale = request.stale > 0
        return await self._ask("get", lambda: self._entries.get(request.prefix, request.key, stale=stale), None)

    async def _stays(self) -> bool:
        """Tell whether the caller must load. Of a task the thread is asked that synchronous code runs in."""
        return bool(await Load(self._here_only))

    async def _look(self, request: Request) -> Found | None:
        stale = request.stale > 0
        return await self._ask("get", lambda: self._entries.look(request.prefix, request.key, stale=stale), None)
