"""What a cache has done in this process, counted."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Counters:
    """Counts since the start of the process (or the fork). They are told without a lock: two threads that count in the
    very same moment may count once, which a metric can bear."""

    hits: int = 0
    """Near ones included."""
    near_hits: int = 0
    """Answers from the near cache, without a call to the store."""
    stale_hits: int = 0
    """Answers of ``get_or_set`` with a value that had expired."""
    misses: int = 0
    sets: int = 0
    deletes: int = 0
    errors: int = 0
    """Calls that failed at the store."""
    ignored: int = 0
    """Calls that did not reach the store, because it was away and errors are ignored."""
    loads: int = 0
    """Values that ``get_or_set`` made."""
    load_errors: int = 0
    waits: int = 0
    """Times that ``get_or_set`` waited for the load of somebody else."""
    unreadable: int = 0
    """Entries that could not be read: of a newer format, of another key, damaged, or not ours."""
    too_big: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def reset(self) -> None:
        """Begin at zero."""
        for field in fields(self):
            setattr(self, field.name, 0)
