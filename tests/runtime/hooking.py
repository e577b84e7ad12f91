"""What tests of the runtime share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.test import override_settings

from django_etcdaero import dataset


class Hooks:
    """What a runtime asked the interpreter to call."""

    def __init__(self) -> None:
        self.after_in_child: list[Callable[[], None]] = []
        self.at_exit: list[Callable[[], None]] = []


def readers() -> int:
    return [thread.name for thread in threading.enumerate()].count("etcdaero-reader")


def start(option: str) -> Any:
    return override_settings(ETCDAERO={"default": {"KV": "mem:", "RECORDS": "mem:", "OPTIONS": {"START": option}}})


def declare(**options: Any) -> Any:
    @dataset(**options)
    def prices() -> dict[str, int]:
        return {"a": 1}

    return prices
