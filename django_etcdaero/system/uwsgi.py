"""uWSGI forks in C. Unless it is told to, it does not run the hooks with which Python sees to forks."""

from __future__ import annotations

import os
import sys

from django_etcdaero.exceptions import ConfigurationError

_OPTION = "py-call-uwsgi-fork-hooks"


def check_forks(what: str) -> None:
    """Raise ``ConfigurationError`` if uWSGI will fork this process behind Python's back. For who opens ``what``.

    What is open then is inherited by the workers, where it must not be used and cannot be told from their own.
    """
    uwsgi = sys.modules.get("uwsgi")  # in it there is such a module, which no package brings
    if uwsgi is None or getattr(uwsgi, "worker_id", None) is None:
        return
    if uwsgi.worker_id() or (uwsgi.numproc == 1 and uwsgi.masterpid() != os.getpid()):
        return  # a worker, or the only process
    if any(name in uwsgi.opt for name in (_OPTION, _OPTION.encode())):
        return
    raise ConfigurationError(
        f"{what} would be opened in a process that uWSGI is going to fork without telling Python. Set {_OPTION} = true "
        "in uWSGI's configuration, or lazy-apps = true, or do not use it while the application is imported"
    )
