"""The awaited twins as on the embedded engine, against a real server."""

from tests.keyvalue.test_async_twins import *  # noqa: F403
