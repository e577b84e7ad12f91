"""Refusing to block an event loop, where the call exists in a form to be awaited."""

from __future__ import annotations

import os
from asyncio import _get_running_loop

from django_etcdaero.exceptions import InvalidRequest

ALLOWED_BY = "DJANGO_ALLOW_ASYNC_UNSAFE"
"""Environment variable that allows it, as it allows what Django refuses for the same reason."""


def refuse_in_event_loop(call: str, instead: str) -> None:
    """Raise ``InvalidRequest`` where an event loop runs in this thread, which ``call`` would block.

    ``instead`` is what to write there. The variable is read only where a loop runs: this costs every call.
    """
    if _get_running_loop() is not None and not os.environ.get(ALLOWED_BY):
        raise InvalidRequest(
            f"{call} would block the event loop, and all that runs in it: write '{instead}', or do it in a thread "
            f"({ALLOWED_BY}=1 allows it)"
        )
