"""A bounded layer of entries in memory, and what makes it safe to fill from a store that others write to.

It holds encoded bodies: each reader decodes its own value. Entries are found by their key, and dropped by the digest of
it, which is what other processes are told. Whoever fills it takes a :attr:`~Near.token` before asking the store: an
entry that was dropped since then is not taken, because what was read may be older than what dropped it.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from django_etcdaero.system.clocks import monotonic

from .envelope import Envelope

DIGEST_BYTES: Final = 8

OVERHEAD: Final = 550
"""Bytes that an entry takes beside its key and its body, about; counted, so that many small ones are bounded, too."""

MAX_REMEMBERED: Final = 4096
"""Digests dropped last that are remembered. A fill that has taken longer than so many is not taken at all."""


def digest_of(key: bytes) -> bytes:
    """Return what stands for ``key`` in what processes tell each other."""
    return hashlib.blake2b(key, digest_size=DIGEST_BYTES).digest()


class Held(NamedTuple):
    """An entry of the layer."""

    envelope: Envelope
    """With its whole body; it was authentic when it came in."""
    until: float
    """By the clock of the layer: from when on it counts no more."""
    ends: float | None
    """By the same clock: about when the store forgets it; ``None``: never."""
    size: int
    digest: bytes


class NearState(NamedTuple):
    """How much is in the layer, and whether notices of changes come in."""

    entries: int
    size: int
    """Bytes, about."""
    following: bool
    """Else nobody has read for a while, or the notices cannot be had: then entries live for ``max_age`` at most."""


class Near:
    """The layer. Safe to share between threads; the child of a fork must call :meth:`after_fork_in_child`."""

    def __init__(
        self, *, max_entries: int, max_bytes: int, max_age: float, clock: Callable[[], float] = monotonic
    ) -> None:
        """``max_age``: seconds after which an entry is asked for again, at most. The rest are the bounds."""
        self.max_age = max_age
        self.clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        """Held while something changes (twice by who is interrupted by a signal and uses the cache in its handler).
        Readers do without: each of their steps on the dict is atomic."""
        self._held: OrderedDict[bytes, Held] = OrderedDict()
        self._keys: dict[bytes, bytes] = {}
        self._size = 0
        self._drops = 0
        self._forgotten = 0
        self._dropped: OrderedDict[bytes, int] = OrderedDict()

    def after_fork_in_child(self) -> None:
        """Begin empty: a thread of the parent may have been in the middle of a change."""
        self._lock = threading.RLock()
        self._clear()
        self._drops += 1
        self._forgotten = self._drops

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size(self) -> int:
        """The bytes that all entries take, about."""
        return self._size

    @property
    def token(self) -> int:
        """What a fill that begins now must bring back: how often something was dropped."""
        return self._drops

    def get(self, key: bytes) -> Held | None:
        """Return an entry that counts."""
        held = self._held.get(key)
        if held is None:
            return None
        if self.clock() >= held.until:
            with self._lock:
                if self._held.get(key) is held:
                    self._remove(key)
            return None
        try:
            self._held.move_to_end(key)
        except KeyError:  # dropped in this moment
            return None
        return held

    def put(
        self, key: bytes, envelope: Envelope, token: int, *, started: float, lives: float | None, ttl: float | None
    ) -> bool:
        """Take an entry in that was asked for at ``started``, by the layer's clock; return whether it was.

        ``lives``: seconds from then on for which it counts; ``ttl``: those until the store forgets it. ``None`` is for
        ever. What was dropped meanwhile, has no time left, or is larger than the layer is not taken.
        """
        until = started + (self.max_age if lives is None else min(lives, self.max_age))
        size = len(key) + len(envelope.body) + OVERHEAD
        if size > self._max_bytes or until <= self.clock():
            return False
        digest = digest_of(key)
        with self._lock:
            if token < self._forgotten or self._dropped.get(digest, 0) > token:
                return False
            if key in self._held:
                self._remove(key)
            self._held[key] = Held(envelope, until, None if ttl is None else started + ttl, size, digest)
            self._keys[digest] = key
            self._size += size
            while self._size > self._max_bytes or len(self._held) > self._max_entries:
                self._remove(next(iter(self._held)))
        return True

    def drop(self, digests: Iterable[bytes]) -> None:
        """Drop the entries whose keys have these digests, and those that are being asked for now."""
        with self._lock:
            self._drops += 1
            for digest in digests:
                self._dropped[digest] = self._drops
                self._dropped.move_to_end(digest)
                key = self._keys.get(digest)
                if key is not None:
                    self._remove(key)
            while len(self._dropped) > MAX_REMEMBERED:
                _, self._forgotten = self._dropped.popitem(last=False)

    def drop_all(self) -> None:
        """Drop everything, and all that is being asked for now."""
        with self._lock:
            self._drops += 1
            self._forgotten = self._drops
            self._clear()

    def drop_beginning(self, start: bytes) -> None:
        """Drop the entries whose keys begin so, and all that is being asked for now."""
        with self._lock:
            self._drops += 1
            self._forgotten = self._drops
            self._dropped = OrderedDict()
            for key in [key for key in self._held if key.startswith(start)]:
                self._remove(key)

    def _clear(self) -> None:
        self._held = OrderedDict()
        self._keys = {}
        self._dropped = OrderedDict()
        self._size = 0

    def _remove(self, key: bytes) -> None:
        held = self._held.pop(key)
        if self._keys.get(held.digest) == key:
            del self._keys[held.digest]
        self._size -= held.size
