"""What the values of a dataset's keys have in common: JSON objects with the fields of a dataclass."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import socket
from dataclasses import dataclass, field
from typing import Any, Final, Self

from django_etcdaero.exceptions import ResponseError
from django_etcdaero.keyvalue.values import KeyValue

logger = logging.getLogger("django_etcdaero.datasets")

_KINDS: Final[dict[str, type | tuple[type, ...]]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "dict": dict,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredValue:
    """A value, and who wrote it: by default this process."""

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)

    def encode(self) -> bytes:
        """Return the value to store."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a stored value, types checked; fields of newer writers are ignored. Raises ``ResponseError``."""
        what = cls.__name__.lower()
        stored = load_object(value, what)
        found: dict[str, Any] = {}
        writer, own = dataclasses.fields(cls)[:2], dataclasses.fields(cls)[2:]
        for each in own + writer:  # what is wrong is rather told of the value's own fields
            if each.name not in stored:
                if each.default is dataclasses.MISSING:
                    raise ResponseError(f"the stored {what} lacks {each.name!r}")
                continue
            kind, item = _KINDS[str(each.type).partition("[")[0]], stored[each.name]
            if not isinstance(item, kind) or (isinstance(item, bool) and kind is not bool):
                raise ResponseError(f"the stored {what} has a bad {each.name!r}: {item!r}")
            found[each.name] = item
        return cls(**found)

    @classmethod
    def believe(cls, item: KeyValue | None) -> Self | None:
        """Read a stored value; ``None`` when there is none or it makes no sense."""
        try:
            return None if item is None else cls.decode(item.value)
        except ResponseError as error:
            logger.warning("%s is ignored: %s", item.key.decode(errors="replace") if item else "", error)
            return None


def load_object(value: bytes, what: str) -> dict[str, Any]:
    """Parse a stored JSON object. Raises ``ResponseError`` naming ``what``."""
    try:
        fields = json.loads(value)
    except ValueError as error:
        raise ResponseError(f"the stored {what} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ResponseError(f"the stored {what} is not a JSON object")
    return fields
