"""Refusing to publish rows that may never be committed."""

from __future__ import annotations

from django_etcdaero.datasets.host import Host
from django_etcdaero.exceptions import RefreshInTransaction


def refuse_in_transaction(host: Host, what: str) -> None:
    """Raise ``RefreshInTransaction`` when a transaction of the project is open in this thread; ``what`` is to be done.

    ``load()`` would run in it and see what is not committed. All processes would read that, also after a rollback.
    """
    alias = host.open_transaction()
    if alias is not None:
        raise RefreshInTransaction(
            f"{what}: a transaction is open on the database {alias!r}, so rows that may never be committed would be "
            "published to every process. Call request_refresh() instead, which waits for the commit by itself, or "
            "refresh after the block; refresh(allow_in_atomic=True) publishes them all the same"
        )
