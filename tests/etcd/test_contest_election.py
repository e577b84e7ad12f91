"""The same promises of elections as on the embedded engine, against a real server."""

from tests.kv.test_election import *  # noqa: F403
