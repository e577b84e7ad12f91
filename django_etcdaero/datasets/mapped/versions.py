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
from django_etcdaero.datasets.blocks.row_types import RowForm
from django_etcdaero.datasets.layout import Layout
from django_etcdaero.datasets.state.announcement import Announcement, Copy
from django_etcdaero.exceptions import EtcdAeroError, ResponseError
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.new_file import NewFile

from .folding import Folding
from .form import DamagedFile
from .making import Making
from .place import Place
from .rows import MappedRows
from .stack import Stack

logger = logging.getLogger("django_etcdaero.datasets")

LOOK_EVERY: Final = 0.005
"""Seconds between two looks at whether another process has made the file, at first; later a tenth of the time that has
gone by, and at most ..."""
LONGEST_LOOK: Final = 1.0
"""... so many."""
PATIENCE: Final = 0.05
"""Seconds for which the process that has made the file before is left to make the next one too."""
HANGING: Final = 15.0
"""Seconds without any progress after which whoever makes a file counts as one that hangs."""
FOLDING: Final = 0.02
"""Seconds of a pause between two moments of folding."""
_NEWEST: Final = "newest.json"


class MappedVersion:
    """A version that this process has mapped: what :class:`.blocks.assembled.Assembled` is for rows in memory."""

    def __init__(self, rows: MappedRows[Any, Any], root: bytes) -> None:
        self.rows = rows
        self.root = root

    @property
    def damaged(self) -> str | None:
        """What is wrong with a file, once that has turned out."""
        return self.rows.stack.damaged

    @property
    def ordered(self) -> bool:
        """Whether the rows are in the order in which they were loaded."""
        return self.rows.stack.ordered

    def release(self, after: MappedVersion | None = None) -> None:
        """Let go of the pages that this process has touched, because it does not read this version any more.

        Those of files that the version ``after`` is mapped from as well stay.
        """
        for file in self.rows.stack.files:
            if after is None or file not in after.rows.stack.files:
                file.release()


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
        self._content: tuple[bytes, str] = (b"", "")
        """The version in use, and the digest of its rows, if it is known."""
        self._folding = Folding(self._place)

    def map(self, root: bytes, held: MappedVersion | None = None) -> MappedVersion | None:
        """Map the files of a version; ``None``: there are none that can be used. Raises ``ConfigurationError``.

        ``held`` is mapped already.
        """
        self._place.check()
        try:
            stack = self._place.map(root, None if held is None else held.rows.stack)
        except DamagedFile as error:
            logger.warning("a mapped file is damaged and made anew: %s", error)
            self._from_store.add(root)
            return None
        if stack is None:
            return None
        version = self._version(stack)
        if held is not None:
            version.rows.keep_what_is_the_same(held.rows)
        return version

    def _version(self, stack: Stack) -> MappedVersion:
        for file, path in self._place.paths(stack):
            file.on_damage = partial(self._found_damaged, stack.root, path, file.inode)
        rows = MappedRows[Any, Any](stack, rows=self._rows, row_type=self._row_type, cached=self._cached)
        return MappedVersion(rows, stack.root)

    def _found_damaged(self, root: bytes, path: str, inode: int) -> None:
        self._from_store.add(root)
        self._place.remove(path, inode)
        self._damaged()

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
        found = self.map(root, before)
        if found is not None:
            return found
        now = monotonic()
        if self._waited[0] != root:
            self._waited = root, now
        if before is not None and not self._has_made and now < self._waited[1] + PATIENCE:
            return self._next_look()
        until = put_off(math.inf) if self._place.is_put_off(root, now) else None
        if until is not None:  # another process may do it earlier
            return min(until, self._next_look())
        with self._place.building(self._hanging) as got:
            if not got:
                self._look_whether_it_hangs(root)
                return self._next_look()
            found = self.map(root, before)  # it may have come meanwhile
            if found is None:
                until = self._made(announcement, root, blocks, before, put_off)
                if until is not None:
                    return until
                found = self.map(root, before)
        self._seen, self._hanging = (None, 0.0), 0
        return self._next_look() if found is None else found

    def _made(
        self,
        announcement: Announcement,
        root: bytes,
        blocks: BlockStore,
        before: MappedVersion | None,
        put_off: Callable[[float], float | None],
    ) -> float | None:
        """Make the file of a version; or return when to look again."""
        stack = None if root in self._from_store else self._stack_under(before)
        until = put_off(announcement.stored_bytes) if stack is None else None  # before anything is fetched
        making = Making(self._place, announcement, blocks, stack, same=self._has_same_rows(stack, announcement))
        if until is None:
            until = put_off(making.stored_bytes)
        if until is not None:
            self._place.put_off(root, until)
            return min(until, self._next_look())
        try:
            making.make(least=self._layers_being_folded(stack))
        except DamagedFile:  # what is mapped, and not what is stored
            self._from_store.add(root)
            return monotonic()
        except EtcdAeroError:
            self._place.tidy({root, *self._place.roots()})  # left-overs that take the room
            raise
        self._from_store.discard(root)
        self._has_made = True
        return None

    def _has_same_rows(self, stack: Stack | None, announcement: Announcement) -> bool:
        """Tell whether what is announced is known to have the rows of a version."""
        content = self._content
        return stack is not None and bool(announcement.content) and content == (stack.root, announcement.content)

    def _next_look(self) -> float:
        """Return when to look again whether there is the file of the version that is looked for."""
        now = monotonic()
        return now + min(LONGEST_LOOK, max(LOOK_EVERY, (now - self._waited[1]) / 10))

    def _stack_under(self, before: MappedVersion | None) -> Stack | None:
        """Return the files to take from what did not change: those of the version held, or the newest there are."""
        if before is not None:
            return None if before.damaged else self._with_folded(before.rows.stack)
        for root in self._place.roots():
            with suppress(EtcdAeroError):
                stack = self._place.map(root)
                if stack is not None:
                    return self._with_folded(stack)
        return None

    def _with_folded(self, stack: Stack) -> Stack:
        """Return the files of a version with the newest file of rows that its layers were folded into."""
        for at in range(len(stack.layers) - 1, -1, -1):
            root = stack.layers[at].head.root
            if self._place.has_rows(root):
                with suppress(EtcdAeroError):
                    base = self._place.map_rows(root)
                    if base is not None:
                        return Stack(base, stack.layers[at + 1 :])
        return stack

    def _look_whether_it_hangs(self, root: bytes) -> None:
        """Note it if the process that makes a file has made no progress for long."""
        progress, now = (root, self._place.progress(root)), monotonic()
        if progress != self._seen[0]:
            self._seen = progress, now
        elif now - self._seen[1] >= HANGING:
            self._seen = progress, now
            self._hanging += 1

    # --- folding -----------------------------------------------------------------------------------------------------

    def tend(self, held: MappedVersion | None) -> float:
        """Fold the layers of the version held, for some milliseconds, if there are many, and if this process makes
        files; return when to go on, on the monotonic clock. Never raises."""
        if not self._has_made or held is None:
            return math.inf
        return monotonic() + FOLDING if self._folding.go_on(held.rows.stack) else math.inf

    def _layers_being_folded(self, stack: Stack | None) -> int:
        """Return how many of the layers are just being folded: they are to stay as they are."""
        roots = () if stack is None else [layer.head.root for layer in stack.layers]
        return roots.index(self._folding.root) + 1 if self._folding.root in roots else 0

    # --- starting without the stores, and tidying up -----------------------------------------------------------------

    def newest(self) -> tuple[Copy, MappedVersion] | None:
        """Return the version that a process of this host took into use last, mapped; ``None``: there is none."""
        noted = self._noted()
        with suppress(EtcdAeroError):
            found = None if noted is None else self.map(bytes.fromhex(noted.announcement.root))
            if noted is not None and found is not None:
                return noted, found
        return None

    def taken_into_use(self, version: Copy, mapped: MappedVersion | None = None, *, certain: bool) -> None:
        """Note that a version is in use, for processes that start without the stores, and remove what nobody uses.

        ``mapped`` is how it is held. ``certain``: it is what is announced now, whatever was noted before.
        """
        root, noted = bytes.fromhex(version.announcement.root), self._noted()
        if noted is None or (
            noted.announcement.id != version.announcement.id and (certain or noted.order < version.order)
        ):
            with suppress(OSError), NewFile(Path(self._place.path, _NEWEST)) as new:  # elsewhere it may be written
                new.file.write(version.encode())
                new.commit()
            noted = version
        self._content = root, version.announcement.content
        held = None if mapped is None else mapped.rows.stack
        self._place.tidy({root, bytes.fromhex(noted.announcement.root)}, held)

    def _noted(self) -> Copy | None:
        try:
            return Copy.decode(Path(self._place.path, _NEWEST).read_bytes())
        except (OSError, ResponseError):  # there is none, or it makes no sense
            return None
