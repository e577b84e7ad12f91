"""Running the commands on datasets of one test."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from django.core.management import call_command

from django_etcdaero import dataset
from django_etcdaero.datasets.state.presence import Presence
from django_etcdaero.exceptions import ClusterError
from django_etcdaero.runtime import runtime


def declare(name: str = "prices", **options: Any) -> Any:
    rows: dict[str, Any] = {"a": 1}
    errors: list[BaseException] = []

    def load() -> dict[str, Any]:
        if errors:
            raise errors[0]
        return rows

    load.__qualname__ = f"load_{name}"
    made: Any = dataset(name=name, **options)(load)
    made.source, made.errors = rows, errors
    return made


def run(*arguments: str) -> tuple[int, str]:
    """Run a command; return exit code and output."""
    out = io.StringIO()
    try:
        call_command(*arguments, stdout=out, no_color=True)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


class Terminal(io.StringIO):
    """An output that is a terminal."""

    def isatty(self) -> bool:
        return True


def run_on_terminal(*arguments: str) -> tuple[int, str]:
    """Run a command as on a terminal; return exit code and output."""
    out = Terminal()
    try:
        call_command(*arguments, stdout=out, no_color=True)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


def register(
    started: int, versions: dict[str, int | None], states: dict[str, str], *, schema: int = 1, using: str = "default"
) -> None:
    """Register a process as its reader does; ``started`` tells processes apart."""
    schemas = dict.fromkeys(versions, schema)
    otherwise = {name: (version, states.get(name, "")) for name, version in versions.items()}
    Presence(runtime.stores(using).kv, ttl=30, started=started).publish(schemas, revision=0, otherwise=otherwise)


def untimed(text: str) -> str:
    """Return what was said of stores that did not answer, without when they were asked, which must be there."""
    rest, count = re.subn(r"; asked at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$", "", text, flags=re.MULTILINE)
    assert count == 1, text
    return rest


def kv_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the coordination store answer nothing."""

    def fail(*args: Any, **arguments: Any) -> Any:
        raise ClusterError("no endpoint answers")

    monkeypatch.setattr(runtime.stores("default").kv.engine, "range", fail)
