"""What commands that ask stores have in common: one limit of time, errors in one line, consent."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, EtcdAeroError
from django_etcdaero.inspection.problem import Problem
from django_etcdaero.inspection.together import within
from django_etcdaero.system.call_limit import calls_end_within
from django_etcdaero.system.error_text import text_of
from django_etcdaero.system.threads import join

from .ending import INTERRUPTED, quiet_ending
from .scope import reach_warnings

T = TypeVar("T")

UNASKED = ("--noinput", "--no-input", "--yes")
"""Options with which a command does without asking what it would ask about: Django's, and that of other tools."""


class ActingCommand(BaseCommand):
    """A command that asks stores and may change what they hold. Exit code 1: it could not be done; 2: wrong arguments.

    ``answer_within`` is the default of ``--timeout``, in seconds; ``None``: it takes as long as there are rows, and
    each call to a store has a limit of its own.
    """

    answer_within: float | None = 10.0
    asks_first = False
    """Whether it asks before it changes something."""

    def add_arguments(self, parser: CommandParser) -> None:
        if self.answer_within is not None:
            parser.add_argument(
                "--timeout",
                type=float,
                default=self.answer_within,
                metavar="SECONDS",
                help=f"longest time for the stores to answer (default: {self.answer_within:g})",
            )
        if self.asks_first:
            add_unasked(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 < options.get("timeout", 1.0) < 86400:
            raise CommandError("--timeout must be a number of seconds above 0 and below 86400", returncode=2)
        for warning in self.warnings(options):
            self.stderr.write(self.style.WARNING(warning))
        self._began = time.time()
        self._limit: float | None = options.get("timeout")
        self._interactive: bool = options.get("interactive", True)
        try:
            with quiet_ending(self.stdout), _any_text(self.stdout):
                self.act(options)
        except (EtcdAeroError, OSError) as error:
            silent = isinstance(error, ClusterError | DeadlineExceeded) and getattr(error, "since", None) is None
            raise CommandError(f"{text_of(error)}{self._asked_at() if silent else ''}") from error

    def warnings(self, options: dict[str, Any]) -> list[str]:
        """Say why what the command does may be of no use to other processes."""
        return reach_warnings()

    @abstractmethod
    def act(self, options: dict[str, Any]) -> None:
        """Do it. Errors of stores and files end the command in one line."""

    def ask_stores(self, function: Callable[[], T]) -> T:
        """Return what ``function`` returns, which reads only, within ``--timeout``.

        Raises ``DeadlineExceeded``, and what it raises.
        """
        return self._within_limit(function, "")

    def change_stores(self, function: Callable[[], T]) -> T:
        """Return what ``function`` returns, which changes something: as :meth:`ask_stores`."""
        return self._within_limit(function, "; what was to be changed may be, or not")

    def told(self, problem: Problem) -> str:
        """Say what could not be read, and when it was asked for where nothing says since when there is no answer."""
        silent = problem.type in (ClusterError.__name__, DeadlineExceeded.__name__) and problem.since is None
        return f"{problem}{self._asked_at() if silent else ''}"

    def _asked_at(self) -> str:
        return f"; asked at {datetime.fromtimestamp(self._began, UTC):%Y-%m-%d %H:%M:%S} UTC"

    def _within_limit(self, function: Callable[[], T], unknown: str) -> T:
        if self._limit is None:
            return function()
        limit = self._limit
        found: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                with calls_end_within(within(limit)):
                    found.append(function())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, name="etcdaero-command", daemon=True)
        thread.start()
        if not join(thread, limit):
            raise DeadlineExceeded(f"no answer within {limit:g} s{unknown}")
        if errors:
            raise errors[0]
        return found[0]

    def consent(self, question: str) -> None:
        """Ask whether to go on. Raises ``CommandError`` if not."""
        if not self._interactive:
            return
        self.stdout.write(self.style.WARNING(question))
        try:
            answer = input("Type 'yes' to continue, or 'no' to cancel: ")
        except EOFError:
            raise CommandError(f"nobody answers; to do it without asking say {UNASKED[0]}") from None
        except KeyboardInterrupt:
            raise CommandError("cancelled", returncode=INTERRUPTED) from None
        if answer != "yes":
            raise CommandError("cancelled")


@contextmanager
def _any_text(stream: Any) -> Iterator[None]:
    """Let what rows hold be written as escapes where the encoding of the terminal lacks it."""
    errors = getattr(stream, "errors", None)
    if errors is None or not hasattr(stream, "reconfigure"):  # what call_command() was given
        yield
        return
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        stream.reconfigure(errors=errors)


def add_unasked(parser: CommandParser, text: str = "do it without asking") -> None:
    """Add the option that stands for consent, in all its spellings: ``options["interactive"]`` is false with it."""
    parser.add_argument(*UNASKED, action="store_false", dest="interactive", help=text)
