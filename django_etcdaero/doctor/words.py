"""Numbers in words."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 3
"""Of many things so many are named."""


def size(count: float) -> str:
    """Say how many bytes, in binary units, which servers are configured in."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def percent(part: float) -> str:
    """Say a part of 1 in per cent."""
    return f"{100 * part:.0f} %"


def span(seconds: float) -> str:
    """Say how long, in the one unit that fits."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.3g} s"


def against_here(skew: float) -> str:
    """Say by how much a clock differs from that of this host; ``skew``: seconds by which it is ahead."""
    return f"{span(abs(skew))} {'ahead of' if skew > 0 else 'behind'} that of here"


def some(names: Sequence[str]) -> str:
    """Name the first few, and count the others."""
    told = ", ".join(names[:NAMED])
    return told if len(names) <= NAMED else f"{told} and {len(names) - NAMED} more"
