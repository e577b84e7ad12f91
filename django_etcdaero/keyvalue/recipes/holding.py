"""Making temporary keys."""

from __future__ import annotations

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.system.blocking import refuse_in_event_loop
from django_etcdaero.system.steps import adrive, drive

from .temporary import TemporaryKey


def temporary_key(
    client: Client, key: Text, value: Text = b"1", *, ttl: int = 10, replace: bool = False, timeout: float | None = None
) -> TemporaryKey:
    """Put a key that exists for as long as this process holds it:
    :mod:`django_etcdaero.keyvalue.recipes.temporary`.

    ``ttl``: seconds after which the key of a dead process is gone. ``timeout`` is for putting it there. Raises
    ``KeyExists`` if somebody has the key already, this process included, unless it is left over from a process of this
    host that is dead; ``replace=True`` takes it over in any case: of two that do so the later one has it. Also raises
    what granting a lease and a transaction raise; nothing stays in the store then, or not for longer than the time to
    live. The answer is a context manager, an asynchronous one too, that closes it.
    """
    refuse_in_event_loop("temporary_key()", "await atemporary_key(…)")
    made = TemporaryKey(client, key, value, ttl=ttl)
    try:
        drive(made.create(replace=replace, timeout=timeout))
        return made
    except BaseException as error:
        if not isinstance(error, EtcdAeroError):  # a signal handler may raise when all is done
            made.abort()
        raise


async def atemporary_key(
    client: Client, key: Text, value: Text = b"1", *, ttl: int = 10, replace: bool = False, timeout: float | None = None
) -> TemporaryKey:
    """Put a key as :func:`temporary_key` does."""
    made = TemporaryKey(client, key, value, ttl=ttl)
    await adrive(made.create(replace=replace, timeout=timeout))
    return made
