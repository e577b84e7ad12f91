"""The same promises of locks and elections in event loops as on the embedded engine, against a real server."""

from tests.keyvalue.queue.test_async_lock import *  # noqa: F403
