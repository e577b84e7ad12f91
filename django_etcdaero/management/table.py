"""Tables for commands: columns on a terminal, one value after the other with tabs between them in a pipe."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOBase

SHORTEST = 12
"""Characters that are left of what is shortened."""


def table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, out: TextIOBase, shorten: str | None = None
) -> Iterator[str]:
    """Return the lines of a table for ``out``.

    For a terminal there is a line of headings, the columns are as wide as what is in them, and lines end with it; else
    there are no headings and no spaces to fill up, so that other programs can read it. Where the terminal is too narrow
    the column with the heading ``shorten`` gives way before the last columns do.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    if not out.isatty():
        yield from ("\t".join(row) for row in texts)
        return
    width = shutil.get_terminal_size().columns
    lines = [[heading.upper() for heading in headings], *texts]
    widths = [max(len(row[column]) for row in lines) for column in range(len(headings))]
    if shorten is not None:
        column = headings.index(shorten)
        too_wide = sum(widths) + 2 * (len(widths) - 1) - width
        widths[column] = min(widths[column], max(SHORTEST, widths[column] - max(0, too_wide)))
        for row in lines:
            row[column] = _short(row[column], widths[column])
    for row in lines:
        line = "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
        yield _short(line, width)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
