"""When uWSGI would fork behind Python's back. (The real one: tests/processes/test_uwsgi.py, tests/cache/servers.)"""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from django_etcdaero.exceptions import ConfigurationError
from django_etcdaero.system import unseen_forks, uwsgi

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
    threads = {"enable-threads": b"true"}
    told = SimpleNamespace(worker_id=lambda: worker, masterpid=lambda: master, numproc=processes, opt=options | threads)
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


NO_THREADS = [
    # what it tells of itself, options, whether threads run
    (True, {}, True),
    (False, {"enable-threads": b"true"}, False),
    (None, {}, False),
    (None, {"enable-threads": b"true"}, True),
    (None, {b"threads": b"4"}, True),
]


@pytest.mark.parametrize(("told", "options", "run"), NO_THREADS)
def test_whether_threads_run(
    monkeypatch: pytest.MonkeyPatch, told: bool | None, options: dict[Any, Any], run: bool
) -> None:
    module = SimpleNamespace(worker_id=lambda: 1, opt=options)
    if told is not None:
        module.has_threads = int(told)
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    assert uwsgi.runs_threads() is run


def test_without_threads_pythons_hooks_are_not_run_whatever_the_option_says(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"py-call-uwsgi-fork-hooks": True}
    told = SimpleNamespace(worker_id=lambda: 0, masterpid=lambda: ME, numproc=2, opt=options, has_threads=0)
    monkeypatch.setitem(sys.modules, "uwsgi", told)
    monkeypatch.setattr(os, "getpid", lambda: ME)
    with pytest.raises(ConfigurationError):
        uwsgi.check_forks("mem:x")


@pytest.mark.parametrize("decorators", [False, True])
def test_what_is_called_in_workers_stands_beside_what_others_call_there(
    monkeypatch: pytest.MonkeyPatch, decorators: bool
) -> None:
    called: list[str] = []
    told = SimpleNamespace(
        worker_id=lambda: 0,
        masterpid=os.getpid,
        numproc=2,
        opt={},
        has_threads=1,
        post_fork_hook=lambda: called.append("theirs"),
    )
    chain: list[Any] = []
    monkeypatch.setitem(sys.modules, "uwsgi", told)
    monkeypatch.setitem(sys.modules, "uwsgidecorators", SimpleNamespace(postfork_chain=chain) if decorators else None)
    monkeypatch.setattr(unseen_forks, "_seeing", None)
    monkeypatch.setattr(unseen_forks._Seeing, "register", lambda self: True)
    uwsgi.follow_forks(before=lambda: None, after=lambda: called.append("ours"))
    uwsgi.check_forks("mem:x")  # is not refused any more
    told.post_fork_hook()
    for each in chain:
        each()
    assert called == ["theirs", "ours"]


def test_where_the_c_library_does_not_tell_of_forks_stores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(worker_id=lambda: 0, masterpid=os.getpid, numproc=2, opt={}, has_threads=1)
    monkeypatch.setitem(sys.modules, "uwsgi", told)
    monkeypatch.setattr(unseen_forks, "_seeing", None)
    monkeypatch.setattr(unseen_forks._Seeing, "register", lambda self: False)
    uwsgi.follow_forks(before=lambda: None, after=lambda: None)
    with pytest.raises(ConfigurationError):
        uwsgi.check_forks("mem:x")
