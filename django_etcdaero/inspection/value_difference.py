"""Two values beside each other, line by line."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import partial

from .value_forms import show_value

MOST_LINES = 2_000
"""Lines of either value that are compared; values with more are only told to differ."""
MOST_LINE = 2_000
"""Characters of a line that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of one value and the line of the other that stands for it."""

    kind: str
    """``same``, ``changed``, ``added``, ``removed``, or ``skipped``: equal lines that are left out."""
    old: str = ""
    new: str = ""
    old_number: int | None = None
    new_number: int | None = None
    skipped: int = 0
    """Lines that are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How two values differ."""

    equal: bool
    rows: list[Row]
    form: str
    """How both are shown."""
    too_large: bool = False
    """Whether only a part of them could be compared."""
    old_size: int = 0
    new_size: int = 0


def difference(old: bytes, new: bytes, *, context: int = 3) -> Difference:
    """Compare two values in the form that both can be shown in. ``context``: equal lines around each difference."""
    left, right = show_value(old), show_value(new)
    if left.form != right.form:
        form = "text" if "text" in left.forms and "text" in right.forms else "hex"
        left, right = show_value(old, form), show_value(new, form)
    old_lines, new_lines = left.text.split("\n"), right.text.split("\n")
    made = partial(Difference, form=left.form, old_size=len(old), new_size=len(new))
    cut = left.is_cut or right.is_cut or max(len(old_lines), len(new_lines)) > MOST_LINES
    if old == new:
        return made(equal=True, rows=[])
    rows = _rows(old_lines[:MOST_LINES], new_lines[:MOST_LINES], context)
    return made(equal=False, rows=rows, too_large=cut)


def _rows(old: list[str], new: list[str], context: int) -> list[Row]:
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=True)
    rows: list[Row] = []
    last = 0
    for group in matcher.get_grouped_opcodes(context):
        before = group[0][1]
        if before > last:
            rows.append(Row(kind="skipped", skipped=before - last))
        for tag, old_begin, old_end, new_begin, new_end in group:
            rows += _pairs(tag, old, new, (old_begin, old_end), (new_begin, new_end))
        last = group[-1][2]
    if rows and last < len(old):
        rows.append(Row(kind="skipped", skipped=len(old) - last))
    return rows


def _pairs(tag: str, old: list[str], new: list[str], left: tuple[int, int], right: tuple[int, int]) -> list[Row]:
    rows = []
    for step in range(max(left[1] - left[0], right[1] - right[0])):
        at, to = left[0] + step, right[0] + step
        has_old, has_new = at < left[1], to < right[1]
        kind = "same" if tag == "equal" else "changed" if has_old and has_new else "removed" if has_old else "added"
        rows.append(
            Row(
                kind=kind,
                old=old[at][:MOST_LINE] if has_old else "",
                new=new[to][:MOST_LINE] if has_new else "",
                old_number=at + 1 if has_old else None,
                new_number=to + 1 if has_new else None,
            )
        )
    return rows
