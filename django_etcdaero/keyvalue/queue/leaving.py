"""Deleting the key of a place in the background, when it could not be done at once."""

from __future__ import annotations

import time
from collections.abc import Callable

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.client.background import backoff, logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.session import Session
from django_etcdaero.keyvalue.txn import Txn

LEAVE_TIMEOUT = 2.0
"""Seconds that one try to delete the key may take."""


def delete_in_background(
    client: Client, session: Session, deletion: Txn, *, in_doubt: bool, then: Callable[[], object]
) -> None:
    """Run ``deletion`` again and again until it has deleted the key, then call ``then()``.

    A deletion that finds no key is enough, unless ``in_doubt`` says that the put may still arrive. When one time to
    live has passed without an answer the session is abandoned, so that its lease takes the key along.
    """
    lease = session.lease
    limit = time.monotonic() + lease.ttl
    attempt = 0

    def retry() -> float | None:
        nonlocal attempt
        if not lease.alive:
            return None
        try:
            done = deletion.commit(timeout=LEAVE_TIMEOUT).succeeded or not in_doubt
            failed = False
        except EtcdAeroError as error:
            logger.debug("deleting the key of a contender: %s", error)
            done, failed = False, True
        if not done and time.monotonic() < limit:
            attempt += 1
            return backoff(attempt, limit=lease.ttl / 4)
        if failed:
            logger.warning("the key of a contender could not be deleted; its session %x is abandoned", lease.id)
            session.abandon()
        else:
            then()
        return None

    client.chores.submit(retry)
