"""The tests of ``tests/processes/test_servers.py``, on servers."""

from tests.processes.test_servers import *  # noqa: F403
