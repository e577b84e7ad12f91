"""No recipe sends a transaction that only reads to a real server either."""

from tests.keyvalue.test_read_only_transactions import *  # noqa: F403
