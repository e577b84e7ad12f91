"""Stores of one host: ``mem:`` and ``mem:name`` in the memory of a process, ``sqlite:///path`` in a file."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import SplitResult, quote, unquote

from django_etcdaero.exceptions import ConfigurationError

from .address import Address, Reach

MEMORY_FORMS = "mem: or mem:name"
FILE_FORMS = "sqlite:///relative/to/BASE_DIR.sqlite3 or sqlite:////absolute/path.sqlite3"

_MEMORY_NAME = re.compile(r"[A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class MemoryAddress(Address):
    """A store in the memory of a process; all that have the same name share it."""

    reach: ClassVar[Reach] = Reach.PROCESS

    name: str = ""

    @property
    def safe(self) -> str:
        return f"mem:{self.name}"


@dataclass(frozen=True, slots=True)
class FileAddress(Address):
    """A store in a file."""

    reach: ClassVar[Reach] = Reach.HOST

    path: Path
    """Absolute."""

    @property
    def safe(self) -> str:
        return f"sqlite:///{quote(str(self.path))}"


def parse_memory(parts: SplitResult, base_dir: Path | None) -> MemoryAddress:
    """Read ``mem:name``. Raises ``ConfigurationError``."""
    _refuse_extras(parts)
    if parts.netloc or parts.path.startswith("/") or not _MEMORY_NAME.fullmatch(parts.path):
        raise ConfigurationError("the name of a store in memory is made of letters, digits, '_', '.' and '-'")
    return MemoryAddress(parts.path)


def parse_file(parts: SplitResult, base_dir: Path | None) -> FileAddress:
    """Read ``sqlite:///path``; ``base_dir`` is where a relative one starts. Raises ``ConfigurationError``."""
    _refuse_extras(parts)
    if parts.netloc or not parts.path.startswith("/"):
        raise ConfigurationError("a file needs three slashes when relative and four when absolute")
    text = unquote(parts.path[1:])
    if text == ":memory:":
        raise ConfigurationError("a store in memory is written mem:")
    if "\x00" in text or text.rpartition("/")[2] in {"", ".", ".."}:
        raise ConfigurationError("the path does not name a file")
    if not text.startswith("/") and base_dir is None:
        raise ConfigurationError("a relative path needs the setting BASE_DIR, which is not set to a path")
    # Lexical: resolving links would read the file system, and parsing is part of the offline system checks.
    return FileAddress(Path(os.path.normpath((base_dir or Path("/")) / re.sub("^/+", "/", text))))


def _refuse_extras(parts: SplitResult) -> None:
    if parts.query or parts.fragment:
        raise ConfigurationError("it takes no options after '?' and no '#' (in a file name write %3F and %23)")
