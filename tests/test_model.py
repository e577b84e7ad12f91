"""The model of an announcement does what can be worked out by hand, and goes on from what was measured."""

from __future__ import annotations

import importlib
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarking import run_benchmark
from tests.paths import ROOT

MEGABYTE = 10**6


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("simulation")


def trace(simulation: Any, *, size: int, decoding: float = 0.0) -> Any:
    """Return what a process does that fetches so many bytes in one call and decodes them."""
    return simulation.Trace(
        latency=0.0,
        before=(),
        fetching=((0.0, simulation.Call(0.0, 0.0, 100, size)),),
        last=decoding,
        after=0.0,
        register=0.0,
    )


def setting(simulation: Any, **changes: Any) -> Any:
    usual = {
        "processes": 100, "per_host": 10, "splay": 0.0, "host_cores": 1, "store_network": 100 * MEGABYTE,
        "host_network": float("inf"),
    }  # fmt: skip
    return simulation.Setting(**usual | changes)


def free(simulation: Any) -> Any:
    return simulation.Costs(call=0.0, record=0.0, event=0.0, registration=0.0)


def test_calls_stand_in_line_for_the_network_of_the_store(simulation: Any) -> None:
    found = simulation.simulate(setting(simulation), trace(simulation, size=10 * MEGABYTE), free(simulation))

    assert found.swaps[0] == pytest.approx(0.1)
    assert found.swaps[-1] == pytest.approx(10.0)
    assert found.late == pytest.approx(50, abs=1)


def test_a_splay_takes_the_line_apart(simulation: Any) -> None:
    found = simulation.simulate(setting(simulation, splay=100), trace(simulation, size=10 * MEGABYTE), free(simulation))

    assert found.swaps[-1] > 80
    assert max(end - begin for begin, end, _ in found.calls) < 2
    assert found.late == 0


def test_little_is_not_put_off(simulation: Any) -> None:
    found = simulation.simulate(setting(simulation, splay=100), trace(simulation, size=50_000), free(simulation))

    assert found.swaps[-1] < 1


def test_one_process_of_a_host_fetches_where_files_are_shared(simulation: Any) -> None:
    found = simulation.simulate(setting(simulation, shared=True), trace(simulation, size=MEGABYTE), free(simulation))

    assert len(found.calls) == 10
    assert len(found.swaps) == 100


def test_processes_of_a_host_share_its_cores(simulation: Any) -> None:
    decoding = trace(simulation, size=1, decoding=0.5)

    found = simulation.simulate(setting(simulation, host_cores=2), decoding, free(simulation))
    slower = simulation.simulate(setting(simulation, host_cores=2, slower=2.0), decoding, free(simulation))

    assert found.swaps[-1] == pytest.approx(2.5, rel=0.01)
    assert slower.swaps[-1] == pytest.approx(5.0, rel=0.01)


@pytest.mark.slow
def test_the_model_goes_on_from_what_was_measured(tmp_path: Path) -> None:
    small = ["--rows=500", "--interpreters=2", "--rounds=1", "--alone", "--limit=100", f"--json={tmp_path}"]
    run_benchmark("announcement.py", "--processes", "1", "3", *small)
    assert len(json.loads((tmp_path / "500-3.json").read_text())["all"][0]["swaps"]) == 3

    told = run_benchmark("model.py", "--rows=500", "--processes=20", f"--measured={tmp_path}", f"--svg={tmp_path}")

    assert "3 processes, 500 rows, all" in told
    assert "last          measured" in told
    assert ET.parse(tmp_path / "model.svg").getroot().tag.endswith("svg")
