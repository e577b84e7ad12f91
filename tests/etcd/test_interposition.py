"""What stands between a client and its engine, against a real server, whose awaited calls take another way."""

from tests.kv.test_interposition import *  # noqa: F403
