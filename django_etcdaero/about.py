"""What a process tells others about itself when it registers: its program, its versions, its settings. No secrets."""

from __future__ import annotations

import hashlib
import importlib
import json
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import django

from .conf import AliasSettings
from .datasets.stores import About
from .stores.url import mask
from .system.serving import SERVERS as ASYNC_SERVERS
from .system.serving import TEST_PROGRAMS, is_management_command, is_runserver, program, test_run_declared

LONGEST: Final = 120
"""Characters of a command line that are told."""
SERVERS: Final = ASYNC_SERVERS | {"gunicorn", "granian", "mod_wsgi-express", "uwsgi", "waitress-serve"}
WORKERS: Final = frozenset({"celery", "dramatiq", "huey_consumer", "rqworker", "rq"})

_SECRET = re.compile(r"(?i)api|auth|bearer|cookie|credential|key|pass|pwd|secret|sign|token")
_ASSIGNED = re.compile(r"([\w.-]+)=(.*)", re.DOTALL)
_SHORT_PASSWORD = re.compile(r"-p.*", re.DOTALL)


def about(settings: AliasSettings, argv: Sequence[str] | None = None) -> About:
    """Return what this process tells under an alias; ``argv``: its command line, by default that of this process."""
    used = list(sys.argv if argv is None else argv)
    package = importlib.import_module("django_etcdaero")  # whose public names are above this module
    return About(
        program=command_line(used),
        kind="tests" if argv is None and test_run_declared() else kind(used),
        software={
            "python": platform.python_version(),
            "django": django.get_version(),
            "django-etcdaero": package.__version__,
        },
        settings=fingerprints(settings),
    )


def kind(argv: Sequence[str]) -> str:
    """Return what kind of process a command line starts: ``server``, ``worker``, ``tests``, ``command`` or other."""
    name = program(argv)
    if name in SERVERS or is_runserver(argv):
        return "server"
    if name in WORKERS:
        return "worker"
    if name in TEST_PROGRAMS or (is_management_command(argv) and argv[1:2] == ["test"]):
        return "tests"
    return "command" if is_management_command(argv) else "program"


def fingerprints(settings: AliasSettings) -> dict[str, str]:
    """Return a hash of each setting in which the processes of an alias have to agree. None can be turned back.

    The addresses are without user, password and options.
    """
    options = settings.options
    agreed = {
        "RECORDS": settings.records.safe,
        "PROJECT": settings.project,
        "OPTIONS": {"GARBAGE_TTL": options.GARBAGE_TTL, "LOCK_TTL": options.LOCK_TTL},
    }
    return {name: _hash(value) for name, value in agreed.items()}


def command_line(argv: Sequence[str]) -> str:
    """Return a command line in short: the name of the program and its arguments, with nothing that may be secret.

    Masked are the values of options whose names sound like it, users and passwords in URLs, and what stands after
    ``-p``.
    """
    words = " ".join((program(argv), *_masked(argv[1:])))
    printable = "".join(each if each.isprintable() else "?" for each in words)
    return printable if len(printable) <= LONGEST else f"{printable[: LONGEST - 1]}…"


def _masked(arguments: Sequence[str]) -> Iterator[str]:
    secret_follows = False
    for each in arguments:
        assigned = _ASSIGNED.fullmatch(each)
        if secret_follows and not each.startswith("-"):
            yield "***"
            secret_follows = False
            continue
        secret_follows = False
        if each.startswith("-") and assigned is None:
            if each == "-p" or (each.startswith("--") and _SECRET.search(each)):
                secret_follows = True
            elif _SHORT_PASSWORD.fullmatch(each):
                each = "-p***"
            yield each
        elif assigned is not None and _SECRET.search(assigned[1]):
            yield f"{assigned[1]}=***"
        elif "://" in each or "@" in each:
            yield mask(each)
        else:
            yield "***" if _SECRET.search(each) and ("=" in each or ":" in each) else each


def _hash(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=4).hexdigest()
