"""Folding the layers of a version into a new file of rows, beside all else: a few milliseconds at a time.

Whoever uses the version keeps it as it is mapped. The next layer is laid over the new file of rows, and what was folded
is removed when nobody maps it any more. Nothing is fetched for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from typing import Final

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.error_text import text_of

from .form import MappedFile
from .layering import fold
from .place import Place
from .stack import Stack

logger = logging.getLogger("django_etcdaero.datasets")

SHARE: Final = 1 / 8
"""Part of the size of the file of rows from which its layers are folded."""
SLICE: Final = 0.02
"""Seconds for which layers are folded at once, at least."""
_SYNCED: Final = 8 << 20
"""Bytes after which those that were written are brought to the disk: all at the end would take long."""


class Folding:
    """What this process folds in one place, if anything."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.root = b""
        """The version whose layers are being folded; empty: none is."""
        self._steps: Iterator[None] | None = None
        self._failed = b""
        """The version that could not be folded."""
        self._made: MappedFile | None = None
        """What was made last, so that nobody removes it before another version lies over it."""

    def go_on(self, stack: Stack) -> bool:
        """Fold for a moment, if there is something to be folded; return whether there is more. Never raises."""
        if self._made is not None and stack.base.head.root == self._made.head.root:
            self._made = None
        if self._steps is None:
            if not self._is_due(stack):
                return False
            self.root, self._steps = stack.root, self._folded(stack)
        until = monotonic() + SLICE
        try:
            for _ in self._steps:
                if monotonic() >= until:
                    return True
        except (EtcdAeroError, OSError) as error:  # a change that comes tries again, and makes all anew in the end
            self._failed = self.root
            logger.warning("changes in %s could not be folded: %s", self._place.path, text_of(error))
        self.root, self._steps = b"", None
        return False

    def _is_due(self, stack: Stack) -> bool:
        return (
            stack.layer_bytes > SHARE * stack.base.size
            and stack.root != self._failed
            and not any(self._place.has_rows(layer.head.root) for layer in stack.layers)
        )

    def _folded(self, stack: Stack) -> Iterator[None]:
        size = stack.size
        with self._place.folding() as got:
            if not got:
                return
            with self._place.new(self._place.of(stack.root), size) as file, closing(fold(file, stack)) as steps:
                synced = 0
                for _ in steps:
                    file.flush()  # a child that is forked now, and lets go of this, must not write it once more
                    yield
                    if file.tell() >= synced + _SYNCED:
                        synced = file.tell()
                        self._place.sync(file)
            self._made = self._place.map_rows(stack.root)
