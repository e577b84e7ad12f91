"""Metrics of several workers of a real gunicorn: whichever answers says the same, and it answers whatever is down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.keyvalue.etcd.servers import Server
from tests.paths import ROOT
from tests.processes.site import alive, free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

WORKERS = 4


class Site:
    """A gunicorn with four workers."""

    def __init__(self, directory: Path, kv: str) -> None:
        self.port = free_port()
        self.metrics_directory = directory / "metrics"
        self.metrics_directory.mkdir()
        self.log = directory / "log"
        configuration = directory / "gunicorn.conf.py"
        configuration.write_text(
            "control_socket_disable = True\n"
            "from prometheus_client import multiprocess\n"
            "def child_exit(server, worker):\n"
            "    multiprocess.mark_process_dead(worker.pid)\n"
        )
        command = [sys.executable, "-m", "gunicorn", "tests.programs.metrics_site", "--config", str(configuration)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--workers", str(WORKERS), "--bind", f"127.0.0.1:{self.port}"],
                cwd=ROOT,
                env={
                    **os.environ,
                    "SITE_DIRECTORY": str(directory),
                    "SITE_KV": kv,
                    "PROMETHEUS_MULTIPROC_DIR": str(self.metrics_directory),
                    "PYTHONPATH": str(ROOT),
                },
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def fetch(self, path: str) -> str:
        with urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=30) as answer:
            text: str = answer.read().decode()
        return text

    def get(self, path: str) -> Any:
        return json.loads(self.fetch(path))

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return bool(self.get("refresh"))
        except OSError:
            return False

    def work(self, pids: set[int]) -> int:
        """Let each worker work that has not; return how many requests that took."""
        sent = 0

        def all_answered() -> bool:
            nonlocal sent
            pids.add(self.get("work")["pid"])
            sent += 1
            return len(pids) == WORKERS

        wait_until(all_answered, 60, "an answer of each worker")
        return sent

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        text = self.fetch("metrics")
        return {
            (each.name, tuple(sorted(each.labels.items()))): each.value
            for family in text_string_to_metric_families(text)
            for each in family.samples
        }

    def sample(self, name: str, **labels: str) -> float | None:
        return self.samples().get((name, tuple(sorted(labels.items()))))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    sites: list[Site] = []

    def start(kv: str) -> Site:
        sites.append(Site(tmp_path, kv))
        wait_until(sites[-1].ready, 60, "the site")
        return sites[-1]

    yield start
    for site in sites:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(site.process.pid, signal.SIGKILL)
        site.process.wait(10)


def test_counts_of_all_workers_are_added_up_and_no_sample_names_a_process(
    serve: Callable[[str], Site], tmp_path: Path
) -> None:
    site = serve(f"sqlite:///{tmp_path}/kv.sqlite3")
    pids: set[int] = set()
    sent = site.work(pids)

    def hits() -> float | None:
        return site.sample("etcdaero_cache_hits_total", cache="default")

    # The last request may still be ending.
    wait_until(lambda: hits() == sent, what=f"{sent} hits")
    answers = [site.samples() for _ in range(3 * WORKERS)]
    refreshed = (("dataset", "prices"), ("outcome", "refreshed"))
    assert {each["etcdaero_refreshes_total", refreshed] for each in answers} == {1}
    assert {each["etcdaero_cache_sets_total", (("cache", "default"),)] for each in answers} == {1}
    up, version = (("alias", "default"), ("store", "kv")), (("dataset", "prices"),)
    told = {each["etcdaero_dataset_version", version] for each in answers if each["etcdaero_store_up", up]}
    assert told == {1}
    assert "pid" not in {label for each in answers for _, found in each for label, _ in found}
    values = {value for each in answers for _, found in each for _, value in found}
    assert values.isdisjoint(map(str, pids))
    # One that is killed loses at most what its requests under way have counted, and nothing of it is told twice.
    dead = pids.pop()
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: not alive(dead), what="its end")
    sent += site.work(pids)
    wait_until(lambda: hits() == sent, what=f"{sent} hits")
    holds = (("dataset", "prices"), ("holds", "current"))
    wait_until(lambda: site.samples().get(("etcdaero_dataset_processes", holds)) == WORKERS, 60, "four readers")


@pytest.mark.servers
def test_a_scrape_is_answered_while_etcd_is_down(serve: Callable[[str], Site], server: Server) -> None:
    site = serve(f"etcd://{server.endpoint}")
    wait_until(lambda: site.sample("etcdaero_store_up", alias="default", store="kv") == 1, 60, "an answer of etcd")
    wait_until(lambda: site.sample("etcdaero_dataset_rows", dataset="prices") == 2, 60, "the rows")
    server.kill()
    for _ in range(WORKERS):
        found = site.samples()
        assert found["etcdaero_store_up", (("alias", "default"), ("store", "kv"))] == 0
        assert ("etcdaero_dataset_rows", (("dataset", "prices"),)) not in found
        assert found["etcdaero_refreshes_total", (("dataset", "prices"), ("outcome", "refreshed"))] == 1
