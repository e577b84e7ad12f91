"""Refusing to load where an event loop runs."""

from __future__ import annotations

import os

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.system.threads import in_event_loop


def refuse_in_event_loop(name: str) -> None:
    """Raise ``InvalidRequest`` where a load of the dataset of this name would block an event loop.

    There Django refuses to read a database, and the load would fail: not for a fault of its source, and yet everybody
    would hold back for it. ``DJANGO_ALLOW_ASYNC_UNSAFE`` allows it, as it allows what Django refuses.
    """
    if in_event_loop() and not os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
        raise InvalidRequest(
            f"dataset {name!r}: refresh() would block the event loop; 'await dataset.arequest_refresh()' asks for a "
            "load, 'await sync_to_async(dataset.refresh)()' makes one"
        )
