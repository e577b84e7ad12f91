"""A server of the kind of celery's: the parent prepares Django, reads nothing and forks workers, which read lazily.

Each worker keeps a file ``worker-<pid>`` with the version that it reads.
"""

import os
import signal
import time

import django
from django.conf import settings

WORKERS = 3


def work() -> None:
    """Read, again and again."""
    from shop.datasets import prices

    told = settings.DIRECTORY / f"worker-{os.getpid()}"
    while True:
        (settings.DIRECTORY / f"{told.name}.new").write_text(str(prices.snapshot().version))
        (settings.DIRECTORY / f"{told.name}.new").replace(told)
        time.sleep(0.02)


if __name__ == "__main__":
    django.setup()
    children = []
    for _ in range(WORKERS):
        child = os.fork()
        if child == 0:
            work()
        children.append(child)
    signal.pause()
