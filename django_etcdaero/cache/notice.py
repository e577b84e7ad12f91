"""What processes with a near cache tell each other: which entries and stamps have changed.

A notice is the value of a key::

    magic 3 | format 1 | number 8 | sections …
    K generation 8 | count 2 | digests 8 each    entries of a generation
    W generation 8                               all entries of a generation
    S length 2 | name                            a stamp
    E                                            everything

The number counts the notices of the sender. A reader that missed one, or finds a format or a section that it does not
know, drops everything that it holds.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from .envelope import STAMP_BYTES
from .near import DIGEST_BYTES

MAGIC: Final = b"\xebCN"
FORMAT: Final = 1

MAX_KEYS: Final = 128
"""Entries of one generation that are named in a notice; of more, all entries of the generation are dropped. Likewise
for stamps: of more, everything is dropped."""
MAX_BYTES: Final = 1280
"""Longest notice; what would be longer says "everything"."""

_HEAD: Final = struct.Struct(">3sBQ")
_KEYS: Final = struct.Struct(f">c{STAMP_BYTES}sH")
_WHOLE: Final = struct.Struct(f">c{STAMP_BYTES}s")
_STAMP: Final = struct.Struct(">cH")


@dataclass(slots=True)
class Notice:
    """What has changed."""

    keys: dict[bytes, set[bytes]] = field(default_factory=dict)
    """Digests of entries, by the generation that these belong to."""
    whole: set[bytes] = field(default_factory=set)
    """Generations of which every entry may have changed."""
    stamps: set[bytes] = field(default_factory=set)
    """Names of stamps: :mod:`.stamps`."""
    everything: bool = False

    def __bool__(self) -> bool:
        return bool(self.everything or self.keys or self.whole or self.stamps)

    def add(self, other: Notice) -> None:
        """Say what ``other`` says, too."""
        for generation, digests in other.keys.items():
            self.add_keys(generation, digests)
        for generation in other.whole:
            self.keys.pop(generation, None)
            self.whole.add(generation)
        self.stamps |= other.stamps
        self.everything |= other.everything
        if len(self.stamps) > MAX_KEYS:
            self.stamps.clear()
            self.everything = True

    def add_keys(self, generation: bytes, digests: Collection[bytes]) -> None:
        """Say that entries of a generation have changed."""
        if generation in self.whole:
            return
        known = self.keys.setdefault(generation, set())
        known.update(digests)
        if len(known) > MAX_KEYS:
            del self.keys[generation]
            self.whole.add(generation)

    def pack(self, number: int) -> bytes:
        """Return the value of the key, for the sender's notice of that number."""
        head = _HEAD.pack(MAGIC, FORMAT, number)
        if self.everything:
            return head + b"E"
        sections = [
            _KEYS.pack(b"K", generation, len(digests)) + b"".join(sorted(digests))
            for generation, digests in self.keys.items()
        ]
        sections += [_WHOLE.pack(b"W", generation) for generation in self.whole]
        sections += [_STAMP.pack(b"S", len(name)) + name for name in sorted(self.stamps)]
        packed = head + b"".join(sections)
        return packed if len(packed) <= MAX_BYTES else head + b"E"


class Received(NamedTuple):
    """A notice that came in."""

    number: int
    notice: Notice


def unpack(value: bytes) -> Received | None:
    """Read the value of a key; ``None``: it is no notice, and says nothing."""
    if len(value) < _HEAD.size:
        return None
    magic, version, number = _HEAD.unpack_from(value)
    if magic != MAGIC:
        return None
    notice = Notice()
    try:
        if version == FORMAT:
            _read(value, notice)
        else:
            notice.everything = True
    except (ValueError, struct.error):
        notice.everything = True
    return Received(number, notice)


def _read(value: bytes, notice: Notice) -> None:
    position = _HEAD.size
    while position < len(value):
        kind = value[position : position + 1]
        if kind == b"K":
            _, generation, count = _KEYS.unpack_from(value, position)
            position += _KEYS.size
            end = position + count * DIGEST_BYTES
            if end > len(value):
                raise ValueError("digests are cut off")
            notice.add_keys(
                generation, [value[start : start + DIGEST_BYTES] for start in range(position, end, DIGEST_BYTES)]
            )
            position = end
        elif kind == b"W":
            notice.whole.add(_WHOLE.unpack_from(value, position)[1])
            position += _WHOLE.size
        elif kind == b"S":
            length = _STAMP.unpack_from(value, position)[1]
            position += _STAMP.size
            if position + length > len(value):
                raise ValueError("a name is cut off")
            notice.stamps.add(value[position : position + length])
            position += length
        elif kind == b"E":
            notice.everything = True
            position += 1
        else:
            raise ValueError(f"there is no section {kind!r}")
