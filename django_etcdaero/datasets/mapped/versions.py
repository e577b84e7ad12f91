"""The version of a dataset as the processes of a host share it: one makes its file, all map it.

Whoever needs a version looks for its file. Where there is none, the one process that gets the lock makes it, and the
others look again and again; nobody waits in a thread. If whoever has the lock makes no progress for :data:`HANGING`
seconds, one of the others makes the file as well: two processes that make one file do work twice, and nothing else.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.row_types import RowForm
from django_etcdaero.datasets.layout import Layout
from django_etcdaero.datasets.state.announcement import Announcement, Copy
from django_etcdaero.exceptions import EtcdAeroError, ResponseError
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.new_file import NewFile

from .building import Plan, blocks_of, build
from .form import HEADER_BYTES, DamagedFile, MappedFile
from .place import Place
from .rows import MappedRows

logger = logging.getLogger("django_etcdaero.datasets")

LOOK_EVERY: Final = 0.1
"""Seconds between two looks at whether another process has made the file, at first; later a tenth of the time that has
gone by, and at most ..."""
LONGEST_LOOK: Final = 1.0
"""... so many."""
HANGING: Final = 15.0
"""Seconds without any progress after which whoever makes a file counts as one that hangs."""
_NEWEST: Final = "newest.json"
_ROW_BYTES: Final = 24
"""What a row takes beside its data, at most."""


class MappedVersion:
    """A version that this process has mapped: what :class:`.blocks.assembled.Assembled` is for rows in memory."""

    def __init__(self, rows: MappedRows[Any, Any], root: bytes) -> None:
        self.rows = rows
        self.root = root

    @property
    def damaged(self) -> str | None:
        """What is wrong with the file, once that has turned out."""
        return self.rows.file.damaged

    @property
    def ordered(self) -> bool:
        """Whether the rows are in the order in which they were loaded."""
        return bool(self.rows.file.head.ordered)

    def release(self) -> None:
        """Let go of the pages that this process has touched, because it does not read this version any more."""
        self.rows.file.release()


class SharedVersions:
    """The mapped versions of one dataset, of which ``layout`` has the names, below ``directory``.

    ``rows``, ``row_type`` and ``cached`` are the dataset's options ``rows``, ``row_type`` and ``shared_cache``;
    ``damaged()`` is called, in the thread that reads, when a file turns out not to be what was written. Used by one
    thread at a time.
    """

    def __init__(
        self,
        directory: str,
        layout: Layout,
        *,
        rows: RowForm,
        row_type: type[Any] | None,
        cached: int,
        damaged: Callable[[], object],
    ) -> None:
        self._place = Place(directory, prefix=layout.prefix, name=layout.name, schema=layout.schema)
        self._rows = rows
        self._row_type = row_type
        self._cached = cached
        self._damaged = damaged
        self._seen: tuple[object, float] = (None, 0.0)
        """How far the file was that another process makes, and when that was seen first."""
        self._waited: tuple[bytes, float] = (b"", 0.0)
        """Which version is looked for, and since when."""
        self._hanging = 0
        """How many processes one after the other have made no progress for long."""
        self._has_made = False
        """Whether this process has made a file. Such a process goes first: it has taken the memory for that already,
        of which the interpreter gives little back (with 1,000,000 rows some 20 MB stay)."""
        self._from_store: set[bytes] = set()
        """Versions whose files were damaged: nothing is copied for those."""

    def map(self, root: bytes) -> MappedVersion | None:
        """Map the file of a version; ``None``: there is none that can be used. Raises ``ConfigurationError``."""
        self._place.check()
        try:
            file = self._place.map(root)
        except DamagedFile as error:
            logger.warning("a mapped file is damaged and made anew: %s", error)
            self._forget(root)
            return None
        return None if file is None else self._version(file, root)

    def _version(self, file: MappedFile, root: bytes) -> MappedVersion:
        file.on_damage = partial(self._found_damaged, root, file.inode)
        return MappedVersion(MappedRows(file, rows=self._rows, row_type=self._row_type, cached=self._cached), root)

    def _found_damaged(self, root: bytes, inode: int) -> None:
        self._from_store.add(root)
        self._place.remove(root, inode)
        self._damaged()

    def _forget(self, root: bytes) -> None:
        self._from_store.add(root)
        with suppress(OSError):
            Path(self._place.of(root)).unlink()

    def version(
        self,
        announcement: Announcement,
        blocks: BlockStore,
        *,
        before: MappedVersion | None,
        put_off: Callable[[float], float | None],
    ) -> MappedVersion | float:
        """Map the file of a version, or make it first; or return when to look again, on the monotonic clock.

        ``before`` is the version held. ``put_off`` is asked, with the bytes to be fetched, until when to put that off.
        Raises ``CorruptBlock``, what the record store raises, ``StoreFull`` when there is no room for the file, and
        ``ConfigurationError`` where there can be none.
        """
        root = bytes.fromhex(announcement.root)
        found = self.map(root)
        if found is not None:
            return found
        if before is not None and not self._has_made and self._waited[0] != root:
            return self._next_look(root)
        until = put_off(math.inf) if self._place.is_put_off(root, monotonic()) else None
        if until is not None:  # another process may do it earlier
            return min(until, self._next_look(root))
        with self._place.building(self._hanging) as got:
            if not got:
                self._look_whether_it_hangs(root)
                return self._next_look(root)
            found = self.map(root)  # it may have come meanwhile
            if found is None:
                until = self._made(announcement, root, blocks, before, put_off)
                if until is not None:
                    return until
                found = self.map(root)
        self._seen, self._hanging = (None, 0.0), 0
        return self._next_look(root) if found is None else found

    def _made(
        self,
        announcement: Announcement,
        root: bytes,
        blocks: BlockStore,
        before: MappedVersion | None,
        put_off: Callable[[float], float | None],
    ) -> float | None:
        base = None if root in self._from_store else self._base(before)
        until = put_off(announcement.stored_bytes) if base is None else None  # before anything is fetched
        if until is None:
            manifest = Manifest.load(blocks.fetch, root)
            plan = Plan.of(blocks_of(manifest, blocks.fetch), base)
            until = put_off(plan.share * announcement.stored_bytes)
        if until is not None:
            self._place.put_off(root, until)
            return min(until, self._next_look(root))
        size = HEADER_BYTES + manifest.plain_bytes + _ROW_BYTES * (manifest.rows + manifest.count)
        try:
            with self._place.new(root, size) as file:
                build(file, manifest, plan, blocks.fetch)
        except EtcdAeroError:
            self._place.tidy({root, *self._place.roots()})  # left-overs that take the room
            raise
        self._from_store.discard(root)
        self._has_made = True
        return None

    def _next_look(self, root: bytes) -> float:
        """Return when to look again whether there is the file of a version."""
        now = monotonic()
        if self._waited[0] != root:
            self._waited = root, now
        return now + min(LONGEST_LOOK, max(LOOK_EVERY, (now - self._waited[1]) / 10))

    def _base(self, before: MappedVersion | None) -> MappedFile | None:
        """Return a file to copy from: that of the version held, or the newest one that there is."""
        if before is not None:
            return None if before.damaged else before.rows.file
        for root in self._place.roots():
            with suppress(EtcdAeroError):
                file = self._place.map(root)
                if file is not None:
                    return file
        return None

    def _look_whether_it_hangs(self, root: bytes) -> None:
        """Note it if the process that makes a file has made no progress for long."""
        progress, now = (root, self._place.progress(root)), monotonic()
        if progress != self._seen[0]:
            self._seen = progress, now
        elif now - self._seen[1] >= HANGING:
            self._seen = progress, now
            self._hanging += 1

    # --- starting without the stores, and tidying up -----------------------------------------------------------------

    def newest(self) -> tuple[Copy, MappedVersion] | None:
        """Return the version that a process of this host took into use last, mapped; ``None``: there is none."""
        noted = self._noted()
        with suppress(EtcdAeroError):
            found = None if noted is None else self.map(bytes.fromhex(noted.announcement.root))
            if noted is not None and found is not None:
                return noted, found
        return None

    def taken_into_use(self, version: Copy, *, certain: bool) -> None:
        """Note that a version is in use, for processes that start without the stores, and remove what nobody uses.

        ``certain``: it is what is announced now, whatever was noted before.
        """
        root, noted = bytes.fromhex(version.announcement.root), self._noted()
        if noted is None or (
            noted.announcement.id != version.announcement.id and (certain or noted.order < version.order)
        ):
            with suppress(OSError), NewFile(Path(self._place.path, _NEWEST)) as new:  # elsewhere it may be written
                new.file.write(version.encode())
                new.commit()
            noted = version
        self._place.tidy({root, bytes.fromhex(noted.announcement.root)})

    def _noted(self) -> Copy | None:
        try:
            return Copy.decode(Path(self._place.path, _NEWEST).read_bytes())
        except (OSError, ResponseError):  # there is none, or it makes no sense
            return None
