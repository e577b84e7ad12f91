"""What commands that act on one dataset have in common: its name, and who acts on it for what reason."""

from __future__ import annotations

import getpass
import os
import socket
from abc import abstractmethod
from typing import Any

from django.core.management.base import CommandParser

from django_etcdaero.datasets.dataset import Dataset

from .acting import ActingCommand
from .scope import chosen_datasets


class OneDatasetCommand(ActingCommand):
    """A command that acts on the dataset that is named."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="the dataset")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> None:
        self.act_on(chosen_datasets((options["name"],))[0], options)

    @abstractmethod
    def act_on(self, dataset: Dataset[Any, Any], options: dict[str, Any]) -> None:
        """Do it."""


def add_reason(parser: CommandParser) -> None:
    """Add the options that say who does it and why."""
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for those who look at the status")
    parser.add_argument("--by", default=None, metavar="WHO", help="who does it (default: user@host)")


def who_does_it(options: dict[str, Any]) -> str:
    """Return who does it, as told or as the operating system knows."""
    if options["by"] is not None:
        return str(options["by"])
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for the user
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
