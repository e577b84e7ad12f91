"""The keys of a store as a tree, one level and one page at a time, read with ranges that have a limit.

A level is what stands under one beginning of keys: keys, and folders, which are beginnings themselves and end with the
separator. What is in a folder is not read: the next range begins behind it. Pages that are read one after the other
are each right for itself; only with a revision they are of one moment.
"""

from __future__ import annotations

from dataclasses import dataclass

from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.keys import FROM_KEY, prefix_end
from django_etcdaero.keyvalue.ops import found, get
from django_etcdaero.keyvalue.values import KeyValue, RangeResult
from django_etcdaero.system.clocks import monotonic

SEPARATOR = b"/"
PAGE = 100
"""Entries of a page, if the caller does not say."""
MOST_CALLS = 400
"""Ranges that are read for one page at most: a page that needs more ends earlier."""
FEW = 2_000
"""Keys that a store counts in no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key, or a folder of keys. Values are not read."""

    key: bytes
    """Of a folder: what its keys begin with, the separator included."""
    name: bytes
    """What is left of it without the beginning of the level."""
    kv: KeyValue | None = None
    """``None``: it is a folder."""
    count: int | None = None
    """Keys in the folder; ``None``: it is a key, or they were not counted."""

    @property
    def is_folder(self) -> bool:
        return self.kv is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A page of a level, or of the keys with a common beginning."""

    entries: list[Entry]
    next: bytes | None
    """Where the next page begins; ``None``: this is the last one."""
    revision: int
    """Of the store when it was read, or the one asked for."""


def read_level(
    kv: KV,
    under: bytes = b"",
    *,
    start: bytes = b"",
    limit: int = PAGE,
    revision: int = 0,
    separator: bytes = SEPARATOR,
    seconds: float = 2.0,
    timeout: float | None = None,
) -> Level:
    """Read a page of the level ``under``, beginning with ``start`` (a :attr:`Level.next`).

    A page has ``limit`` entries at most, and fewer if it takes more than :data:`MOST_CALLS` ranges or ``seconds``
    seconds. ``timeout``: seconds for each range. Raises what the store raises: ``Compacted`` and ``FutureRevision``
    for a revision that cannot be read.
    """
    last = prefix_end(under)
    position, end, width = max(start, under), last, 0
    entries: list[Entry] = []
    read_at, left = revision, 0
    until = monotonic() + seconds
    for call in range(MOST_CALLS):
        if len(entries) >= limit or (call and monotonic() > until):
            break
        answer = kv.range(position, end, limit=limit - len(entries), revision=revision, keys_only=True, timeout=timeout)
        read_at = revision or answer.revision
        if end == last:
            left = answer.count
        before = len(entries)
        position, over = _take(answer, under, separator, entries, limit, end=end)
        if over and end == last:
            return Level(entries=_counted(kv, entries, revision, timeout), next=None, revision=read_at)
        width = 1 if len(entries) > before else width + max(1, width // 2)
        end = last if left <= FEW else _near(position, under, entries, width, last)
    return Level(entries=_counted(kv, entries, revision, timeout), next=position, revision=read_at)


def _take(
    answer: RangeResult, under: bytes, separator: bytes, entries: list[Entry], limit: int, *, end: bytes
) -> tuple[bytes, bool]:
    """Add what a range up to ``end`` has found; return where to go on, and whether nothing is left of the range."""
    position = under
    for each in answer.kvs:
        if each.key < position:
            continue  # in the folder that was added last
        if len(entries) >= limit:
            return position, False
        name = each.key[len(under) :]
        cut = name.find(separator)
        if cut < 0:
            entries.append(Entry(key=each.key, name=name, kv=each))
            position = each.key + b"\0"
        else:
            name = name[: cut + len(separator)]
            entries.append(Entry(key=under + name, name=name))
            position = prefix_end(under + name)
            if position == FROM_KEY:
                return position, end == FROM_KEY
    if answer.more and (end == FROM_KEY or position < end):
        return position, False
    return (position if end == FROM_KEY else max(position, end)), True


def _near(position: bytes, under: bytes, entries: list[Entry], width: int, last: bytes) -> bytes:
    """Return where a range from ``position`` may end, so that what is next is probably in it and not much else.

    A store counts all keys of a range that it is asked for, whatever the limit. The names of neighbours have a
    beginning in common: they are looked for below the name of the last entry without its last ``width`` bytes.
    """
    name = entries[-1].name.rstrip(SEPARATOR) if entries else b""
    for cut in range(max(width, 1), len(name)):
        end = prefix_end(under + name[:-cut])
        if end == FROM_KEY or (last != FROM_KEY and end > last):
            return last
        if end > position:
            return end
    return last


def _counted(kv: KV, entries: list[Entry], revision: int, timeout: float | None) -> list[Entry]:
    """Count the keys of the folders, with one call for up to 128 of them, which is what a transaction can hold."""
    folders = [each for each in entries if each.is_folder]
    counts: dict[bytes, int] = {}
    for begin in range(0, len(folders), 128):
        part = folders[begin : begin + 128]
        counting = [get(each.key, prefix=True, count_only=True, revision=revision) for each in part]
        answers = kv.txn().then(*counting).commit(timeout=timeout).responses
        for each, answer in zip(part, answers, strict=True):
            assert isinstance(answer, RangeResult)
            counts[each.key] = answer.count
    return [Entry(key=each.key, name=each.name, count=counts[each.key]) if each.is_folder else each for each in entries]


def read_matches(
    kv: KV,
    beginning: bytes,
    *,
    start: bytes = b"",
    limit: int = PAGE,
    revision: int = 0,
    timeout: float | None = None,
) -> Level:
    """Read a page of all keys that begin so, whatever separators are in them, with one range.

    The arguments and errors are as for :func:`read_level`.
    """
    answer = kv.range(
        max(start, beginning),
        prefix_end(beginning),
        limit=limit,
        revision=revision,
        keys_only=True,
        timeout=timeout,
    )
    entries = [Entry(key=each.key, name=each.key, kv=each) for each in answer.kvs]
    following = entries[-1].key + b"\0" if answer.more else None
    return Level(entries=entries, next=following, revision=revision or answer.revision)


def exist(kv: KV, keys: list[bytes], *, timeout: float | None = None) -> set[bytes]:
    """Return those of up to 128 keys that are there now, with one call."""
    if not keys:
        return set()
    answers = kv.txn().then(*(get(key, keys_only=True) for key in keys)).commit(timeout=timeout).responses
    return {each.key for answer in answers for each in found(answer)}
