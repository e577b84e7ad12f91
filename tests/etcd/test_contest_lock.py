"""The same promises of locks as on the embedded engine, against a real server."""

from tests.kv.test_lock import *  # noqa: F403
