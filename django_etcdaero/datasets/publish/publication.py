"""Publishing a dataset: load it under the lock, write what is new, announce it in one guarded transaction.

The protocol, in order (key names: :mod:`.layout`):

1.  :mod:`.refresh` takes ``lock`` and reads the announcement, ``pin``, ``checked``, ``attempt`` and ``request``. Not
    due: stop.
2.  Load the source, validate, encode.
3.  Look which blocks exist. Touch those that exist but are not part of what is announced (the new generation keeps a
    slower publisher's clean-up from letting them expire), write those that do not, then the pages and the root; make
    permanent what is not, after a note in ``retired`` that says so. Nothing had to be written and the root is the one
    announced: note that in ``checked`` and stop.
4.  Announce: if the announcement, ``pin`` and ``checked`` still have the revisions read in step 1 and the lock key is
    still ours, put the announcement, ``history/<version>`` and ``checked``, drop ``attempt`` and the note of step 3,
    move the oldest history entries to ``retired``. If the comparison fails, nothing has happened for readers: the
    refresh was fenced off. A lock that was lost on the way may be taken again: what guards the announcement is that
    those three have not moved.
5.  Give the blocks that only retired versions name a time to live. Their generations were read before the announcement,
    so a block that a later publisher took into use meanwhile (and thereby touched) is left alone.

A process may be killed between any two of these steps: what is written before step 4 is found and used by the next
refresh or vanishes, what is left of step 5 is done by it.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from django_etcdaero.datasets.state.announcement import Announcement, Copy
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.datasets.state.stored_state import Checked, StoredState
from django_etcdaero.datasets.validators import validate
from django_etcdaero.exceptions import CorruptBlock, EtcdAeroError, Fenced
from django_etcdaero.keyvalue.txn import delete, mod_revision, put

from .commit import GuardedCommit
from .expiry import Retirement
from .repair import refuse_repair_in_vain
from .source import Progress, load_rows
from .storing import OldRows, OldRowsGone, Storing, load_manifest
from .trial_load import rehearse

if TYPE_CHECKING:
    from django_etcdaero.datasets.blocks.block_store import BlockStore
    from django_etcdaero.datasets.blocks.manifest import Manifest
    from django_etcdaero.datasets.declared import Declared
    from django_etcdaero.datasets.host import Host
    from django_etcdaero.datasets.stores import Stores
    from django_etcdaero.keyvalue.queue.lock import Lock
    from django_etcdaero.keyvalue.values import Operation

logger = logging.getLogger("django_etcdaero.datasets")


class Published(NamedTuple):
    """What has come of it."""

    outcome: Outcome
    checked: Checked | None
    """What was noted in the store; ``None`` for a dry run."""
    figures: dict[str, Any]
    """Fields of the :class:`~.status.RefreshResult`."""


class Publication:
    """Steps 2 to 5 for one dataset.

    ``state`` is what was read under ``lock``. Without a lock nothing is written: rows are loaded, validated, encoded
    and rehearsed only.
    """

    def __init__(
        self,
        dataset: Declared[Any, Any],
        host: Host,
        stores: Stores,
        blocks: BlockStore,
        state: StoredState,
        lock: Lock | None,
    ) -> None:
        self._dataset = dataset
        self._host = host
        self._stores = stores
        self._layout = dataset.layout(stores.prefix)
        self._blocks = blocks
        self._state = state
        self._lock = lock

    def run(self, *, force: bool, progress: Progress | None) -> Published:
        """Load and publish. Raises what sources and stores raise, ``Fenced`` and ``CorruptBlock``.

        ``force`` repairs damage that was repaired in vain before.
        """
        dataset, state, lock, started = self._dataset, self._state, self._lock, time.time()
        if lock is not None and not force:
            try:
                refuse_repair_in_vain(dataset, state, self._blocks, self._latest)
            except CorruptBlock:
                self._answer_request()
                raise
        rows = load_rows(dataset, progress)
        load_seconds = time.time() - started
        latest = self._latest()
        self._validate(rows, latest)
        base = load_manifest(self._blocks, latest)
        storing = Storing(
            dataset,
            self._blocks,
            base,
            verify=state.pending is not None and state.pending.repair,
            dry_run=lock is None,
            progress=progress,
        )
        manifest = storing.store(rows)
        del rows
        unchanged = (
            base is not None and base.root_digest == manifest.root_digest and not storing.wrote and not self._restored()
        )
        figures: dict[str, Any] = {
            "rows": manifest.rows,
            "bytes_written": storing.bytes_written,
            "bytes_total": storing.bytes_total,
            "pinned": state.pin is not None,
        }
        checked = Checked(
            id=secrets.token_hex(8),
            load_started=started,
            load_seconds=load_seconds,
            version=latest.version if latest is not None else 0,
            request_revision=state.request.mod_revision if state.request else 0,
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        if not unchanged:
            return self._announce(storing, manifest, checked, figures)
        if lock is None:
            return Published(Outcome.UNCHANGED, None, figures)
        storing.seal()
        self._commit(lock, checked)
        self._answer_request()
        return Published(Outcome.UNCHANGED, checked, figures)

    def _latest(self) -> Announcement | None:
        """Return the version to compare with: the announced one; while pinned the newest of the history."""
        if self._state.pin is None:
            return self._state.current
        items = self._stores.kv.range(self._layout.history(), prefix=True).kvs
        return Announcement.decode(items[-1].value) if items else self._state.current

    def _restored(self) -> bool:
        """Tell whether the coordination store is an older state of itself: then the same rows are announced anew.

        Otherwise readers would go by the announcement copy of before whenever the coordination plane is away.
        """
        state = self._state
        if state.current is None or state.pin is not None:
            return False
        return next_epoch(state, self._blocks.read_copy()) != state.current.epoch

    def _validate(self, rows: dict[Any, Any], latest: Announcement | None) -> None:
        validators = tuple(self._dataset.validators)
        old = OldRows(self._blocks, latest) if latest is not None else None
        try:
            validate(validators, old, rows)
        except OldRowsGone as error:
            # A validator that compares with rows that nobody has any more must not keep the dataset from healing.
            logger.warning("dataset %s: validated without the old rows: %s", self._dataset.name, error)
            validate(validators, None, rows)

    # --- announce ----------------------------------------------------------------------------------------------------

    def _announce(self, storing: Storing, manifest: Manifest, checked: Checked, figures: dict[str, Any]) -> Published:
        state, layout = self._state, self._layout
        copy = self._blocks.read_copy()
        retirement = Retirement(
            self._stores.kv,
            layout,
            self._blocks,
            keep=self._dataset.keep,
            held={state.pin.version} if state.pin is not None else set(),
            new=manifest,
        )
        version = 1 + max(
            retirement.newest_version,
            state.current.version if state.current else 0,
            copy.announcement.version if copy else 0,
        )
        announcement = Announcement(
            id=secrets.token_hex(8),
            version=version,
            epoch=next_epoch(state, copy),
            root=manifest.root_digest.hex(),
            rows=manifest.rows,
            stored_bytes=figures["bytes_total"],
            load_started=checked.load_started,
            load_seconds=checked.load_seconds,
            published_at=time.time(),
            host=checked.host,
            pid=checked.pid,
        )
        rehearse(self._dataset, announcement, manifest, storing.fetch)
        figures = {**figures, "version": version}
        if self._lock is None:
            return Published(Outcome.REFRESHED, None, figures)
        checked = dataclasses.replace(checked, version=version)
        operations = [put(layout.history(version), announcement.encode()), *retirement.operations]
        if state.pin is None:
            operations.append(put(layout.announcement, announcement.encode()))
        with self._intending(announcement) as intended:
            storing.seal()  # not before it is clear that the version will be announced, as far as that can be
            revision = self._commit(self._lock, checked, [*operations, delete(intended)])
        self._finish(announcement, revision, retirement)
        return Published(Outcome.REFRESHED, checked, figures)

    @contextmanager
    def _intending(self, announcement: Announcement) -> Iterator[str]:
        """Leave a note of what is about to be announced and made permanent; return its key.

        Whoever publishes next takes it for one of a version that is retired, and lets its records expire, but for those
        that kept versions need. So it may stay, and be written again, whatever has come of the announcement.
        """
        key, value = self._layout.intended(announcement.version, announcement.id), announcement.encode()
        self._stores.kv.put(key, value)
        try:
            yield key
        except Fenced:
            # Who published meanwhile has taken the note for a left-over, maybe before all records were permanent.
            with suppress(EtcdAeroError):
                self._stores.kv.put(key, value)
            raise

    def _commit(self, lock: Lock, checked: Checked, operations: Sequence[Operation] = ()) -> int:
        def lost() -> None:
            self._host.listener.lock_lost(self._dataset)

        return GuardedCommit(self._stores.kv, self._layout, self._state, lock, lost).run(checked, operations)

    def _finish(self, announcement: Announcement, revision: int, retirement: Retirement) -> None:
        """Do what follows an announcement. It stands whatever happens here, so errors are logged only."""
        self._host.listener.published(self._dataset, announcement)
        try:
            if self._state.pin is None:
                self._blocks.write_copy(announcement, revision)
            self._answer_request()
        except EtcdAeroError as error:
            logger.warning("dataset %s: after publishing: %s", self._dataset.name, error)
        retirement.finish()

    def _answer_request(self) -> None:
        """Remove the request that this load answers; a newer one stays."""
        request = self._state.request
        if request is not None:
            key = self._layout.request
            self._stores.kv.txn().when(mod_revision(key) == request.mod_revision).then(delete(key)).commit()


def next_epoch(state: StoredState, copy: Copy | None) -> int:
    """Return the epoch of the next announcement.

    It stays as long as the coordination store lives on. It is raised when the announcement copy in the record store
    belongs to a life of the store that is gone: a later epoch, or a revision that the store has not reached.
    """
    epoch = state.current.epoch if state.current is not None else 0
    if copy is None:
        return max(1, epoch)
    if state.current is None or copy.order > (epoch, state.current_revision):
        return max(epoch, copy.announcement.epoch) + 1
    return max(1, epoch)
