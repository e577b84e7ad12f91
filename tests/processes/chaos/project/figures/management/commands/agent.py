"""``manage.py agent``: does to datasets what operators do, one line a command, and answers in JSON."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand

from django_etcdaero import datasets
from django_etcdaero.exceptions import EtcdAeroError


def roll_back(name: str, steps: str) -> int | None:
    """Go back by so many versions; return to which."""
    versions = datasets[name].history()
    if len(versions) <= int(steps):
        return None
    version = versions[int(steps)].announcement.version
    try:
        datasets[name].rollback(version)
    except EtcdAeroError as error:
        raise RolledBack(version) from error
    return version


class RolledBack(Exception):
    """It was tried, and may have been done."""


class Command(BaseCommand):
    """Serve until standard input ends."""

    def handle(self, *args: Any, **options: Any) -> None:
        for line in sys.stdin:
            name, *arguments = line.split()
            answer: dict[str, Any] = {"raised": None}
            try:
                match name:
                    case "request":
                        datasets[arguments[0]].request_refresh()
                    case "unpin":
                        datasets[arguments[0]].unpin()
                    case "roll_back":
                        answer["version"] = roll_back(*arguments)
            except RolledBack as tried:
                answer = {"raised": type(tried.__cause__).__name__, "version": tried.args[0]}
            except EtcdAeroError as error:
                answer["raised"] = type(error).__name__
            print(json.dumps(answer), flush=True)
