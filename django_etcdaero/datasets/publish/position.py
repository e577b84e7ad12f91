"""Where a version stands in its source: the cursor from which changes go on, and what is known of its rows.

It is kept with the announcement, and so in the history: who goes back to a version goes on from where that stood. A
load that found nothing new leaves the version as it is, and notes how far it looked in ``checked``.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from django_etcdaero.datasets.blocks.codec import Encoder, decode
from django_etcdaero.datasets.blocks.content import CONTENT_BYTES
from django_etcdaero.datasets.blocks.digests import DamagedRecord
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.stored_state import Checked
from django_etcdaero.exceptions import ConfigurationError, EncodeError, ResponseError

from .source import telling

MOST_CURSOR_BYTES: Final = 512
"""A cursor as it is stored: every process reads it with each announcement."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a version stands."""

    cursor: str
    """As it is stored; empty: changes cannot go on from here."""
    content: bytes
    """The digest of all rows."""
    full_load: float
    """When the last full load began that it goes back to, seconds since the epoch."""

    @property
    def since(self) -> Any:
        """The cursor as ``load_changes()`` gets it. Raises ``DamagedRecord``, ``ResponseError``."""
        return decode(b64decode(self.cursor))


def position_of(announcement: Announcement | None, checked: Checked | None) -> Position | None:
    """Return where a version stands; ``None`` when its rows are not known well enough to be changed."""
    if announcement is None:
        return None
    try:
        content = bytes.fromhex(announcement.content)
    except ValueError:
        return None
    if len(content) != CONTENT_BYTES:
        return None
    cursor, full_load = announcement.cursor, announcement.full_load
    if checked is not None and checked.version == announcement.version:
        cursor, full_load = checked.cursor or cursor, max(full_load, checked.full_load)
    found = Position(cursor, content, full_load)
    try:
        if cursor:
            _ = found.since
    except (DamagedRecord, ResponseError, ValueError):  # somebody has written to the key
        return None
    return found


def stored_cursor(dataset: Declared[Any, Any], cursor: Any, call: str) -> str:
    """Return a cursor as it is stored; ``call`` is what gave it.

    Raises ``EncodeError`` for one that cannot be stored, or is too long.
    """
    try:
        encoded = Encoder().encode([0], [cursor])[1][0]
    except EncodeError as error:
        raise EncodeError(f"{call} of dataset {dataset.name!r} gave a cursor that cannot be stored: {error}") from error
    if len(encoded) > MOST_CURSOR_BYTES:
        raise EncodeError(
            f"{call} of dataset {dataset.name!r} gave a cursor of {len(encoded):,} bytes; at most {MOST_CURSOR_BYTES} "
            "are kept with a version"
        )
    return b64encode(encoded).decode()


def key_text(key: Any) -> str:
    """Return a key as it stands in a request. Raises ``EncodeError``."""
    return b64encode(Encoder().encode([key], [None])[0][0]).decode()


def keys_in(texts: Iterable[str]) -> list[Any]:
    """Return the keys that stand in a request; what makes no sense is left out."""
    found = []
    for text in texts:
        with suppress(DamagedRecord, ResponseError, ValueError):
            found.append(decode(b64decode(text)))
    return found


def read_cursor(dataset: Declared[Any, Any]) -> str:
    """Call ``change_cursor()`` and return what it gives as it is stored. Raises what it raises, and ``EncodeError``."""
    with telling("change_cursor()"):
        return stored_cursor(dataset, dataset.change_cursor(), "change_cursor()")


def with_overlap(dataset: Declared[Any, Any], since: Any) -> Any:
    """Return the cursor from which changes are read: ``changes_overlap`` before the one that is kept.

    Raises ``ConfigurationError`` for a cursor that is no date.
    """
    overlap: timedelta | None = dataset.changes_overlap
    if overlap is None or since is None:
        return since
    if not isinstance(since, date):
        kind = type(since).__qualname__
        raise ConfigurationError(
            f"dataset {dataset.name!r}: changes_overlap needs cursors that are datetimes, and this one is a {kind}: "
            "read more than the cursor says in load_changes() itself"
        )
    try:
        return since - overlap
    except OverflowError:
        return since
