"""Runs the examples of one page in this project, in their order: ``play.py PLAN``.

The plan is a JSON list of ``[kind, line, text]``. Files have been written before. Python shares one module; a console
command is a process of its own, and what it prints must be what the page shows (``...`` stands for anything).
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import django
from django.core.management import call_command, get_commands, load_command_class

SERVERS = {
    "gunicorn": [sys.executable, "-m", "gunicorn", "--check-config"],
    "uvicorn": [sys.executable, "-c", "import sys, uvicorn; uvicorn.main.make_context('uvicorn', sys.argv[1:])"],
}
"""What checks the arguments of a server without serving."""

page = types.ModuleType("page")


def run_python(line: int, text: str) -> None:
    exec(compile("\n" * (line - 1) + text, "page", "exec"), page.__dict__)


def run_session(line: int, text: str) -> None:
    test = doctest.DocTestParser().get_doctest(text, page.__dict__, "page", "page", line)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DebugRunner(optionflags=options).run(test, clear_globs=False)
    page.__dict__.update(test.globs)


def run_console(line: int, text: str) -> None:
    for session in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = session.partition("\n")
        words = shlex.split(command)
        if words[0] == "python":
            words[0] = sys.executable
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        printed = (done.stdout + done.stderr).strip()
        assert done.returncode in (0, 1), f"line {line}: $ {command}\nexit code {done.returncode}\n{printed}"
        pattern = ".*".join(map(re.escape, shown.strip().split("...")))
        alike = not shown.strip() or re.fullmatch(pattern, printed, re.DOTALL)
        assert alike, f"line {line}: $ {command}\n{printed}\n--- is not\n{shown}"


def check_server(line: int, text: str) -> None:
    words = shlex.split(text)
    done = subprocess.run([*SERVERS[words[0]], *words[1:]], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"line {line}: {text}\n{done.stdout}{done.stderr}"


def check_arguments(line: int, text: str) -> None:
    """Parse the arguments of a management command that is not to be run here."""
    name, *arguments = shlex.split(text)
    load_command_class(get_commands()[name], name).create_parser("manage.py", name).parse_args(arguments)


RUN: dict[str, Callable[[int, str], None]] = {
    "python": run_python,
    "pycon": run_session,
    "console": run_console,
    "server": check_server,
    "arguments": check_arguments,
}


def prepare() -> None:
    sys.modules["page"] = page
    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    from shop.models import Product

    Product.objects.create(sku="A1", name="Teapot", price="19.90", category="kitchen")
    Product.objects.create(sku="B2", name="Cup", price="4.50", category="kitchen")
    Product.objects.create(sku="C3", name="Lamp", price="35.00", category="light")


if __name__ == "__main__":
    prepare()
    for kind, line, text in json.loads(Path(sys.argv[1]).read_text()):
        RUN[kind](line, text)
