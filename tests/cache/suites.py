"""Running the test suites of others, in a process of its own, on one of the stores."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from django.db import connections

from tests.paths import ROOT
from tests.records.database.serving import ALIAS

HELPERS = Path(__file__).with_name("foreign")

KINDS = {"mem": "memory", "db": "database"}
"""What stores call themselves, where that is not the scheme of their locations."""


class Result(NamedTuple):
    """How a suite has ended."""

    ran: int
    failed: set[str]
    """The names of the tests that failed."""
    skipped: int
    output: str


def run(directory: Path, location: str, *arguments: str, path: list[Path], **environment: str) -> Result:
    """Run ``python`` with ``arguments`` in ``directory``, whose caches are at ``location``; make sure that they were.

    ``path``: where modules are looked for first, after those of :mod:`tests.cache.foreign`.
    """
    variables = {
        **os.environ,
        **environment,
        "PYTHONPATH": os.pathsep.join(map(str, [HELPERS, *path, ROOT])),
        "ETCDAERO_CONFORMANCE_LOCATION": location,
        "ETCDAERO_CONFORMANCE_DATABASES": json.dumps(_databases(location)),
    }
    for name in ("PYTHONDEVMODE", "PYTHONWARNINGS", "DJANGO_SETTINGS_MODULE", "PYTEST_ADDOPTS"):
        variables.pop(name, None)  # they are this suite's; what others leave open is not our business
    done = subprocess.run(
        [sys.executable, *arguments], cwd=directory, env=variables, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    scheme = location.partition(":")[0]
    assert f"STORE {KINDS.get(scheme, scheme)}\n" in output, output
    ran = re.search(r"^Ran (\d+) tests|^(\d+) passed", output, re.MULTILINE)
    assert ran is not None, output
    failed = set(re.findall(r"^(?:ERROR|FAIL): (.*)$", output, re.MULTILINE))
    assert failed or done.returncode == 0, output
    skipped = re.search(r"skipped=(\d+)", output)
    count = int(ran[1] or ran[2])
    print(f"{count} tests ran on {scheme}, {len(failed)} failed")
    return Result(count, failed, 0 if skipped is None else int(skipped[1]), output)


def _databases(location: str) -> dict[str, dict[str, Any]]:
    """Return what ``settings.DATABASES`` of the process must have for a location in our database."""
    if not location.startswith(f"db:{ALIAS}/"):
        return {}
    entry = {name: connections.settings[ALIAS][name] for name in ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT")}
    # The clock of that database stands still for tests of ours: these wait for timeouts, by the clock of the server.
    return {ALIAS: {**entry, "OPTIONS": {"options": "-c search_path=pg_catalog,tests"}}}
