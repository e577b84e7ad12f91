"""What a write asks of the record that is there, for the stores that look at it themselves: the same answers from all.

Each function raises what it says; a store has written nothing then.
"""

from __future__ import annotations

from django_etcdaero.exceptions import VersionConflict

from .arguments import check_int
from .store import Value


def check_generation(key: bytes, found: int | None, generation: int | None) -> None:
    """Raise ``VersionConflict`` unless the generation ``found`` (``None``: no record) is ``generation``.

    ``generation`` ``None``: whatever was found will do.
    """
    if generation is None or generation == found:
        return
    if found is None:
        raise VersionConflict(f"there is no record {key!r}, generation {generation} was expected")
    raise VersionConflict(f"the record {key!r} has generation {found}, not {generation}")


def incremented(key: bytes, value: Value, delta: int) -> int:
    """Return ``value + delta``. Raises ``TypeError`` for a ``bytes`` value, ``OverflowError`` beyond 64 bits."""
    if not isinstance(value, int):
        raise TypeError(f"the record {key!r} holds bytes, not an int: it cannot be incremented")
    total = value + delta
    check_int(f"the sum of the record {key!r} and delta", total)
    return total
