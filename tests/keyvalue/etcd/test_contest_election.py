"""The same promises of elections as on the embedded engine, against a real server."""

from tests.keyvalue.queue.test_election import *  # noqa: F403
