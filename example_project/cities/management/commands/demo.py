"""``demo``: the whole main job in one command."""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from cities.models import City

from .load_cities import positive

STEPS = 4
PATIENCE = 300.0
"""Seconds that a step which runs as a process of its own may take."""


class Command(BaseCommand):
    """Create the database, load the cities, publish them, and serve them. Safe to run again."""

    help = "Create the database, load the cities, publish them as a dataset, and serve the search page."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--check", action="store_true", help="instead of serving, read the dataset in a new process and exit"
        )
        parser.add_argument("--port", type=_port, default=8000, help="port on 127.0.0.1 (default: 8000)")
        parser.add_argument("--limit", type=positive, metavar="N", help="load only the N most populous cities")
        parser.add_argument(
            "--superuser", action="store_true", help="create the admin user 'admin' and print its random password once"
        )

    def handle(self, *, check: bool, port: int, limit: int | None, superuser: bool, **options: Any) -> None:
        """Do the four steps. Raises ``CommandError`` when one fails."""
        self._step(1, f"Create the database {settings.DATABASES['default']['NAME']}")
        call_command("migrate", interactive=False, verbosity=0, stdout=self.stdout)
        if superuser:
            self._create_superuser()

        self._step(2, "Load the cities into it")
        was_empty = not City.objects.exists()
        call_command("load_cities", limit=limit, stdout=self.stdout)

        self._step(3, "Publish them: one process loads, every process reads")
        # A new database is published even if the dataset of an earlier one is still fresh.
        self._run("etcdaero_refresh", "cities", "--wait", "30", *(["--force"] if was_empty else []))

        if check:
            self._step(4, "Read them in a new process, from its memory")
            self._run("find_city")
            self.stdout.write(self.style.SUCCESS("\nThe main job works. Without --check this command serves the page."))
        else:
            self._step(4, f"Serve the page at http://127.0.0.1:{port}/ (stop with Ctrl-C)")
            self._serve(port)

    def _step(self, number: int, title: str) -> None:
        self.stdout.write(self.style.MIGRATE_HEADING(f"\n[{number}/{STEPS}] {title}"))
        self.stdout.flush()

    def _run(self, *arguments: str) -> None:
        """Run a management command as a process of its own, as everybody would."""
        self.stdout.write(f"$ python manage.py {' '.join(arguments)}")
        self.stdout.flush()
        try:
            done = subprocess.run([sys.executable, _manage_py(), *arguments], timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"{arguments[0]} did not end within {PATIENCE:.0f} seconds") from error
        if done.returncode:
            raise CommandError(f"{arguments[0]} ended with exit status {done.returncode}")

    def _serve(self, port: int) -> None:
        address = f"127.0.0.1:{port}"
        self.stdout.write(f"$ python manage.py runserver {address}")
        self.stdout.flush()
        # The server takes this process's place: it gets Ctrl-C and SIGTERM, and its reloader starts `runserver` again
        # and not these steps.
        os.execv(sys.executable, [sys.executable, _manage_py(), "runserver", address])  # noqa: S606

    def _create_superuser(self) -> None:
        users = get_user_model().objects
        if users.filter(username="admin").exists():
            self.stdout.write(
                "The user 'admin' exists already; `python manage.py changepassword admin` sets a new password."
            )
            return
        password = secrets.token_urlsafe(12)
        users.create_superuser(username="admin", email="", password=password)
        self.stdout.write(f"Created the user 'admin' for /admin/ with the password {password} (shown only now).")


def _manage_py() -> str:
    return str(Path(settings.BASE_DIR) / "manage.py")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
        raise argparse.ArgumentTypeError(f"a port from 1 to 65535, not {text!r}")
    return int(text)
