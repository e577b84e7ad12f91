"""When uWSGI would fork behind Python's back. (The real one: tests/cache/servers.)"""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.system import uwsgi

ME, OTHER = 4711, 4712
CASES = [
    # worker, master, processes, options, refused; the process is ME
    (0, ME, 2, {}, True),
    (0, ME, 1, {}, True),
    (0, 0, 2, {}, True),
    (0, 0, 1, {}, False),
    (1, OTHER, 2, {}, False),
    (2, OTHER, 2, {"lazy-apps": True}, False),
    (0, ME, 2, {"py-call-uwsgi-fork-hooks": True}, False),
    (0, ME, 2, {b"py-call-uwsgi-fork-hooks": True}, False),
    (0, ME, 2, {"py-call-osafterfork": True}, True),
]


@pytest.mark.parametrize(("worker", "master", "processes", "options", "refused"), CASES)
def test_what_is_opened_where_uwsgi_forks(
    monkeypatch: pytest.MonkeyPatch, worker: int, master: int, processes: int, options: dict[Any, Any], refused: bool
) -> None:
    told = SimpleNamespace(worker_id=lambda: worker, masterpid=lambda: master, numproc=processes, opt=options)
    monkeypatch.setitem(sys.modules, "uwsgi", told)
    monkeypatch.setattr(os, "getpid", lambda: ME)
    if refused:
        with pytest.raises(ConfigurationError, match=r"^mem:x would be opened .* Set py-call-uwsgi-fork-hooks = true"):
            uwsgi.check_forks("mem:x")
    else:
        uwsgi.check_forks("mem:x")


@pytest.mark.parametrize("module", [None, SimpleNamespace()])
def test_elsewhere_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    monkeypatch.delitem(sys.modules, "uwsgi", raising=False)
    if module is not None:
        monkeypatch.setitem(sys.modules, "uwsgi", module)
    uwsgi.check_forks("mem:x")
