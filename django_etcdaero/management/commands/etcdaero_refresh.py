"""``manage.py etcdaero_refresh``: refresh what is due, once or as a service."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
import traceback
from argparse import ArgumentTypeError, BooleanOptionalAction
from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.publish.source import About
from django_etcdaero.datasets.publish.uncommitted import refuse_in_transaction
from django_etcdaero.datasets.state.status import RefreshResult
from django_etcdaero.management import reloading
from django_etcdaero.management.changed_code import request_by_changed_code
from django_etcdaero.management.describe import describe_result, moment
from django_etcdaero.management.one_by_one import OneByOne
from django_etcdaero.management.refresh_service import THREADS, RefreshService
from django_etcdaero.management.scope import chosen_datasets, reach_warnings
from django_etcdaero.project_code import close_old_connections
from django_etcdaero.runtime import runtime
from django_etcdaero.system.exiting import exit_on_signals
from django_etcdaero.system.threads import Background


def seconds(text: str) -> float:
    """Parse a number of seconds for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def places(text: str) -> int:
    """Parse a number of threads for argparse."""
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise ArgumentTypeError(f"{text!r} is not a number of threads from 1 to 1000")
    return int(text)


class ProgressBar:
    """Shows the phases of a refresh on a terminal, one bar after the other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._phase = ""
        self._began = 0.0
        self._bar: tqdm[Any] | None = None
        self._ended = False

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        if self._ended:  # a load that was left behind goes on
            return
        about = isinstance(total, About)
        if about and total is not None and done > total:
            total = None
        if phase != self._phase or self._bar is None or (total is None) != (self._bar.total is None):
            self._began = time.time() if phase != self._phase else self._began
            self.close()
            self._phase = phase
            # A source may be silent to its end: then the beginning tells more than a clock that stands still.
            since = f"{{desc}}: {{n:,}} rows since {moment(self._began)}, {{rate_fmt}}"
            self._bar = tqdm(
                desc=f"{self._name}: {phase}{' (total as last time)' if about else ''}",
                total=total,
                leave=False,
                file=sys.stderr,
                unit_scale=True,
                unit=" rows",
                bar_format=since if total is None else None,
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if done == total and not about:
            self.close()  # what is logged next must not stand beside it

    def end(self) -> None:
        """Show nothing any more."""
        self._ended = True
        self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Command(BaseCommand):
    help = (
        "Refresh the datasets that are due: load each from its source under a lock, publish it, announce it. "
        "Run it from cron on every node, or with --loop as a service on every node; one of them does the work."
    )

    _own_process = False

    def run_from_argv(self, argv: list[str]) -> None:
        """Run as the process's only purpose; ``call_command`` does not come here."""
        self._own_process = True
        super().run_from_argv(argv)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="datasets to refresh (default: all)")
        parser.add_argument("--force", action="store_true", help="load even what is not due")
        parser.add_argument(
            "--full", action="store_true", help="load everything, now, also where a dataset could load its changes"
        )
        parser.add_argument(
            "--wait", type=seconds, default=0.0, metavar="SECONDS", help="how long to wait for another refresher's lock"
        )
        parser.add_argument("--loop", action="store_true", help="stay, and refresh whenever something is due")
        parser.add_argument(
            "--threads",
            type=places,
            metavar="N",
            help=f"with --loop: how many datasets may be loaded at a time (default: {THREADS})",
        )
        parser.add_argument(
            "--reload",
            action=BooleanOptionalAction,
            help="with --loop: begin anew when code changes, as runserver does (default: if DEBUG is on)",
        )
        parser.add_argument("--dry-run", action="store_true", help="do everything but write and announce")
        parser.add_argument(
            "--no-validators", action="store_true", help="publish also what validators would refuse; the history tells"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object for each result, one a line")

    def handle(
        self,
        *names: str,
        force: bool,
        full: bool,
        wait: float,
        loop: bool,
        threads: int | None,
        reload: bool | None,
        dry_run: bool,
        no_validators: bool,
        json: bool,
        **options: Any,
    ) -> None:
        if loop and (force or full or dry_run or wait):
            raise CommandError("--loop does not go with --force, --full, --dry-run or --wait", returncode=2)
        if loop and no_validators:
            raise CommandError("--loop does not go with --no-validators, which is for one refresh", returncode=2)
        if threads is not None and not loop:
            raise CommandError("--threads goes with --loop only: else datasets are loaded one by one", returncode=2)
        if reload is not None and not (loop and self._own_process):
            raise CommandError("--reload goes with --loop only, in a process of its own", returncode=2)
        if not dry_run:
            refuse_in_transaction(runtime, "etcdaero_refresh")
        chosen = chosen_datasets(names or tuple(options.get("names", ())))
        reloads = loop and self._own_process and (settings.DEBUG if reload is None else reload)
        if reloads and not reloading.in_child():
            sys.exit(reloading.Watching(lambda text: self.stderr.write(f"etcdaero_refresh: {text}")).run())
        for warning in reach_warnings():
            self.stderr.write(self.style.WARNING(warning))
        code = 0 if loop else None
        with exit_on_signals(own_process=self._own_process, code=code, close=runtime.close) as ending:
            if loop:
                service = RefreshService(
                    chosen, runtime, lambda result: self._tell(result, as_json=json), threads=threads or THREADS
                )
                if reloads:
                    ask = partial(request_by_changed_code, chosen, runtime)
                    Background(ask, name="etcdaero-changed-code").start()
                try:
                    service.run(reloading.work_until_changed if reloads else None)
                except SystemExit:
                    ending.end_soon(reloading.RELOAD)
                    raise
                return
            failed, run = False, OneByOne(in_threads=self._own_process)
            for dataset in chosen:
                result = self._refresh(
                    run,
                    dataset,
                    quiet=json,
                    force=force or full,
                    full=full,
                    wait=wait,
                    dry_run=dry_run,
                    skip_validators=no_validators,
                )
                self._tell(result, as_json=json)
                failed = failed or not result.ok
        if failed:
            raise SystemExit(1)

    def _refresh(self, run: OneByOne, dataset: Dataset[Any, Any], *, quiet: bool, **how: Any) -> RefreshResult:
        bar = ProgressBar(dataset.name) if sys.stderr.isatty() and not quiet else None
        close_old_connections()
        try:
            return run.run(
                dataset,
                lambda overdue: Refresh(dataset, runtime, progress=bar, on_overdue=overdue, **how),
            )
        except SystemExit as signal:
            # Iterators of the load live on in its frames; they must not meet a closed database connection.
            traceback.clear_frames(signal.__traceback__)
            raise
        finally:
            close_old_connections()
            if bar is not None:
                bar.end()

    def _tell(self, result: RefreshResult, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(dataclasses.asdict(result)))
        else:
            style: Callable[[str], str] = self.style.SUCCESS if result.ok else self.style.ERROR
            self.stdout.write(style(describe_result(result)))
        self.stdout.flush()
