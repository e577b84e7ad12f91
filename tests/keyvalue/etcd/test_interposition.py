"""What stands between a client and its engine, against a real server, whose awaited calls take another way."""

from tests.keyvalue.test_interception import *  # noqa: F403
