"""The tests of ``tests/processes/test_crashing.py``, on servers."""

from tests.processes.test_crashing import *  # noqa: F403
