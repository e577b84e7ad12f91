"""``etcdaero_refresh`` without ``--loop``: one refresh after the other, and none of them stops those that follow.

In a process that is there for the command only each refresh runs in a thread of its own. So a load that hangs is left
behind when its ``load_timeout`` is over. Elsewhere (``call_command()``) it runs in the calling thread, as whoever calls
expects: in the transaction of a test, for instance.

An alias whose store did not answer once is not asked again for the datasets that follow: each would wait as long.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.project_code import run_project_code
from django_etcdaero.system.conditions import Flag
from django_etcdaero.system.threads import Background, wait


class OneByOne:
    """One run over several datasets; ``in_threads`` as the module says."""

    def __init__(self, *, in_threads: bool) -> None:
        self._in_threads = in_threads
        self._away: dict[str, str] = {}
        """The error of each alias whose store does not answer."""

    def run(
        self, dataset: Dataset[Any, Any], make: Callable[[Callable[[RefreshResult], None]], Refresh]
    ) -> RefreshResult:
        """Refresh a dataset and return what happened.

        ``make`` makes the refresh from its ``on_overdue``. Raises only what interrupts it from outside.
        """
        error = self._away.get(dataset.using)
        if error is not None:
            said = f"{error} (alias {dataset.using!r} was not asked again)"
            return RefreshResult(name=dataset.name, outcome=Outcome.FAILED, error=said, version_known=False)
        run = _Run(make)
        result = run.in_thread(dataset.name) if self._in_threads else run.here()
        if run.refresh.store_away and result.error is not None:
            self._away[dataset.using] = result.error
        return result


class _Run:
    """One refresh."""

    def __init__(self, make: Callable[[Callable[[RefreshResult], None]], Refresh]) -> None:
        self.refresh = make(self._set)
        self._ended = Flag()
        self._mutex = threading.Lock()
        self._result: RefreshResult | None = None
        self._error: BaseException | None = None

    def here(self) -> RefreshResult:
        return self.refresh.run()

    def in_thread(self, name: str) -> RefreshResult:
        thread = Background(self._run, name=f"etcdaero-refresh-{name}")
        thread.start()
        try:
            wait(self._ended, math.inf)
        except BaseException:  # a signal: what the load still does is refused
            self.refresh.stop()
            raise
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def _run(self) -> None:
        try:
            self._set(run_project_code(self.refresh.run))
        except BaseException as error:
            self._error = error
            self._ended.set()

    def _set(self, result: RefreshResult) -> None:
        """Take the first result: that of a load whose time is over comes before the end of the load."""
        with self._mutex:
            if self._result is None:
                self._result = result
        self._ended.set()
