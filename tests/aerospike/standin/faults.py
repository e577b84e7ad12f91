"""What a test can break at the server. What breaks on the way to it is in :mod:`tests.aerospike.line`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Faults:
    """All off at first; a test sets what it needs."""

    full: bool = False
    """The namespace takes no writes any more; reads, removes and truncates still work."""
    result: int | None = None
    """The answer to every record command, instead of executing it."""
    rows_left_out: int = 0
    """That many rows at the end of each batch are not answered, though the batch as a whole succeeds."""
    rows_failing: dict[int, int] | None = None
    """Row index in a batch to result code, instead of executing that row."""
