"""Publishing a dataset: load it under the lock, write what is new, announce it in one guarded transaction.

The protocol, in order (key names: :mod:`django_etcdaero.datasets.layout`); the code of each stage has its number:

1.  **Take the lock and read** (:mod:`.refresh`): take ``lock``, read the announcement, ``pin``, ``checked``,
    ``attempt`` and ``request``. Not due: stop.
2.  **Load and validate.** Call the dataset's ``load()``; validators see the rows that are current beside the new ones.
    Code of the project runs in an empty context: rows must not depend on who happens to refresh, such as on the
    language of a request.
3.  **Store what is missing** (:mod:`.storing`): encode, and look which blocks exist. Touch those that exist but are not
    part of what is announced (the new generation keeps a slower publisher's clean-up from letting them expire), write
    those that do not, then the pages and the root. Nothing had to be written and the root is the one announced: note
    that in ``checked`` and stop.
4.  **Announce** (:mod:`.commit`). Load the version as readers will. Leave a note in ``retired`` of what is about to be
    made permanent, and make permanent what is not. Then, if the announcement, ``pin`` and ``checked`` still have the
    revisions read in stage 1, put the announcement, ``history/<version>`` and ``checked``, drop ``attempt`` and the
    note, move the oldest history entries to ``retired``. If the comparison fails, nothing has happened for readers: the
    refresh was fenced off. A lock that was lost on the way is no obstacle: what guards the announcement is that those
    three have not moved.
5.  **Expire** (:mod:`.expiry`): give the blocks that only retired versions name a time to live. Their generations were
    read before the announcement, so a block that a later publisher took into use meanwhile (and thereby touched) is
    left alone.

From the beginning of stage 2 until stage 4 is about to announce, the refresh may be given up by another thread: because
``load_timeout`` is over, or because the process is to end (:mod:`.permission`).

A process may be killed between any two of these steps: what is written before the announcement is found and used by the
next refresh or vanishes, what is left of stage 5 is done by it.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from functools import partial
from typing import Any, NamedTuple

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.host import Host
from django_etcdaero.datasets.state.announcement import MOST_VERSION, Announcement
from django_etcdaero.datasets.state.project import project_of, tell_of_other_project
from django_etcdaero.datasets.state.sightings import sightings
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.datasets.state.stored_state import Checked, StoredState
from django_etcdaero.datasets.state.validations import history_value
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.datasets.validators import ValidatorResult
from django_etcdaero.exceptions import CorruptBlock, EtcdAeroError, Fenced
from django_etcdaero.keyvalue.ops import delete, mod_revision, put
from django_etcdaero.keyvalue.queue.lock import Lock
from django_etcdaero.keyvalue.values import Operation
from django_etcdaero.system.clocks import elapsed

from .commit import GuardedCommit
from .expiry import Expiry, kept, note_of
from .permission import Permission
from .repair import refuse_repair_in_vain
from .source import Progress, load_rows
from .storing import Storing, load_manifest
from .validation import run_validators, trial_load

logger = logging.getLogger("django_etcdaero.datasets")


class Published(NamedTuple):
    """What has come of a publication."""

    outcome: Outcome
    version: int | None
    """The new version, if there is one."""
    checked: Checked | None
    """What was noted in the store; ``None`` for a dry run."""
    rows: int
    bytes_written: int
    bytes_total: int


class Load(NamedTuple):
    """A load of the source that is through. Times are seconds."""

    started: float
    """Since the epoch."""
    began: float
    """The same moment on the clock of durations."""
    seconds: float
    latest: Announcement | None
    """The version that it is compared with: the announced one; while pinned the newest of the history."""


class Publication:
    """Stages 2 to 5 for one dataset, once.

    ``state`` is what was read under ``lock``. Without a lock nothing is written: rows are loaded, validated, encoded
    and loaded on trial only. ``permission`` is that to announce. ``force`` repairs damage that was repaired in vain
    before. ``read`` takes the place of the source, as :func:`.source.load_rows`; what it gives answers no request.
    """

    def __init__(
        self,
        dataset: Declared[Any, Any],
        host: Host,
        stores: Stores,
        state: StoredState,
        lock: Lock | None,
        permission: Permission,
        *,
        force: bool,
        progress: Progress | None,
        read: Callable[[Progress | None], dict[Any, Any]] | None = None,
        skip_validators: bool = False,
    ) -> None:
        self._dataset = dataset
        self._listener = host.listener
        self._kv = stores.kv
        self._layout = dataset.layout(stores.prefix)
        self._blocks = BlockStore(stores.records, self._layout)
        self._stores = stores
        self._state = state
        self._lock = lock
        self._permission = permission
        self._force = force
        self._progress = progress
        self._read = read or partial(load_rows, dataset)
        self._answers = read is None
        self._skip_validators = skip_validators
        self.results: list[ValidatorResult] = []
        """What validators said."""
        self._phases: dict[str, float] = {}
        """Seconds that each took."""
        self.loading = False
        """Whether it runs code of the project: ``load()``, a validator, or what takes part in a trial load."""

    def run(self) -> Published:
        """Load and publish. Raises what sources and stores raise, ``Fenced``, ``CorruptBlock``, and the refusal if the
        permission was withdrawn."""
        tell_of_other_project(self._dataset, self._stores, self._state.current)
        self._refuse_load_in_vain()
        # 2. Load and validate.
        rows, load = self._load_and_validate()
        # 3. Store what is missing.
        base = load_manifest(self._blocks, load.latest)
        storing = self._storing(base)
        with self._phase("store"):
            manifest = storing.store(rows)
        del rows
        version: int | None = None
        checked: Checked | None = None
        if self._is_announced(manifest, base, storing):
            checked = self._note_unchanged(load, storing)
        else:
            # 4. Announce.
            announcement, expiry = self._prepare(manifest, load, storing)
            version = announcement.version
            if self._lock is not None:
                checked = self._announce(self._lock, announcement, load, storing, expiry)
                # 5. Expire.
                expiry.run(self._state.condemned)
        outcome = Outcome.UNCHANGED if version is None else Outcome.REFRESHED
        return Published(outcome, version, checked, manifest.rows, storing.bytes_written, storing.bytes_total)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = elapsed()
        yield
        self._phases[name] = elapsed() - began

    # --- 2. load and validate ----------------------------------------------------------------------------------------

    def _refuse_load_in_vain(self) -> None:
        if self._lock is None or self._force:
            return
        try:
            ages = sightings(self._kv, self._layout).ages(time.time())
            refuse_repair_in_vain(self._dataset, self._state, ages, self._blocks, self._latest)
        except CorruptBlock:
            self._answer_request()
            raise

    def _load_and_validate(self) -> tuple[dict[Any, Any], Load]:
        started, began, self.loading = time.time(), elapsed(), True
        rows = Context().run(self._read, self._progress)
        self._permission.check()
        load = Load(started, began, elapsed() - began, self._latest())
        self._phases["load"] = load.seconds
        if self._skip_validators:
            self.results = [ValidatorResult(name="validators", ok=True, text="left out by hand")]
        else:
            with self._phase("validate"):
                Context().run(run_validators, self._dataset, self._stores, load.latest, rows, self.results)
        self.loading = False
        return rows, load

    def _latest(self) -> Announcement | None:
        """Return the version to compare with: the announced one; while pinned the newest of the history."""
        if self._state.pin is None:
            return self._state.current
        newest = kept(self._kv.range(self._layout.history(), prefix=True).kvs)
        return newest[-1][0] if newest else self._state.current

    # --- 3. store what is missing ------------------------------------------------------------------------------------

    def _storing(self, base: Manifest | None) -> Storing:
        return Storing(
            self._dataset,
            self._blocks,
            base,
            verify=self._state.pending is not None and self._state.pending.repair,
            dry_run=self._lock is None,
            ttl=self._stores.garbage_ttl,
            progress=self._progress,
        )

    def _is_announced(self, manifest: Manifest, base: Manifest | None, storing: Storing) -> bool:
        """Tell whether the source gave what is announced already, and every record of it was there."""
        same = base is not None and base.root_digest == manifest.root_digest
        return same and not storing.bytes_written and not self._restored()

    def _restored(self) -> bool:
        """Tell whether the coordination store is an older state of itself: then the same rows are announced anew.

        Otherwise readers would go by the announcement copy of before whenever the coordination plane is away.
        """
        state = self._state
        if state.current is None or state.pin is not None:
            return False
        return state.next_epoch(self._blocks.read_copy()) != state.current.epoch

    def _note_unchanged(self, load: Load, storing: Storing) -> Checked | None:
        if self._lock is None:
            return None
        self._permission.use()
        storing.make_permanent()
        checked = self._checked(load, load.latest.version if load.latest is not None else 0)
        self._commit(self._lock, checked)
        self._answer_request()
        return checked

    # --- 4. announce -------------------------------------------------------------------------------------------------

    def _prepare(self, manifest: Manifest, load: Load, storing: Storing) -> tuple[Announcement, Expiry]:
        """Return the announcement, of a version that loads as readers load it, and what will expire with it."""
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
            stored_bytes=storing.bytes_total,
            load_started=load.started,
            load_seconds=load.seconds,
            published_at=time.time(),
            project=project_of(self._dataset, self._stores),
        )
        self.loading = True  # code of the project takes part
        with self._phase("try"):
            Context().run(trial_load, self._dataset, announcement, manifest, storing.fetch)
        self.loading = False
        return announcement, expiry

    def _announce(
        self, lock: Lock, announcement: Announcement, load: Load, storing: Storing, expiry: Expiry
    ) -> Checked:
        checked, value = self._checked(load, announcement.version), announcement.encode()
        entry = history_value(announcement, self.results, self._phases)
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
            self._answer_request()
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
        return Checked(
            id=secrets.token_hex(8),
            load_started=load.started,
            load_seconds=load.seconds,
            noted_after=elapsed() - load.began,
            lock_token=self._lock.token if self._lock is not None else 0,
            version=version,
            **self._answered(),
        )

    def _answered(self) -> dict[str, Any]:
        """Return what the note of the load says of requests: which one it answers, else what the note before says."""
        state = self._state
        if not self._answers and state.checked is not None:
            return {"request_revision": state.checked.request_revision, "request_id": state.checked.request_id}
        if not self._answers or state.request is None:
            return {"request_revision": 0}
        return {"request_revision": state.request_revision, "request_id": state.request.id}

    def _commit(self, lock: Lock, checked: Checked, operations: Sequence[Operation] = ()) -> int:
        def lost() -> None:
            self._listener.lock_lost(self._dataset)

        return GuardedCommit(self._kv, self._layout, self._state, lock, lost).run(checked, operations)

    def _answer_request(self) -> None:
        """Remove the request that this load answers, also one that makes no sense; a newer one stays."""
        if self._state.request_revision and self._answers:
            key, revision = self._layout.request, self._state.request_revision
            self._kv.txn().when(mod_revision(key) == revision).then(delete(key)).commit()
