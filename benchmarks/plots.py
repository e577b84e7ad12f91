"""Plots over the number of rows: measure what is missing, and draw them.

    python benchmarks/plots.py [--rows 10000 100000 1000000 10000000] [--again] [--draw] [--limit 1800]

Each point is measured by processes of its own (``points.py``) and added to ``points.csv`` at once, so that a run which
was stopped goes on where it was. ``--draw`` measures nothing, and makes the plots of what is in the file; ``--again``
measures the points that are there already. Before each point it says how long it takes, about. What would not be
finished after ``--limit`` seconds is left out, or stopped, and so is what needs more memory than there is.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stage import machine, python
from svg import Series, plot

PLACE = Path(__file__).parent.parent / "docs" / "_static" / "benchmarks"
FIELDS = ("plot", "line", "rows", "value")
TIME = "seconds"
"""What a point took to be measured, in the file among the others."""


@dataclass(frozen=True)
class Plot:
    """What a plot is of."""

    title: str
    unit: str


PLOTS = {
    "encode": Plot("Rows to blocks", "CPU \u00b5s a row"),
    "decode": Plot("Blocks to rows", "CPU \u00b5s a row"),
    "refresh": Plot("Everything: published, loaded by one process", "CPU seconds"),
    "change": Plot("1,000 rows changed", "CPU seconds"),
    "memory": Plot("Memory of a process for the rows", "MB"),
    "read": Plot("One row read, at random", "CPU \u00b5s"),
}


@dataclass(frozen=True)
class Measure:
    """One of the measurements of ``points.py``."""

    name: str
    fixed: float
    """Seconds that a point takes beside ..."""
    million: float
    """... those for each million rows, about."""
    row_bytes: int
    """Memory that it needs for each row, about."""

    def seconds(self, rows: int) -> float:
        return self.fixed + self.million * rows / 1e6


MEASURES = (Measure("blocks", 3, 130, 2500), Measure("whole", 20, 120, 1500))


class Points:
    """The file of what was measured."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.all: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="") as file:
                self.all = list(csv.DictReader(file))

    def has(self, measure: str, rows: int) -> bool:
        return any((each["plot"], each["line"], each["rows"]) == (TIME, measure, str(rows)) for each in self.all)

    def put(self, measure: str, rows: int, found: dict[str, dict[str, float]]) -> None:
        """Put what was measured in the place of what was there of the same."""
        new = [
            {"plot": name, "line": line, "rows": str(rows), "value": f"{value:.6g}"}
            for name, lines in found.items()
            for line, value in lines.items()
        ]
        named = {(each["plot"], each["line"], each["rows"]) for each in new}
        kept = [each for each in self.all if (each["plot"], each["line"], each["rows"]) not in named]
        self.all = sorted(kept + new, key=lambda each: (each["plot"], each["line"], int(each["rows"])))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.all)


def draw(points: Points, directory: Path) -> list[Path]:
    """Make the plots of which there are points; return their files."""
    made = []
    for name, about in PLOTS.items():
        lines: dict[str, list[tuple[float, float]]] = {}
        for each in points.all:
            if each["plot"] == name:
                lines.setdefault(each["line"], []).append((float(each["rows"]), float(each["value"])))
        if lines:
            path = directory / f"{name}.svg"
            path.write_text(plot(about.title, "rows", about.unit, [Series(*line) for line in lines.items()]))
            made.append(path)
    return made


def available() -> int:
    """Return how many bytes of memory can be had."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def measure(points: Points, wanted: Iterable[int], *, again: bool, limit: float) -> None:
    """Measure the points that are not in the file, for at most so many seconds."""
    missing = [(each, rows) for rows in wanted for each in MEASURES if again or not points.has(each.name, rows)]
    end = time.monotonic() + limit
    for number, (each, rows) in enumerate(missing):
        begin = time.monotonic()
        left = sum(some.seconds(count) for some, count in missing[number:])
        print(
            f"{each.name}, {rows:,} rows: {each.seconds(rows):.0f} s, about; with all after it {left:.0f} s", flush=True
        )
        if each.row_bytes * rows > available():
            print(f"    left out: needs about {each.row_bytes * rows / 1e9:.0f} GB, which are not free", flush=True)
        elif begin + each.seconds(rows) > end:
            print(f"    left out: {max(0.0, end - begin):.0f} s are left", flush=True)
        elif (found := measured(each, rows, end - begin)) is None:
            print("    stopped: its time is over", flush=True)
        else:
            points.put(each.name, rows, found | {TIME: {each.name: time.monotonic() - begin}})


def measured(what: Measure, rows: int, seconds: float) -> dict[str, dict[str, float]] | None:
    """Return what a point is, or ``None`` if that takes longer. Its processes end with it."""
    command = [*python(), str(Path(__file__).with_name("points.py")), "--measure", what.name, "--rows", str(rows)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            told, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    found: dict[str, dict[str, float]] = json.loads(told.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**power for power in (4, 5, 6, 7)])
    parser.add_argument("--place", type=Path, default=PLACE, help="the directory of the file and the plots")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds that all may take, at most")
    args = parser.parse_args()
    points = Points(args.place / "points.csv")
    if not args.draw:
        print(machine())
        measure(points, args.rows, again=args.again, limit=args.limit)
    for path in draw(points, args.place):
        print(path)


if __name__ == "__main__":
    main()
