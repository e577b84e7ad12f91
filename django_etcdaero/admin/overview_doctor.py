"""What the doctor finds, for the overview."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any


def examined(*, timeout: float) -> Any:
    """Return the report of an examination, within ``timeout`` seconds; ``None`` where there is no doctor."""
    if find_spec("django_etcdaero.doctor") is None:
        return None
    return import_module("django_etcdaero.doctor").examine(timeout=timeout)
