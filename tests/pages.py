"""The pages of the documentation as tests read them: their examples and their tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from tests.paths import ROOT

DOCS = ROOT / "docs"


@dataclass(frozen=True)
class Example:
    kind: str
    line: int
    """Line of the page at which the text begins."""
    text: str

    @property
    def file(self) -> str | None:
        """The file that the example is, or is a part of."""
        found = re.match(r"# ([\w/.]+\.py)\n", self.text) if self.kind == "python" else None
        return found[1] if found else None


def examples(page: Path) -> list[Example]:
    lines = page.read_text().splitlines()
    return list(of_markdown(lines) if page.suffix == ".md" else of_restructuredtext(lines))


def of_restructuredtext(lines: list[str]) -> Iterator[Example]:
    for number, line in enumerate(lines):
        found = re.match(r"( *)\.\. (?:code-block:: |hidden: )(\w+)$", line)
        if found is None:
            continue
        start = number + 1
        while start < len(lines) and (not lines[start].strip() or lines[start].strip().startswith(":")):
            start += 1
        end, indent = start, len(found[1]) + 1
        while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" " * indent)):
            end += 1
        yield Example(found[2], start + 1, dedent("\n".join(lines[start:end])).strip("\n") + "\n")


def of_markdown(lines: list[str]) -> Iterator[Example]:
    start, kind = None, ""
    for number, line in enumerate(lines):
        if start is not None:
            if line.rstrip() == "```":
                yield Example(kind, start + 1, "\n".join(lines[start:number]) + "\n")
                start = None
        elif line.startswith("```"):
            start, kind = number + 1, line.removeprefix("```")
    assert start is None, f"line {start}: the example has no end"


def tables(page: Path) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield each list-table: its title, or the heading that it stands under, and the cells of its rows.

    The row of headers is left out.
    """
    heading, lines = "", page.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"(=+|-+)$", line) and number and len(lines[number - 1]) == len(line):
            heading = lines[number - 1]
        if found := re.match(r"\.\. list-table::(?: (.+))?$", line):
            end = number + 1
            while end < len(lines) and (not lines[end] or lines[end].startswith(" ")):
                end += 1
            yield found[1] or heading, _cells("\n".join(lines[number + 1 : end]) + "\n")


def _cells(body: str) -> list[list[str]]:
    rows = re.split(r"^   \* - ", body, flags=re.MULTILINE)[1:]
    cells = [re.split(r"^     -(?: |$)", row, flags=re.MULTILINE) for row in rows[1:]]
    return [[" ".join(cell.split()) for cell in row] for row in cells]
