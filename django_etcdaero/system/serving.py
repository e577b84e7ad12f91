"""What kind of process this is: decides whether the reader starts at once or waits for the first use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

SERVERS = frozenset({"daphne", "hypercorn", "uvicorn"})
"""Programs that serve from the very process that imports the application. Pre-fork servers are not among them."""
TEST_PROGRAMS = frozenset({"pytest", "py.test"})
"""Programs that run tests."""


def program(argv: Sequence[str]) -> str:
    """Return the name of the program: ``uvicorn`` for ``/bin/uvicorn`` and for ``python -m uvicorn``."""
    path = PurePath(argv[0]) if argv and argv[0] else PurePath("python")
    return path.parent.name if path.name == "__main__.py" else path.name


def is_management_command(argv: Sequence[str]) -> bool:
    """Tell whether this is ``manage.py`` or ``django-admin``."""
    return program(argv) in ("manage.py", "django-admin", "django-admin.py", "django")


_test_run_declared = False


def declare_test_run() -> None:
    """Let this process be a test run from now on, whatever its command line looks like."""
    global _test_run_declared
    _test_run_declared = True


def test_run_declared() -> bool:
    """Tell whether :func:`declare_test_run` was called."""
    return _test_run_declared


def is_django_test_run(argv: Sequence[str]) -> bool:
    """Tell whether this is ``manage.py test``, as far as the command line says."""
    return is_management_command(argv) and len(argv) > 1 and argv[1] == "test"


def is_test_run(argv: Sequence[str]) -> bool:
    """Tell whether this is ``manage.py test`` or pytest, as far as the command line says."""
    return is_django_test_run(argv) or program(argv) in TEST_PROGRAMS


def is_runserver(argv: Sequence[str]) -> bool:
    """Tell whether this is ``manage.py runserver``, its autoreloader included."""
    return is_management_command(argv) and len(argv) > 1 and argv[1] == "runserver"


def serves(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Tell whether this process is known to answer requests itself.

    True for ``runserver``'s child (its parent, the autoreloader, only watches files) and for servers that do not fork.
    """
    if is_management_command(argv):
        if not is_runserver(argv):
            return False
        return environ.get("RUN_MAIN") == "true" or "--noreload" in argv
    return program(argv) in SERVERS


def may_start_in_fork(argv: Sequence[str]) -> bool:
    """Tell whether the child of a fork of this process is taken for a worker that serves.

    So it is for gunicorn, uWSGI, celery and whatever else forks; not for a management command, whose children are
    helpers of the command.
    """
    return not is_management_command(argv)
