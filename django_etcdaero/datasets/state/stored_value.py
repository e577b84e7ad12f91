"""What the values of a dataset's keys have in common: JSON objects with the fields of a dataclass.

Whatever stands under a key that some tool, a bug or a newer version has written to: it is read as a value whose fields
can be worked with, or refused. Numbers are finite and within bounds, so that no time overflows a date and no counter
the next one, and texts can be printed.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from django_etcdaero.exceptions import ResponseError

if TYPE_CHECKING:  # starting must stay cheap
    from django_etcdaero.keyvalue.values import KeyValue

logger = logging.getLogger("django_etcdaero.datasets")

_KINDS: Final[dict[str, type | tuple[type, ...]]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "dict": dict,
    "list": list,
}
MOST: Final = 2**53
"""Integers are from 0 to below this: JSON's own limit, where numbers are floats."""
_EARLIEST, _LATEST = -6e10, 2.5e11
"""Seconds since the epoch that are dates: of the years 68 to 9892."""
_told: dict[bytes, tuple[int, bytes]] = {}
"""The values that were reported as senseless, with their revisions, by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredValue:
    """A value, and who wrote it: by default this process."""

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)

    def encode(self) -> bytes:
        """Return the value to store; fields that have their default are left out."""
        stored, defaults = dataclasses.asdict(self), {each.name: each.default for each in dataclasses.fields(self)}
        said = {name: value for name, value in stored.items() if value != defaults[name]}
        return json.dumps(said, sort_keys=True).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a stored value, types and bounds checked; fields of newer writers are ignored.

        Raises ``ResponseError``.
        """
        return cls.of(load_object(value, cls.__name__.lower()))

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Self:
        """Read the fields of a stored value. Raises ``ResponseError``."""
        what, found = cls.__name__.lower(), dict[str, Any]()
        writer, own = dataclasses.fields(cls)[:2], dataclasses.fields(cls)[2:]
        for each in own + writer:  # what is wrong is rather told of the value's own fields
            if each.name not in stored:
                if each.default is dataclasses.MISSING:
                    raise ResponseError(f"the stored {what} lacks {each.name!r}")
                continue
            kind, item = _KINDS[str(each.type).partition("[")[0]], stored[each.name]
            if not isinstance(item, kind) or (isinstance(item, bool) and kind is not bool) or not _bounded(kind, item):
                raise ResponseError(f"the stored {what} has a bad {each.name!r}: {_shown(item)}")
            found[each.name] = item
        made = cls(**found)
        complaint = made.complaint()
        if complaint is not None:
            raise ResponseError(f"the stored {what} {complaint}")
        return made

    def complaint(self) -> str | None:
        """Say what is wrong with the value although each field is of the right type; ``None``: nothing."""
        return None

    @classmethod
    def believe(cls, item: KeyValue | None) -> Self | None:
        """Read a stored value; ``None`` when there is none or it makes no sense, which is reported once."""
        try:
            return None if item is None else cls.decode(item.value)
        except ResponseError as error:
            if item is not None and _told.get(item.key) != (item.mod_revision, item.value):
                _told[item.key] = (item.mod_revision, item.value)
                logger.warning("%s is ignored: %s", item.key.decode(errors="replace"), error)
            return None


def load_object(value: bytes, what: str) -> dict[str, Any]:
    """Parse a stored JSON object. Raises ``ResponseError`` naming ``what``."""
    try:
        fields = json.loads(value, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ResponseError(f"the stored {what} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ResponseError(f"the stored {what} is not a JSON object")
    return fields


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _bounded(kind: object, item: Any) -> bool:
    if kind is int:
        return bool(0 <= item < MOST)
    if isinstance(item, str):
        return not any("\ud800" <= character <= "\udfff" for character in item)
    if kind == _KINDS["float"]:
        return bool(_EARLIEST <= item <= _LATEST)
    return True


def _shown(item: object) -> str:
    shown = ascii(item)
    return shown if len(shown) <= 100 else f"{shown[:100]}…"
