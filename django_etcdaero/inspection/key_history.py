"""What a key was before, and keys that are no more, as far as the history of the store reaches.

The versions of a key in one life, from its creation to now or to its deletion, are read backwards: each says with its
mod revision where the one before ends. Where lives ended is known from the deletions of the past, without the values
(:mod:`.past_deletions`). A deleted key is read as of the revision before.

To find deletions a server has to look at all that was changed since, and does nothing else meanwhile. So it is asked
for the last revisions first, and not for more than it may be.
"""

from __future__ import annotations

from dataclasses import dataclass

from django_etcdaero.exceptions import Compacted
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.system.clocks import monotonic

from .key_levels import exist
from .key_reach import Reach
from .past_deletions import past_deletions

WINDOWS = (200, 2_000, 20_000, 100_000)
"""How many of the last revisions are looked at, one after the other, while there is time."""
MOST_DELETIONS = 2_000
"""Deletions that are told; of more, the oldest are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A key as it was from ``kv.mod_revision`` until something replaced or deleted it."""

    kv: KeyValue
    until: int | None
    """The revision that replaced or deleted it; ``None``: it is there now."""
    deleted: bool = False
    """Whether it was a deletion that ended it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Versions of a key, the newest first."""

    found: list[Version]
    more: int
    """As of which revision to go on reading; 0: these are all that can be read."""
    compacted: bool = False
    """Whether there were earlier ones that cannot be read any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A key was deleted, and is not there now."""

    key: bytes
    revision: int
    """Of the deletion. The key can be read as of the revision before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletions:
    """Which keys were deleted, the newest deletion first."""

    found: list[Deletion]
    since: int
    """All deletions from this revision on are among them."""
    complete: bool
    """Whether that is all that can be read."""


def versions(
    kv: KV, key: bytes, reach: Reach, *, before: int = 0, limit: int = 20, timeout: float | None = None
) -> Versions:
    """Read the versions of a key backwards, at most ``limit`` of them.

    ``before``: the revision as of which to begin (a :attr:`Versions.more`); 0: now. Reads end at the creation of the
    key; with ``before`` set to the revision before a deletion they tell of an earlier life. ``timeout``: seconds for
    each read. Raises what the store raises.
    """
    found: list[Version] = []
    at, until, deleted = before, None, False
    if 0 < before < reach.newest:
        until = before + 1
        deleted = until >= reach.oldest and kv.get(key, revision=until, timeout=timeout) is None
    while len(found) < limit:
        try:
            each = kv.get(key, revision=at, timeout=timeout)
        except Compacted:
            return Versions(found=found, more=0, compacted=True)
        if each is None:
            return Versions(found=found, more=0)
        found.append(Version(kv=each, until=until, deleted=deleted))
        if each.version == 1:
            return Versions(found=found, more=0)
        at, until, deleted = each.mod_revision - 1, each.mod_revision, False
        if at < reach.oldest:
            return Versions(found=found, more=0, compacted=True)
    return Versions(found=found, more=at)


def deletions(kv: KV, key: bytes, reach: Reach, *, prefix: bool, seconds: float = 2.0) -> Deletions:
    """Return all deletions of a key, or the last one of each key with this beginning that is not there now.

    Takes ``seconds`` seconds at most, and one call of up to 128 keys for each so many that were deleted. Raises what
    the store raises; ``Compacted`` if history was compacted meanwhile.
    """
    oldest = reach.oldest + 1  # what was deleted with the oldest revision can be read no more
    until = monotonic() + seconds
    since, latest = reach.newest + 1, dict[object, Deletion]()
    for window in WINDOWS:
        start = max(oldest, reach.newest + 1 - window)
        if start >= since:
            break
        events, complete = past_deletions(kv, key, start, prefix=prefix, until=until)
        for event in events:
            each = Deletion(key=event.kv.key, revision=event.kv.mod_revision)
            known = latest.setdefault(each.key if prefix else each.revision, each)
            if known.revision < each.revision:
                latest[each.key] = each
        if not complete:
            break
        since = start
    gone = sorted(latest.values(), key=lambda each: -each.revision)
    if len(gone) > MOST_DELETIONS:
        gone = gone[:MOST_DELETIONS]
        since = max(since, gone[-1].revision)
    if prefix:
        there: set[bytes] = set()
        for begin in range(0, len(gone), 128):
            there |= exist(kv, [each.key for each in gone[begin : begin + 128]], timeout=seconds)
        gone = [each for each in gone if each.key not in there]
    return Deletions(found=gone, since=since, complete=since <= oldest)
