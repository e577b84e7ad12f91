"""What kind of process this is: decisions on the command line and the environment alone."""

from __future__ import annotations

import pytest

from django_etcdaero.system.serving import is_management_command, is_test_run, may_start_in_fork, program, serves

CASES = [
    # argv, RUN_MAIN, program, serves at once, may start in a fork
    (["manage.py"], None, "manage.py", False, False),
    (["manage.py", "migrate"], None, "manage.py", False, False),
    (["./manage.py", "shell"], "true", "manage.py", False, False),
    (["manage.py", "runserver"], None, "manage.py", False, False),
    (["manage.py", "runserver"], "true", "manage.py", True, False),
    (["manage.py", "runserver", "--noreload"], None, "manage.py", True, False),
    (["manage.py", "runserver", "0:8000", "--noreload"], None, "manage.py", True, False),
    (["manage.py", "test", "runserver"], "true", "manage.py", False, False),
    (["/srv/bin/django-admin", "runserver"], "true", "django-admin", True, False),
    (["/lib/django/__main__.py", "runserver"], "true", "django", True, False),
    (["/usr/bin/uvicorn", "shop.asgi"], None, "uvicorn", True, True),
    (["/lib/uvicorn/__main__.py", "shop.asgi"], None, "uvicorn", True, True),
    (["daphne"], None, "daphne", True, True),
    (["hypercorn"], None, "hypercorn", True, True),
    (["/usr/bin/gunicorn", "shop.wsgi"], None, "gunicorn", False, True),
    (["/lib/celery/__main__.py", "-A", "shop", "worker"], None, "celery", False, True),
    (["uwsgi"], None, "uwsgi", False, True),
    (["pytest"], None, "pytest", False, True),
    (["-c"], None, "-c", False, True),
    ([""], None, "python", False, True),
    ([], None, "python", False, True),
]


@pytest.mark.parametrize(("argv", "run_main", "name", "at_once", "in_fork"), CASES)
def test_kinds_of_processes(argv: list[str], run_main: str | None, name: str, at_once: bool, in_fork: bool) -> None:
    environ = {} if run_main is None else {"RUN_MAIN": run_main}
    assert program(argv) == name
    assert serves(argv, environ) is at_once
    assert may_start_in_fork(argv) is in_fork
    assert is_management_command(argv) is (not in_fork)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["manage.py", "test"], True),
        (["./manage.py", "test", "shop"], True),
        (["/lib/django/__main__.py", "test"], True),
        (["/usr/bin/pytest", "-x"], True),
        (["/lib/pytest/__main__.py"], True),
        (["manage.py"], False),
        (["manage.py", "shell", "test"], False),
        (["uvicorn", "test"], False),
        (["deploy.py", "test"], False),
        ([], False),
    ],
)
def test_test_runs_by_their_command_lines(argv: list[str], expected: bool) -> None:
    assert is_test_run(argv) is expected
