"""Changes of a key on the condition that it is still what somebody has seen."""

from __future__ import annotations

from dataclasses import dataclass

from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.ops import delete, found, get, mod_revision, put
from django_etcdaero.keyvalue.values import KeyValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What came of a change."""

    done: bool
    revision: int
    """Of the change, or of the store when it was refused."""
    there: KeyValue | None = None
    """What was there when it was refused; ``None``: no such key, or it was done."""


def write_if(
    kv: KV, key: bytes, value: bytes, *, seen: int, lease: int | None = None, timeout: float | None = None
) -> Changed:
    """Write a key if its mod revision is ``seen`` (0: if it does not exist). Raises what the store raises.

    ``lease``: id of the lease to put it on, 0 for none; ``None``: the one that it has.
    """
    keeps = lease is None and seen > 0
    step = put(key, value, ignore_lease=True) if keeps else put(key, value, lease=lease or 0)
    answer = kv.txn().when(mod_revision(key) == seen).then(step).otherwise(get(key)).commit(timeout=timeout)
    there = None if answer.succeeded else next(iter(found(answer.responses[0])), None)
    return Changed(done=answer.succeeded, revision=answer.revision, there=there)


def delete_if(kv: KV, key: bytes, *, seen: int, timeout: float | None = None) -> Changed:
    """Delete a key if its mod revision is ``seen``. Raises what the store raises."""
    answer = kv.txn().when(mod_revision(key) == seen).then(delete(key)).otherwise(get(key)).commit(timeout=timeout)
    there = None if answer.succeeded else next(iter(found(answer.responses[0])), None)
    return Changed(done=answer.succeeded, revision=answer.revision, there=there)
