"""Tables for commands: columns on a terminal, one value after the other with tabs between them in a pipe."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOBase


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, out: TextIOBase) -> Iterator[str]:
    """Return the lines of a table for ``out``.

    For a terminal there is a line of headings, the columns are as wide as what is in them, and lines end with it; else
    there are no headings and no spaces to fill up, so that other programs can read it.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    if not out.isatty():
        yield from ("\t".join(row) for row in texts)
        return
    width = shutil.get_terminal_size().columns
    lines = [[heading.upper() for heading in headings], *texts]
    widths = [max(len(row[column]) for row in lines) for column in range(len(headings))]
    for row in lines:
        line = "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
        yield line if len(line) <= width else line[: width - 1] + "…"
