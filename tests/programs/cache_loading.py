"""What other processes do with a cache: ``python -m tests.programs.cache_loading <location> <function> <argument>…``.

Each answers in lines on its standard output.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import django
from django.conf import settings

from tests.paths import ROOT


@contextmanager
def child(function: Callable[..., None], location: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a function of this module in a process of its own, which is killed at the end."""
    command = [sys.executable, "-m", "tests.programs.cache_loading", location, function.__name__]
    command += map(str, arguments)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a child prints, empty when it has ended."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: subprocess.Popen[str], text: str = "") -> None:
    """Give a child a line."""
    assert process.stdin is not None
    process.stdin.write(f"{text}\n")
    process.stdin.flush()


def load_once(location: str, key: str, calls: str) -> None:
    """Say ``ready``, wait for a line, and ask for ``key``, whose loading is noted in the file ``calls``; print it."""
    from django.core.cache import cache

    def load() -> str:
        with Path(calls).open("a") as file:
            file.write("loaded\n")
        sys.stdin.readline()  # the load takes as long as the test wants
        return "value"

    cache.get("warm")
    print("ready", flush=True)
    sys.stdin.readline()
    print(cache.get_or_set(key, load, 60), flush=True)


def hold_the_load(location: str, key: str) -> None:
    """Say ``loading`` while ``key`` is loaded, which ends with a line."""
    from django.core.cache import cache

    def load() -> str:
        print("loading", flush=True)
        sys.stdin.readline()
        return "of the other"

    print(cache.get_or_set(key, load, 60), flush=True)


def increment(location: str, key: str, times: str) -> None:
    """Say ``ready``, wait for a line, add one to a number so many times."""
    from django.core.cache import cache

    cache.get(key)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(int(times)):
        cache.incr(key)
    print("done", flush=True)


def main(location: str, function: str, *arguments: str) -> None:
    """Set Django up with the cache at ``location``, and do it."""
    settings.configure(
        SECRET_KEY="only for tests",
        CACHES={"default": {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": location}},
    )
    django.setup()
    globals()[function](location, *arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
