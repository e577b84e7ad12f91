"""What nodes answer to text commands (as ``asinfo -v`` sends them): lists of names and values, or a refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from django_etcdaero.exceptions import NotSupported, PermissionDenied, ResponseError

from . import errors

Properties: TypeAlias = Mapping[str, str]
"""Names and values, as a node tells them."""

NO_RIGHT: Final = range(80, 87)
"""Results for a user without the role that a command needs."""

_REFUSED: Final = re.compile(r"(?:ERROR|FAIL)(?::(\d*)|$)", re.IGNORECASE)
_UNKNOWN: Final = ("unrecognized", "enterprise", "unsupported")


def without_refusals(command: str, answers: Mapping[str, str]) -> dict[str, str]:
    """Return the answers, by node, of those nodes that do not refuse the command.

    If all do, raises ``PermissionDenied`` where the user lacks the role for it, ``NotSupported`` where the nodes do not
    know it, ``ResponseError`` otherwise.
    """
    refusals = {node: match for node, text in answers.items() if (match := _REFUSED.match(text))}
    if len(refusals) < len(answers):
        return {node: text for node, text in answers.items() if node not in refusals}
    codes = {int(match[1] or 0) for match in refusals.values()}
    name, text = command.partition(":")[0], next(iter(answers.values()), "")
    if any(code in NO_RIGHT for code in codes):
        raise PermissionDenied(f"the user may not ask {name!r}: {text}")
    if any(word in text.lower() for word in _UNKNOWN) or codes == {errors.NOT_UNDERSTOOD}:
        raise NotSupported(f"the nodes do not know {name!r}: {text}")
    raise ResponseError(f"the nodes refuse {name!r}: {text}")


def properties(text: str, *, delimiter: str = ";") -> dict[str, str]:
    """Read ``name=value;name=value``."""
    return dict(item.partition("=")[::2] for item in text.split(delimiter) if "=" in item)


def rows(text: str) -> list[dict[str, str]]:
    """Read rows of ``name=value:name=value``, each with a semicolon at its end."""
    return [found for row in text.split(";") if (found := properties(row, delimiter=":"))]


def number(told: Properties, *names: str) -> float | None:
    """Return the first of these that is told and is a number: servers of different age name them differently."""
    for name in names:
        try:
            return float(told[name])
        except (KeyError, ValueError):
            continue
    return None


def part_used(told: Properties) -> float | None:
    """Return the part, from 0 to 1, of a node's storage or memory that is used, whichever is fuller.

    ``told`` is of its answer to ``namespace/NAME``; ``None``: it does not tell.
    """
    found = [
        number(told, "data_used_pct", "device_used_pct", "pmem_used_pct"),
        number(told, "memory_used_pct", "indexes_memory_used_pct"),
    ]
    parts = [each / 100 for each in found if each is not None]
    free = number(told, "memory_free_pct")
    return max([*parts, *([1 - free / 100] if free is not None else [])], default=None)
