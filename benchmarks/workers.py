"""Workers of a real gunicorn that read one shared dataset: what all of them take, with and without ``--preload``.

    python benchmarks/workers.py [--rows 1000000] [--workers 16]

Told is the proportional share (PSS) of gunicorn's processes together, with one worker and with all: when a version of
one row is in use, and with all rows, after each worker has read every tenth one, which touches nearly all of the file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from shared import declare
from stage import machine, make_typed_rows, pss, set_up

APPLICATION = """
import os, sys
sys.path.insert(0, {benchmarks!r})
from shared import declare
from stage import set_up
set_up({directory!r}, SHARED_DIR={directory!r} + "/shared")
products = declare({{}}, [], shared=True)

def application(environ, start_response):
    if environ["PATH_INFO"] == "/read":
        products.wait_version(2, timeout=600)
        for number in range(0, {rows}, 10):
            products[f"sku-{{number:07d}}"]
    else:
        products["sku-0000000"]
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=16)
    args = parser.parse_args()
    directory = set_up()
    print(f"{args.rows:,} rows, {machine()}")
    try:
        every = make_typed_rows(args.rows)
        rows = dict(list(every.items())[:1])
        products = declare(rows, [], shared=False)
        for _ in range(2):  # one row, and all
            result = products.refresh(force=True, full=True)
            assert result.ok, result.error
            rows.update(every)
        products.rollback(1)
        text = APPLICATION.format(benchmarks=str(Path(__file__).parent), directory=str(directory), rows=args.rows)
        (directory / "application.py").write_text(text)
        for options in ([], ["--preload"]):
            for workers in (1, args.workers):
                measure(directory, workers, options, products)
        size = sum(path.stat().st_size for path in (directory / "shared").rglob("*.rows"))
        print(f"the file has {size / 2**20:,.0f} MB")
    finally:
        shutil.rmtree(directory)


def measure(directory: Path, workers: int, options: list[str], products: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "application", "--bind", f"127.0.0.1:{port}", "--timeout=600"]
    command += ["--workers", str(workers), "--no-control-socket", "--log-level=error", *options]
    server = subprocess.Popen(command, cwd=directory, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        found = {}
        for path in ("/", "/read"):
            answered: set[bytes] = set()
            until = time.monotonic() + 900
            while len(answered) < workers and time.monotonic() < until:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=600) as answer:
                        answered.add(answer.read())
                except OSError:
                    time.sleep(0.1)
            found[path] = pss(server.pid) + sum(pss(pid) for pid in children(server.pid))
            products.rollback(2 if path == "/" else 1)
        print(
            f"{' '.join(['gunicorn', *options])}, {workers} workers: {found['/']:,.0f} MB, and"
            f" {found['/read'] - found['/']:,.0f} MB more when all have read the rows"
        )
    finally:
        server.terminate()
        server.wait()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


if __name__ == "__main__":
    main()
