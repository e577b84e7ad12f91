"""Running the scripts of ``benchmarks/`` as somebody does who measures."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.paths import ROOT


def run_benchmark(script: str, *arguments: str, timeout: float = 110) -> str:
    """Run a script for at most ``timeout`` seconds and return what it printed; it has to succeed."""
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
