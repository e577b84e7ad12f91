"""The same promises of locks as on the embedded engine, against a real server."""

from tests.keyvalue.queue.test_lock import *  # noqa: F403
