"""Plots are made of a file of points, without measuring: whole documents, in which each line and its name are."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.benchmarking import run_benchmark
from tests.paths import ROOT

KEPT = ROOT / "docs" / "_static" / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"
POINTS = """plot,line,rows,value
encode,"ours, typed",10000,2.5
encode,"ours, typed",100000,2.6
encode,pickle & <dicts>,10000,1.5
encode,pickle & <dicts>,100000,1.25
memory,frozen,10000,8.5
seconds,blocks,10000,3
"""


def texts(path: Path) -> list[str]:
    root = ET.parse(path).getroot()
    assert root.tag == f"{SVG}svg"
    return [each.text or "" for each in root.iter(f"{SVG}text")]


def test_a_plot_has_each_line_of_the_file_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text(POINTS)

    run_benchmark("plots.py", "--draw", f"--place={tmp_path}")

    assert {path.name for path in tmp_path.glob("*.svg")} == {"encode.svg", "memory.svg"}
    assert {"ours, typed", "pickle & <dicts>", "rows", "10,000", "100,000"} <= set(texts(tmp_path / "encode.svg"))
    lines = ET.parse(tmp_path / "encode.svg").getroot().findall(f"{SVG}path[@fill='none']")
    assert [each.attrib["d"].count("L") for each in lines] == [1, 1]
    assert "frozen" in texts(tmp_path / "memory.svg")


def test_points_that_are_in_the_file_are_not_measured_again(tmp_path: Path) -> None:
    measured = "seconds,blocks,500,1\nseconds,whole,500,1\n"
    (tmp_path / "points.csv").write_text(POINTS + measured)

    assert "500 rows" not in run_benchmark("plots.py", "--rows=500", f"--place={tmp_path}")


@pytest.mark.slow
def test_a_point_is_measured_and_kept(tmp_path: Path) -> None:
    run_benchmark("plots.py", "--rows=600", f"--place={tmp_path}")

    with (tmp_path / "points.csv").open(newline="") as file:
        found = {(row["plot"], row["line"]): float(row["value"]) for row in csv.DictReader(file)}
    assert {plot for plot, _ in found} == {"encode", "decode", "refresh", "change", "memory", "read", "seconds"}
    assert all(value > 0 for value in found.values())
    assert len(list(tmp_path.glob("*.svg"))) == 6


def test_the_plots_of_the_docs_are_those_of_the_points_that_are_kept(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_bytes((KEPT / "points.csv").read_bytes())

    run_benchmark("plots.py", "--draw", f"--place={tmp_path}")
    for path in tmp_path.glob("*.svg"):
        assert path.read_text() == (KEPT / path.name).read_text()
