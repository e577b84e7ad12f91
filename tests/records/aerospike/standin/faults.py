"""What a test can break at the server. What breaks on the way to it is in :mod:`tests.records.aerospike.line`."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.records.aerospike.standin.records import Record


@dataclass
class Faults:
    """All off at first; a test sets what it needs."""

    full: bool = False
    """The namespace takes no writes any more; reads, removes and truncates still work."""
    result: int | None = None
    """The answer to every record command, instead of executing it."""
    refusals: list[int] = field(default_factory=list)
    """The answers to the next record commands and rows of batches, one each, instead of executing them."""
    scans_cut_short: int = 0
    """That many scans find the partitions unavailable at their end, as when a node has just joined or left."""
    rows_left_out: int = 0
    """That many rows at the end of each batch are not answered, though the batch as a whole succeeds."""
    rows_failing: dict[int, int] | None = None
    """Row index in a batch to result code, instead of executing that row."""
    old_copies: dict[bytes, Record] = field(default_factory=dict)
    """Records by digest that a node has which was away and has come back: given to reads that do not ask all copies."""
