"""The secret key of this checkout: made at the first start, kept in a private file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def load_or_create(path: Path) -> str:
    """Return the key stored at ``path``; create the file with mode 0600 (its directory 0700) when there is none.

    Several processes may start at once and all get the same key: the file appears complete or not at all.
    """
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mkstemp gives mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(get_random_secret_key() + "\n")
        with contextlib.suppress(FileExistsError):  # another process was faster: its key counts
            os.link(temporary, path)
    finally:
        os.unlink(temporary)
    return path.read_text().strip()
