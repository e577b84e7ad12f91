"""``runserver`` under ``DEBUG`` refreshes the datasets itself, so that a page works without anything else running.

It is the service of ``etcdaero_refresh --loop`` (:mod:`.management.refresh_service`) in the process that serves, and
like any other of these services it takes the lock of a dataset to load it. It comes some seconds after a dataset is
due, so where a loop runs that does the work. When the code is reloaded the process ends; its locks are given back
first, and nothing of a load that is under way becomes visible, so old code publishes nothing after that. The next
process asks for a load of the datasets whose code has changed (:mod:`.management.changed_code`).
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING

from django.apps import apps
from django.conf import settings

from . import conf
from .datasets.registry import datasets
from .exceptions import EtcdAeroError
from .runtime import runtime
from .system.serving import is_runserver, serves
from .system.threads import Background

if TYPE_CHECKING:
    from .datasets.state.status import RefreshResult
    from .management.refresh_service import RefreshService

ANNOUNCEMENT = (
    "Datasets are refreshed by this server, unless manage.py etcdaero_refresh --loop does it "
    '(ETCDAERO OPTIONS "REFRESH_IN_RUNSERVER").\n'
)


def refresh_in_runserver() -> None:
    """Refresh the datasets in this process if it is the one of ``runserver`` that serves, and say so on the console.

    Opens no store and does not wait: the service begins in a thread, once all apps are ready.
    """
    if not datasets or runtime.memory_only or not (is_runserver(sys.argv) and serves(sys.argv, os.environ)):
        return
    if settings.DEBUG and _option() == "auto":
        sys.stdout.write(ANNOUNCEMENT)
        sys.stdout.flush()
        RefreshingServer().start()


def _option() -> str:
    try:
        return conf.get("default").options.REFRESH_IN_RUNSERVER
    except EtcdAeroError:  # a wrong setting is told by the system checks
        return "off"


class RefreshingServer:
    """The service of this process, from the moment that all apps are ready until the process ends."""

    def __init__(self) -> None:
        self._service: RefreshService | None = None
        self._ended = False
        self._thread = Background(self._begin, name="etcdaero-runserver")

    def start(self) -> None:
        """Begin soon."""
        atexit.register(self.stop)
        self._thread.start()

    def stop(self) -> None:
        """End, and give the locks back."""
        self._ended = True
        if self._service is not None:
            self._service.stop()

    def _begin(self) -> None:
        apps.ready_event.wait()
        from .management.changed_code import request_by_changed_code  # here: ready() must stay cheap
        from .management.refresh_service import RefreshService

        chosen = [datasets[name] for name in sorted(datasets)]
        service = RefreshService(chosen, runtime, _tell, gives_way=True)
        self._service = service
        if not self._ended:  # looked at after the service can be seen: whoever set this first has not stopped it
            service.start()
            request_by_changed_code(chosen, runtime)


def _tell(result: RefreshResult) -> None:
    """Tell of new versions; failures are logged."""
    from .management.describe import describe_result

    if result.outcome == "refreshed":
        sys.stdout.write(f"{describe_result(result)}\n")
        sys.stdout.flush()
