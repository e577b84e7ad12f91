"""``mem:`` and ``sqlite:`` for the coordination plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django_etcdaero.stores.local import FILE_FORMS, MEMORY_FORMS, FileAddress, MemoryAddress, parse_file, parse_memory
from django_etcdaero.stores.scheme import Scheme

if TYPE_CHECKING:
    from .engine import EmbeddedEngine


def _open_memory(address: MemoryAddress, timeout: float) -> EmbeddedEngine:
    from .engine import EmbeddedEngine

    return EmbeddedEngine.memory(address.name, timeout=timeout)


def _open_file(address: FileAddress, timeout: float) -> EmbeddedEngine:
    from .engine import EmbeddedEngine

    return EmbeddedEngine.file(address.path, busy_timeout=timeout)


MEMORY: Final = Scheme(names=("mem",), forms=MEMORY_FORMS, address=MemoryAddress, parse=parse_memory, open=_open_memory)
FILE: Final = Scheme(names=("sqlite",), forms=FILE_FORMS, address=FileAddress, parse=parse_file, open=_open_file)
