"""The tests of ``tests/processes/test_refreshing.py``, on servers."""

from tests.processes.test_refreshing import *  # noqa: F403
