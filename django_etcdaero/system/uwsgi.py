"""uWSGI forks in C. Unless it is told to, it does not run the hooks with which Python sees to forks.

It calls ``uwsgi.post_fork_hook`` in each worker, though. So what the application has opened while uWSGI's master
imported it is closed before the fork (:mod:`.unseen_forks`), and each worker goes on from there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from django_etcdaero.exceptions import ConfigurationError

from . import unseen_forks

_OPTION = "py-call-uwsgi-fork-hooks"

NO_THREADS = (
    "uWSGI lets no thread of Python run between requests: set enable-threads = true in its configuration and start it "
    "again"
)
"""Why a process does not read."""


def runs_threads() -> bool:
    """Tell whether threads go on between requests. Under uWSGI they do not unless it was told to let them."""
    uwsgi = _module()
    if uwsgi is None:
        return True
    told = getattr(uwsgi, "has_threads", None)  # some releases do not tell
    return bool(told) if told is not None else _set(uwsgi, "enable-threads") or _set(uwsgi, "threads")


def follow_forks(*, before: Callable[[], object], after: Callable[[], object]) -> None:
    """Call ``before()`` before each fork that uWSGI makes of this process, and ``after()`` in each of its workers.

    Does nothing where Python's hooks see to that, or where this process will not be forked by uWSGI.
    """
    uwsgi = _module()
    if uwsgi is not None and _forks_unseen(uwsgi) and unseen_forks.see_to(before):
        _call_in_workers(uwsgi, after)


def check_forks(what: str) -> None:
    """Raise ``ConfigurationError`` if uWSGI will fork this process and nobody sees to it. For who opens ``what``."""
    uwsgi = _module()
    if uwsgi is None or unseen_forks.seen_to() or not _forks_unseen(uwsgi):
        return
    raise ConfigurationError(
        f"{what} would be opened in a process that uWSGI is going to fork without telling Python. Set {_OPTION} = true "
        "in uWSGI's configuration, or lazy-apps = true, or do not use it while the application is imported"
    )


def _module() -> Any | None:
    uwsgi = sys.modules.get("uwsgi")  # in it there is such a module, which no package brings
    return None if getattr(uwsgi, "worker_id", None) is None else uwsgi


def _set(uwsgi: Any, option: str) -> bool:
    return any(name in uwsgi.opt for name in (option, option.encode()))


def _forks_unseen(uwsgi: Any) -> bool:
    """Tell whether uWSGI will fork this process behind Python's back."""
    if uwsgi.worker_id() or (uwsgi.numproc == 1 and uwsgi.masterpid() != os.getpid()):
        return False  # a worker, or the only process
    return not _set(uwsgi, _OPTION) or not runs_threads()  # without threads the option does nothing


def _call_in_workers(uwsgi: Any, after: Callable[[], object]) -> None:
    """Add ``after`` to what uWSGI calls in each worker right after the fork, and in its other processes of Python."""
    try:
        from uwsgidecorators import postfork_chain  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except Exception:  # not installed, or it refuses to work without a master
        before = getattr(uwsgi, "post_fork_hook", None)

        def hook() -> None:
            if before is not None:
                before()
            after()

        uwsgi.post_fork_hook = hook
    else:  # it would take the place of any other hook when somebody imports it later
        postfork_chain.append(after)
