"""Deleting all objects of a range in one step, and nothing but objects: a lock may be called like a collection.

The first try is a deletion of the range, on the condition that none of its keys is on a lease, as every contender for a
lock is. Otherwise it is looked which ones stand for contenders, and the keys between these are deleted, on the
condition that no key has come since.
"""

from __future__ import annotations

from django_etcdaero.keyvalue.ops import create_revision, delete, lease_of
from django_etcdaero.keyvalue.recipes.contention import Contention
from django_etcdaero.keyvalue.rooms import is_contender
from django_etcdaero.keyvalue.values import DeleteResult, KeyValue, TxnRequest, TxnResult
from django_etcdaero.system.steps import Pause

from .timed_steps import TimedSteps


async def clear(steps: TimedSteps, start: bytes, end: bytes) -> int:
    """Delete the objects whose keys are in a range; return how many they were. A protocol.

    Raises ``TxnFailed`` if others added keys all the time.
    """
    answer = await steps.txn(TxnRequest((lease_of(start, end) == 0,), (delete(start, end),)))
    contention = Contention(f"the deletion of all from {start!r} to {end!r}", timeout=steps.left())
    while not answer.succeeded:
        apart: list[bytes] = []

        def look(found: KeyValue, apart: list[bytes] = apart) -> bool:
            if is_contender(found):
                apart.append(found.key)
            return False

        revision = await steps.visit(start, end, revision=0, take=look, keys_only=True)
        firsts, ends = [start, *(key + b"\0" for key in apart)], [*apart, end]
        deletions = [delete(first, after) for first, after in zip(firsts, ends, strict=True) if first < after]
        answer = await steps.txn(TxnRequest((create_revision(start, end) <= revision,), deletions))
        if not answer.succeeded:
            await Pause(contention.fail())
    return _deleted(answer)


def _deleted(answer: TxnResult) -> int:
    return sum(each.deleted for each in answer.responses if isinstance(each, DeleteResult))
