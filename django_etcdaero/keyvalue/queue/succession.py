"""A process that is started again takes over the place that its predecessor left in an election.

A candidate that was killed leads on in the store until its lease has run out. When the next process of the same name
comes, it would wait for that and then queue up behind everybody else: the leadership would move for nothing. So a
candidate whose value was given (it names the candidate; a value made up from host, process id and time does not) looks
for a contender with the same value, and moves that contender's keys to its own lease: create revision, position and
token stay.

It does so only if the predecessor is dead for certain: it told in its second key which process it was, and that
process ran on this host and runs no more (:mod:`django_etcdaero.system.processes`). Whoever lives, or died elsewhere,
is waited for like any other, so two processes never lead under one name. And the keys that were moved are seen to be on
another lease, which ends the leadership of whoever should still count on them.
"""

from __future__ import annotations

import json

from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.steps import seconds_left
from django_etcdaero.system.processes import is_dead

from .place import Place
from .reading import read_queue


async def succeed(client: Client, place: Place, limit: float) -> bool:
    """Take over the place of a dead predecessor, if there is one, until ``limit``. Return whether that was done."""
    in_line = await read_queue(client, place.name, second=True, timeout=seconds_left(limit))
    for each, told in in_line:
        if each.value != place.value or not _left_by_the_dead(told):
            continue
        if await place.inherit(each.key, each.create_revision, each.lease, timeout=seconds_left(limit)):
            logger.info("%r: the place of a predecessor that is dead was taken over", place.label)
            return True
    return False


def _left_by_the_dead(introduction: bytes) -> bool:
    try:
        told = json.loads(introduction)
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and is_dead(told.get("process"))
