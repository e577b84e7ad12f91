"""``manage.py trials``: tries something in a fork of its own for each line of standard input.

A line is a JSON object: ``directory``, ``urls`` and ``prefix`` of the deployment, ``do`` (``refresh``, ``fold`` or
``read``), ``fatal`` (the moment to get the signal ``signal`` at, see :class:`faults.Steps`). The answer is one as well:
``status`` (as of ``os.waitstatus_to_exitcode``), ``said``. This process itself never opens a store.
"""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import faults
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.test.utils import override_settings

from django_etcdaero.datasets.publish import base, folding
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.runtime import runtime
from shop.datasets import prices


def deployment(directory: str, urls: dict[str, str], prefix: str) -> override_settings:
    """Return the settings of another deployment."""
    alias = {**urls, "PREFIX": prefix, "OPTIONS": settings.ETCDAERO["default"]["OPTIONS"]}
    return override_settings(ETCDAERO={"default": alias}, DIRECTORY=Path(directory))


def do(what: str, fatal: int | None, number: int) -> Any:
    """Do it and return what there is to say."""
    if what == "read":
        snapshot = prices.wait_ready(20)
        return {"version": snapshot.version, "rows": dict(snapshot)}
    steps = faults.Steps(fatal, number)
    steps.install()
    if what == "fold":
        return {"outcomes": fold(), "steps": steps.taken}
    output = io.StringIO()
    call_command("etcdaero_refresh", force=True, wait=20, json=True, stdout=output)
    runtime.close()
    return {"result": json.loads(output.getvalue()), "steps": steps.taken}


def fold() -> list[str]:
    """Fold the deltas as a process that serves does, one block at a time; return what its refreshes have come to."""
    base.MOST_DELTAS, folding.AT_ONCE = 4, 1
    refreshes = [Refresh(prices, runtime, force=True, serving=True).run()]
    while folding.fold_on(prices, runtime.stores("default")) is folding.Left.MORE:
        pass
    refreshes.append(Refresh(prices, runtime, serving=True).run())
    runtime.close()
    return [str(result.outcome) for result in refreshes]


class Command(BaseCommand):
    """Serve until standard input ends."""

    def handle(self, *args: Any, **options: Any) -> None:
        for line in sys.stdin:
            asked = json.loads(line)
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reading)
                deployment(asked["directory"], asked["urls"], asked["prefix"]).enable()
                said = do(asked["do"], asked["fatal"], asked["signal"])
                os.write(writing, json.dumps(said).encode())
                os._exit(0)
            os.close(writing)
            with os.fdopen(reading, "rb") as pipe:
                told = pipe.read()
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print(json.dumps({"status": status, "said": json.loads(told) if told else None}), flush=True)
