"""Django's options of all commands, also after the name of a subcommand."""

from __future__ import annotations

import argparse
from typing import Any

_FLAGS = ("--traceback", "--no-color", "--force-color", "--skip-checks")


def add_django_options(parser: argparse.ArgumentParser) -> None:
    """Let the parser of a subcommand take what Django lets only the command itself take.

    Nothing is set by those that are not given: what stands before the subcommand counts. ``--version`` is not among
    them.
    """
    unsaid: dict[str, Any] = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    parser.add_argument("-v", "--verbosity", type=int, choices=range(4), **unsaid)
    for name in ("--settings", "--pythonpath"):
        parser.add_argument(name, **unsaid)
    for name in _FLAGS:
        parser.add_argument(name, action="store_true", **unsaid)
