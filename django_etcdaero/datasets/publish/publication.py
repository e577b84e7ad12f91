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
4.  **Announce** (:mod:`.announcing`, :mod:`.commit`). Load the version as readers will. Leave a note in ``retired`` of
    what is about to be made permanent, and make permanent what is not. Then, if the announcement, ``pin`` and
    ``checked`` still have the revisions read in stage 1, put the announcement, ``history/<version>`` and ``checked``,
    drop ``attempt`` and the note, move the oldest history entries to ``retired``. If the comparison fails, nothing has
    happened for readers: the refresh was fenced off. A lock that was lost on the way is no obstacle: what guards the
    announcement is that those three have not moved.
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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context
from datetime import timedelta
from functools import cached_property, partial
from typing import Any, NamedTuple

from django_etcdaero.datasets.blocks.assembly import Assembled
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.delta import check_keys, cut
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.partition import block_count
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.host import Host
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.formats import Allowed, allowed
from django_etcdaero.datasets.state.project import tell_of_other_project
from django_etcdaero.datasets.state.sightings import sightings
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.datasets.state.stored_state import Checked, StoredState
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.datasets.validators import ValidatorResult
from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.keyvalue.queue.lock import Lock
from django_etcdaero.system.clocks import elapsed
from django_etcdaero.system.error_text import text_of
from django_etcdaero.system.interruption import interrupts

from .announcing import Announcing, Load
from .base import Base, base_of, fits, forget, is_to_fold, remember
from .changing import Difference, difference, read_changes, read_keys, with_keys
from .drift import drift_of
from .expiry import Expiry, kept
from .permission import Permission
from .position import Position, keys_in, position_of, read_cursor
from .repair import refuse_repair_in_vain
from .source import Progress, load_rows
from .storing import Storing, load_manifest
from .validation import OldRowsGone, run_validators, trial_load, trial_of_changes

logger = logging.getLogger("django_etcdaero.datasets")


_told: dict[bytes, str] = {}
"""Why versions are written in an older form, as it was told, by the start of a dataset's records."""


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
    changes: bool = False
    """Whether not everything was loaded."""
    drift: int | None = None
    """Of a full load: rows that were not what changes had told; ``None``: it is not known."""


class Publication:
    """Stages 2 to 5 for one dataset, once.

    ``state`` is what was read under ``lock``. Without a lock nothing is written: rows are loaded, validated, encoded
    and loaded on trial only. ``permission`` is that to announce. ``force`` repairs damage that was repaired in vain
    before. ``read`` takes the place of the source, as :func:`.source.load_rows`; what it gives answers no request.
    ``full``: everything is loaded, also where changes would do; ``keys``: only their rows are, where that can be done.
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
        full: bool = False,
        keys: Sequence[Any] | None = None,
    ) -> None:
        self._full = full
        self._keys = keys
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
        self._from_source = read is None
        self._skip_validators = skip_validators
        self.results: list[ValidatorResult] = []
        """What validators said."""
        self._verify = state.pending is not None and state.pending.repair
        """Whether records that exist are read back and checked."""
        self._phases: dict[str, float] = {}
        """Seconds that each took."""
        self._end = Announcing(
            dataset,
            host,
            stores,
            state,
            lock,
            permission,
            answers=read is None and keys is None,
            of_keys=keys is not None,
            results=self.results,
            phases=self._phases,
        )
        self.loading = False
        """Whether it runs code of the project: ``load()``, a validator, or what takes part in a trial load."""

    def run(self) -> Published:
        """Load and publish. Raises what sources and stores raise, ``Fenced``, ``CorruptBlock``, and the refusal if the
        permission was withdrawn."""
        tell_of_other_project(self._dataset, self._stores, self._state.current)
        self._refuse_load_in_vain()
        return self._publish_changes() or self._publish_all()

    def _publish_all(self) -> Published:
        self._end.answers = self._from_source
        # 2. Load and validate.
        rows, load = self._load_and_validate()
        position = position_of(load.latest, self._state.checked) if self._changeable else None
        # 3. Store what is missing.
        base = load_manifest(self._blocks, load.latest)
        storing = self._storing(base)
        with self._phase("store"):
            same = position.content if position is not None and base is not None and self._may_stay(base) else b""
            manifest = storing.store(rows, contents=self._changeable, columns=self._allowed.columns, same=same)
        del rows
        load = load._replace(content=storing.content.hex(), drift=self._drift(base, position, manifest, storing))
        version: int | None = None
        checked: Checked | None = None
        known = position is not None or not self._changeable
        if known and self._is_announced(manifest, base, storing):
            checked = self._end.note(load, load.latest.version if load.latest is not None else 0, storing)
        else:
            # 4. Announce.
            announcement, expiry = self._end.prepare(manifest, load, storing.bytes_total)
            self._try(lambda: trial_load(self._dataset, announcement, manifest, storing.fetch))
            version = announcement.version
            if self._lock is not None:
                checked = self._end.announce(self._lock, announcement, load, storing, expiry)
                # 5. Expire.
                expiry.run(self._state.condemned)
        outcome = Outcome.UNCHANGED if version is None else Outcome.REFRESHED
        written, total = storing.bytes_written, storing.bytes_total
        return Published(outcome, version, checked, manifest.rows, written, total, drift=load.drift)

    # --- changes alone -----------------------------------------------------------------------------------------------

    @property
    def _changeable(self) -> bool:
        """Whether parts of the source can be loaded by themselves."""
        return self._from_source and (self._dataset._loads_changes() or self._dataset._loads_keys())

    def _to_change(self) -> tuple[Announcement, Position, Base] | None:
        """Return the version that a change can go on from; ``None``: everything is to be loaded."""
        wanted = self._state.pending
        full = self._full or (wanted is not None and wanted.full and self._keys is None)
        if self._lock is None or not self._changeable or full or self._verify:
            return None
        if self._keys is None and not self._dataset._loads_changes():
            return None
        latest, checked = self._latest(), self._state.checked
        position = position_of(latest, checked)
        if latest is None or position is None or checked is None or self._restored():
            return None
        if self._keys is None and (not position.cursor or self._full_load_is_due(position)):
            return None
        base = base_of(bytes.fromhex(latest.root), self._blocks, self._layout)
        return None if base is None else (latest, position, base)

    def _full_load_is_due(self, position: Position) -> bool:
        period: timedelta | None = self._dataset.full_load_every
        return period is not None and not 0 <= time.time() - position.full_load < period.total_seconds()

    def _publish_changes(self) -> Published | None:
        """Load what has changed, and publish it; ``None``: everything is to be loaded."""
        going_on = self._to_change()
        if going_on is None:
            return None
        latest, position, base = going_on
        # 2. Load and validate.
        started, began, self.loading = time.time(), elapsed(), True
        if self._keys is None:
            given = Context().run(read_changes, self._dataset, position)
            asked = keys_in(self._state.pending.keys or ()) if self._state.pending is not None else []
            if given is not None and asked and self._dataset._loads_keys():
                given = Context().run(with_keys, self._dataset, given, asked, position)
        else:
            given = Context().run(read_keys, self._dataset, self._keys, position)
        self._permission.check()
        self.loading = False
        if given is None:
            return None
        load = Load(started, began, elapsed() - began, latest, given.cursor, position.full_load, whole=False)
        self._phases["load"] = load.seconds
        try:
            with self._phase("store"):
                found = difference(given, base, position, self._blocks, self._dataset.row_type)
            load = load._replace(content=found.content.hex())
            if not found and self._stays(base.manifest):
                checked = self._end.note(load, latest.version)
                return Published(Outcome.UNCHANGED, None, checked, latest.rows, 0, latest.stored_bytes, changes=True)
            self.loading = True
            self._validate(latest, {}, changed=(base, found))
            self.loading = False
            # 3. Store what is missing.
            storing = self._storing(None)
            with self._phase("store"):
                after = self._store_change(base, found, storing)
        except (CorruptBlock, OldRowsGone) as error:
            logger.warning("dataset %s: changes cannot go on, so everything is loaded: %s", self._dataset.name, error)
            self._verify = self._verify or isinstance(error, CorruptBlock)
            self.loading = False
            self.results.clear()
            self._phases.clear()
            return None
        if after is None:
            return None
        # 4. Announce.
        manifest, total = after.manifest, storing.bytes_total or latest.stored_bytes + storing.bytes_written
        announcement, expiry = self._end.prepare(manifest, load, total)
        after.assembled = self._try(
            lambda: trial_of_changes(self._dataset, announcement, manifest, storing.fetch, base=base, found=found)
        )
        checked = self._announce_change(announcement, load, storing, expiry)
        after.net.update(found.net if after.manifest.deltas else {})
        remember(after, self._layout)
        # 5. Expire.
        expiry.run(self._state.condemned)
        return Published(
            Outcome.REFRESHED, announcement.version, checked, manifest.rows, storing.bytes_written, total, changes=True
        )

    def _announce_change(self, announcement: Announcement, load: Load, storing: Storing, expiry: Expiry) -> Checked:
        lock = self._lock
        assert lock is not None, "without a lock everything is loaded"
        forget(self._layout)  # what its deltas come to is about to go beyond the version
        return self._end.announce(lock, announcement, load, storing, expiry)

    def _store_change(self, base: Base, found: Difference, storing: Storing) -> Base | None:
        """Write a change as deltas, or the blocks that it and the deltas before it change, and return what comes of it.

        ``None``: so many more or fewer rows need another number of blocks, or all blocks need another form.
        """
        manifest, longest = base.manifest, self._blocks.max_value_bytes
        deltas = cut(found.change, max_value_bytes=longest)
        if self._allowed.deltas and fits(manifest, deltas):
            manifest = storing.store_deltas(manifest, deltas, rows=found.rows, content=found.content)
            return Base(manifest, base.net)
        if block_count(found.rows, manifest.count) != manifest.count or manifest.codec > self._allowed.forms.codec:
            return None
        columns = self._allowed.columns
        return Base(storing.fold(manifest, base.net | found.net, rows=found.rows, columns=columns))

    @cached_property
    def _allowed(self) -> Allowed:
        """The form in which the version may be written, for all who read it."""
        dataset, stores = self._dataset, self._stores
        found = allowed(self._kv, dataset.name, dataset.schema, newest=stores.newest_format)
        if found.why != _told.get(self._layout.records, ""):
            _told[self._layout.records] = found.why
            if found.why:
                logger.warning("dataset %s: versions are written in an older form: %s", dataset.name, found.why)
        return found

    def _may_stay(self, manifest: Manifest) -> bool:
        """Tell whether all who read the dataset can read a version."""
        return (self._allowed.deltas or not manifest.deltas) and manifest.codec <= self._allowed.forms.codec

    def _stays(self, manifest: Manifest) -> bool:
        """Tell whether a version in which nothing has changed stays as it is. Else its deltas are folded."""
        return self._may_stay(manifest) and (self._keys is not None or not is_to_fold(manifest))

    def _drift(
        self, base: Manifest | None, position: Position | None, manifest: Manifest, storing: Storing
    ) -> int | None:
        """Return how many rows were not what changes had told, now that everything was loaded."""
        if base is None or position is None or not position.cursor or not self._dataset._loads_changes():
            return None
        if position.content == storing.content:
            return 0
        try:
            drift = Context().run(drift_of, self._dataset, position, base, manifest, self._blocks, storing.fetch)
        except Exception as error:  # code of the project, which has just given all rows
            if interrupts(error):
                raise
            said = text_of(error)
            logger.warning("dataset %s: how far changes had drifted is not known: %s", self._dataset.name, said)
            return None
        if drift:
            logger.warning(
                "dataset %s: %d rows were not what load_changes() had told; this full load has corrected them",
                self._dataset.name,
                drift,
            )
        return drift

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = elapsed()
        yield
        self._phases[name] = self._phases.get(name, 0.0) + elapsed() - began

    # --- 2. load and validate ----------------------------------------------------------------------------------------

    def _refuse_load_in_vain(self) -> None:
        if self._lock is None or self._force:
            return
        try:
            ages = sightings(self._kv, self._layout).ages(time.time())
            refuse_repair_in_vain(self._dataset, self._state, ages, self._blocks, self._latest)
        except CorruptBlock:
            self._end.answer_request()
            raise

    def _load_and_validate(self) -> tuple[dict[Any, Any], Load]:
        started, began, self.loading = time.time(), elapsed(), True
        cursor = ""
        if self._from_source and self._dataset._loads_changes():
            cursor = Context().run(read_cursor, self._dataset)
        rows = Context().run(self._read, self._progress)
        self._permission.check()
        if self._changeable:
            check_keys(rows)
        load = Load(started, began, elapsed() - began, self._latest(), cursor, started if self._changeable else 0.0)
        self._phases["load"] = load.seconds
        self._validate(load.latest, rows)
        self.loading = False
        return rows, load

    def _validate(
        self, latest: Announcement | None, rows: Mapping[Any, Any], changed: tuple[Base, Difference] | None = None
    ) -> None:
        if self._skip_validators:
            self.results.append(ValidatorResult(name="validators", ok=True, text="left out by hand"))
            return
        validate = partial(run_validators, self._dataset, self._stores, latest, rows, self.results, changed=changed)
        with self._phase("validate"):
            Context().run(validate)
        if self._allowed.why:  # for whoever looks at the history
            self.results.append(ValidatorResult(name="form", ok=True, text=f"an older one: {self._allowed.why}"))

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
            verify=self._verify,
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

    # --- 4. load on trial --------------------------------------------------------------------------------------------

    def _try(self, trial: Callable[[], Assembled | None]) -> Assembled | None:
        """Load the version as readers load it."""
        self.loading = True  # code of the project takes part
        with self._phase("try"):
            made = Context().run(trial)
        self.loading = False
        return made
