"""``mem:`` for the data plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django_etcdaero.stores.local import MEMORY_FORMS, MemoryAddress, parse_memory
from django_etcdaero.stores.scheme import Scheme

if TYPE_CHECKING:
    from .store import MemoryStore


def _open(address: MemoryAddress, timeout: float) -> MemoryStore:
    from .store import MemoryStore

    return MemoryStore(address.name)  # it never waits for others but threads of this process


MEMORY: Final = Scheme(names=("mem",), forms=MEMORY_FORMS, address=MemoryAddress, parse=parse_memory, open=_open)
