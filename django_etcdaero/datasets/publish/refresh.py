"""One refresh of a dataset: whether it is due, the lock, and what is told of how it went.

This is stage 1 of the protocol of :mod:`.publication`, which has the others.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.host import Host
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.schedule import backoff, held_back_until, is_due, next_due
from django_etcdaero.datasets.state.sightings import sightings
from django_etcdaero.datasets.state.status import Outcome, RefreshResult, same_reason
from django_etcdaero.datasets.state.stored_state import NOTHING, Attempt, Checked
from django_etcdaero.datasets.state.validations import note_refused
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import (
    Cancelled,
    ClusterError,
    DeadlineExceeded,
    EtcdAeroError,
    Fenced,
    InvalidRequest,
    LoadOverdue,
    ValidationFailed,
)
from django_etcdaero.keyvalue.ops import put
from django_etcdaero.keyvalue.queue.lock import Lock
from django_etcdaero.keyvalue.values import Operation
from django_etcdaero.system.clocks import elapsed
from django_etcdaero.system.error_text import text_of
from django_etcdaero.system.interruption import interrupts

from . import folding
from .commit import give_back, loaded_as_read, move_announcement
from .context import PublishingContext
from .hanging import HangingLoad, refuse_one_more
from .limit import TimeLimit, load_limit
from .permission import Permission
from .progress import ProgressLog
from .publication import Publication
from .source import Progress
from .turn import Line, Turn

logger = logging.getLogger("django_etcdaero.datasets")


class Refresh:
    """One refresh of one dataset.

    ``force`` loads even when it is not due; ``wait`` is how many seconds to wait for the lock (with ``line`` that is
    asked); ``dry_run`` loads, validates, encodes and loads on trial without writing anything (and without the lock).
    ``told`` is the error of the refresh before this one, if that has been told: the listener is not told the same
    reason again. ``serving``: a service refreshes whenever it is due, so that it leaves some time between loads that
    are asked for. ``on_overdue`` is called from another thread when the load has not come to its end within
    ``load_timeout``, with the result of this refresh: all that is left of it then is the thread in which it runs.
    ``read`` gives the rows in the place of the source; that answers no request, and nobody backs off if it fails.
    ``full`` loads everything where changes would do, ``keys`` only their rows, which answers no request either.
    """

    def __init__(
        self,
        dataset: Declared[Any, Any],
        host: Host,
        *,
        force: bool = False,
        wait: float = 0.0,
        dry_run: bool = False,
        progress: Progress | None = None,
        told: str | None = None,
        serving: bool = False,
        on_overdue: Callable[[RefreshResult], object] | None = None,
        line: Line | None = None,
        read: Callable[[Progress | None], dict[Any, Any]] | None = None,
        skip_validators: bool = False,
        full: bool = False,
        keys: Sequence[Any] | None = None,
    ) -> None:
        self._dataset = dataset
        self._host = host
        self._force = force
        self._wait = wait
        self._dry_run = dry_run
        self._progress = progress or ProgressLog(dataset.name)
        self._told = told
        self._on_overdue = on_overdue
        self._line = line
        self._read = read
        self._skip_validators = skip_validators
        self._full = full
        self._keys = keys
        self._answers = read is None and keys is None
        self._does_as_others = self._answers and not full
        self.store_away = False
        """Whether it failed because a store of the alias did not answer."""
        self._permission = Permission()
        self._publication: Publication | None = None
        self._load_began: float | None = None
        self._hanging: HangingLoad | None = None
        self._serving = serving
        self._began = elapsed()
        self._state = NOTHING
        self._lock: Lock | None = None
        self._stopped = False
        self._not_told = threading.Lock()

    def run(self) -> RefreshResult:
        """Do it, and say what happened. Once only.

        Raises nothing that a source or a store raises; only what interrupts it from outside, such as a signal.
        """
        with self._host.refreshing(self._dataset):
            result = self._try()
            self._tell(result)
        return result

    def _try(self) -> RefreshResult:
        try:
            return self._run(self._host.stores(self._dataset.using))
        except Fenced as error:
            return self._result(Outcome.FENCED, error=str(error))
        except Exception as error:
            if interrupts(error):
                raise
            return self._failed(error)

    def stop(self) -> None:
        """End it from another thread, because the process wants to end; its stores are to be closed right after this.

        The lock is given back, so nothing of what the load still does becomes visible. This is no failure: no listener
        and no other node is told, whatever ``run()`` then meets and returns. Waits for the store for some seconds at
        most.
        """
        self._stopped = True
        withdrawn = self._permission.withdraw(Cancelled("the refresh was stopped"))
        if withdrawn and self._load_began is not None:
            since = datetime.fromtimestamp(self._load_began, UTC)
            logger.info("dataset %s: the load of %s is abandoned", self._dataset.name, f"{since:%Y-%m-%d %H:%M:%S} UTC")
        if self._lock is not None:
            with suppress(InvalidRequest):  # its own thread gave it back at the same moment
                give_back(self._lock)
        if self._hanging is not None:
            self._hanging.take_back_word()

    def _run(self, stores: Stores) -> RefreshResult:
        self._check_stopped()  # whoever opens the stores after the end has opened them anew
        self._stores = stores
        self._layout = self._dataset.layout(stores.prefix)
        self._blocks = BlockStore(stores.records, self._layout)
        self._sightings = sightings(stores.kv, self._layout)
        self._state = read_state(stores.kv, self._layout)
        if self._dry_run:
            refuse_one_more(self._dataset.name)
            return self._publish(None)
        # 1. Take the lock and read: only then what is read stays true.
        idle = None if self._state.former_revision else self._not_due()
        if idle is not None:
            return idle
        refuse_one_more(self._dataset.name)
        lock = self._lock = stores.kv.lock(self._layout.lock, ttl=stores.lock_ttl)
        turn = Turn(lock, self._dataset.name, wait=self._wait, line=self._line)
        holder = turn.take()
        if holder is not None:
            return self._result(Outcome.LOCKED, holder=holder)
        try:
            self._check_stopped()
            asked = self._state
            self._state = read_state(stores.kv, self._layout)
            if self._state.former_revision:
                move_announcement(stores.kv, self._layout, self._state, lock)
                self._state = read_state(stores.kv, self._layout)
            if self._does_as_others and turn.loaded_since(asked, self._state.checked):
                return self._result(Outcome.FRESH)
            idle = self._not_due()
            if idle is not None:
                return idle
            refuse_one_more(self._dataset.name)  # others may have begun to hang while this waited for the lock
            return self._publish(lock)
        finally:
            give_back(lock)

    def _check_stopped(self) -> None:
        if self._stopped:
            raise Cancelled("the refresh was stopped")

    def _not_due(self) -> RefreshResult | None:
        if self._force:
            return None
        state, ages = self._state, self._sightings.ages(time.time())
        until = held_back_until(state, self._dataset, ages, serving=self._serving)
        if until is not None and state.attempt is not None:
            said = f"{state.attempt.error} (on {state.attempt.host}/{state.attempt.pid})"
            return self._result(Outcome.BACKOFF, error=said, next_due=until)
        if is_due(state, self._dataset, ages, serving=self._serving) or self._root_is_gone():
            return None
        if self._serving and folding.is_ready(self._layout, state.current):
            return None
        return self._result(Outcome.FRESH)

    def _root_is_gone(self) -> bool:
        """Tell whether the record store was emptied under the announcement: one cheap look."""
        root = bytes.fromhex(self._state.current.root) if self._state.current else b""
        return not self._blocks.exists([root])

    def _publish(self, lock: Lock | None) -> RefreshResult:
        """Stages 2 to 5."""
        self._load_began = time.time()
        context = PublishingContext(self._dataset, self._host, self._stores, self._state, lock, self._permission)
        publication = self._publication = Publication(
            context,
            force=self._force,
            progress=self._progress,
            read=self._read,
            skip_validators=self._skip_validators,
            full=self._full,
            keys=self._keys,
            serving=self._serving,
        )
        limit = TimeLimit(
            load_limit(self._dataset),
            lambda: self._give_up(lock),
            on_half=self._warn,
            name=f"etcdaero-limit-{self._dataset.name}",
        )
        try:
            with limit:
                published = publication.run()
        except Fenced:
            raise
        except Exception as error:
            if interrupts(error):
                raise
            refusal = self._permission.refusal
            if refusal is not None:
                raise refusal from (None if error is refusal else error)
            if lock is not None:
                self._note_failure(error)
            raise
        finally:
            self._load_began = None
            if self._hanging is not None:
                self._hanging.end()
        return self._result(**published._asdict(), pinned=self._state.pin is not None)

    def _warn(self) -> None:
        limit = load_limit(self._dataset) or 0.0
        logger.warning(
            "dataset %s: the load has taken %g s and goes on; after %g s, its load_timeout, it is given up",
            self._dataset.name,
            limit / 2,
            limit,
        )

    def _give_up(self, lock: Lock | None) -> None:
        """Let others go on, from another thread, while the load hangs; unless it is about to announce."""
        limit = load_limit(self._dataset) or 0.0
        what = "and" if lock is None else "so its lock is given up, and"
        error = LoadOverdue(
            f"the load has not ended within load_timeout ({limit:g} s), {what} what it gives is refused"
        )
        if not self._permission.withdraw(error):
            return
        try:
            self._hanging = HangingLoad(self._dataset.name)
            if lock is not None:
                try:
                    self._note_failure(error)  # first, so that who gets the lock next finds that it has to hold back
                finally:
                    with suppress(InvalidRequest):  # its own thread gave it back at the same moment
                        give_back(lock)
                self._hanging.leave_word(self._stores, self._layout, limit)
        finally:
            result = self._failed(error)
            self._told = result.error
            self._tell(result)
            if self._on_overdue is not None:
                self._on_overdue(result)

    def _note_failure(self, error: Exception) -> None:
        """Leave word of the failure for the other nodes, so that they hold back, unless one of them was faster."""
        before = self._state.attempt
        failures = before.failures + 1 if before is not None else 1
        now, asked = time.time(), elapsed()
        attempt = Attempt(
            at=now,
            next_at=now + backoff(failures, self._dataset.refresh_every),
            failures=failures,
            error=text_of(error)[:2000],
            person=self._state.pending.person if self._state.pending is not None else "",
        )
        kv, steps, nothing_since = self._stores.kv, list[Operation](), loaded_as_read(self._layout, self._state)
        try:
            if self._answers:
                steps.append(put(self._layout.attempt, attempt.encode()))
            if isinstance(error, ValidationFailed) and self._publication is not None:
                steps.append(note_refused(kv, self._layout, str(error), self._publication.results))
            noted = bool(steps) and kv.txn().when(*nothing_since).then(*steps).commit().succeeded
            if noted and self._answers:
                self._sightings.failed(attempt, after=asked)
        except EtcdAeroError as problem:
            logger.warning("dataset %s: the failure could not be noted: %s", self._dataset.name, problem)

    def _failed(self, error: Exception) -> RefreshResult:
        loading = self._publication is not None and self._publication.loading  # whatever a source raises is its own
        self.store_away = not loading and isinstance(error, ClusterError | DeadlineExceeded)
        if not self._stopped and not same_reason(text_of(error), self._told):
            self._host.listener.failed(self._dataset, error, "refresh")
        return self._result(Outcome.FAILED, error=text_of(error))

    def _tell(self, result: RefreshResult) -> None:
        """Tell the listener once: what remains of a load that was given up ends a second time."""
        if not self._stopped and not self._dry_run and self._not_told.acquire(blocking=False):
            self._host.listener.refreshed(self._dataset, result)

    def _result(
        self, outcome: Outcome, *, checked: Checked | None = None, version: int | None = None, **fields: Any
    ) -> RefreshResult:
        state = self._state
        if checked is not None:
            state = dataclasses.replace(state, checked=checked)
            self._sightings.loaded(checked, after=self._began)
        if version is None and state.current is not None:
            version = state.current.version
        if "next_due" not in fields and self._state is not NOTHING:
            ages = self._sightings.ages(time.time())
            fields["next_due"] = next_due(state, self._dataset, ages, serving=self._serving)
        return RefreshResult(
            name=self._dataset.name,
            outcome=outcome,
            version=version,
            seconds=elapsed() - self._began,
            dry_run=self._dry_run,
            version_known=self._state is not NOTHING,
            validators=tuple(self._publication.results) if self._publication is not None else (),
            **fields,
        )
