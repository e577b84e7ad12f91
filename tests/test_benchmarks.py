"""The benchmarks that check something are run, small, so that they work when somebody wants their figures."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarking import run_benchmark
from tests.keyvalue.conftest import ETCD
from tests.paths import ROOT

pytestmark = pytest.mark.slow

BENCHMARKS = ROOT / "benchmarks"


@pytest.mark.parametrize("store", ["sqlite", ETCD])
def test_every_watcher_is_told_of_every_put_once(
    store: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if store == "etcd":
        monkeypatch.setenv("BENCHMARK_KV", f"etcd://{request.getfixturevalue('server').endpoint}")
    done = subprocess.run(
        [sys.executable, "-W", "error", "watchers.py", "--watchers=10", "--puts=50", "--rate=0"],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"50 puts .* 500 events", done.stdout)
    assert "missing or double: 0, resyncs: 0" in done.stdout


SMALL = {
    "admin_pages.py": ["--rows=200", "--keys=200", "--locks=20", "--processes=4", "--datasets=4", "--small=2"],
    "announcement.py": [
        "--rows=500",
        "--processes",
        "1",
        "3",
        "--interpreters=2",
        "--rounds=1",
        "--json={directory}/found",
    ],
    "cache.py": ["--seconds=0.005", "--rounds=1"],
    "changes.py": ["--rows=2000", "--changed=5", "--rounds=2"],
    "compare.py": ["--rows=1000", "--processes=2", "--only", "shared", "SQLite"],
    "fan_out.py": ["--rows=2000", "--changed=2", "--rounds=1", "--readers=2"],
    "kv_calls.py": ["50"],
    "locks.py": ["--locks=20", "--turns=4", "--engine=sqlite", "--engine=mem"],
    "records.py": ["mem:", "sqlite:///{directory}/records.sqlite3"],
    "typed_rows.py": ["2000"],
    "shared.py": ["--rows=2000", "--processes=2", "--held=1", "--reads=200", "--changes=2"],
    "workers.py": ["--rows=2000", "--workers=2"],
    "stalls.py": ["--rows=3000", "--changed=3", "--swaps=1"],
    "streaming.py": ["--rows=30000", "--again", "--ordered"],
    "scale.py": ["--processes", "2", "--datasets", "2", "--seconds=1", "--announcements=1", "--settle=0"],
}
"""The scripts that measure without servers that must be named, and how to make them quick."""


@pytest.mark.parametrize("script", SMALL)
def test_a_benchmark_works(script: str, tmp_path: Path) -> None:
    arguments = [each.format(directory=tmp_path) for each in SMALL[script]]
    assert re.search(r"\d", run_benchmark(script, *arguments))


@pytest.mark.parametrize("option", ["--apart", "--shared"])
def test_the_first_change_of_a_fan_out_is_told_by_itself(option: str) -> None:
    arguments = ["--rows=2000", "--changed=2", "--rounds=2", "--readers=2", option]
    first, after = run_benchmark("fan_out.py", *arguments).split("those after:")
    for told in (first, after):
        assert re.search(r"to the swap: median [\d.]+, p99 [\d.]+, most [\d.]+ ms", told)


def test_the_table_of_features_says_of_the_cache_what_it_can_do(tmp_path: Path) -> None:
    options = ["--only=django-etcdaero", f"--csv={tmp_path}/found.csv", "--why"]
    told = run_benchmark("cache_features.py", *options, timeout=200)
    assert columns(tmp_path / "found.csv") == columns(ROOT / "docs" / "cache-features.csv"), told


def columns(table: Path) -> list[tuple[str, str, str]]:
    """Return features with what the column of the cache and that of FusionCache, which is not measured, say of them."""
    with table.open(newline="") as file:
        return [(row[""], row["django-etcdaero"], row["FusionCache"]) for row in csv.DictReader(file, delimiter="|")]
