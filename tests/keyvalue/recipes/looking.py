"""What a test sees of a store."""

from __future__ import annotations

from django_etcdaero.keyvalue import KV
from tests.keyvalue.interposed import InterposedEngine


def value(kv: KV, key: str) -> bytes | None:
    found = kv.get(key)
    return None if found is None else found.value


def watched(store: InterposedEngine) -> bool:
    return len(store.running) == 1
