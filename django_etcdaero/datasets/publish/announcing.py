"""The end of a publication: stage 4 of the protocol of :mod:`.publication`.

A version is announced, or it is noted that there is nothing new; and the request that was answered by it is removed.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, NamedTuple

from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.state.announcement import MOST_VERSION, Announcement
from django_etcdaero.datasets.state.project import project_of
from django_etcdaero.datasets.state.stored_state import Checked
from django_etcdaero.datasets.state.validations import history_value
from django_etcdaero.datasets.validators import ValidatorResult
from django_etcdaero.exceptions import EtcdAeroError, Fenced
from django_etcdaero.keyvalue.ops import delete, mod_revision, put
from django_etcdaero.keyvalue.queue.lock import Lock
from django_etcdaero.keyvalue.values import Operation
from django_etcdaero.system.clocks import elapsed

from .commit import GuardedCommit
from .context import PublishingContext
from .expiry import Expiry, note_of
from .storing import Storing

logger = logging.getLogger("django_etcdaero.datasets")


class Load(NamedTuple):
    """A load of the source that is through. Times are seconds."""

    started: float
    """Since the epoch."""
    began: float
    """The same moment on the clock of durations."""
    seconds: float
    latest: Announcement | None
    """The version that it is compared with: the announced one; while pinned the newest of the history."""
    cursor: str = ""
    """Where the source stood before it, for a dataset that loads changes."""
    full_load: float = 0.0
    """When the last full load began: this one, or the one that its changes go back to."""
    content: str = ""
    """Digest of all rows, in hex, once they are encoded."""
    whole: bool = True
    """Whether everything was loaded."""
    drift: int | None = None
    """Rows that were not what changes had told, if that is known."""


class Announcing:
    """The end of one publication.

    ``answers``: what is loaded answers the request that was read; ``of_keys``: changes are the rows of some keys that
    were named. ``results`` and ``phases`` are filled by the publication, and kept with the version.
    """

    def __init__(
        self,
        context: PublishingContext,
        *,
        answers: bool,
        of_keys: bool,
        results: Sequence[ValidatorResult],
        phases: Mapping[str, float],
    ) -> None:
        self.answers = answers
        self._of_keys = of_keys
        self._results = results
        self._phases = phases
        self._dataset = context.dataset
        self._listener = context.host.listener
        self._stores = context.stores
        self._kv = context.stores.kv
        self._layout = context.layout
        self._blocks = context.blocks
        self._state = context.state
        self._lock = context.lock
        self._permission = context.permission

    def prepare(self, manifest: Manifest, load: Load, total: int) -> tuple[Announcement, Expiry]:
        """Return the announcement, and what will expire with it; ``total``: stored bytes of the version."""
        state = self._state
        copy = self._blocks.read_copy()
        expiry = Expiry(
            self._kv,
            self._layout,
            self._blocks,
            keep=self._dataset.keep,
            held={state.pin.version} if state.pin is not None else set(),
            new=manifest,
            ttl=self._stores.garbage_ttl,
        )
        numbers = [
            expiry.newest_version,
            state.current.version if state.current else 0,
            copy.announcement.version if copy else 0,
        ]
        version = 1 + max((number for number in numbers if number < MOST_VERSION), default=0)
        announcement = Announcement(
            id=secrets.token_hex(8),
            version=version,
            epoch=state.next_epoch(copy),
            root=manifest.root_digest.hex(),
            rows=manifest.rows,
            stored_bytes=total,
            load_started=self._loaded_since(load),
            load_seconds=load.seconds,
            published_at=time.time(),
            project=project_of(self._dataset, self._stores),
            cursor=load.cursor,
            content=load.content,
            full_load=load.full_load,
        )
        return announcement, expiry

    def _loaded_since(self, load: Load) -> float:
        """Return when the load began that rows are as old as: that of a few keys makes the others no younger."""
        return load.latest.load_started if load.latest is not None and self._is_of_keys(load) else load.started

    def _is_of_keys(self, load: Load) -> bool:
        return self._of_keys and not load.whole

    def announce(self, lock: Lock, announcement: Announcement, load: Load, storing: Storing, expiry: Expiry) -> Checked:
        """Announce a version; return what was noted of its load.

        Raises ``Fenced`` if that may not be done any more, the refusal if the permission was withdrawn, and what the
        stores raise.
        """
        checked, value = self._checked(load, announcement.version), announcement.encode()
        entry = history_value(announcement, self._results, self._phases, changes=not load.whole, drift=load.drift)
        operations = [put(self._layout.history(announcement.version), entry), *expiry.operations]
        if self._state.pin is None:
            operations.append(put(self._layout.announcement, value))
        self._permission.use()
        with self._intending(announcement) as note:
            storing.make_permanent()  # not before it is clear that it will be announced, as far as that can be
            revision = self._commit(lock, checked, [*operations, delete(note)])
        # It stands whatever happens from here on, so errors are logged only.
        self._listener.published(self._dataset, announcement)
        try:
            if self._state.pin is None:
                self._blocks.write_copy(announcement, revision)
            self.answer_request()
        except EtcdAeroError as error:
            logger.warning("dataset %s: after publishing: %s", self._dataset.name, error)
        return checked

    @contextmanager
    def _intending(self, announcement: Announcement) -> Iterator[str]:
        """Leave a note of what is about to be announced and made permanent; return its key.

        Whoever publishes next takes it for one of a version that is retired, and lets its records expire, but for those
        that kept versions need. So it may stay, and be written again, whatever has come of the announcement.
        """
        key = self._layout.intended(announcement.version, announcement.id)
        value = note_of(announcement, now=time.time()).encode()
        self._kv.put(key, value)
        try:
            yield key
        except Fenced:
            # Who published meanwhile has taken the note for a left-over, maybe before all records were permanent.
            with suppress(EtcdAeroError):
                self._kv.put(key, value)
            raise

    def _checked(self, load: Load, version: int) -> Checked:
        before = self._state.checked
        if before is not None and self._is_of_keys(load):
            # The rows of some keys make the others no younger, and put off no load.
            return replace(
                before, id=secrets.token_hex(8), version=version, cursor=load.cursor, full_load=load.full_load
            )
        return Checked(
            id=secrets.token_hex(8),
            load_started=load.started,
            load_seconds=load.seconds,
            noted_after=elapsed() - load.began,
            lock_token=self._lock.token if self._lock is not None else 0,
            began_after=self._state.revision,
            version=version,
            cursor=load.cursor,
            full_load=load.full_load,
            **self._answered(),
        )

    def _answered(self) -> dict[str, Any]:
        """Return what the note of the load says of requests: which one it answers, else what the note before says."""
        state = self._state
        if not self.answers and state.checked is not None:
            return {"request_revision": state.checked.request_revision, "request_id": state.checked.request_id}
        if not self.answers or state.request is None:
            return {"request_revision": 0}
        return {"request_revision": state.request_revision, "request_id": state.request.id}

    def _commit(self, lock: Lock, checked: Checked, operations: Sequence[Operation] = ()) -> int:
        def lost() -> None:
            self._listener.lock_lost(self._dataset)

        return GuardedCommit(self._kv, self._layout, self._state, lock, lost).run(checked, operations)

    def answer_request(self) -> None:
        """Remove the request that this load answers, also one that makes no sense; a newer one stays."""
        if self._state.request_revision and self.answers:
            key, revision = self._layout.request, self._state.request_revision
            self._kv.txn().when(mod_revision(key) == revision).then(delete(key)).commit()

    def note(self, load: Load, version: int, storing: Storing | None = None) -> Checked | None:
        """Note that a load gave nothing new; return what was noted, ``None`` in a dry run.

        Raises as :meth:`announce`.
        """
        if self._lock is None:
            return None
        self._permission.use()
        if storing is not None:
            storing.make_permanent()
        checked = self._checked(load, version)
        self._commit(self._lock, checked)
        self.answer_request()
        return checked
