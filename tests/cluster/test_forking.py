"""The tests of ``tests/processes/test_forking.py``, on servers."""

from tests.processes.test_forking import *  # noqa: F403
